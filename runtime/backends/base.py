"""The protocol of backends, which run a bundle's model for an engine."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast, get_args, runtime_checkable

if TYPE_CHECKING:  # so that the commands' options, which name backends, need no NumPy
    from recblr.array_types import (
        ExcludeArray,
        ItemsArray,
        OffsetsArray,
        StatesArray,
        TopItemsArray,
        TopScoresArray,
    )

BackendName: TypeAlias = Literal["auto", "native", "onnxruntime", "tensorrt"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)


class Backend(Protocol):
    """Runs a bundle's model. Calls from several threads at once must be safe."""

    @property
    def description(self) -> str:
        """What runs the model and how, on one line for people."""
        ...

    def run(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """Feed each row's items to its state and rank the catalogue.

        Args:
            items: int32 [N] indices 1..V, row after row; N may be 0.
            offsets: int32 [B + 1] row b is `items[offsets[b]:offsets[b + 1]]`, possibly empty; B >= 1.
            state_in: float32 [B, S]; the last D entries of a state are the row's query vector.
            exclude: int32 [M, 2] pairs of (row, item) that must not be ranked; M may be 0.

        Returns:
            int32 [B, max_k] the items, best first, equal ones by index; float32 [B, max_k] their scores; float32
            [B, S] the new states. A row with fewer than max_k items to rank is filled up with scores of -inf.
        """
        ...


@runtime_checkable
class StatesBackend(Protocol):
    """A backend that can compute new states without the ranking, which saves time."""

    def advance(self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray) -> StatesArray:
        """The new states [B, S] that `Backend.run` gives for these rows."""
        ...


@runtime_checkable
class BestBackend(Protocol):
    """A backend that saves time where fewer than its max_k results are asked for."""

    def run_best(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray, k: int
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """As `Backend.run`, with its first k >= 1 results per row, or all max_k where k is larger."""
        ...


@cache
def _is_best_backend(kind: type) -> bool:
    """Whether a type is a `BestBackend`; kept, as a protocol's check of each object takes microseconds."""
    return issubclass(kind, BestBackend)


def run_best(
    backend: Backend, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray, k: int
) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
    """Run any backend for the first k results per row: [B, k] items and scores, or as many as it gives; the states."""
    if _is_best_backend(type(backend)):
        return cast("BestBackend", backend).run_best(items, offsets, state_in, exclude, k)
    top_items, top_scores, states = backend.run(items, offsets, state_in, exclude)
    return top_items[:, :k], top_scores[:, :k], states


def advance(backend: Backend, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray) -> StatesArray:
    """The new states [B, S] of any backend; where it cannot leave out the ranking, that is thrown away."""
    if isinstance(backend, StatesBackend):
        return backend.advance(items, offsets, state_in)
    no_pairs = offsets[:0].reshape(0, 2)
    return backend.run(items, offsets, state_in, no_pairs)[2]
