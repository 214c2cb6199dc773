"""A store of one's own that gives nonsense: a StoreError that says what came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from recblr.errors import ConfigError, RecblrError, StoreError
from recblr.runtime import Engine, Event, Recommender


class Given:
    """Gives what it is told to."""

    max_history = None

    def __init__(self) -> None:
        self.given: Any = []
        self.error: BaseException | None = None

    def answer(self, *arguments: object) -> Any:
        if self.error is not None:
            raise self.error
        return self.given

    append = read = forget = answer

    def close(self) -> None:
        return


@pytest.fixture
def store() -> Given:
    return Given()


@pytest.fixture
def users(engine: Engine, store: Given) -> Iterator[Recommender]:
    with Recommender(engine, store) as made:
        yield made


def add(users: Recommender) -> object:
    return users.add_events("u", [10])


@pytest.mark.parametrize("call", [lambda users: users.history("u"), lambda users: users.recommend("u")])
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "the store gave None from read.. of 1: give a list of events for each user"),
        ([], "the store gave .. from read.. of 1: give a list of events for each user"),
        ([5], "the store gave 5 from read.. for a user: give a list of events"),
        ([["x"]], "the store gave 'x' as an event, which has no seq: give a recblr.runtime.Event"),
        ([[Event("1", 1, [10])]], "the store gave an event whose seq is '1': give a whole number of 64 bits"),
        ([[Event(1, 2**70, [10])]], "the store gave an event whose stamp is 118.*: give a whole number of 64 bits"),
        ([[Event(1, -1, [10])]], "the store gave event 1 of user 'u' with stamp -1: draw one from 0 on"),
        ([[Event(1, 1, None)]], "the store gave None as the items of event 1 of user 'u': give a list of item ids"),
        (
            [[Event(1, 1, [10, 1.5])]],
            "the store gave event 1 of user 'u', in which items.1. is 1.5: give an",
        ),
        ([[Event(0, 1, [10])]], "the store gave event 0 of user 'u': number events from 1 on"),
        ([[Event(2**62, 1, [10])]], "the store gave event 4611686018427387904 of user 'u': number events from 1 on"),
        ([[Event(1, 1, [10]), Event(3, 2, [20])]], "event 3 of user 'u' after event 1: give them in order, without"),
        ([[Event(2, 1, [10]), Event(1, 2, [20])]], "event 1 of user 'u' after event 2: give them in order, without"),
        ([[Event(1, 1, [10]), Event(1, 1, [10])]], "event 1 of user 'u' after event 1: give them in order, without"),
    ],
)
def test_nonsense_read(
    users: Recommender, store: Given, call: Callable[[Recommender], object], given: Any, reason: str
) -> None:
    store.given = given
    with pytest.raises(StoreError, match=reason) as caught:
        call(users)
    assert "\n" not in str(caught.value)


def test_events_before_those_that_were_asked_for(users: Recommender, store: Given) -> None:
    store.given = [[Event(1, 7, [10]), Event(2, 8, [20])]]
    users.recommend("u")  # its state ends with event 2
    with pytest.raises(StoreError, match="gave event 1 of user 'u' when asked for those from 2 on: give only these"):
        users.recommend("u")


@pytest.mark.parametrize(
    ("call", "given", "reason"),
    [
        (add, None, "the store gave None from append.. of 1: give a list that tells of each event whether it was new"),
        (add, [True, True], "the store gave .True, True. from append.. of 1: give a list that tells"),
        (add, ["yes"], "the store gave 'yes' from append..: give whether the event was new"),
        (lambda users: users.forget("u"), None, "the store gave None from forget..: give whether it held anything"),
        (lambda users: users.forget("u"), 2, "the store gave 2 from forget..: give whether it held anything"),
    ],
)
def test_nonsense_written(
    users: Recommender, store: Given, call: Callable[[Recommender], object], given: Any, reason: str
) -> None:
    store.given = given
    with pytest.raises(StoreError, match=reason) as caught:
        call(users)
    assert "\n" not in str(caught.value)


def test_what_numpy_and_sqlite_have_for_true(users: Recommender, store: Given) -> None:
    store.given = [np.True_]
    assert add(users) is True
    store.given = np.array([False])
    assert add(users) is False
    store.given = 1
    assert users.forget("u") is True


@pytest.mark.parametrize("words", ["lost", "lost\0 and found", "lost\nand found", "lost \udce9", ""])
def test_an_exception_keeps_its_words_and_its_cause(users: Recommender, store: Given, words: str) -> None:
    cause = OSError("no disk")
    store.error = StoreError(words)
    store.error.__cause__ = cause
    with pytest.raises(StoreError) as caught:
        users.history("u")
    assert caught.value is store.error
    assert caught.value.__cause__ is cause


def test_words_of_others_are_escaped_and_theirs_is_the_cause(users: Recommender, store: Given) -> None:
    store.error = KeyError("a\0b")
    store.error.__cause__ = OSError("no disk")
    with pytest.raises(StoreError) as caught:
        users.history("u")
    assert str(caught.value) == "the store failed (KeyError: 'a\\x00b'): check the store"
    assert caught.value.__cause__ is store.error
    assert caught.value.__cause__.__traceback__ is not None
    store.error = RuntimeError("a\0b")
    with pytest.raises(StoreError) as caught:
        users.history("u")
    assert str(caught.value) == "the store failed (RuntimeError: a\\x00b): check the store"


def test_an_exit_passes(users: Recommender, store: Given) -> None:
    store.error = SystemExit(3)
    with pytest.raises(SystemExit) as caught:
        users.history("u")
    assert caught.value is store.error


def test_a_new_model_that_fails_in_a_swap_tells_why(engine: Engine) -> None:
    class Failing:
        description, max_k = "failing", 8
        limits = engine.backend.limits if engine.backend is not None else None

        def run(self, *arguments: Any) -> Any:
            raise ValueError("no weights")

    with Recommender(engine) as users:
        with pytest.raises(RecblrError, match="ValueError: no weights") as caught:
            users.swap(Engine(engine.bundle, Failing()))
        assert isinstance(caught.value.__cause__, ValueError)


def test_a_store_that_lacks_something(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="store is <object .*>, which has no max_history: give a folder, a redis://"):
        Recommender(engine, object())  # type: ignore[arg-type]
