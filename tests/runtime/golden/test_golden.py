"""The runtime answers as it did when the golden files were made: the same bits, the same words; see make.py."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recblr.plugins import find_library
from recblr.runtime import Batching, Engine, load

from .answers import Answers, arecommend_answers, cases_of, engine_answers, users_answers
from .instruction_sets import instruction_set_in_effect
from .models import MODELS, read_data
from .stores import copy_sqlite, fill_redis

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def engines(golden_bundles: Path) -> Mapping[str, Engine]:
    if find_library() is None:
        pytest.skip("librecblr_plugins.so was not built: no C++ compiler at installation")
    return {model: load(golden_bundles / model, backend="native") for model in MODELS}


@pytest.fixture(scope="module")
def batching_engines(golden_bundles: Path, engines: Mapping[str, Engine]) -> Iterator[Mapping[str, Engine]]:
    found = {model: load(golden_bundles / model, backend="native", batching=Batching()) for model in engines}
    yield found
    for engine in found.values():
        engine.close()


def golden(part: str) -> Answers:
    """The answers of a part of answers.json by the instruction set in effect."""
    isa = instruction_set_in_effect()
    if isa is None:
        pytest.skip("the golden answers are those of x86-64 under Linux")
    return _of_instruction_set(isa, part)


def _of_instruction_set(isa: str, part: str) -> Answers:
    return {
        name: next(answer for names, answer in answers.items() if isa in names.split())
        for name, answers in read_data("answers.json")[part].items()
    }


def assert_equal(found: Answers, expected: Answers) -> None:
    """Every case has its answer; on a failure, only those that differ are shown."""
    assert found.keys() == expected.keys()
    differing = [name for name in found if found[name] != expected[name]]
    assert {name: found[name] for name in differing} == {name: expected[name] for name in differing}


@pytest.mark.parametrize("model", MODELS)
def test_an_engine(engines: Mapping[str, Engine], model: str) -> None:
    assert_equal(engine_answers(engines[model], model), golden(model))


@pytest.mark.parametrize("model", MODELS)
def test_an_engine_that_batches_concurrent_callers(batching_engines: Mapping[str, Engine], model: str) -> None:
    assert_equal(engine_answers(batching_engines[model], model, threads=8), golden(model))


@pytest.mark.parametrize("batching", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_an_engine_in_asyncio(
    engines: Mapping[str, Engine], batching_engines: Mapping[str, Engine], model: str, batching: bool
) -> None:
    engine = (batching_engines if batching else engines)[model]
    recommended = {case["name"] for case in cases_of(model) if case["call"] == "recommend"}
    expected = {name: answer for name, answer in golden(model).items() if name in recommended}
    assert_equal(asyncio.run(arecommend_answers(engine, model)), expected)


@pytest.fixture
def new_store(store_address: str | None, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], str | None]:
    """Gives an empty store of each kind, another at each call."""
    if store_address is None:
        return lambda: None
    if "://" not in store_address:
        return iter(str(tmp_path / str(number)) for number in range(10**6)).__next__

    def emptied() -> str:
        request.getfixturevalue("redis_server").client().flushall()
        return store_address

    return emptied


@pytest.mark.parametrize("batching", [False, True])
def test_a_recommender(
    engines: Mapping[str, Engine],
    batching_engines: Mapping[str, Engine],
    batching: bool,
    new_store: Callable[[], str | None],
    golden_bundles: Path,
) -> None:
    found = users_answers(batching_engines if batching else engines, "users.json", new_store, golden_bundles)
    assert_equal(found, golden("users"))


def test_a_sqlite_file_written_before(engines: Mapping[str, Engine], tmp_path: Path, golden_bundles: Path) -> None:
    def new_store() -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        return copy_sqlite(folder)

    assert_equal(users_answers(engines, "stored.json", new_store, golden_bundles), golden("stored"))


def test_a_redis_server_written_to_before(
    engines: Mapping[str, Engine], redis_server: Any, golden_bundles: Path
) -> None:
    def new_store() -> str:
        fill_redis(redis_server.client())
        address: str = redis_server.address
        return address

    assert_equal(users_answers(engines, "stored.json", new_store, golden_bundles), golden("stored"))


def test_the_plainest_instruction_set(engines: Mapping[str, Engine], golden_bundles: Path) -> None:
    if instruction_set_in_effect() is None:
        pytest.skip("the golden answers are those of x86-64 under Linux")
    done = subprocess.run(
        [sys.executable, "-m", "tests.runtime.golden.answers", golden_bundles],
        cwd=ROOT,
        env={**os.environ, "RECBLR_CPU_ISA": "baseline"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for part, found in json.loads(done.stdout).items():
        assert_equal(found, _of_instruction_set("baseline", part))


def test_onnx_runtime_to_its_rounding(golden_bundles: Path) -> None:
    pytest.importorskip("onnxruntime")
    found = engine_answers(load(golden_bundles / "integer", backend="onnxruntime"), "integer")
    expected = _of_instruction_set("baseline", "integer")
    assert found.keys() == expected.keys()
    for name, answer in expected.items():
        if "overflow" in name or "large states" in name:  # what such numbers sum up to, depends on their order
            continue
        assert found[name].get("error") == answer.get("error"), name
        for ranking, wanted in zip(found[name].get("rankings", []), answer.get("rankings", []), strict=True):
            assert ranking["items"] == wanted["items"], name
            np.testing.assert_allclose(_scores(ranking), _scores(wanted), rtol=1e-5, atol=1e-5, err_msg=name)
            assert [ranking.get(key) for key in ("n", "unknown", "popular")] == [
                wanted.get(key) for key in ("n", "unknown", "popular")
            ], name


def _scores(ranking: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(ranking["scores"]), ">f4")
