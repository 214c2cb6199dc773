"""ONNX Runtime with the native library's operators, against the local functions that serve without them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
import pytest

from recblr import plugins
from recblr.errors import BundleError, ConfigError
from recblr.plugins import PluginLibraryError
from recblr.runtime import load
from recblr.runtime.backends import onnxruntime as onnxruntime_backend
from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend

onnx = pytest.importorskip("onnx")
pytest.importorskip("torch")  # which the exporter's functions come with

from onnx import TensorProto, helper  # noqa: E402

from recblr.export.onnx.functions import IR_VERSION, OPSET, local_functions  # noqa: E402

HEADER_FOLDERS = (
    Path(__file__).parents[3] / "build" / "onnxruntime" / "include",
    Path("/usr/include/onnxruntime"),
    Path("/usr/local/include/onnxruntime"),
)
WIDTH = 6
TAPS = 4
CONV, SCAN = "CausalConv1d", "GatedScan"
INPUTS = {
    CONV: ("x", "weight", "bias", "offsets", "tail"),
    SCAN: ("x", "gates", "z", "decay", "offsets", "h0"),
}
OUTPUTS = {CONV: ("y", "new_tail"), SCAN: ("y", "last_h")}
DATA = ("x", "gates", "z", "y")
BATCHES = {
    "one empty row": [0],
    "empty rows only": [0, 0, 0],
    "one item": [1],
    "one item each": [1] * 40,
    "empty rows between": [3, 0, 16, 1, 0],
    "one long row": [400],
    "skewed": [0, 300, 1, 0, 7, 17, 16, 0],
}

Feeds: TypeAlias = dict[str, np.ndarray]
Run: TypeAlias = Callable[[Feeds], list[np.ndarray]]


def library_path() -> Path | None:
    path = plugins.find_library()
    return path if path is not None and plugins.load_library().has_onnxruntime_ops else None


needs_native_ops = pytest.mark.skipif(
    library_path() is None, reason="librecblr_plugins.so was built without ONNX Runtime's headers"
)


def make_model(op: str, last_only: bool, data: int, offsets: int, *, casts: bool, functions: bool) -> bytes:
    """One node; with `casts`, data is float32 outside and of the type `data` inside."""
    types = {"offsets": offsets} | dict.fromkeys(DATA, data)
    outside = types if not casts else {"offsets": offsets}
    inner = {name: f"{name}_cast" if casts and name in DATA else name for name in (*INPUTS[op], *OUTPUTS[op])}
    attributes = {"last_only": int(last_only)} if op == SCAN else {}
    nodes = [helper.make_node("Cast", [n], [inner[n]], to=data) for n in INPUTS[op] if inner[n] != n]
    nodes.append(
        helper.make_node(
            op, [inner[n] for n in INPUTS[op]], [inner[n] for n in OUTPUTS[op]], domain="recblr", **attributes
        )
    )
    nodes += [helper.make_node("Cast", [inner[n]], [n], to=TensorProto.FLOAT) for n in OUTPUTS[op] if inner[n] != n]
    inputs, outputs = (
        [helper.make_tensor_value_info(n, outside.get(n, TensorProto.FLOAT), None) for n in names[op]]
        for names in (INPUTS, OUTPUTS)
    )
    model = helper.make_model(
        helper.make_graph(nodes, "test", inputs, outputs),
        functions=local_functions() if functions else [],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("recblr", 1)],
        ir_version=IR_VERSION,
    )
    encoded: bytes = model.SerializeToString()
    return encoded


def runner(
    op: str,
    last_only: bool = False,
    *,
    native: bool = True,
    data: int = TensorProto.FLOAT,
    offsets: int = TensorProto.INT32,
    casts: bool = False,
    threads: int = 1,
) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # an error is raised; it need not be printed besides
    if native:
        options.register_custom_ops_library(str(library_path()))
    model = make_model(op, last_only, data, offsets, casts=casts, functions=not native)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, {name: feeds[name] for name in INPUTS[op]})  # type: ignore[no-any-return]


def make_feeds(
    lengths: list[int], last_only: bool = False, width: int = WIDTH, seed: int = 0, taps: int = TAPS
) -> Feeds:
    """For both operations."""
    random = np.random.default_rng(seed)
    n_tokens, n_rows = sum(lengths), len(lengths)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    return {
        "x": normal(n_tokens, width),
        "gates": normal(n_tokens, 2 * width),
        "z": normal(n_rows if last_only else n_tokens, width),
        "decay": normal(width) - 3,
        "offsets": np.cumsum([0, *lengths]).astype(np.int32),
        "h0": normal(n_rows, width),
        "weight": normal(width, taps),
        "bias": normal(width),
        "tail": normal(n_rows, taps - 1, width),
    }


def assert_equal(left: list[np.ndarray], right: list[np.ndarray]) -> None:
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_library_has_the_operators_where_the_headers_are() -> None:
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("no C++ compiler here")
    if not any((folder / "onnxruntime_c_api.h").is_file() for folder in HEADER_FOLDERS):
        pytest.skip("ONNX Runtime's headers are not here")
    assert plugins.load_library().has_onnxruntime_ops


@needs_native_ops
class TestOperators:
    """One node in a graph."""

    @pytest.mark.parametrize(
        ("op", "last_only", "taps"), [(CONV, False, TAPS), (CONV, False, 1), (SCAN, False, TAPS), (SCAN, True, TAPS)]
    )
    def test_same_results_as_the_functions(self, op: str, last_only: bool, taps: int) -> None:
        native, functions = (runner(op, last_only, native=native) for native in (True, False))
        for seed, lengths in enumerate(BATCHES.values()):
            feeds = make_feeds(lengths, last_only, seed=seed, taps=taps)
            for got, expected in zip(native(feeds), functions(feeds), strict=True):
                assert got.dtype == np.float32
                np.testing.assert_allclose(got, expected, atol=1e-5)

    def test_step_by_step(self) -> None:
        """One item at a time, with the states handed on, is the whole history."""
        conv, scan = runner(CONV), runner(SCAN)
        whole = make_feeds([7, 7])
        conv_y, new_tail = conv(whole)
        scan_y, last_h = scan(whole)
        tail, h = whole["tail"], whole["h0"]
        for step in range(7):
            tokens = [step, 7 + step]
            one = {name: whole[name][tokens] for name in ("x", "gates", "z")}
            feeds = whole | one | {"offsets": np.array([0, 1, 2], np.int32), "tail": tail, "h0": h}
            y, tail = conv(feeds)
            np.testing.assert_array_equal(y, conv_y[tokens])
            y, h = scan(feeds)
            np.testing.assert_array_equal(y, scan_y[tokens])
        np.testing.assert_array_equal(tail, new_tail)
        np.testing.assert_array_equal(h, last_h)

    @pytest.mark.parametrize("op", [CONV, SCAN])
    def test_neither_threads_nor_other_rows_change_a_bit(self, op: str) -> None:
        lengths = [90, 0, 700, 3, 41]  # enough work for several threads at this width
        feeds = make_feeds(lengths, width=100)
        expected = runner(op, threads=1)(feeds)
        run = runner(op, threads=4)
        for _ in range(5):
            assert_equal(run(feeds), expected)
        offsets = feeds["offsets"]
        for row in range(len(lengths)):
            tokens = slice(offsets[row], offsets[row + 1])
            alone = feeds | {name: feeds[name][tokens] for name in ("x", "gates", "z")}
            alone |= {name: feeds[name][row : row + 1] for name in ("h0", "tail")}
            alone["offsets"] = np.array([0, lengths[row]], np.int32)
            assert_equal(run(alone), [expected[0][tokens], expected[1][row : row + 1]])

    @pytest.mark.parametrize(("op", "last_only"), [(CONV, False), (SCAN, False), (SCAN, True)])
    @pytest.mark.parametrize(("data", "accuracy"), [(TensorProto.FLOAT16, 2e-3), (TensorProto.BFLOAT16, 2e-2)])
    def test_half_precision_data_and_float32_states(self, op: str, last_only: bool, data: int, accuracy: float) -> None:
        feeds = make_feeds([5, 0, 60], last_only)
        got = runner(op, last_only, data=data, casts=True)(feeds)
        expected = runner(op, last_only)(feeds)
        assert [output.dtype for output in got] == [np.float32, np.float32]
        for output, exact in zip(got, expected, strict=True):
            np.testing.assert_allclose(output, exact, atol=accuracy * np.abs(exact).max())
        assert not np.array_equal(got[0], expected[0])  # it was not computed in float32 after all

    def test_float16_from_end_to_end(self) -> None:
        feeds = make_feeds([5, 0, 60])
        halves = feeds | {name: feeds[name].astype(np.float16) for name in ("x", "gates", "z")}
        y, last_h = runner(SCAN, data=TensorProto.FLOAT16)(halves)
        assert (y.dtype, last_h.dtype) == (np.float16, np.float32)
        rounded = feeds | {name: halves[name].astype(np.float32) for name in ("x", "gates", "z")}
        exact_y, exact_h = runner(SCAN)(rounded)
        # In float32 within, where compilers may contract the two kernels' products and sums differently.
        np.testing.assert_allclose(last_h, exact_h, rtol=2e-6, atol=1e-6)
        np.testing.assert_allclose(y, exact_y, rtol=2**-10, atol=1e-6)

    @pytest.mark.parametrize("op", [CONV, SCAN])
    def test_int64_offsets(self, op: str) -> None:
        feeds = make_feeds([5, 0, 3])
        wide = feeds | {"offsets": feeds["offsets"].astype(np.int64)}
        assert_equal(runner(op, offsets=TensorProto.INT64)(wide), runner(op)(feeds))

    @pytest.mark.parametrize("op", [CONV, SCAN])
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"offsets": [0, 5, 4, 7]}, "offsets fall after row 1"),
            ({"offsets": [0, 2, 4, 8]}, "from 0 to 8: they must go from 0 to n_tokens = 7"),
            ({"offsets": [1, 2, 4, 7]}, "from 1 to 7"),
            ({"offsets": [0, -1, 4, 7]}, "offsets fall after row 0"),
            ({"offsets": [0, 2**30, 2**30, 7]}, "offsets fall after row 2"),
            ({"offsets": []}, "offsets is empty"),
            ({"offsets": [[0, 2, 4, 7]]}, r"offsets has shape \[1, 4\]: it must be \[any\]"),
            ({"offsets": [0, 7]}, r"(h0|tail) has shape \[3, (3, )?6\]: it must be \[1, (3, )?6\]"),
            ({"x": np.zeros((7, 1, 1, 1), np.float32)}, r"x has shape \[.*\]: it must be \[any, any\]"),
            ({"x": np.zeros(7, np.float32)}, r"x has shape \[7\]: it must be \[any, any\]"),
            ({"x": np.zeros((7, 0), np.float32)}, "has shape"),
            (
                {"weight": np.zeros((6, 0), np.float32), "gates": np.zeros((7, 6), np.float32)},
                "no taps|gates has shape",
            ),
            ({"bias": np.zeros(5, np.float32), "decay": np.zeros(5, np.float32)}, r"(bias|decay) has shape \[5\]"),
            ({"tail": np.zeros((3, 2, 6), np.float32), "z": np.zeros((3, 6), np.float32)}, r"(tail|z) has shape \[3,"),
        ],
    )
    def test_bad_input_is_an_error_and_the_session_goes_on(self, op: str, change: dict[str, Any], message: str) -> None:
        feeds = make_feeds([2, 2, 3])
        run = runner(op)
        expected = run(feeds)
        wrong = {name: np.asarray(value, feeds[name].dtype) for name, value in change.items()}
        with pytest.raises(Exception, match=message):  # ONNX Runtime's exceptions have no common base
            run(feeds | wrong)
        assert_equal(run(feeds), expected)

    def test_many_threads_at_once(self) -> None:
        run = runner(SCAN, threads=2)
        batches = [make_feeds([seed % 5, 60 + seed, 1], width=100, seed=seed) for seed in range(16)]
        expected = [run(feeds) for feeds in batches]
        wrong = batches[0] | {"offsets": np.array([0, 9, 2, 61], np.int32)}

        def work(turn: int) -> None:
            if turn % 7 == 0:
                with pytest.raises(Exception, match="offsets fall"):
                    run(wrong)
            assert_equal(run(batches[turn % 16]), expected[turn % 16])

        with ThreadPoolExecutor(8) as pool:
            assert len(list(pool.map(work, range(160)))) == 160

    def test_many_sessions_come_and_go(self) -> None:
        feeds = make_feeds([2, 3])
        expected = runner(CONV)(feeds)
        for _ in range(20):
            assert_equal(runner(CONV)(feeds), expected)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small model with random weights."""
    import torch

    from recblr.checkpoint import Checkpoint
    from recblr.config import RecBLRConfig
    from recblr.export.bundle import export_bundle
    from recblr.model import RecBLR
    from recblr.vocabulary import ItemVocabulary

    model = RecBLR(RecBLRConfig(n_items=50, dim=8)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=generator)
    path = tmp_path_factory.mktemp("native") / "bundle"
    export_bundle(Checkpoint(model, ItemVocabulary(list(range(1, 51)), [1] * 50)), path, max_k=20)
    return path


class TestEngine:
    """The whole graph, and the choice between the two ways."""

    @needs_native_ops
    def test_the_native_operators_by_default(self, bundle: Path) -> None:
        engine = load(bundle, threads=2, backend="onnxruntime")
        assert engine.description == f"ONNX Runtime {onnxruntime.__version__} on the CPU, 2 threads, native ops"
        assert engine.description in repr(engine)

    def test_the_functions_when_asked_for(self, bundle: Path) -> None:
        engine = load(bundle, threads=1, native_ops=False)
        assert engine.description.endswith("on the CPU, 1 thread, the ops as ONNX functions")

    @needs_native_ops
    def test_the_same_answers(self, bundle: Path) -> None:
        native, functions = (load(bundle, 1, native_ops=native) for native in (True, False))
        random = np.random.default_rng(0)
        histories = [random.integers(1, 51, length).tolist() for length in (0, 1, 2, 30, 200)]
        news = [random.integers(1, 51, length).tolist() for length in (3, 0, 1, 1, 40)]
        states = {}
        for engine in (native, functions):
            _, engine_states = engine.step(None, histories, k=20)
            states[engine] = engine.step(engine_states, news, k=20)
        for got, expected in zip(states[native][0], states[functions][0], strict=True):
            assert got.items == expected.items
            np.testing.assert_allclose(got.scores, expected.scores, atol=1e-4)
        np.testing.assert_allclose(states[native][1], states[functions][1], atol=1e-4)

    @needs_native_ops
    def test_the_functions_of_the_file_are_not_used(self, bundle: Path, tmp_path: Path) -> None:
        model = onnx.load(bundle / "model.onnx")
        for function in model.functions:
            del function.node[:]
        onnx.save(model, tmp_path / "model.onnx")
        assert OnnxRuntimeBackend(tmp_path / "model.onnx", 1).ops == "native"
        with pytest.raises(BundleError):
            OnnxRuntimeBackend(tmp_path / "model.onnx", 1, native_ops=False)

    def test_without_the_library_the_functions_serve(
        self, bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def missing() -> None:
            raise PluginLibraryError("the library is not installed")

        monkeypatch.setattr(onnxruntime_backend, "load_library", missing)
        with caplog.at_level(logging.INFO, "recblr"):
            engine = load(bundle, threads=1, backend="onnxruntime")
        assert "ONNX functions" in engine.description
        assert [record.getMessage() for record in caplog.records] == [
            "ONNX Runtime runs the file's functions: the library is not installed"
        ]
        assert engine.recommend([[1, 2, 3]], k=3)[0].items
        with pytest.raises(ConfigError, match="native_ops is True, but the library is not installed"):
            load(bundle, threads=1, native_ops=True)

    @needs_native_ops
    def test_a_library_without_the_operators(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plugins.PluginLibrary, "has_onnxruntime_ops", False)
        assert "ONNX functions" in load(bundle, threads=1, backend="onnxruntime").description
        with pytest.raises(ConfigError, match="built without ONNX Runtime's headers: give .* ONNXRUNTIME_ROOT"):
            load(bundle, threads=1, native_ops=True)

    def test_a_library_that_cannot_be_registered(
        self, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        broken = tmp_path / "broken.so"
        broken.write_text("no library")
        monkeypatch.setattr(onnxruntime_backend, "library_with_ops", lambda device: broken)
        with caplog.at_level(logging.WARNING, "recblr"):
            engine = load(bundle, threads=1, backend="onnxruntime")
        assert "ONNX functions" in engine.description
        (record,) = caplog.records
        assert "broken.so" in record.getMessage()
        assert "\n" not in record.getMessage()
        with pytest.raises(ConfigError, match="broken.so"):
            load(bundle, threads=1, native_ops=True)

    def test_a_file_that_is_no_graph(self, tmp_path: Path) -> None:
        (tmp_path / "model.onnx").write_bytes(b"no graph")
        with pytest.raises(BundleError, match="cannot load .*model.onnx"):
            OnnxRuntimeBackend(tmp_path / "model.onnx", 1)

    @needs_native_ops
    def test_from_many_threads(self, bundle: Path) -> None:
        engine = load(bundle, threads=2, native_ops=True)
        histories = [[seed % 50 + 1, 7, *range(1, seed + 1)] for seed in range(30)]
        expected = [engine.recommend([history], k=5)[0].items for history in histories]
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda history: engine.recommend([history], k=5)[0].items, histories * 5))
        assert got == expected * 5


class TestDevice:
    """Where there is no GPU."""

    @pytest.fixture(autouse=True)
    def _no_gpu(self) -> None:
        if Path("/dev/nvidiactl").exists():
            pytest.skip("there is a GPU here")

    def test_cuda_without_a_gpu(self, bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(
            ConfigError, match=r"ONNX Runtime [\d.]+ (cannot use a GPU here|is a build for CPUs)"
        ) as error:
            load(bundle, device="cuda")
        assert "'cpu'" in str(error.value)
        assert "\n" not in str(error.value)
        assert capfd.readouterr() == ("", "")

    def test_a_build_for_cpus(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
        with pytest.raises(ConfigError, match="pip install onnxruntime-gpu"):
            load(bundle, device="cuda")

    def test_no_such_device(self, bundle: Path) -> None:
        with pytest.raises(ConfigError, match="device is 'tpu': give 'cpu' or 'cuda'"):
            load(bundle, device="tpu")  # type: ignore[arg-type]
