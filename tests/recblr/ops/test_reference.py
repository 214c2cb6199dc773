"""The reference ops against loops that read like the equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recblr import ops
from recblr.ops.reference import ReferenceOps, causal_conv1d_ref, gated_scan_ref

LENGTHS = st.lists(st.integers(0, 7), min_size=1, max_size=6)
SEEDS = st.integers(0, 2**31 - 1)


def offsets_of(lengths: list[int], dtype: torch.dtype = torch.int32) -> Tensor:
    return torch.tensor(np.concatenate([[0], np.cumsum(lengths)]), dtype=dtype)


def conv_inputs(
    lengths: list[int], width: int, taps: int, seed: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, ...]:
    """x, weight, bias, offsets, tail."""
    draw = torch.Generator().manual_seed(seed)
    shapes = [(sum(lengths), width), (width, taps), (width,), (len(lengths), taps - 1, width)]
    x, weight, bias, tail = (torch.randn(s, generator=draw, dtype=torch.float64).to(dtype) for s in shapes)
    return x, weight, bias, offsets_of(lengths), tail


def scan_inputs(lengths: list[int], width: int, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """x, gates, z, decay, offsets, h0."""
    draw = torch.Generator().manual_seed(seed)
    n, b = sum(lengths), len(lengths)
    shapes = [(n, width), (n, 2 * width), (n, width), (width,), (b, width)]
    x, gates, z, decay, h0 = (torch.randn(s, generator=draw, dtype=torch.float64).to(dtype) for s in shapes)
    return x, gates, z, decay, offsets_of(lengths), h0


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def naive_conv(x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    taps = weight.shape[1]
    out, tails = torch.zeros_like(x), torch.zeros_like(tail)
    for row, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        for channel in range(x.shape[1]):
            past = tail[row, :, channel].tolist() + x[start:stop, channel].tolist()
            for t in range(stop - start):
                total = float(bias[channel])
                for tap in range(taps):
                    total += float(weight[channel, tap]) * past[t + tap]
                out[start + t, channel] = total * sigmoid(total)
            for k in range(taps - 1):
                tails[row, k, channel] = past[len(past) - (taps - 1) + k]
    return out, tails


def naive_scan(
    x: Tensor, gates: Tensor, z: Tensor, decay: Tensor, offsets: Tensor, h0: Tensor
) -> tuple[Tensor, Tensor]:
    width = x.shape[1]
    y, last = torch.zeros_like(x), h0.clone()
    for row, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        for channel in range(width):
            h = float(h0[row, channel])
            for t in range(start, stop):
                r, i = sigmoid(float(gates[t, channel])), sigmoid(float(gates[t, width + channel]))
                alpha = math.exp(-math.log1p(math.exp(float(decay[channel]))) * r)
                h = alpha * h + math.sqrt(1 - alpha**2 + 1e-8) * i * float(x[t, channel])
                y[t, channel] = float(z[t, channel]) * sigmoid(float(z[t, channel])) * h
            last[row, channel] = h
    return y, last


def assert_equal(found: tuple[Tensor, ...], wanted: tuple[Tensor, ...], tolerance: float = 1e-12) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.integers(1, 5), SEEDS)
def test_convolution_equals_a_loop(lengths: list[int], taps: int, seed: int) -> None:
    inputs = conv_inputs(lengths, 3, taps, seed)
    assert_equal(causal_conv1d_ref(*inputs), naive_conv(*inputs))


@settings(max_examples=40, deadline=None)
@given(LENGTHS, SEEDS)
def test_scan_equals_a_loop(lengths: list[int], seed: int) -> None:
    inputs = scan_inputs(lengths, 3, seed)
    assert_equal(gated_scan_ref(*inputs), naive_scan(*inputs))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0], [0, 3, 0, 0, 1, 0]])
def test_empty_rows_pass_their_state_through(lengths: list[int], dtype: torch.dtype) -> None:
    x, weight, bias, offsets, tail = conv_inputs(lengths, 3, 4, 1)
    out, new_tail = causal_conv1d_ref(x, weight, bias, offsets.to(dtype), tail)
    inputs = scan_inputs(lengths, 3, 2)
    y, last = gated_scan_ref(*inputs[:4], offsets.to(dtype), inputs[5])
    empty = [row for row, length in enumerate(lengths) if length == 0]
    assert out.shape == y.shape == (sum(lengths), 3)
    assert torch.equal(new_tail[empty], tail[empty])
    assert torch.equal(last[empty], inputs[5][empty])
    assert new_tail.shape == tail.shape
    assert last.shape == inputs[5].shape


def test_the_tail_is_the_last_inputs_oldest_first() -> None:
    x, weight, bias, offsets, tail = conv_inputs([5, 2, 1], 2, 4, 3)
    _, new_tail = causal_conv1d_ref(x, weight, bias, offsets, tail)
    assert torch.equal(new_tail[0], x[2:5])
    assert torch.equal(new_tail[1], torch.cat([tail[1, 2:], x[5:7]]))
    assert torch.equal(new_tail[2], torch.cat([tail[2, 1:], x[7:8]]))


def test_the_last_tap_meets_the_current_token() -> None:
    x, _, _, offsets, tail = conv_inputs([4, 2], 2, 3, 4)
    weight = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64).repeat(2, 1)
    out, _ = causal_conv1d_ref(x, weight, torch.zeros(2, dtype=torch.float64), offsets, tail)
    torch.testing.assert_close(out, x * x.sigmoid())


@settings(max_examples=20, deadline=None)
@given(LENGTHS, SEEDS)
def test_last_only_gives_the_last_positions(lengths: list[int], seed: int) -> None:
    x, gates, z, decay, offsets, h0 = scan_inputs(lengths, 3, seed)
    y, last = gated_scan_ref(x, gates, z, decay, offsets, h0)
    rows = [row for row, length in enumerate(lengths) if length]
    ends = offsets[1:].long()[rows] - 1
    last_z = torch.zeros(len(lengths), 3, dtype=torch.float64)
    last_z[rows] = z[ends]
    pruned, pruned_last = gated_scan_ref(x, gates, last_z, decay, offsets, h0, last_only=True)
    assert pruned.shape == (len(lengths), 3)
    torch.testing.assert_close(pruned[rows], y[ends], rtol=1e-13, atol=1e-13)
    assert torch.equal(pruned_last, last)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=5), SEEDS)
def test_two_calls_equal_one(cuts: list[tuple[int, int]], seed: int) -> None:
    first, second = [a for a, _ in cuts], [b for _, b in cuts]
    lengths = [a + b for a, b in cuts]
    offsets = offsets_of(lengths)
    start = offsets[:-1].tolist()
    is_first = torch.zeros(sum(lengths), dtype=torch.bool)
    for begin, length in zip(start, first, strict=True):
        is_first[begin : begin + length] = True

    x, weight, bias, _, tail = conv_inputs(lengths, 3, 4, seed)
    whole, end = causal_conv1d_ref(x, weight, bias, offsets, tail)
    out1, middle = causal_conv1d_ref(x[is_first], weight, bias, offsets_of(first), tail)
    out2, resumed = causal_conv1d_ref(x[~is_first], weight, bias, offsets_of(second), middle)
    assert_equal((out1, out2, resumed), (whole[is_first], whole[~is_first], end), 1e-14)

    x, gates, z, decay, _, h0 = scan_inputs(lengths, 3, seed)
    whole, end = gated_scan_ref(x, gates, z, decay, offsets, h0)
    out1, middle = gated_scan_ref(x[is_first], gates[is_first], z[is_first], decay, offsets_of(first), h0)
    out2, resumed = gated_scan_ref(x[~is_first], gates[~is_first], z[~is_first], decay, offsets_of(second), middle)
    assert_equal((out1, out2, resumed), (whole[is_first], whole[~is_first], end), 1e-14)


def test_gradients() -> None:
    lengths = [3, 0, 1]
    x, weight, bias, offsets, tail = conv_inputs(lengths, 2, 3, 5)
    wanted = [t.requires_grad_() for t in (x, weight, bias, tail)]
    assert torch.autograd.gradcheck(lambda x, w, b, t: causal_conv1d_ref(x, w, b, offsets, t), wanted)

    x, gates, z, decay, offsets, h0 = scan_inputs(lengths, 2, 6)
    wanted = [t.requires_grad_() for t in (x, gates, z, decay, h0)]
    assert torch.autograd.gradcheck(lambda x, g, z, d, h: gated_scan_ref(x, g, z, d, offsets, h), wanted)
    last_z = z.detach()[:3].clone().requires_grad_()
    wanted[2] = last_z
    assert torch.autograd.gradcheck(lambda x, g, z, d, h: gated_scan_ref(x, g, z, d, offsets, h, True), wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_inputs_keep_a_float32_state(dtype: torch.dtype) -> None:
    lengths = [6, 0, 2]
    x, weight, bias, offsets, tail = conv_inputs(lengths, 4, 4, 7, dtype)
    out, new_tail = causal_conv1d_ref(x, weight, bias, offsets, tail.float())
    wanted, wanted_tail = causal_conv1d_ref(x.double(), weight.double(), bias.double(), offsets, tail.double())
    assert (out.dtype, new_tail.dtype) == (dtype, torch.float32)
    # Only the result was rounded, not what led to it.
    torch.testing.assert_close(out, wanted.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-5)
    torch.testing.assert_close(new_tail.double(), wanted_tail, rtol=0, atol=0)

    x, gates, z, decay, offsets, h0 = scan_inputs(lengths, 4, 8, dtype)
    y, last = gated_scan_ref(x, gates, z, decay.float(), offsets, h0.float())
    wanted, wanted_last = gated_scan_ref(x.double(), gates.double(), z.double(), decay.double(), offsets, h0.double())
    assert (y.dtype, last.dtype) == (dtype, torch.float32)
    torch.testing.assert_close(y, wanted.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-5)
    torch.testing.assert_close(last.double(), wanted_last, rtol=1e-5, atol=1e-6)


def test_float32_is_accurate_where_alpha_is_near_one() -> None:
    # alpha from 1 - 5e-4 to 1 - 2e-9 over the channels: 1 - alpha^2 in float32 would be off by up to 100%.
    length, width = 2000, 8
    x, gates, z, _, offsets, h0 = scan_inputs([length], width, 9, torch.float32)
    decay = torch.linspace(-7, -20, width)
    y, last = gated_scan_ref(x, gates, z, decay, offsets, h0)
    wanted, wanted_last = gated_scan_ref(x.double(), gates.double(), z.double(), decay.double(), offsets, h0.double())
    scale = wanted.abs().amax(dim=0)
    assert ((y.double() - wanted).abs().amax(dim=0) / scale).max() < 1e-5
    torch.testing.assert_close(last.double(), wanted_last, rtol=1e-5, atol=1e-5)


def test_gradients_are_finite_where_alpha_is_one() -> None:
    x, gates, z, _, offsets, h0 = scan_inputs([4], 2, 10, torch.float32)
    decay = torch.tensor([-200.0, 0.0], requires_grad=True)
    y, _ = gated_scan_ref(x, gates, z, decay, offsets, h0)
    y.sum().backward()
    assert decay.grad is not None
    assert torch.isfinite(decay.grad).all()


def test_use_changes_the_implementation_for_its_body_only() -> None:
    class Zeros(ReferenceOps):
        def causal_conv1d(
            self, x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, tail: Tensor
        ) -> tuple[Tensor, Tensor]:
            return torch.zeros_like(x), tail

    inputs = conv_inputs([3], 2, 2, 11)
    with ops.use(Zeros()):
        assert not ops.causal_conv1d(*inputs)[0].any()
    assert torch.equal(ops.causal_conv1d(*inputs)[0], causal_conv1d_ref(*inputs)[0])
