"""How much one run of a model is given, and how many results where nobody says."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_K = 10  # results per user where none are asked for; all items of a smaller catalogue


@dataclass(frozen=True)
class Limits:
    """The most that one run is given. Larger requests are split into several runs; their results do not change.

    Attributes:
        rows: B.
        tokens: N; a longer row is fed in pieces, through its state.
        exclusions: M, of several rows together; the exclusions of one row are never split.
    """

    # Enough to keep every core busy, while memory stays bounded: the widest activation of the paper's model,
    # [N, 2H] with H = 128, is 64 MiB.
    rows: int = 256
    tokens: int = 65_536
    exclusions: int = 65_536
