"""How a real Triton loads, refuses, exchanges and lets go of models with recblr's backend."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from recblr.files import write_json
from recblr.runtime import Engine, load, open_bundle
from recblr.runtime.bundle.manifest import ITEMS_FILE, file_entry

from ..golden.models import item_ids
from .client import Client, check_answer, request
from .process import Triton, add_model, parameter

_SHAPE = "dims: [ -1 ]"
_ITEM_IDS = f'input {{ name: "item_ids" data_type: TYPE_INT64 {_SHAPE} }}\n'
_COUNTS = f'output {{ name: "counts" data_type: TYPE_INT64 {_SHAPE} }}\n'


@pytest.fixture
def grpc(triton: Triton) -> Iterator[Client]:
    with Client(triton.addresses["grpc"], "grpc") as client:
        yield client


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            "max_batch_size: 8",
            "config.pbtxt: max_batch_size is 8: requests have any number of users, and the backend merges them itself; "
            "leave it out",
        ),
        (
            f'input {{ name: "items" data_type: TYPE_INT32 {_SHAPE} }}\n',
            "config.pbtxt: the model has no input 'items': give item_ids, lengths, offsets, state_in, exclude_ids, "
            "exclude_lengths, exclude_offsets, only_ids, or leave all inputs out",
        ),
        (
            f'input {{ name: "item_ids" data_type: TYPE_STRING {_SHAPE} }}\n',
            "config.pbtxt: input item_ids is TYPE_STRING: this model's is TYPE_INT64",
        ),
        (
            _ITEM_IDS + 'input { name: "state_in" data_type: TYPE_FP32 dims: [ -1, 7 ] }\n',
            "config.pbtxt: input state_in has dims [-1, 7]: this model's has [-1, 272]",
        ),
        (
            f'input {{ name: "lengths" data_type: TYPE_INT64 {_SHAPE} }}\n',
            "config.pbtxt: input item_ids is missing: add it, or leave all inputs out",
        ),
        (
            f'output {{ name: "item" data_type: TYPE_INT64 {_SHAPE} }}\n',
            "config.pbtxt: the model has no output 'item': give items, scores, counts, unknown, popular, state_out, or "
            "leave all outputs out",
        ),
        (parameter("threads", "two"), "config.pbtxt: parameter threads is 'two': give a whole number"),
        (parameter("workers", 0), "config.pbtxt: parameter workers is 0: give a whole number from 1 to 1,024"),
        (parameter("max_delay_ms", -1), "max_delay is -0.001: "),
        (parameter("timeout", 0), "config.pbtxt: parameter timeout is 0: give seconds above 0"),
        (parameter("thread", 2), "config.pbtxt: parameter 'thread' is unknown: give threads, workers, "),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    triton: Triton, repository: Path, golden_bundles: Path, tmp_path: Path, config: str, message: str
):
    name = tmp_path.name
    folder = add_model(repository, name, golden_bundles / "integer", config)
    problem = triton.load(name)
    shutil.rmtree(folder)
    assert problem is not None
    assert message in problem
    assert len(problem.splitlines()) == 1


def test_a_version_that_is_no_bundle_is_refused(triton: Triton, repository: Path, golden_bundles: Path, tmp_path: Path):
    name = tmp_path.name
    folder = add_model(repository, name, golden_bundles / "integer")
    items = folder / "1" / "items.json"
    items.write_bytes(items.read_bytes().replace(b"1", b"2", 1))
    problem = triton.load(name)
    items.with_name("manifest.json").unlink()
    assert problem is not None
    assert "items.json" in problem
    problem = triton.load(name)
    shutil.rmtree(folder)
    assert problem is not None
    assert "manifest.json" in problem


def test_settings_inputs_and_instances_can_be_chosen(
    triton: Triton, grpc: Client, engines: Mapping[str, Engine], repository: Path, golden_bundles: Path
):
    """As many instances as are wanted answer at once, and inputs that are left out are refused."""
    counts = {"threads": 1, "workers": 2, "max_batch_rows": 16, "max_batch_tokens": 64, "max_queue": 500, "max_k": 8}
    settings = "".join(parameter(name, value) for name, value in counts.items())
    settings += parameter("max_delay_ms", 0.5) + parameter("timeout", 30) + parameter("TRITON_OWN", "anything")
    lengths = f'input {{ name: "lengths" data_type: TYPE_INT64 optional: true {_SHAPE} }}\n'
    instances = "instance_group { kind: KIND_CPU count: 3 }\n"
    folder = add_model(repository, "chosen", golden_bundles / "integer", settings + _ITEM_IDS + lengths + instances)
    assert triton.load("chosen") is None
    ids = item_ids("integer")
    histories = [[ids[: b % 5], ids[b % 7 : b % 7 + 30]] for b in range(60)]
    answers = grpc.infer_all([request("chosen", rows, k=8) for rows in histories])
    for rows, answer in zip(histories, answers, strict=True):
        assert not isinstance(answer, str), answer
        check_answer(answer, engines["integer"].recommend(rows, k=8))
    refused = grpc.infer_all([request("chosen", [[1]], k=9), request("chosen", [[1]], only=[1])])
    assert refused[0] == "k is 9, the limit is 8: ask for fewer"
    assert "only_ids" in str(refused[1])
    triton.unload("chosen")
    shutil.rmtree(folder)


def test_a_model_is_exchanged_while_it_is_asked(
    triton: Triton, repository: Path, golden_bundles: Path, rewrite_manifest: Callable[..., None], tmp_path: Path
):
    """Its version folder is replaced; no request fails, and each is answered by the old model or the new one."""
    ids = item_ids("integer")
    models = [golden_bundles / "integer", tmp_path / "other"]
    shutil.copytree(*models)
    items = json.loads((models[1] / ITEMS_FILE).read_text())
    write_json(models[1] / ITEMS_FILE, items | {"ids": items["ids"][::-1]})
    files = {**open_bundle(models[0]).manifest.files, ITEMS_FILE: file_entry(models[1] / ITEMS_FILE)}
    rewrite_manifest(models[1], files=files)
    rankings = [load(path, threads=1, backend="native").recommend([ids[:2]], k=3) for path in models]
    folder = add_model(repository, "exchanged", models[0])
    assert triton.load("exchanged") is None
    answers, ended = [], threading.Event()

    def ask() -> None:
        with Client(triton.addresses["grpc"], "grpc") as client:
            while not ended.is_set():
                answers.append(client.ask("exchanged", [ids[:2]], k=3))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for model in (*reversed(models), *reversed(models), models[1]):
            shutil.copytree(model, folder / "new")
            (folder / "1").rename(folder / "old")
            (folder / "new").rename(folder / "1")
            shutil.rmtree(folder / "old")
            assert triton.load("exchanged") is None
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    with Client(triton.addresses["grpc"], "grpc") as client:
        check_answer(client.ask("exchanged", [ids[:2]], k=3), rankings[1])
    found = {tuple(answer["items"][0].tolist()) for answer in answers}
    assert found == {tuple(ranking.items) for (ranking,) in rankings}
    assert len(found) == 2
    triton.unload("exchanged")
    shutil.rmtree(folder)


def test_a_version_can_be_a_link(triton: Triton, grpc: Client, repository: Path, golden_bundles: Path):
    folder = add_model(repository, "linked", golden_bundles / "integer")
    shutil.rmtree(folder / "1")
    (folder / "1").symlink_to(golden_bundles / "integer")
    assert triton.load("linked") is None
    assert grpc.ask("linked", [[1], [2]])["counts"].tolist() == [10, 10]
    triton.unload("linked")
    shutil.rmtree(folder)


def test_requests_are_answered_while_their_model_is_let_go(
    triton: Triton, engines: Mapping[str, Engine], grpc: Client, repository: Path, golden_bundles: Path
):
    folder = add_model(repository, "let_go", golden_bundles / "integer", parameter("max_delay_ms", 300))
    assert triton.load("let_go") is None
    let_go = threading.Timer(0.1, triton.unload, ["let_go"])
    let_go.start()
    answers = grpc.infer_all([request("let_go", [[1, 2]])] * 10)
    let_go.join()
    for answer in answers:
        assert not isinstance(answer, str), answer
        check_answer(answer, engines["integer"].recommend([[1, 2]]))
    shutil.rmtree(folder)


def test_loading_again_and_again_takes_no_memory(triton: Triton, grpc: Client, repository: Path, golden_bundles: Path):
    folder = add_model(repository, "again", golden_bundles / "integer")
    memory = []
    for _ in range(100):
        assert triton.load("again") is None
        grpc.ask("again", [[1, 2, 3], []])
        triton.unload("again")
        memory.append(triton.memory())
    shutil.rmtree(folder)
    assert max(memory[-10:]) - max(memory[20:30]) < 4 << 20


def test_a_server_that_completes_nothing_says_what_is_missing(golden_bundles: Path, tmp_path: Path):
    add_model(tmp_path, "bare", golden_bundles / "integer")
    add_model(tmp_path, "whole", golden_bundles / "integer", _ITEM_IDS + _COUNTS)
    server = Triton(tmp_path, "--disable-auto-complete-config")
    try:
        problem = server.load("bare")
        assert problem is not None
        assert "config.pbtxt: it names no inputs: name those of the model, or start the server without" in problem
        assert server.load("whole") is None
        with Client(server.addresses["grpc"], "grpc") as client:
            answer = client.infer("whole", {"item_ids": np.array([1, 2])}, ("counts",))
        assert answer["counts"].tolist() == [10]
        server.stop()
    finally:
        server.kill()
