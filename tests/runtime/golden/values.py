"""Python values in JSON, and answers as JSON.

What JSON has, stands for itself. The rest are objects of one key:

| | |
|---|---|
| `{"$tuple": [...]}`, `{"$set": [...]}` | of these values |
| `{"$dict": [[key, value], ...]}` | |
| `{"$bytes": "..."}` | of these characters in Latin-1 |
| `{"$float": "nan"}` | also inf, -inf |
| `{"$power": [10, 5000]}` | an integer |
| `{"$array": [dtype, values]}` | a NumPy array |
| `{"$full": [dtype, shape, value]}` | a NumPy array of one value |
| `{"$cycle": [n, values]}` | a list of n: the values over and over |
| `{"$times": [n, value]}` | a list of n: the value n times |
| `{"$ragged": [n, longest, values]}` | n lists; list b has `7 * b % (longest + 1)` of the values, from place b on |
| `{"$ids": [start, stop]}` | these item ids of the model, in order of its indices; stop may be null |
| `{"$allow": ids}` | an `AllowList` |
| `{"$states": case}` | the states that the step of this name returned |
| `{"$state": [case, row]}` | one of them |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from typing import Any, TypeAlias

import numpy as np

from recblr.runtime import AllowList, Ranking

Json: TypeAlias = Any

SHOWN_ITEMS = 12  # of a ranking; the others are in a digest
SHOWN_RANKINGS = 8


def value_of(encoded: Json, ids: Sequence[int] | Sequence[str], states: Mapping[str, np.ndarray]) -> Any:
    """The Python value that JSON stands for.

    Args:
        encoded: see above.
        ids: the model's item ids.
        states: by the names of steps.
    """
    if isinstance(encoded, list):
        return [value_of(value, ids, states) for value in encoded]
    if not isinstance(encoded, dict):
        return encoded
    ((tag, content),) = encoded.items()
    inner: Any = value_of(content, ids, states)
    made: dict[str, Callable[..., Any]] = {
        "$tuple": lambda: tuple(inner),
        "$set": lambda: set(inner),
        "$dict": lambda: dict(inner),
        "$bytes": lambda: inner.encode("latin-1"),
        "$float": lambda: float(inner),
        "$power": lambda: inner[0] ** inner[1],
        "$array": lambda: np.array(inner[1], inner[0]),
        "$full": lambda: np.full(inner[1], inner[2], inner[0]),
        "$cycle": lambda: list(islice(cycle(inner[1]), inner[0])),
        "$times": lambda: [inner[1]] * inner[0],
        "$ragged": lambda: [list(islice(cycle(inner[2]), b, b + 7 * b % (inner[1] + 1))) for b in range(inner[0])],
        "$ids": lambda: ids[inner[0] : inner[1]],
        "$allow": lambda: AllowList(inner),
        "$states": lambda: states[inner],
        "$state": lambda: states[inner[0]][inner[1]],
    }
    return made[tag]()


def ranking_json(ranking: Ranking) -> Json:
    """A ranking: its ids, the bits of its scores as hex digits, and what else is true of it."""
    assert isinstance(ranking.items, list)
    assert ranking.scores.dtype == np.float32
    assert ranking.scores.shape == (len(ranking.items),)
    scores = ranking.scores.astype(">f4")
    encoded: dict[str, Json] = {"items": ranking.items[:SHOWN_ITEMS], "scores": scores[:SHOWN_ITEMS].tobytes().hex()}
    if len(ranking.items) > SHOWN_ITEMS:
        everything = json.dumps([ranking.items, scores.tobytes().hex()])
        encoded |= {"n": len(ranking.items), "all": digest(everything.encode())}
    if ranking.unknown:
        encoded["unknown"] = ranking.unknown
    if ranking.popular:
        encoded["popular"] = True
    return encoded


def rankings_json(rankings: Sequence[Ranking]) -> Json:
    """Rankings: the first ones, and a digest of all where there are more."""
    encoded = [ranking_json(ranking) for ranking in rankings]
    if len(encoded) <= SHOWN_RANKINGS:
        return {"rankings": encoded}
    everything = digest(json.dumps(encoded).encode())
    return {"rankings": encoded[:SHOWN_RANKINGS], "n": len(encoded), "all": everything}


def states_json(states: np.ndarray) -> Json:
    """States: their shape, and a digest of their bits."""
    assert states.dtype == np.float32
    return [list(states.shape), digest(states.astype("<f4").tobytes())]


def digest(content: bytes) -> str:
    """The first half of the SHA-256, in hex digits."""
    return hashlib.sha256(content).hexdigest()[:32]
