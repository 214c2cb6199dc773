"""The native CPU kernels against the reference in float64."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recblr import ops, plugins
from recblr.config import RecBLRConfig
from recblr.model import RecBLR
from recblr.ops import default, native
from recblr.ops.native import NativeOps
from recblr.ops.reference import ReferenceOps

pytestmark = pytest.mark.skipif(
    plugins.find_library() is None, reason="librecblr_plugins.so was not built: no C++ compiler at installation"
)

# Largest difference allowed, relative to the largest value: rounding of the data type, and of sums in another order.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=6)
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


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


def compare(run, inputs: list[Tensor], data: int, dtype: torch.dtype) -> None:
    """Outputs and gradients of both implementations; the first `data` inputs are of the dtype, the others float32."""
    low = [t.to(dtype if n < data else torch.float32).requires_grad_() for n, t in enumerate(inputs)]
    high = [t.clone().requires_grad_() for t in inputs]
    outputs, expected = run(NativeOps(), low), run(ReferenceOps(), high)
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
@settings(deadline=None, max_examples=25)
@given(lengths=LENGTHS, width=st.integers(1, 150), last_only=st.booleans(), seed=st.integers(0, 99))
def test_gated_scan(dtype, lengths, width, last_only, seed):
    inputs = scan_inputs(lengths, width, last_only, seed)
    compare(lambda ops_, tensors: scan(ops_, tensors, lengths, last_only), inputs, 3, dtype)


@DTYPES
@settings(deadline=None, max_examples=25)
@given(lengths=LENGTHS, width=st.integers(1, 150), taps=st.integers(1, 6), seed=st.integers(0, 99))
def test_causal_conv1d(dtype, lengths, width, taps, seed):
    compare(lambda ops_, tensors: conv(ops_, tensors, lengths), conv_inputs(lengths, width, taps, seed), 1, dtype)


@pytest.mark.parametrize("decay", [-18.0, -12.0, -6.0, 0.0, 6.0, 30.0])
def test_decay_near_one_and_near_zero_over_a_long_row(decay):
    length = 100_000
    tensors = scan_inputs([length], 2)
    tensors[3][:] = decay
    _, state = scan(NativeOps(), [t.float() for t in tensors], [length], last_only=False)
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
def test_what_is_not_finite_stays_in_its_row(bad):
    lengths = [7, 5, 9]
    clean = [t.float() for t in scan_inputs(lengths, 70)]
    poisoned = [t.clone() for t in clean]
    poisoned[0][8] = bad
    for one, other in zip(scan(NativeOps(), clean, lengths), scan(NativeOps(), poisoned, lengths), strict=True):
        rows = torch.tensor([0, 1, 2]) if len(one) == 3 else torch.tensor([0] * 7 + [1] * 5 + [2] * 9)
        assert torch.equal(one[rows != 1], other[rows != 1])
    assert not torch.isfinite(scan(NativeOps(), poisoned, lengths)[1][1]).all()


def test_a_rows_result_is_the_same_bit_for_bit_in_any_batch_and_with_any_threads():
    lengths = [3, 0, 200, 50]
    scan_tensors, conv_tensors = (
        [t.float() for t in ts] for ts in (scan_inputs(lengths, 130), conv_inputs(lengths, 130, 4))
    )
    together = scan(NativeOps(), scan_tensors, lengths), conv(NativeOps(), conv_tensors, lengths)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for one, other in zip(
            together, (scan(NativeOps(), scan_tensors, lengths), conv(NativeOps(), conv_tensors, lengths)), strict=True
        ):
            assert torch.equal(one[0], other[0])
            assert torch.equal(one[1], other[1])
    finally:
        torch.set_num_threads(threads)
    begin = 0
    for row, length in enumerate(lengths):
        tokens = slice(begin, begin + length)
        x, gates, z, decay, h0 = scan_tensors
        alone = scan(NativeOps(), [x[tokens], gates[tokens], z[tokens], decay, h0[row : row + 1]], [length])
        assert torch.equal(alone[0], together[0][0][tokens])
        assert torch.equal(alone[1][0], together[0][1][row])
        x, weight, bias, tail = conv_tensors
        alone = conv(NativeOps(), [x[tokens], weight, bias, tail[row : row + 1]], [length])
        assert torch.equal(alone[0], together[1][0][tokens])
        assert torch.equal(alone[1][0], together[1][1][row])
        begin += length


def test_inputs_that_are_not_contiguous():
    lengths = [4, 6]
    tensors = [t.float() for t in scan_inputs(lengths, 8)]
    strided = [t.repeat_interleave(2, dim=-1)[..., ::2] for t in tensors]
    assert not strided[0].is_contiguous()
    for one, other in zip(scan(NativeOps(), tensors, lengths), scan(NativeOps(), strided, lengths), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("last_only", [False, True])
def test_pytorch_accepts_the_operators(last_only):
    lengths = [3, 0, 2]
    x, gates, z, decay, h0 = (t.float().requires_grad_() for t in scan_inputs(lengths, 5, last_only))
    torch.library.opcheck(native._gated_scan, (x, gates, z, decay, offsets_of(lengths), h0, last_only))
    x, weight, bias, tail = (t.float().requires_grad_() for t in conv_inputs(lengths, 5, 4))
    torch.library.opcheck(native._causal_conv1d, (x, weight, bias, offsets_of(lengths), tail))


def test_a_compiled_model_computes_the_same():
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=20, dim=8)).eval()
    items, offsets = torch.tensor([1, 2, 3, 4, 5]), torch.tensor([0, 2, 2, 5])
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(compiled(items, offsets)[0], model(items, offsets)[0])


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


def test_without_the_library_the_reference_serves_with_one_warning():
    code = (
        "import warnings, torch\n"
        "from recblr import plugins\n"
        "plugins.__path__ = []\n"
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
