"""Cycles through what is written in Python and keeps its engine, store or recommender are collected."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from recblr.errors import BackendError
from recblr.runtime import Append, Batching, Engine, Event, Limits, Recommender, open_store


class Backend:
    """Keeps what it is given, and an engine beside it."""

    description, max_k, limits = "keeping", 8, Limits()
    fails = False

    def __init__(self, engine: Engine) -> None:
        self.kept: list[Any] = []
        self.runs = engine.backend

    def run(self, *arguments: Any) -> Any:
        if self.fails:
            raise RuntimeError("failed")
        assert self.runs is not None
        return self.runs.run(*arguments)


class Store:
    """Without events."""

    max_history = None

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def append(self, appends: list[Append]) -> list[bool]:
        return [True] * len(appends)

    def read(self, users: list[Any], since: list[int]) -> list[list[Event]]:
        return [[] for _ in users]

    def forget(self, user: object) -> bool:
        return False

    def close(self) -> None:
        return


def engine_of_a_backend(engine: Engine, batching: Batching | None) -> Any:
    backend = Backend(engine)
    made = Engine(engine.bundle, backend, batching=batching)
    backend.kept.append(made)
    assert made.recommend([[10]])[0].items
    return backend


def recommender_of_a_backend(engine: Engine, batching: Batching | None) -> Any:
    backend = Backend(engine)
    users = Recommender(Engine(engine.bundle, backend, batching=batching))
    backend.kept.append(users)
    users.recommend("u")
    return backend


def recommender_of_a_store(engine: Engine, batching: Batching | None) -> Any:
    store = Store()
    users = Recommender(engine, store)
    store.kept.append(users)
    users.recommend("u")
    return store


def exception_that_was_raised(engine: Engine, batching: Batching | None) -> Any:
    backend = Backend(engine)
    backend.fails = True
    made = Engine(engine.bundle, backend, batching=batching)
    with pytest.raises(BackendError) as caught:
        made.recommend([[10]])
    assert caught.value.__cause__ is not None
    backend.kept.append((made, caught.value))  # whose traceback keeps frames that keep the engine
    return backend


@pytest.mark.parametrize("batching", [None, Batching(workers=1)], ids=["alone", "batching"])
@pytest.mark.parametrize(
    "make", [engine_of_a_backend, recommender_of_a_backend, recommender_of_a_store, exception_that_was_raised]
)
def test_cycles_are_collected(
    engine: Engine, make: Callable[[Engine, Batching | None], Any], batching: Batching | None
) -> None:
    kept = weakref.ref(make(engine, batching))
    gc.collect()
    gc.collect()  # what an exception's frames held
    assert kept() is None


def test_what_is_in_use_is_not_collected(engine: Engine) -> None:
    backend = Backend(engine)
    users = Recommender(Engine(engine.bundle, backend), open_store(None))
    backend.kept.append(users)
    del backend
    gc.collect()
    users.add_events("u", [10])
    assert users.recommend("u", 2).items == engine.recommend([[10]], 2)[0].items


def test_an_engine_that_is_swapped_out_goes(engine: Engine) -> None:
    backend = Backend(engine)
    first = Engine(engine.bundle, backend)
    users = Recommender(first)
    users.swap(engine)
    gone = weakref.ref(backend)
    del backend, first
    gc.collect()
    assert gone() is None
