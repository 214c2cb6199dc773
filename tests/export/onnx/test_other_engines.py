"""The bundle's file where others run it: ONNX's reference implementation, OpenVINO, an ONNX Runtime of 2023."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import onnx.inliner
import onnx.parser
import onnx.reference
import pytest

from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend

Feeds: TypeAlias = dict[str, np.ndarray]
Answers: TypeAlias = list[np.ndarray]
Run: TypeAlias = Callable[[Feeds], Answers]

N_ITEMS = 60  # of the fixtures' models
# One session answers them one after the other: padded and chunked, growing and shrinking. Last, states are new users'.
BATCHES = [[3, 0, 5], [0], [0, 0, 0], [300, 1, 0, 7], [40, 1], [1] * 9, [17], [25] * 6, [90, 2], [4, 0]]

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")

# Reads the batches of one .npz file, and writes the answers to another.
OLD_RUNTIME = """
import sys
import numpy as np
import onnxruntime
model, batches, answers = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
feeds = np.load(batches)
names = [value.name for value in session.get_inputs()]
ran = [session.run(None, {n: feeds[f"{b}_{n}"] for n in names}) for b in range(len(feeds.files) // len(names))]
np.savez(answers, *(array for outputs in ran for array in outputs))
print(onnxruntime.__version__)
"""


@pytest.fixture(scope="module", params=[4, 1], ids="conv width {}".format)
def path(request: pytest.FixtureRequest, bundle_of: Callable[[int], Path]) -> Path:
    return bundle_of(request.param) / "model.onnx"


@pytest.fixture(scope="module")
def batches(path: Path) -> list[Feeds]:
    random = np.random.default_rng(0)
    initial = np.load(path.with_name("initial_state.npy"))

    def feeds(number: int) -> Feeds:
        lengths, n_exclude = BATCHES[number], number % 4
        states = 0.3 * random.normal(size=(len(lengths), len(initial))) * (number + 1 < len(BATCHES)) + initial
        pairs = [random.integers(0, len(lengths), n_exclude), random.integers(1, N_ITEMS + 1, n_exclude)]
        return {
            "items": random.integers(1, N_ITEMS + 1, sum(lengths), dtype=np.int32),
            "offsets": np.cumsum([0, *lengths]).astype(np.int32),
            "state_in": states.astype(np.float32),
            "exclude": np.stack(pairs, axis=1).astype(np.int32),
        }

    return [feeds(number) for number in range(len(BATCHES))]


@pytest.fixture(scope="module")
def expected(path: Path, batches: list[Feeds]) -> list[Answers]:
    """What the installed ONNX Runtime answers by the local functions."""
    backend = OnnxRuntimeBackend(path, threads=1, native_ops=False)
    return [list(backend.run(**feeds)) for feeds in batches]


def _check(answers: list[Answers], expected: list[Answers]) -> None:
    assert len(answers) == len(expected)
    for (items, scores, states), (their_items, their_scores, their_states) in zip(answers, expected, strict=True):
        assert items.dtype == np.int32
        np.testing.assert_allclose(scores, their_scores, rtol=2e-5, atol=5e-5)
        np.testing.assert_allclose(states, their_states, rtol=2e-5, atol=5e-5)
        # Scores that are as good as equal may change places.
        gaps = np.abs(np.diff(their_scores, axis=1, prepend=np.inf, append=-np.inf))
        apart = (gaps[:, :-1] > 1e-4) & (gaps[:, 1:] > 1e-4)
        np.testing.assert_array_equal(items[apart], their_items[apart])


def test_the_reference_implementation(path: Path, batches: list[Feeds], expected: list[Answers]) -> None:
    evaluator = onnx.reference.ReferenceEvaluator(onnx.load(path))
    _check([evaluator.run(None, feeds) for feeds in batches], expected)


@needs_openvino
def test_openvino_once_the_functions_are_inlined(
    path: Path, tmp_path: Path, batches: list[Feeds], expected: list[Answers]
) -> None:
    import openvino

    onnx.save(onnx.inliner.inline_local_functions(onnx.load(path)), tmp_path / "inlined.onnx")
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # some processors would compute in bfloat16
    model = openvino.Core().compile_model(tmp_path / "inlined.onnx", "CPU", exact)
    _check([list(model(feeds, share_outputs=False).values()) for feeds in batches], expected)


@needs_openvino
@pytest.mark.xfail(strict=True, raises=RuntimeError, reason="OpenVINO takes no local function, however simple")
def test_openvino_with_local_functions(tmp_path: Path) -> None:
    """Once it does, the file needs no inlining."""
    import openvino

    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 18, "local" : 1]>
        graph (float[N] x) => (float[N] y) { y = local.Twice (x) }
        <domain: "local", opset_import: ["" : 18]> Twice (x) => (y) { y = Add (x, x) }
        """
    )
    onnx.save(model, tmp_path / "model.onnx")
    openvino.Core().read_model(tmp_path / "model.onnx")


@functools.cache
def _old_runtime(folder: Path) -> Path:
    """The Python of an environment with ONNX Runtime 1.16, which is made in the folder."""
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    # What it imports, and no more.
    wanted = ["onnxruntime==1.16.3", "numpy<2", "coloredlogs", "humanfriendly", "flatbuffers", "packaging", "protobuf"]
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*install, *wanted], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"ONNX Runtime 1.16 cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return python


@pytest.mark.slow
def test_onnx_runtime_1_16(
    path: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[Feeds],
    expected: list[Answers],
) -> None:
    python = _old_runtime(tmp_path_factory.getbasetemp() / "onnxruntime-1.16")
    np.savez(
        tmp_path / "batches.npz", **{f"{b}_{n}": array for b, feeds in enumerate(batches) for n, array in feeds.items()}
    )
    command = [python, "-c", OLD_RUNTIME, path, tmp_path / "batches.npz", tmp_path / "answers.npz"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1.16.")
    arrays = list(np.load(tmp_path / "answers.npz").values())
    _check([arrays[first : first + 3] for first in range(0, len(arrays), 3)], expected)
