"""Arguments of another type: one line of the right class that names the value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recblr.errors import ConfigError, RecblrError, RequestError
from recblr.runtime import Batching, Engine, Recommender, load, open_bundle, open_store
from recblr.runtime.arguments import check_flag, check_seconds, check_whole


class Bare:
    """A backend, or a store, without what one has."""

    description, max_k = "bare", "x"
    run = append = read = forget = None

    def __repr__(self) -> str:
        return "Bare()"


@pytest.mark.parametrize(
    ("call", "error", "reason"),
    [
        (lambda engine: load(None), ConfigError, "path is None: give the folder of a bundle"),
        (lambda engine: open_bundle(5), ConfigError, "path is 5: give the folder of a bundle"),
        (lambda engine: load(engine.bundle.path, threads="2"), ConfigError, "threads is '2': give a whole number of"),
        (lambda engine: load(engine.bundle.path, backend=[]), ConfigError, "backend is \\[\\]: give one of auto,"),
        (lambda engine: load(engine.bundle.path, device=5), ConfigError, "device is 5: give 'cpu' or 'cuda'"),
        (lambda engine: load(engine.bundle.path, native_ops="no"), ConfigError, "native_ops is 'no': give True or"),
        (lambda engine: load(engine.bundle.path, batching=True), ConfigError, "batching is True: give a Batching, or"),
        (lambda engine: Batching(timeout="x").options(), ConfigError, "timeout is 'x': give seconds above 0, or None"),
        (lambda engine: Batching(max_delay_ms=None).options(), ConfigError, "max_delay_ms is None: give milliseconds"),
        (lambda engine: Engine("bundle"), ConfigError, "bundle is 'bundle': give what open_bundle returns"),
        (lambda engine: Engine(engine.bundle, 5), ConfigError, "backend is 5, which has no run: give one with all"),
        (
            lambda engine: Engine(engine.bundle, Bare()),
            ConfigError,
            "backend is Bare\\(\\), which has no run: give one",
        ),
        (lambda engine: engine.recommend([[10]], exclude_seen="no"), RequestError, "exclude_seen is 'no': give True"),
        (lambda engine: engine.recommend([[10]], exclude_seen=None), RequestError, "exclude_seen is None: give True"),
        (lambda engine: engine.close(timeout="x"), ConfigError, "timeout is 'x': give seconds from 0, or None"),
        (lambda engine: engine.close(timeout=-1), ConfigError, "timeout is -1: give seconds from 0, or None"),
        (lambda engine: engine.close("no"), ConfigError, "drain is 'no': give True or False"),
        (lambda engine: engine.bundle.item("x"), RequestError, "index is 'x': give a whole number from 1 to 9"),
        (lambda engine: engine.bundle.item(2**40), RequestError, "index is 1099511627776: give at most 9"),
        (lambda engine: open_store(None, prefix=5), ConfigError, "prefix is 5: give a text"),
        (lambda engine: open_store(None, synchronous=None), ConfigError, "synchronous is None: give a text"),
        (lambda engine: open_store(None, "5"), ConfigError, "max_history is '5': give a whole number of at least 1"),
        (lambda engine: open_store(5), ConfigError, "store is 5: give a folder, a redis:// address, or None"),
        (lambda engine: open_store(None).append(None), RequestError, "events is None: give a sequence of events"),
        (lambda engine: open_store(None).append(["u"]), RequestError, "events.0. is 'u': give an Append of user"),
        (lambda engine: open_store(None).read(None, [0]), RequestError, "users is None: give a list"),
        (lambda engine: open_store(None).read(["u"], ["x"]), RequestError, "since is 'x': give the number of an event"),
        (lambda engine: Recommender(5), ConfigError, "model is 5: give an Engine, or the path of a bundle"),
        (lambda engine: Recommender(engine, 5), ConfigError, "store is 5, which has no max_history: give a folder, a"),
        (
            lambda engine: Recommender(engine, cache_bytes="1"),
            ConfigError,
            "cache_bytes is '1': give a whole number of",
        ),
        (lambda engine: Recommender(engine).recommend("u", exclude_seen=2), RequestError, "exclude_seen is 2: give"),
        (
            lambda engine: Recommender(engine).recent_users("x"),
            RequestError,
            "n is 'x': give a whole number, 0 or more",
        ),
        (lambda engine: Recommender(engine).recent_users(-1), RequestError, "n is -1: give a whole number, 0 or more"),
        (lambda engine: Recommender(engine).add_events_many(None), RequestError, "events is None: give a sequence of"),
        (
            lambda engine: Recommender(engine).swap(5),
            ConfigError,
            "model is 5: give an Engine, or the path of a bundle",
        ),
        (lambda engine: Recommender(engine).swap(engine, "x"), ConfigError, "rebuild is 'x': give a whole number of"),
        (
            lambda engine: Recommender(engine).swap(engine, allow_id_type_change="no"),
            ConfigError,
            "allow_id_type_change is 'no': give True or False",
        ),
    ],
)
def test_arguments_of_another_type(
    toy: Any, call: Callable[[Engine], object], error: type[RecblrError], reason: str
) -> None:
    with load(toy.path, threads=1) as engine, pytest.raises(error, match=reason) as caught:
        call(engine)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


def test_what_numpy_has_for_them_is_taken(engine: Engine) -> None:
    assert engine.recommend([[10]], np.int32(2), np.True_)[0].items == engine.recommend([[10]], 2)[0].items
    with Recommender(engine, cache_bytes=np.int64(10**6)) as users:
        users.add_events("u", [10])
        users.recommend("u", exclude_seen=np.False_)
        assert users.recent_users(np.uint8(5)) == ["u"]
        assert users.recent_users(2**70) == ["u"]
        users.swap(engine, rebuild=2**70)


def test_the_checks_by_themselves() -> None:
    assert check_flag(np.True_, "x") is True
    assert check_whole(np.int8(3), "x", "more", least=3, most=3) == 3
    with pytest.raises(ConfigError, match="x is 4: give at most 3"):
        check_whole(4, "x", "more", most=3)
    with pytest.raises(RequestError, match="x is True: give more"):
        check_whole(True, "x", "more", error=RequestError)
    assert check_seconds(np.float32(0.5), "x", "some") == 0.5
    for value in (0, "1", True, float("nan"), float("inf"), None, 10**400):
        with pytest.raises(ConfigError, match="x is .*: give some"):
            check_seconds(value, "x", "some")
