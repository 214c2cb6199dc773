"""What the alternatives to recblr-serve share: one engine that batches, and an answer as recblr-serve writes it."""

from __future__ import annotations

import os
from typing import Any

from recblr.runtime import Batching, Ranking, load

ENGINE = load(os.environ["RECBLR_BENCHMARK_BUNDLE"], batching=Batching())


def answer(rankings: list[Ranking]) -> dict[str, Any]:
    """The body, for any JSON library."""
    return {
        "rankings": [
            {"items": r.items, "scores": r.scores.tolist(), "popular": r.popular, "unknown": r.unknown}
            for r in rankings
        ],
        "model": ENGINE.fingerprint,
    }
