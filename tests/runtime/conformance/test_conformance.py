"""Every face of the runtime gives the same answers, bit for bit, and the same messages.

The cases are those of tests/runtime/golden/data/cases.json that are more than Python's own; what Python answers, the
golden tests pin. `questions` makes them plain, `faces` has the faces.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from recblr.runtime import Engine, load

from ..c_api.conftest import Library, cmake, library  # noqa: F401
from ..golden.models import MODELS
from ..server.process import Server
from ..triton.process import Triton, add_model, parameter
from .faces import V1, Face, OverGrpc, OverHttpBinary, OverHttpJson, Program
from .faces import Triton as OverTriton
from .questions import Answer, Question, answers_of

FACES = ["c", "cpp", "v1", "oip-json", "oip-binary", "oip-grpc", "triton"]
LONGEST = 1_000_000  # items of a history


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def engine(model: str, golden_bundles: Path) -> Engine:
    return load(golden_bundles / model, threads=1, backend="native")


@pytest.fixture(scope="module")
def expected(model: str, engine: Engine) -> tuple[dict[str, Question], dict[str, Answer]]:
    """The questions for a model and Python's answers."""
    return answers_of(engine, model)


@pytest.fixture(scope="module")
def programs(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The folder of the programs in C and C++, built against the installed library."""
    build = tmp_path_factory.mktemp("conformance")
    return cmake(Path(__file__).parent / "programs", build, f"-DCMAKE_PREFIX_PATH={library.prefix}")


@pytest.fixture(scope="module")
def server(model: str, golden_bundles: Path) -> Iterator[Server]:
    server = Server(golden_bundles / model, "--grpc-port", 0, "--max-history", LONGEST)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def triton(golden_bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """With all models, under their names."""
    repository = tmp_path_factory.mktemp("triton") / "models"
    for name in MODELS:
        add_model(repository, name, golden_bundles / name, parameter("max_history", LONGEST))
    triton = Triton(repository)
    try:
        for name in MODELS:
            assert triton.load(name) is None
        yield triton
        triton.stop()
    finally:
        triton.kill()


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest, model: str, golden_bundles: Path) -> Iterator[Face]:
    kind: str = request.param
    if kind in ("c", "cpp"):
        yield Program(request.getfixturevalue("programs") / f"face_{kind}", golden_bundles / model)
        return
    if kind == "triton":
        address, id_type = (
            request.getfixturevalue("triton").addresses["grpc"],
            request.getfixturevalue("engine").id_type,
        )
        with contextlib.closing(OverTriton(address, model, id_type)) as over_triton:
            yield over_triton
        return
    server: Server = request.getfixturevalue("server")
    if kind == "oip-grpc":
        with contextlib.closing(OverGrpc(server.grpc)) as over_grpc:
            yield over_grpc
        return
    with server.client() as client:
        yield {"v1": V1, "oip-json": OverHttpJson, "oip-binary": OverHttpBinary}[kind](client)


def differences(found: Mapping[str, Answer], expected: Mapping[str, Answer]) -> dict[str, tuple[Answer, Answer]]:
    """By the names of cases: what a face answered, and what it should have."""
    assert found.keys() <= expected.keys()
    return {name: (found[name], expected[name]) for name in found if found[name] != expected[name]}


def test_answers_and_messages(
    face: Face, expected: tuple[dict[str, Question], dict[str, Answer]], record_property: pytest.RecordProperty
) -> None:
    questions, answers = expected
    reasons = {name: reason for name, question in questions.items() if (reason := face.cannot_express(question))}
    for name, reason in reasons.items():
        record_property(name, reason)
    asked = {name: question for name, question in questions.items() if name not in reasons}
    assert len(asked) >= len(questions) / 2
    assert differences(face.answers(asked), answers) == {}


def test_the_cases_have_all_kinds(expected: tuple[dict[str, Question], dict[str, Answer]], engine: Engine) -> None:
    questions, answers = expected
    asked = questions.values()
    assert any(question.states is not None for question in asked)
    assert any(question.is_step and question.states is None for question in asked)
    assert any([] in question.rows for question in asked)
    assert any(question.exclude for question in asked)
    assert any(question.only for question in asked)
    assert any(question.k == engine.n_items for question in asked)
    assert any(type(item_id) is str for question in asked for row in question.rows for item_id in row)
    assert any("error" in answer for answer in answers.values())
    assert any(ranking["unknown"] for answer in answers.values() for ranking in answer.get("rankings", ()))
    assert any(ranking["popular"] for answer in answers.values() for ranking in answer.get("rankings", ()))
