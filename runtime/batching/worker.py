"""Runs the batches of one of a batcher's workers, and finds the job at fault where a run fails."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recblr.array_types import ExcludeArray, ItemsArray, OffsetsArray, StatesArray
from recblr.errors import BackendError, RecblrError, short_reason
from recblr.runtime.backends.base import Backend, advance, run_best
from recblr.runtime.batching.job import BatchResults, Part, Result
from recblr.runtime.batching.queue import BatchQueue
from recblr.runtime.limits import Limits


class BatchRunner:
    """Runs batches for one worker, in buffers of its own."""

    def __init__(self, queue: BatchQueue, backend: Backend, limits: Limits) -> None:
        self._queue = queue
        self._backend = backend
        self._offsets = np.zeros(limits.rows + 1, np.int32)
        self._rows = limits.rows
        self._states: StatesArray = np.empty((0, 0), np.float32)

    def run(self, parts: list[Part]) -> None:
        """Run a batch, and give the result or error of each part to the queue; never raises."""
        batch = BatchResults()
        try:
            self._run(parts, batch)
        except BaseException as error:  # such as SystemExit: not repeated, and the worker goes on
            ended = {id(part) for part, _ in batch.of_parts}
            batch.of_parts += [(part, explained(error)) for part in parts if id(part) not in ended]
        finally:
            self._queue.finish(batch)

    def _run(self, parts: list[Part], batch: BatchResults) -> None:
        parts = [part for part in parts if not part.job.done]
        if not parts:
            return
        try:
            top_items, top_scores, states = self._merged(parts, batch)
        except Exception as error:
            batch.raised += 1
            if len(parts) > 1:
                middle = len(parts) // 2
                self._run(parts[:middle], batch)
                self._run(parts[middle:], batch)
            elif parts[0].n_rows > 1:
                self._run_rows(parts[0], batch)
            else:
                batch.of_parts.append((parts[0], explained(error)))
            return
        if len(parts) == 1:
            batch.of_parts.append((parts[0], (top_items, top_scores, states)))
            return
        start = 0
        for part in parts:
            stop = start + part.n_rows
            width = top_items.shape[1] if part.k is None else part.k
            # Copies: a view would keep the whole batch as long as the caller keeps one state.
            result = (
                top_items[start:stop, :width].copy(),
                top_scores[start:stop, :width].copy(),
                states[start:stop].copy(),
            )
            batch.of_parts.append((part, result))
            start = stop

    def _run_rows(self, part: Part, batch: BatchResults) -> None:
        """Repeat a part of several rows in halves; its job fails with the first row that fails alone."""
        of_halves = BatchResults()
        for half in part.halves():
            self._run([half], of_halves)
            failed = next((result for _, result in of_halves.of_parts if isinstance(result, Exception)), None)
            if failed is not None:
                of_halves.of_parts = [(part, failed)]
                break
        batch.of_parts += of_halves.of_parts
        batch.runs += of_halves.runs
        batch.raised += of_halves.raised

    def _merged(self, parts: list[Part], batch: BatchResults) -> Result:
        if len(parts) == 1:
            (part,) = parts
            items, lengths, states, exclude, k = part.items, part.lengths, part.states, part.exclude, part.k
        else:
            items = np.concatenate([part.items for part in parts])
            lengths = [length for part in parts for length in part.lengths]
            width = parts[0].states.shape[1]
            if self._states.shape[1] != width:
                self._states = np.empty((self._rows, width), np.float32)
            states = np.concatenate([part.states for part in parts], out=self._states[: len(lengths)])
            exclude, k = _merged_exclusions(parts), _most_results(parts)
        n_rows = len(lengths)
        offsets = self._offsets[: n_rows + 1]
        if n_rows == 1:
            offsets[1] = lengths[0]
        else:
            np.cumsum(lengths, out=offsets[1:])
        result = run_rows(self._backend, items, offsets, states, exclude, k)
        batch.runs.append((n_rows, len(items)))
        return result


def run_rows(
    backend: Backend,
    items: ItemsArray,
    offsets: OffsetsArray,
    states: StatesArray,
    exclude: ExcludeArray,
    k: int | None,
) -> Result:
    """Run a backend for at most k results per row, None for all that it gives; where k is 0, it does not rank.

    Raises:
        BackendError: the backend gave another number of rows; it may raise anything else.
    """
    n_rows = len(offsets) - 1
    if k is None:
        top_items, top_scores, new_states = backend.run(items, offsets, states, exclude)
    elif k > 0:
        top_items, top_scores, new_states = run_best(backend, items, offsets, states, exclude, k)
    else:
        new_states = advance(backend, items, offsets, states)
        top_items, top_scores = np.empty((n_rows, 0), np.int32), np.empty((n_rows, 0), np.float32)
    if not len(top_items) == len(top_scores) == len(new_states) == n_rows:
        raise BackendError(f"the backend gave {len(top_items)} rows for {n_rows}: its graph is another")
    return top_items, top_scores, new_states


def _most_results(parts: Sequence[Part]) -> int | None:
    """The most results that one of them asks for."""
    most = 0
    for part in parts:
        k = part.k
        if k is None:
            return None
        most = max(most, k)
    return most


def _merged_exclusions(parts: Sequence[Part]) -> ExcludeArray:
    merged = np.concatenate([part.exclude for part in parts])
    pair = row = 0
    for part in parts:
        n_pairs = len(part.exclude)
        if n_pairs:
            merged[pair : pair + n_pairs, 0] += row
        pair += n_pairs
        row += part.n_rows
    return merged


def explained(error: BaseException) -> Exception:
    """The error that a caller gets for a run that raised."""
    if isinstance(error, RecblrError):
        return error
    explanation = BackendError(
        f"the backend failed on this request ({type(error).__name__}: {short_reason(error)}): "
        "check its items and states; other requests are not affected"
    )
    explanation.__cause__ = error
    return explanation
