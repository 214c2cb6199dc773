"""The TensorRT backend on a fake of CUDA: buffers, order, graphs, pool. Not the GPU, and not TensorRT."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recblr.errors import BackendError, BundleError, ConfigError, RequestError
from recblr.plugins import PluginLibrary
from recblr.runtime import Engine, Limits, open_bundle
from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend
from recblr.runtime.gpu.backend import TensorRTBackend
from recblr.runtime.gpu.runner import ContextRunner

Open = Callable[..., TensorRTBackend]
S = 5
V = 9
NONE = np.empty((0, 2), np.int32)
GRAPHS = [(3, 2, 4), (5, 12, 4)]


def request(
    seed: int, rows: int, tokens: int, exclusions: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Random items, offsets with empty rows, states as the toy's, exclusions."""
    random = np.random.default_rng(seed)
    cuts = np.sort(random.integers(0, tokens + 1, rows - 1))
    offsets = np.array([0, *cuts, tokens], np.int32)
    exclude = np.stack([random.integers(0, rows, exclusions), random.integers(1, V + 1, exclusions)], axis=1)
    states = random.integers(0, 9, (rows, S)).astype(np.float32)
    return random.integers(1, V + 1, tokens).astype(np.int32), offsets, states, exclude.astype(np.int32)


@pytest.fixture(scope="session")
def reference(toy: Any) -> OnnxRuntimeBackend:
    return OnnxRuntimeBackend(toy.path / "model.onnx", threads=1)


def assert_same(actual: Any, expected: Any) -> None:
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one, other)


SIZES = [
    (1, 0, 0),
    (1, 1, 0),
    (2, 2, 4),
    (2, 0, 1),
    (3, 2, 0),
    (3, 1, 2),
    (4, 11, 3),
    (5, 12, 4),
    (8, 64, 48),
    (5, 7, 5),
]


@pytest.mark.parametrize("graphs", [False, True, GRAPHS])
def test_runs_as_the_reference(open_fake: Open, reference: OnnxRuntimeBackend, graphs: Any) -> None:
    backend = open_fake(graphs=graphs)
    for turn in range(2):  # so that every size follows every other
        for seed, sizes in enumerate(SIZES[:: 1 - 2 * turn]):
            arrays = request(seed, *sizes)
            assert_same(backend.run(*arrays), reference.run(*arrays))


def test_small_requests_replay_graphs_and_others_do_not(open_fake: Open, fake_cuda: Any) -> None:
    backend = open_fake(graphs=GRAPHS, contexts=1)
    assert backend.graphs == GRAPHS
    assert "CUDA graphs of 2 sizes" in backend.description
    for sizes, replays in (
        ((1, 1), 1),
        ((3, 2), 2),
        ((3, 1), 3),
        ((4, 12), 4),
        ((5, 11), 4),
        ((6, 1), 4),
        ((2, 20), 4),
    ):
        backend.run(*request(0, *sizes))
        assert fake_cuda.replays == replays, sizes
    backend.run(*request(0, 1, 1, 5))  # more exclusions than the graphs have
    assert fake_cuda.replays == 4


def test_without_graphs_where_they_cannot_be_captured(
    open_fake: Open, fake_cuda: Any, reference: OnnxRuntimeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    fake_cuda.can_capture = False
    backend = open_fake()
    assert backend.graphs == []
    assert "without CUDA graphs" in caplog.text
    assert "no CUDA graphs" in backend.description
    arrays = request(1, 3, 4)
    assert_same(backend.run(*arrays), reference.run(*arrays))


def test_nothing_is_allocated_after_opening(open_fake: Open, fake_cuda: Any) -> None:
    backend = open_fake()
    before = fake_cuda.allocations
    for sizes in SIZES:
        backend.run(*request(0, *sizes))
    assert fake_cuda.allocations == before


@pytest.mark.parametrize("contexts", [1, 2, 3])
def test_threads(open_fake: Open, reference: OnnxRuntimeBackend, contexts: int) -> None:
    backend = open_fake(contexts=contexts, graphs=GRAPHS)
    assert f"{contexts} execution context" in backend.description

    def work(seed: int) -> None:
        arrays = request(seed, *SIZES[seed % len(SIZES)])
        assert_same(backend.run(*arrays), reference.run(*arrays))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(60)))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((9, 1, 0), "9 rows, the plan takes 8"), ((1, 65, 0), "65 tokens"), ((1, 1, 49), "49 exclusions")],
)
def test_more_than_the_profile_is_refused(open_fake: Open, sizes: tuple[int, int, int], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        open_fake(graphs=False).run(*request(0, *sizes))


def test_the_engine_splits_what_is_larger(open_fake: Open, toy: Any) -> None:
    backend = open_fake(limits=(3, 7, 6), graphs=[(2, 3, 6)])
    bundle = open_bundle(toy.path)
    engine = Engine(bundle, backend)
    random = np.random.default_rng(0)
    histories = [[toy.ids[j] for j in random.integers(0, V, size)] for size in (0, 30, 1, 7, 8, 2, 2, 2)]
    exclude = [[toy.ids[j] for j in random.integers(0, V, size)] for size in (0, 4, 0, 3, 2, 1, 0, 2)]
    rankings, states = engine.step(None, histories, k=5, exclude=exclude)
    for history, excluded, ranking in zip(histories[1:], exclude[1:], rankings[1:], strict=True):
        assert (ranking.items, ranking.scores.tolist()) == toy.ranking(history, 5, excluded)
    assert states[:, 0].tolist() == [len(history) for history in histories]


def test_a_failing_gpu(open_fake: Open, fake_cuda: Any, reference: OnnxRuntimeBackend) -> None:
    backend = open_fake(contexts=1)
    fake_cuda.failing = True
    with pytest.raises(BackendError, match="cudaErrorLaunchFailure"):
        backend.run(*request(0, 2, 2))
    fake_cuda.failing = False
    arrays = request(0, 2, 2)
    assert_same(backend.run(*arrays), reference.run(*arrays))  # the only context is free again


def test_fewer_contexts_where_memory_is_short(
    open_fake: Open, fake_cuda: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = fake_cuda.free_bytes
    first = open_fake(contexts=1, graphs=False)
    one = before - fake_cuda.free_bytes
    fake_cuda.free_bytes = int(2.5 * one)
    backend = open_fake(contexts=4, graphs=False)
    assert "2 of 4 execution contexts" in caplog.text
    assert "2 execution contexts" in backend.description
    backend.run(*request(0, 8, 64))
    fake_cuda.free_bytes = one // 2
    assert first.description != backend.description
    with pytest.raises(ConfigError, match="memory left: free some"):
        open_fake()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contexts": 0}, "contexts is 0"),
        ({"contexts": True}, "contexts is True"),
        ({"graphs": [(9, 1, 1)]}, "not within"),
        ({"graphs": [(1, 1)]}, "graphs"),
    ],
)
def test_bad_options(open_fake: Open, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_fake(**options)


def test_a_bundle_without_a_plan(toy: Any) -> None:
    with pytest.raises(BundleError, match="holds no TensorRT plan"):
        TensorRTBackend(open_bundle(toy.path))


# States in a pool on the GPU


def leased(backend: TensorRTBackend, states: Any, users: list[str], rows: list[list[int]]) -> tuple[Any, list[bool]]:
    items = np.array([item for row in rows for item in row], np.int32)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    with states.lease(users) as lease:
        was_known = lease.known.tolist()
        return backend.run_leased(items, offsets, states, lease, NONE)[:2], was_known


def expected(reference: OnnxRuntimeBackend, rows: list[list[int]]) -> tuple[Any, Any]:
    items = np.array([item for row in rows for item in row], np.int32)
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    return reference.run(items, offsets, np.zeros((len(rows), S), np.float32), NONE)[:2]


@pytest.mark.parametrize("graphs", [False, GRAPHS])
def test_states_stay_on_the_gpu(
    open_fake: Open, moves: PluginLibrary, reference: OnnxRuntimeBackend, graphs: Any
) -> None:
    backend = open_fake(graphs=graphs)
    states = backend.device_states(4 * 4 * S, moves)
    assert states.n_slots == 4
    random = np.random.default_rng(1)
    histories: dict[str, list[int]] = {}
    known_rows = 0
    for _ in range(40):
        users = [str(user) for user in random.choice(6, size=random.integers(1, 5), replace=False)]
        new = [random.integers(1, V + 1, random.integers(0, 4)).tolist() for _ in users]
        with states.lease(users) as lease:
            rows = []
            for b, user in enumerate(users):
                histories[user] = histories.get(user, []) + new[b]
                rows.append(new[b] if lease.known[b] else histories[user])  # the evicted are rebuilt
            known_rows += int(lease.known.sum())
            items = np.array([item for row in rows for item in row], np.int32)
            offsets = np.cumsum([0, *map(len, rows)]).astype(np.int32)
            results = (
                backend.run_leased(items, offsets, states, lease, NONE)[:2]
                if len(items) <= backend.limits.tokens
                else reference.run(items, offsets, np.zeros((len(users), S), np.float32), NONE)[:2]
            )
        assert_same(results, expected(reference, [histories[user] for user in users]))
    assert known_rows > 20
    assert len(states) == 4


def test_a_lease_may_feed_in_pieces(open_fake: Open, moves: PluginLibrary, reference: OnnxRuntimeBackend) -> None:
    backend = open_fake()
    states = backend.device_states(1000, moves)
    with states.lease(["a", "b"]) as lease:
        for first, second in (([1, 2], [3]), ([], [4, 4]), ([5], [])):
            items = np.array(first + second, np.int32)
            offsets = np.array([0, len(first), len(items)], np.int32)
            results = backend.run_leased(items, offsets, states, lease, NONE)[:2]
    assert_same(results, expected(reference, [[1, 2, 5], [3, 4, 4]]))


def test_a_failed_run_loses_its_users_alone(
    open_fake: Open, moves: PluginLibrary, fake_cuda: Any, reference: OnnxRuntimeBackend
) -> None:
    backend = open_fake()
    states = backend.device_states(1000, moves)
    leased(backend, states, ["a", "b"], [[1], [2]])
    fake_cuda.failing = True
    with pytest.raises(BackendError):
        leased(backend, states, ["b", "c"], [[3], [3]])
    fake_cuda.failing = False
    results, was_known = leased(backend, states, ["a", "b", "c"], [[4], [5], [6]])
    assert was_known == [True, False, False]
    assert_same(results, expected(reference, [[1, 4], [5], [6]]))


def test_a_refused_request_loses_nothing(open_fake: Open, moves: PluginLibrary) -> None:
    backend = open_fake()
    states = backend.device_states(1000, moves)
    leased(backend, states, ["a"], [[1]])
    with pytest.raises(RequestError, match="65 tokens"):
        leased(backend, states, ["a"], [[1] * 65])
    with pytest.raises(RequestError, match="lease is of 1 users, the request has 2 rows"):
        leased(backend, states, ["a"], [[1], [2]])
    assert leased(backend, states, ["a"], [[1]])[1] == [True]


def test_users_whose_scores_are_not_numbers_lose_their_state(
    open_fake: Open, moves: PluginLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_fake()
    states = backend.device_states(1000, moves)
    download = ContextRunner.download

    def broken(self: Any, n_rows: int, names: Any) -> Any:
        results = download(self, n_rows, names)
        results[1][1] = np.nan
        return results

    monkeypatch.setattr(ContextRunner, "download", broken)
    leased(backend, states, ["a", "b"], [[1], [2]])
    monkeypatch.setattr(ContextRunner, "download", download)
    assert leased(backend, states, ["a", "b"], [[1], [2]])[1] == [True, False]


def test_the_pool_takes_what_memory_there_is(
    open_fake: Open, moves: PluginLibrary, fake_cuda: Any, caplog: pytest.LogCaptureFixture
) -> None:
    backend = open_fake(graphs=False, contexts=1)
    fake_cuda.free_bytes = 4 * S * 30 + 4 * S
    states = backend.device_states(4 * S * 100, moves)
    assert states.n_slots == 25
    assert "the pool holds 25" in caplog.text
    fake_cuda.free_bytes = 4 * S
    with pytest.raises(ConfigError, match="no room for a state"):
        backend.device_states(4 * S * 100, moves)
    with pytest.raises(ConfigError, match="one takes 20"):
        backend.device_states(19, moves)


@pytest.mark.parametrize("can_move", [True, False])
def test_shrinking(
    open_fake: Open,
    moves: PluginLibrary,
    fake_cuda: Any,
    caplog: pytest.LogCaptureFixture,
    can_move: bool,
    reference: OnnxRuntimeBackend,
) -> None:
    backend = open_fake()
    states = backend.device_states(8 * 4 * S, moves)
    users = list("abcdefgh")
    leased(backend, states, users, [[b + 1] for b in range(8)])
    with states.lease(["a"]):
        assert not states.shrink()
    if not can_move:
        fake_cuda.free_bytes = 0
    caplog.set_level(logging.WARNING)
    assert states.shrink()
    assert states.n_slots == 4
    assert f"shrinks from 8 to 4, and keeps {4 if can_move else 0}" in caplog.text
    fake_cuda.free_bytes += 10_000
    results, was_known = leased(backend, states, ["f", "a", "h"], [[9], [8], [7]])
    assert was_known == [can_move] * 3
    assert_same(results, expected(reference, [[6, 9], [1, 8], [8, 7]] if can_move else [[9], [8], [7]]))


def test_no_native_library_with_cuda(open_fake: Open, toy: Any) -> None:
    class Handle:
        class recblr_cuda_architectures:
            def __new__(cls) -> bytes:  # type: ignore[misc]
                return b""

    library = PluginLibrary(Path("librecblr_plugins.so"), "0", Handle())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="built without CUDA"):
        open_fake(graphs=False).device_states(1000, library)


# Arrays of the GPU


def on_gpu(fake: Any, array: Any) -> np.ndarray:
    interface = array.__cuda_array_interface__
    if interface["stream"] is not None:
        fake.cudaStreamSynchronize(interface["stream"])
    return fake.array(interface["data"][0], interface["shape"], np.dtype(interface["typestr"])).copy()


@pytest.mark.parametrize("shift", [0, 4])
@pytest.mark.parametrize("with_stream", [False, True])
@pytest.mark.parametrize("sizes", [(1, 0, 0), (3, 5, 0), (8, 64, 48)])
def test_device_arrays(
    open_fake: Open,
    fake_cuda: Any,
    upload: Any,
    reference: OnnxRuntimeBackend,
    shift: int,
    with_stream: bool,
    sizes: tuple[int, int, int],
) -> None:
    backend = open_fake(graphs=GRAPHS)
    arrays = request(0, *sizes)
    stream = fake_cuda.cudaStreamCreateWithFlags(1)[1] if with_stream else None
    producer = fake_cuda.cudaStreamCreateWithFlags(1)[1]
    # Nothing is there before the streams that make it get to it.
    inputs = [
        upload(array, shift, late=stream if with_stream and i % 2 else producer) for i, array in enumerate(arrays)
    ]
    results = backend.run_device(*inputs, stream=stream)
    assert_same([on_gpu(fake_cuda, array) for array in results], reference.run(*arrays))
    assert_same(backend.run(*arrays), reference.run(*arrays))  # the addresses are the runner's own again


def test_device_arrays_are_read_and_written_where_they_are(
    open_fake: Open, fake_cuda: Any, upload: Any, reference: OnnxRuntimeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_fake()
    arrays = request(0, 3, 5, 2)
    inputs = [upload(array) for array in arrays]
    wanted = reference.run(*arrays)
    out = [upload(np.zeros_like(array)) for array in wanted]
    copies: list[int] = []
    copy = fake_cuda.copy
    monkeypatch.setattr(fake_cuda, "copy", lambda *arguments: (copies.append(arguments[2]), copy(*arguments)))
    before = fake_cuda.allocations
    results = backend.run_device(*inputs, out=tuple(out))
    assert copies == []
    assert fake_cuda.allocations == before
    assert [array.address for array in results] == [array.address for array in out]
    assert_same([on_gpu(fake_cuda, array) for array in out], wanted)


def test_device_arrays_with_a_pool(
    open_fake: Open, fake_cuda: Any, upload: Any, moves: PluginLibrary, reference: OnnxRuntimeBackend
) -> None:
    backend = open_fake(contexts=2, graphs=False)
    states = backend.device_states(1000, moves)
    stream = fake_cuda.cudaStreamCreateWithFlags(1)[1]
    results = []
    for rows in ([[1], [2, 3]], [[4, 5], []], [[], [6]]):
        items = np.array(rows[0] + rows[1], np.int32)
        offsets = np.array([0, len(rows[0]), len(items)], np.int32)
        with states.lease(["a", "b"]) as lease:
            results.append(backend.run_device(upload(items), upload(offsets), (states, lease), stream=stream))
    assert results[-1].state_out is None
    # Nobody has waited so far; and the last run, on the host, must come after them all.
    host, was_known = leased(backend, states, ["b", "a"], [[7], [8]])
    assert was_known == [True, True]
    assert_same(host, expected(reference, [[2, 3, 6, 7], [1, 4, 5, 8]]))
    assert_same([on_gpu(fake_cuda, array) for array in results[1][:2]], expected(reference, [[1, 4, 5], [2, 3]]))


def test_results_shrink_the_pool_where_memory_is_short(
    open_fake: Open, fake_cuda: Any, upload: Any, moves: PluginLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    backend = open_fake(contexts=1, graphs=False)
    states = backend.device_states(4 * S * 64, moves)
    inputs = [upload(array) for array in request(0, 2, 2)]
    fake_cuda.free_bytes = 8
    backend.run_device(*inputs)
    assert "shrinks from 64 to 32" in caplog.text
    assert states.n_slots == 32
    fake_cuda.free_bytes = 0
    with states.lease(["a"]), pytest.raises(BackendError, match="memory left"):
        backend.run_device(*inputs)


def test_other_threads_wait_for_the_only_context(open_fake: Open, fake_cuda: Any) -> None:
    backend = open_fake(contexts=1)
    done = threading.Event()
    with backend.runners.borrow():
        thread = threading.Thread(target=lambda: (backend.run(*request(0, 1, 1)), done.set()))
        thread.start()
        assert not done.wait(0.05)
    assert done.wait(10)
    thread.join(10)


def test_the_limits_are_the_profiles(open_fake: Open) -> None:
    assert open_fake(limits=(3, 7, 6)).limits == Limits(3, 7, 6)
