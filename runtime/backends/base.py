"""The protocol of backends, which run a bundle's model for an engine in place of the library's own kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

if TYPE_CHECKING:  # so that the commands' options, which name backends, need no NumPy
    from recblr.array_types import (
        ExcludeArray,
        ItemsArray,
        OffsetsArray,
        StatesArray,
        TopItemsArray,
        TopScoresArray,
    )
    from recblr.runtime.limits import Limits

BackendName: TypeAlias = Literal["auto", "native", "onnxruntime", "tensorrt"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)


class Backend(Protocol):
    """Runs a bundle's model. Calls from several threads at once must be safe."""

    @property
    def description(self) -> str:
        """What runs the model and how, on one line for people."""
        ...

    @property
    def max_k(self) -> int:
        """The most results per row that it ranks; 0 where it computes states alone. The engine ranks the rest."""
        ...

    @property
    def limits(self) -> Limits:
        """The most that one run is given."""
        ...

    def run(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray, k: int
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """Feed each row's items to its state and rank the catalogue.

        Args:
            items: int32 [N] indices 1..V, row after row; N may be 0.
            offsets: int32 [B + 1] row b is `items[offsets[b]:offsets[b + 1]]`, possibly empty; B >= 1.
            state_in: float32 [B, S]; the last D entries of a state are the row's query vector.
            exclude: int32 [M, 2] pairs of (row, item) that must not be ranked, rows ascending; M may be 0.
            k: results per row, at most `max_k`; 0 for the states alone.

        Returns:
            int32 [B, k] the items, best first, equal ones by index; float32 [B, k] their scores; float32 [B, S] the
            new states. A row with fewer than k items to rank is filled up with scores of -inf.
        """
        ...
