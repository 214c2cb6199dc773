"""Traffic: the requests that a benchmark sends. Histories have lengths that were asked for and items of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from jaxtyping import Int64

from recblr.array_types import ItemId
from recblr.runtime.benchmark.load import Request

Kind: TypeAlias = Literal["cold", "step", "mixed"]
LengthsArray: TypeAlias = Int64[np.ndarray, "n"]

POOL = 32  # different requests of each kind, sent in turn
USERS = 64  # different users with a state, of whom a step's are drawn


class EngineLike(Protocol):
    """The part of `recblr.runtime.Engine` that the benchmark calls."""

    def recommend(self, histories: Any, k: int = 10) -> Any:
        """Rank for whole histories, [B] lists of item ids."""
        ...

    def step(self, states: Any, new_items: Any, k: int = 10) -> Any:
        """Rank for states [B, S] and new items, and give the new states."""
        ...


@dataclass(frozen=True, eq=False)
class Lengths:
    """Lengths of histories.

    Attributes:
        name: for reports, such as "200" or a file's name.
        values: [n] at least 1 each; histories have one of them at random.
    """

    name: str
    values: LengthsArray

    @classmethod
    def fixed(cls, length: int) -> Lengths:
        """Histories of one length."""
        return cls(str(length), np.array([length], np.int64))

    @property
    def mean(self) -> float:
        """The average length."""
        return float(self.values.mean())


def lengths_of_data(path: Path, user_column: str, item_column: str, timestamp_column: str) -> Lengths:
    """The lengths of a data file's histories, read and filtered as in training.

    Raises:
        DataError: the file cannot be used.
        ConfigError: one column for two purposes.
    """
    from recblr.data import Columns, load_interactions  # needs pyarrow

    interactions, _ = load_interactions(path, Columns(user_column, item_column, timestamp_column))
    return Lengths(path.name, interactions.lengths.astype(np.int64))


class Traffic:
    """Requests of one kind, made beforehand and sent in turn; the same seed gives the same ones."""

    def __init__(
        self,
        engine: EngineLike,
        item_ids: Sequence[ItemId],
        kind: Kind,
        rows: int,
        lengths: Lengths,
        *,
        k: int,
        step_share: float,
        seed: int,
    ) -> None:
        """Draw histories, and compute the states that steps start from.

        Args:
            engine: asked for the states.
            item_ids: [V] of the model; histories are drawn from them, all equally often.
            kind: "cold" for whole histories, "step" for one new item per user on states of such histories, "mixed" for
                both at random.
            rows: users per request.
            lengths: of the histories.
            k: results per user.
            step_share: in mixed traffic, the share of requests that are steps.
            seed: of all that is drawn.

        Raises:
            RequestError: `k` out of range.
        """
        generator = np.random.default_rng(seed)
        self._engine, self._item_ids, self._k = engine, item_ids, k
        share = {"cold": 0.0, "step": 1.0, "mixed": step_share}[kind]
        cold, step = share < 1, share > 0
        self._cold = [self._cold_request(rows, lengths, generator) for _ in range(POOL)] if cold else []
        self._step = self._step_requests(rows, lengths, generator) if step else []
        self._is_step = generator.random(4096) < share

    def request(self, number: int) -> Request:
        """The request of this number; any number of threads may ask."""
        pool = self._step if self._is_step[number % len(self._is_step)] else self._cold
        return pool[number % len(pool)]

    def _history(self, length: int, generator: np.random.Generator) -> list[ItemId]:
        return [self._item_ids[j] for j in generator.integers(0, len(self._item_ids), length).tolist()]

    def _histories(self, rows: int, lengths: Lengths, generator: np.random.Generator) -> list[list[ItemId]]:
        return [self._history(length, generator) for length in generator.choice(lengths.values, rows).tolist()]

    def _cold_request(self, rows: int, lengths: Lengths, generator: np.random.Generator) -> Request:
        histories = self._histories(rows, lengths, generator)
        return Request(partial(self._engine.recommend, histories, k=self._k), rows, sum(map(len, histories)))

    def _step_requests(self, rows: int, lengths: Lengths, generator: np.random.Generator) -> list[Request]:
        _, states = self._engine.step(None, self._histories(USERS, lengths, generator), k=self._k)
        requests = []
        for _ in range(POOL):
            chosen = states[generator.integers(0, USERS, rows)]
            new_items = [self._history(1, generator) for _ in range(rows)]
            requests.append(Request(partial(self._engine.step, chosen, new_items, k=self._k), rows, rows))
        return requests
