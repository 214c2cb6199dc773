"""The native kernels against the reference in float64.

The tests of the kernels run with every implementation at hand: the library's CPU kernels; and its CUDA kernels, with
each of their strategies, on a GPU where there is one, and on host memory by an emulator.
"""

from __future__ import annotations

import ctypes
import dataclasses
import subprocess
import sys
import warnings
from dataclasses import dataclass

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from recblr import ops, plugins
from recblr.config import RecBLRConfig
from recblr.model import RecBLR
from recblr.ops import default, kernel_calls, native
from recblr.ops.kernel_calls import KernelCalls
from recblr.ops.native import NativeOps
from recblr.ops.reference import ReferenceOps
from recblr.plugins import abi

pytestmark = pytest.mark.skipif(
    plugins.find_library() is None, reason="librecblr_plugins.so was not built: no C++ compiler at installation"
)

# Largest difference allowed, relative to the largest value: rounding of the data type, and of sums in another order.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=6)
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
# Fixtures are the same for all of a test's examples: they choose the implementation.
GENERATED = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Implementation:
    """The native ops with one library's kernels; takes and gives host tensors."""

    device: str

    def gated_scan(self, x, gates, z, decay, offsets, h0, last_only=False) -> tuple[Tensor, Tensor]:
        moved = (t.to(self.device) for t in (x, gates, z, decay, offsets, h0))
        y, h = NativeOps().gated_scan(*moved, last_only)
        return y.cpu(), h.cpu()

    def causal_conv1d(self, x, weight, bias, offsets, tail) -> tuple[Tensor, Tensor]:
        y, new_tail = NativeOps().causal_conv1d(*(t.to(self.device) for t in (x, weight, bias, offsets, tail)))
        return y.cpu(), new_tail.cpu()


STRATEGIES = {"rows in threads": abi.ROWS_IN_THREADS, "rows in blocks": abi.ROWS_IN_BLOCKS}
CUDA = [(where, strategy) for where in ("emulated", "gpu") for strategy in STRATEGIES]


@pytest.fixture(
    params=[
        "cpu",
        *(
            pytest.param(pair, id=f"{pair[0]}, {pair[1]}", marks=[pytest.mark.gpu] if pair[0] == "gpu" else [])
            for pair in CUDA
        ),
    ]
)
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Implementation:
    """Every implementation at hand, one after another."""
    if request.param == "cpu":
        return Implementation("cpu")
    where, strategy = request.param
    if where == "emulated":
        calls = KernelCalls(ctypes.CDLL(str(request.getfixturevalue("emulated_library"))), "cuda")
    else:
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        if not kernel_calls.has_cuda():
            pytest.skip("the library was built without CUDA")
        calls = kernel_calls.calls_for(torch.empty(0, device="cuda"))
    calls = dataclasses.replace(calls, strategy=STRATEGIES[strategy])
    monkeypatch.setattr(kernel_calls, "calls_for", lambda _: calls)
    return Implementation("cuda" if where == "gpu" else "cpu")


def offsets_of(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


def scan_inputs(lengths: list[int], width: int, last_only: bool = False, seed: int = 0) -> list[Tensor]:
    """x, gates, z, decay, h0 in float64, as float16 can hold them."""
    generator = torch.Generator().manual_seed(seed)
    n, b = sum(lengths), len(lengths)
    shapes = [(n, width), (n, 2 * width), (b if last_only else n, width), (width,), (b, width)]
    return [torch.randn(shape, generator=generator).bfloat16().double() for shape in shapes]


def conv_inputs(lengths: list[int], width: int, taps: int, seed: int = 0) -> list[Tensor]:
    """x, weight, bias, tail, likewise."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(sum(lengths), width), (width, taps), (width,), (len(lengths), taps - 1, width)]
    return [torch.randn(shape, generator=generator).bfloat16().double() for shape in shapes]


def scan(implementation, tensors: list[Tensor], lengths: list[int], last_only: bool = False) -> tuple[Tensor, Tensor]:
    x, gates, z, decay, h0 = tensors
    return implementation.gated_scan(x, gates, z, decay, offsets_of(lengths), h0, last_only)


def conv(implementation, tensors: list[Tensor], lengths: list[int]) -> tuple[Tensor, Tensor]:
    x, weight, bias, tail = tensors
    return implementation.causal_conv1d(x, weight, bias, offsets_of(lengths), tail)


def assert_close(given: Tensor, expected: Tensor, tolerance: float) -> None:
    assert given.shape == expected.shape
    scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
    torch.testing.assert_close(given.double(), expected.double(), rtol=0, atol=tolerance * scale)


def compare(implementation, run, inputs: list[Tensor], data: int, dtype: torch.dtype) -> None:
    """Outputs and gradients against the reference's; the first `data` inputs are of the dtype, the others float32."""
    low = [t.to(dtype if n < data else torch.float32).requires_grad_() for n, t in enumerate(inputs)]
    high = [t.clone().requires_grad_() for t in inputs]
    outputs, expected = run(implementation, low), run(ReferenceOps(), high)
    for one, other in zip(outputs, expected, strict=True):
        assert_close(one, other, TOLERANCE[dtype])
    assert outputs[0].dtype == dtype
    assert outputs[1].dtype == torch.float32
    # Gradients that every dtype holds exactly: rounded ones would differ by more than the kernels do once summed.
    weights = [torch.linspace(-1, 1, max(o.numel(), 1))[: o.numel()].reshape(o.shape).bfloat16() for o in expected]
    for given_outputs, leaves in ((outputs, low), (expected, high)):
        sum((o.double() * w).sum() for o, w in zip(given_outputs, weights, strict=True)).backward()
        assert len(leaves) == len(inputs)
    for one, other in zip(low, high, strict=True):
        missing = torch.zeros_like(other)
        assert_close(
            one.grad if one.grad is not None else missing,
            other.grad if other.grad is not None else missing,
            TOLERANCE[dtype],
        )


@DTYPES
@GENERATED
@given(lengths=LENGTHS, width=st.integers(1, 150), last_only=st.booleans(), seed=st.integers(0, 99))
def test_gated_scan(implementation, dtype, lengths, width, last_only, seed):
    inputs = scan_inputs(lengths, width, last_only, seed)
    compare(implementation, lambda ops_, tensors: scan(ops_, tensors, lengths, last_only), inputs, 3, dtype)


@DTYPES
@GENERATED
@given(lengths=LENGTHS, width=st.integers(1, 150), taps=st.integers(1, 6), seed=st.integers(0, 99))
def test_causal_conv1d(implementation, dtype, lengths, width, taps, seed):
    inputs = conv_inputs(lengths, width, taps, seed)
    compare(implementation, lambda ops_, tensors: conv(ops_, tensors, lengths), inputs, 1, dtype)


@DTYPES
@settings(deadline=None, max_examples=25)
@given(lengths=LENGTHS, width=st.integers(1, 150), last_only=st.booleans(), seed=st.integers(0, 99))
def test_cuda_strategies_agree_bit_for_bit(emulated_library, dtype, lengths, width, last_only, seed):
    """So that a row's result does not depend on what its batch makes the library choose."""
    x, gates, z, decay, h0 = (t.to(dtype) for t in scan_inputs(lengths, width, last_only, seed))
    inputs = x, gates, z, decay.float(), offsets_of(lengths), h0.float()
    results = []
    for strategy in STRATEGIES.values():
        calls = KernelCalls(ctypes.CDLL(str(emulated_library)), "cuda", strategy=strategy)
        y, last_h, segment_h = calls.gated_scan(*inputs, last_only)
        gradients = calls.gated_scan_backward(*inputs, segment_h, y, last_h, last_only)
        results.append([y, last_h, segment_h, *gradients[:3], gradients[4]])  # decay's sums over rows differ in order
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("last_only", [False, True])
def test_gradcheck(implementation, last_only):
    """PyTorch's own check, by finite differences. The kernels compute in float32: so large steps and tolerances."""
    lengths = [3, 0, 6]
    offsets = offsets_of(lengths)
    tolerances = {"eps": 1e-2, "atol": 2e-3, "rtol": 2e-2, "nondet_tol": 0.0}

    def scan_in_float(*tensors: Tensor) -> tuple[Tensor, ...]:
        x, gates, z, decay, h0 = (t.float() for t in tensors)
        return tuple(t.double() for t in implementation.gated_scan(x, gates, z, decay, offsets, h0, last_only))

    def conv_in_float(*tensors: Tensor) -> tuple[Tensor, ...]:
        x, weight, bias, tail = (t.float() for t in tensors)
        return tuple(t.double() for t in implementation.causal_conv1d(x, weight, bias, offsets, tail))

    scan_tensors = [t.requires_grad_() for t in scan_inputs(lengths, 3, last_only)]
    assert torch.autograd.gradcheck(scan_in_float, scan_tensors, **tolerances)
    conv_tensors = [t.requires_grad_() for t in conv_inputs(lengths, 3, 4)]
    assert torch.autograd.gradcheck(conv_in_float, conv_tensors, **tolerances)


@pytest.mark.parametrize("decay", [-18.0, -12.0, -6.0, 0.0, 6.0, 30.0])
def test_decay_near_one_and_near_zero_over_a_long_row(implementation, decay):
    length = 100_000
    tensors = scan_inputs([length], 2)
    tensors[3][:] = decay
    _, state = scan(implementation, [t.float() for t in tensors], [length], last_only=False)
    with torch.no_grad():
        x, gates, _, rate, h0 = tensors
        r, i = gates.sigmoid().chunk(2, dim=1)
        log_alpha = -torch.nn.functional.softplus(rate) * r
        drive = torch.sqrt(-torch.expm1(2 * log_alpha) + 1e-8) * i * x
        to_the_end = log_alpha.flip(0).cumsum(0).flip(0)
        expected = h0 * to_the_end[:1].exp() + (drive * (to_the_end - log_alpha).exp()).sum(0)
        scale = h0.abs() * to_the_end[:1].exp() + (drive * (to_the_end - log_alpha).exp()).abs().sum(0)
    # Each step may round by 6e-8.
    assert ((state - expected).abs() / scale).max() < 1e-3


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("op", ["gated_scan", "causal_conv1d"])
def test_what_is_not_finite_stays_in_its_row(implementation, op, bad):
    lengths = [7, 5, 9]
    run, clean = (
        (scan, scan_inputs(lengths, 70)) if op == "gated_scan" else (conv, conv_inputs(lengths, 70, 4))
    )  # in both, x is the first and the rows' states are the last
    clean = [t.float() for t in clean]
    poisoned = [t.clone() for t in clean]
    poisoned[0][8] = bad
    rows = {3: torch.tensor([0, 1, 2]), 21: torch.tensor([0] * 7 + [1] * 5 + [2] * 9)}
    results = []
    for tensors in (clean, poisoned):
        leaves = [t.clone().requires_grad_() for t in tensors]
        outputs = run(implementation, leaves, lengths)
        sum(o.sum() for o in outputs).backward()
        per_row = [leaf.grad for leaf in leaves if len(leaf) in rows]
        results.append([*outputs, *per_row])
    for one, other in zip(*results, strict=True):
        others = rows[len(one)] != 1
        assert torch.isfinite(one).all()
        assert torch.equal(one[others], other[others])
    assert not all(torch.isfinite(t).all() for t in results[1])


@GENERATED
@given(lengths=LENGTHS, data=st.data())
def test_split_and_resume_equals_the_whole(implementation, lengths, data):
    width, taps = 20, 4
    scan_tensors, conv_tensors = (
        [t.float() for t in ts] for ts in (scan_inputs(lengths, width), conv_inputs(lengths, width, taps))
    )
    first = [data.draw(st.integers(0, length)) for length in lengths]
    second = [length - part for length, part in zip(lengths, first, strict=True)]
    begins = offsets_of(lengths)[:-1].tolist()
    early = torch.cat([torch.arange(b, b + n) for b, n in zip(begins, first, strict=True)])
    late = torch.cat([torch.arange(b + n, b + n + m) for b, n, m in zip(begins, first, second, strict=True)])

    def in_parts(run, tensors: list[Tensor], per_token: int) -> tuple[Tensor, Tensor]:
        middle = tensors[per_token:-1]
        y1, state = run(implementation, [*(t[early] for t in tensors[:per_token]), *middle, tensors[-1]], first)
        y2, state = run(implementation, [*(t[late] for t in tensors[:per_token]), *middle, state], second)
        y = torch.empty_like(tensors[0])
        y[early], y[late] = y1, y2
        return y, state

    for run, tensors, per_token in ((scan, scan_tensors, 3), (conv, conv_tensors, 1)):
        for one, other in zip(run(implementation, tensors, lengths), in_parts(run, tensors, per_token), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_a_rows_result_is_the_same_bit_for_bit_in_any_batch_and_with_any_threads(implementation):
    lengths = [3, 0, 200, 50]
    scan_tensors, conv_tensors = (
        [t.float() for t in ts] for ts in (scan_inputs(lengths, 130), conv_inputs(lengths, 130, 4))
    )
    together = scan(implementation, scan_tensors, lengths), conv(implementation, conv_tensors, lengths)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        again = scan(implementation, scan_tensors, lengths), conv(implementation, conv_tensors, lengths)
        for one, other in zip(together, again, strict=True):
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])
    finally:
        torch.set_num_threads(threads)
    begin = 0
    for row, length in enumerate(lengths):
        tokens = slice(begin, begin + length)
        x, gates, z, decay, h0 = scan_tensors
        alone = scan(implementation, [x[tokens], gates[tokens], z[tokens], decay, h0[row : row + 1]], [length])
        assert torch.equal(alone[0], together[0][0][tokens])
        assert torch.equal(alone[1][0], together[0][1][row])
        x, weight, bias, tail = conv_tensors
        alone = conv(implementation, [x[tokens], weight, bias, tail[row : row + 1]], [length])
        assert torch.equal(alone[0], together[1][0][tokens])
        assert torch.equal(alone[1][0], together[1][1][row])
        begin += length


def test_inputs_that_are_not_contiguous(implementation):
    lengths = [4, 6]
    tensors = [t.float() for t in scan_inputs(lengths, 8)]
    strided = [t.repeat_interleave(2, dim=-1)[..., ::2] for t in tensors]
    assert not strided[0].is_contiguous()
    for one, other in zip(scan(implementation, tensors, lengths), scan(implementation, strided, lengths), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("last_only", [False, True])
def test_views_of_one_projection_and_int32_offsets(implementation, last_only):
    lengths = [4, 0, 6]
    tensors = [t.float() for t in scan_inputs(lengths, 8, last_only)]
    views = [torch.cat([t, t + 1], dim=-1)[..., : t.shape[-1]].requires_grad_() for t in tensors[:3]]
    results = []
    for leaves, offsets in (
        ([t.clone().requires_grad_() for t in tensors[:3]], offsets_of(lengths)),
        (views, offsets_of(lengths).int()),
    ):
        x, gates, z = leaves
        y, h = implementation.gated_scan(x, gates, z, tensors[3], offsets, tensors[4], last_only)
        out, _ = implementation.causal_conv1d(x, torch.ones(8, 4), tensors[3], offsets, torch.zeros(3, 3, 8))
        results.append([y, h, out, *torch.autograd.grad(y.sum() + h.sum() + out.sum(), leaves)])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_views_are_not_copied():
    tensor = torch.randn(6, 10)
    assert kernel_calls._rows(tensor[:, :5]).data_ptr() == tensor.data_ptr()
    assert kernel_calls._rows(tensor[:, :5]).stride() == (10, 1)
    for copied in (tensor[:, ::2], tensor.T, tensor[:1].expand(6, 10)):
        assert kernel_calls._rows(copied).is_contiguous()
        assert torch.equal(kernel_calls._rows(copied), copied)


def test_autocast_casts_the_data_and_leaves_parameters_and_states():
    lengths = [3, 2]
    offsets = offsets_of(lengths)
    x, gates, z, decay, h0 = (t.float().requires_grad_() for t in scan_inputs(lengths, 5))
    _, weight, bias, tail = (t.float().requires_grad_() for t in conv_inputs(lengths, 5, 4))
    with torch.autocast("cpu", torch.bfloat16):
        y, h, _ = torch.ops.recblr.gated_scan(x, gates, z, decay, offsets, h0, False)
        out, new_tail = torch.ops.recblr.causal_conv1d(x, weight, bias, offsets, tail)
        low, _, _ = torch.ops.recblr.gated_scan(x, gates, z, decay.bfloat16(), offsets, h0.bfloat16(), False)
    assert y.dtype == out.dtype == torch.bfloat16
    assert h.dtype == new_tail.dtype == torch.float32
    assert low.dtype == torch.bfloat16
    expected, _ = NativeOps().gated_scan(x.bfloat16(), gates.bfloat16(), z.bfloat16(), decay, offsets, h0)
    assert torch.equal(y, expected)
    (y.sum() + h.sum() + out.sum()).backward()
    assert all(t.grad.dtype == torch.float32 for t in (x, gates, z, decay, h0, weight, bias))


def test_dropout_is_a_function_of_the_seed_and_its_gradient_the_same_one():
    x = torch.ones(300, 700, requires_grad=True)
    seed = torch.tensor(5)
    y = native.dropout(x, seed, 0.2)
    y.backward(torch.full_like(y, 2.0))
    assert torch.equal(x.grad, 2 * y)
    assert set(y.unique().tolist()) == {0.0, 1.25}
    assert abs((y == 0).float().mean() - 0.2) < 0.005
    assert torch.equal(native.dropout(x, seed, 0.2), y)
    other = native.dropout(x, torch.tensor(6), 0.2)
    assert abs(((y == 0) & (other == 0)).float().mean() - 0.04) < 0.005
    for along in (0, 1):  # neighbours are independent
        pairs = (y == 0) & (y == 0).roll(1, along)
        assert abs(pairs.float().mean() - 0.04) < 0.005


def test_dropout_follows_pytorchs_generator():
    x = torch.ones(50, 60)
    torch.manual_seed(3)
    first, second = ops.dropout(x, 0.5), ops.dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(ops.dropout(x, 0.5), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("last_only", [False, True])
def test_pytorch_accepts_the_operators(last_only):
    lengths = [3, 0, 2]
    x, gates, z, decay, h0 = (t.float().requires_grad_() for t in scan_inputs(lengths, 5, last_only))
    offsets = offsets_of(lengths).int()
    wide = torch.randn(5, 10)
    torch.library.opcheck(native.gated_scan, (x, gates, z, decay, offsets_of(lengths), h0, last_only))
    torch.library.opcheck(native.gated_scan, (wide[:, 5:].requires_grad_(), gates, z, decay, offsets, h0, last_only))
    y, last_h, segment_h = native.gated_scan(x, gates, z, decay, offsets, h0, last_only)
    inputs = [t.detach() for t in (x, gates, z, decay, offsets, h0, segment_h, y, last_h)]
    torch.library.opcheck(native.gated_scan_backward, (*inputs, last_only))
    x, weight, bias, tail = (t.float().requires_grad_() for t in conv_inputs(lengths, 5, 4))
    torch.library.opcheck(native.causal_conv1d, (x, weight, bias, offsets, tail))
    torch.library.opcheck(native.causal_conv1d, (wide[:, :5].requires_grad_(), weight, bias, offsets, tail))
    inputs = [t.detach() for t in (x, weight, bias, offsets, tail, x, tail)]
    torch.library.opcheck(native.causal_conv1d_backward, inputs)
    torch.library.opcheck(native.dropout, (x, torch.tensor(1), 0.3))


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_model_computes_the_same_forward_and_backward(backend):
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=20, dim=8)).eval()
    items, offsets = torch.tensor([1, 2, 3, 4, 5]), torch.tensor([0, 2, 2, 5])
    results = []
    for run in (model, torch.compile(model, backend=backend)):
        model.zero_grad()
        hidden, _ = run(items, offsets)
        hidden.square().sum().backward()
        results.append([hidden, *(p.grad.clone() for p in model.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_the_default_is_native_for_cpu_data_and_the_reference_for_float64(monkeypatch):
    used = []
    monkeypatch.setattr(NativeOps, "gated_scan", lambda *_: used.append("native"))
    monkeypatch.setattr(default._reference, "gated_scan", lambda *_: used.append("reference"), raising=False)
    tensors = scan_inputs([2], 3)
    for x in (tensors[0].float(), tensors[0].bfloat16(), tensors[0]):
        ops.gated_scan(x, *tensors[1:4], offsets_of([2]), tensors[4])
    assert used == ["native", "native", "reference"]


def test_wrong_offsets_are_an_error():
    tensors = [t.float() for t in scan_inputs([3], 2)]
    for offsets, message in (([0, 2], "from 0 to 2"), ([1, 3], "from 1 to 3"), ([0, 4, 3], "fall after row 1")):
        h0 = torch.zeros(len(offsets) - 1, 2)
        with pytest.raises(plugins.PluginLibraryError, match=message):
            NativeOps().gated_scan(*tensors[:4], torch.tensor(offsets), h0)


def test_without_the_library_the_reference_serves_with_one_warning(monkeypatch):
    monkeypatch.delenv("RECBLR_PLUGINS_LIBRARY", raising=False)
    code = (
        "import warnings, torch\n"
        "from recblr.plugins import _library\n"
        "_library.find_library = lambda: None\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    from recblr.config import RecBLRConfig\n"
        "    from recblr.model import RecBLR\n"
        "    model = RecBLR(RecBLRConfig(n_items=5, dim=4))\n"
        "    for _ in range(2): hidden, _ = model(torch.tensor([1, 2]), torch.tensor([0, 2]))\n"
        "print(len([w for w in caught if 'slower PyTorch ops' in str(w.message)]), tuple(hidden.shape))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "1 (2, 4)", result.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert default._load_native() is not None
