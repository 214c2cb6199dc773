"""The TensorRT backend on a real GPU, against ONNX Runtime on the CPU with the same bundle."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from recblr.errors import MissingExtraError, RequestError
from recblr.plugins import PluginLibraryError, load_library
from recblr.runtime import Bundle, Engine, load, open_bundle
from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend
from recblr.runtime.bundle.plan_section import Target
from recblr.runtime.gpu.backend import TensorRTBackend
from recblr.runtime.gpu.cuda import current_gpu
from recblr.runtime.gpu.trt_module import load_tensorrt

GPU = current_gpu()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(GPU is None, reason="no CUDA device, or no cuda-bindings")]

RTX_CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
V, MAX_K = 500, 20
LIMITS = (16, 1024, 512)
NONE = np.empty((0, 2), np.int32)
TOLERANCE = 1e-3  # of fp32, as a share of the largest value: a GPU adds in another order


def _target() -> Target:
    reasons = []
    for target in ("tensorrt", "tensorrt-rtx"):
        if target == "tensorrt-rtx" and GPU is not None and GPU.compute_capability not in RTX_CAPABILITIES:
            reasons.append(f"TensorRT-RTX does not run on compute capability {GPU.compute_capability}")
            continue
        try:
            load_tensorrt(target)
        except MissingExtraError as error:
            reasons.append(str(error))
        else:
            return target
    pytest.skip("; ".join(reasons))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of a model with an engine; export compares it with PyTorch on this GPU."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: no bundle can be made")
    pytest.importorskip("onnx", reason="onnx is not installed: no bundle can be made")
    target = _target()
    try:
        if not load_library().cuda_architectures:
            pytest.skip("librecblr_plugins.so was built without CUDA")
    except PluginLibraryError as error:
        pytest.skip(str(error))
    from recblr.checkpoint import Checkpoint
    from recblr.config import RecBLRConfig
    from recblr.export.bundle import export_bundle
    from recblr.export.tensorrt.plan_builder import PlanBuilder
    from recblr.export.tensorrt.settings import PlanSettings
    from recblr.model import RecBLR
    from recblr.vocabulary import ItemVocabulary

    model = RecBLR(RecBLRConfig(n_items=V, dim=32, initial_state=True)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.endswith("decay"):
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator) + name.endswith("norm.weight"))
    checkpoint = Checkpoint(model=model, vocabulary=ItemVocabulary(list(range(V)), [1] * V), data={}, metrics={})
    settings = PlanSettings(target=target, max_rows=LIMITS[0], max_tokens=LIMITS[1], max_exclusions=LIMITS[2])
    path = tmp_path_factory.mktemp("engine") / "bundle"
    export_bundle(checkpoint, path, max_k=MAX_K, plan_builder=PlanBuilder(settings))
    return open_bundle(path)


@pytest.fixture(scope="module")
def backend(bundle: Bundle) -> TensorRTBackend:
    return TensorRTBackend(bundle)


@pytest.fixture(scope="module")
def plain(bundle: Bundle) -> TensorRTBackend:
    """Without CUDA graphs."""
    return TensorRTBackend(bundle, contexts=1, graphs=False)


@pytest.fixture(scope="module")
def reference(bundle: Bundle) -> OnnxRuntimeBackend:
    return OnnxRuntimeBackend(bundle.model_path)


Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def request_of(bundle: Bundle) -> Callable[..., Arrays]:
    """Random items, offsets with empty rows, initial states, exclusions."""

    def request_of(seed: int, rows: int, tokens: int, exclusions: int = 0) -> Arrays:
        random = np.random.default_rng(seed)
        cuts = np.sort(random.integers(0, tokens + 1, rows - 1))
        offsets = np.array([0, *cuts, tokens], np.int32)
        exclude = np.stack([random.integers(0, rows, exclusions), random.integers(1, V + 1, exclusions)], axis=1)
        states = np.tile(bundle.initial_state, (rows, 1))
        return random.integers(1, V + 1, tokens).astype(np.int32), offsets, states, exclude.astype(np.int32)

    return request_of


def assert_close(actual: Any, expected: Any) -> None:
    """Scores and states; items may change places where their scores are as good as equal."""
    for one, other in zip(actual[1:], expected[1:], strict=True):
        finite = np.isfinite(other)
        np.testing.assert_array_equal(np.isfinite(one), finite)
        np.testing.assert_allclose(one[finite], other[finite], rtol=0, atol=TOLERANCE * np.abs(other[finite]).max())
    assert (np.sort(actual[0]) == np.sort(expected[0])).mean() > 0.95


SIZES = [(1, 0, 0), (1, 1, 0), (2, 2, 4), (1, 200, 200), (8, 8, 0), (3, 700, 9), (16, 1024, 512), (5, 7, 5)]


@pytest.mark.parametrize("sizes", SIZES)
def test_cold_users(
    backend: TensorRTBackend, reference: OnnxRuntimeBackend, request_of: Any, sizes: tuple[int, int, int]
) -> None:
    arrays = request_of(1, *sizes)
    assert_close(backend.run(*arrays), reference.run(*arrays))


def test_steps_and_nothing_new(backend: TensorRTBackend, reference: OnnxRuntimeBackend, request_of: Any) -> None:
    ours = theirs = None
    for step, sizes in enumerate([(6, 90), (6, 6), (6, 2), (6, 0), (6, 6)]):
        items, offsets, states, exclude = request_of(step, *sizes)
        ours = backend.run(items, offsets, states if ours is None else ours[2], exclude)
        theirs = reference.run(items, offsets, states if theirs is None else theirs[2], exclude)
        assert_close(ours, theirs)


def test_graphs_change_nothing(backend: TensorRTBackend, plain: TensorRTBackend, request_of: Any) -> None:
    assert backend.graphs, "CUDA graphs could not be captured: see the log"
    assert plain.graphs == []
    assert "no CUDA graphs" in plain.description
    for turn in range(3):  # so that graphs and plain runs of all sizes follow each other
        for seed, sizes in enumerate(SIZES[:: 1 if turn % 2 else -1]):
            arrays = request_of(seed, *sizes)
            with_graphs, without = backend.run(*arrays), plain.run(*arrays)
            # A filled-up size may take other kernels, which add in another order.
            assert_close(with_graphs, without)


def test_a_graph_gives_the_same_again(backend: TensorRTBackend, request_of: Any) -> None:
    arrays = request_of(3, 4, 4, 4)
    first = backend.run(*arrays)
    for sizes in SIZES:
        backend.run(*request_of(9, *sizes))
    for one, other in zip(first, backend.run(*arrays), strict=True):
        np.testing.assert_array_equal(one, other)


def test_threads(backend: TensorRTBackend, reference: OnnxRuntimeBackend, request_of: Any) -> None:
    jobs = [request_of(seed, *SIZES[seed % len(SIZES)]) for seed in range(80)]
    expected = [reference.run(*arrays) for arrays in jobs]
    with ThreadPoolExecutor(6) as pool:
        for actual, wanted in zip(pool.map(lambda arrays: backend.run(*arrays), jobs), expected, strict=True):
            assert_close(actual, wanted)


def test_the_engine_splits_what_is_larger(bundle: Bundle, backend: TensorRTBackend) -> None:
    engine = Engine(bundle, backend)
    random = np.random.default_rng(0)
    histories = [random.integers(0, V, size).tolist() for size in (3000, 1024, 1025, *random.integers(0, 60, 40))]
    wanted = load(bundle.path, backend="onnxruntime").recommend(histories, k=MAX_K)
    for ours, theirs in zip(engine.recommend(histories, k=MAX_K), wanted, strict=True):
        scale = np.abs(theirs.scores).max(initial=1)
        np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=TOLERANCE * scale)


def test_load_takes_the_engine(bundle: Bundle) -> None:
    assert GPU is not None
    assert GPU.name in load(bundle.path).description


def test_more_than_the_profile_is_refused(backend: TensorRTBackend, request_of: Any) -> None:
    with pytest.raises(RequestError, match="17 rows, the plan takes 16"):
        backend.run(*request_of(0, 17, 17))


def leased(backend: TensorRTBackend, states: Any, users: list[int], rows: list[list[int]]) -> tuple[Any, list[bool]]:
    items = np.array([item for row in rows for item in row], np.int32)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    with states.lease(users) as lease:
        known = lease.known.tolist()
        return backend.run_leased(items, offsets, states, lease, NONE), known


def test_a_pool_evicts_and_shrinks(backend: TensorRTBackend, bundle: Bundle, reference: OnnxRuntimeBackend) -> None:
    states = backend.device_states(8 * bundle.initial_state.nbytes)
    random = np.random.default_rng(0)
    histories: dict[int, list[int]] = {}
    seen = []
    for turn in range(60):
        if turn == 40:
            assert states.shrink()
            assert states.n_slots == 4
        users = random.choice(10, size=3, replace=False).tolist()
        with states.lease(users) as lease:
            rows = []
            for b, user in enumerate(users):
                new = random.integers(1, V + 1, 2).tolist()
                histories[user] = histories.get(user, []) + new
                rows.append(new if lease.known[b] else histories[user])
            seen += lease.known.tolist()
            items = np.array([item for row in rows for item in row], np.int32)
            offsets = np.cumsum([0, *map(len, rows)]).astype(np.int32)
            top_items, top_scores = backend.run_leased(items, offsets, states, lease, NONE)
        whole = [histories[user] for user in users]
        offsets = np.cumsum([0, *map(len, whole)]).astype(np.int32)
        items = np.array([item for row in whole for item in row], np.int32)
        wanted = reference.run(items, offsets, np.tile(bundle.initial_state, (3, 1)), NONE)
        assert_close((top_items, top_scores), wanted[:2])
    assert 20 < sum(seen) < len(seen)


def test_threads_with_a_pool(backend: TensorRTBackend, bundle: Bundle, reference: OnnxRuntimeBackend) -> None:
    states = backend.device_states(2**20)
    results: dict[int, Any] = {}
    lock = threading.Lock()

    def work(user: int) -> None:
        for item in range(1, 30):
            answer, known = leased(backend, states, [user], [[(item * (user + 3)) % V + 1]])
            assert known == [item > 1]
        with lock:
            results[user] = answer

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(12)))
    for user, answer in results.items():
        items = np.array([(item * (user + 3)) % V + 1 for item in range(1, 30)], np.int32)
        wanted = reference.run(items, np.array([0, 29], np.int32), bundle.initial_state[None], NONE)
        assert_close(answer, wanted[:2])


@pytest.fixture(scope="module")
def torch_on_gpu() -> Any:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch was built without CUDA, or sees no GPU")
    return torch


@pytest.mark.parametrize("own_stream", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_torch_tensors(
    backend: TensorRTBackend,
    reference: OnnxRuntimeBackend,
    request_of: Any,
    torch_on_gpu: Any,
    own_stream: bool,
    sizes: Any,
) -> None:
    torch = torch_on_gpu
    arrays = request_of(2, *sizes)
    stream = torch.cuda.Stream() if own_stream else None
    with torch.cuda.stream(stream):
        inputs = [torch.from_numpy(array).cuda(non_blocking=True) for array in arrays]
        results = backend.run_device(*inputs, stream=stream)
        tensors = [torch.from_dlpack(result) for result in results]
        assert [tensor.data_ptr() for tensor in tensors] == [result.address for result in results]
        assert_close([tensor.cpu().numpy() for tensor in tensors], reference.run(*arrays))


def test_torch_tensors_for_results(
    backend: TensorRTBackend, reference: OnnxRuntimeBackend, request_of: Any, torch_on_gpu: Any
) -> None:
    torch = torch_on_gpu
    arrays = request_of(2, 3, 30, 5)
    wanted = reference.run(*arrays)
    out = tuple(torch.empty(array.shape, dtype=torch.from_numpy(array).dtype, device="cuda") for array in wanted)
    backend.run_device(*(torch.from_numpy(array).cuda() for array in arrays), out=out)
    assert_close([tensor.cpu().numpy() for tensor in out], wanted)
