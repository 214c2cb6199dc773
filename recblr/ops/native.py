"""The ops by the native library's kernels, as PyTorch operators: CPU and CUDA, gradients, fake tensors, autocast.

Saved for the backward pass: the inputs, and h before every fourth token in float32; all else is computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recblr.array_types import Channels, ConvTail, ConvWeight, Gates, Hidden, Inner, Offsets
from recblr.ops import kernel_calls
from recblr.ops.kernel_calls import DTYPES, INTEGERS
from recblr.plugins import abi

_has_cuda = torch.compiler.assume_constant_result(kernel_calls.has_cuda)  # type: ignore[no-untyped-call]


def supports(x: Tensor) -> bool:
    """Whether the kernels take data of this kind: float32, float16 or bfloat16 on the CPU, or on a GPU."""
    return x.dtype in DTYPES and (x.device.type == "cpu" or (x.device.type == "cuda" and _has_cuda()))


class NativeOps:
    """`recblr.ops.SequenceOps`, for data that `supports` accepts; parameters and states are taken in float32.

    Under autocast the data (x, gates, z) are taken in the autocast dtype.
    """

    def causal_conv1d(
        self, x: Inner, weight: ConvWeight, bias: Channels, offsets: Offsets, tail: ConvTail
    ) -> tuple[Inner, ConvTail]:
        """Convolve x [N, H] along each row: y [N, H] in x's dtype, and the new tail [B, K-1, H] in tail's dtype.

        Raises:
            PluginLibraryError: the library refuses the arguments, such as offsets that fall.
        """
        y, new_tail = causal_conv1d(x, weight.float(), bias.float(), _integers(offsets), tail.float())
        return y, new_tail.to(tail.dtype)

    def gated_scan(
        self,
        x: Inner,
        gates: Gates,
        z: Inner | Hidden,
        decay: Channels,
        offsets: Offsets,
        h0: Hidden,
        last_only: bool = False,
    ) -> tuple[Inner | Hidden, Hidden]:
        """Scan x [N, H] along each row: y, of z's shape, in x's dtype, and the last states [B, H] in h0's dtype.

        x, gates and z may be views whose last dimension alone is contiguous: they are not copied.

        Raises:
            PluginLibraryError: the library refuses the arguments, such as offsets that fall.
        """
        y, last_h, _ = gated_scan(
            x, gates.to(x.dtype), z.to(x.dtype), decay.float(), _integers(offsets), h0.float(), last_only
        )
        return y, last_h.to(h0.dtype)


def _integers(offsets: Tensor) -> Tensor:
    return offsets if offsets.dtype in INTEGERS else offsets.long()


def _empty_like(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors)


@torch.library.custom_op("recblr::gated_scan", mutates_args=(), device_types=("cpu", "cuda"))
def gated_scan(
    x: Tensor, gates: Tensor, z: Tensor, decay: Tensor, offsets: Tensor, h0: Tensor, last_only: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """y [N, H] or [B, H], the last h [B, H], and h before every segment [N // 4 + B, H], which has no gradient."""
    return kernel_calls.calls_for(x).gated_scan(x, gates, z, decay, offsets, h0, last_only)


@gated_scan.register_fake
def _(
    x: Tensor, gates: Tensor, z: Tensor, decay: Tensor, offsets: Tensor, h0: Tensor, last_only: bool
) -> tuple[Tensor, ...]:
    segment_h = x.new_empty((x.shape[0] // abi.SEGMENT + h0.shape[0], x.shape[1]), dtype=torch.float32)
    return *_empty_like(z, h0), segment_h


@torch.library.custom_op("recblr::gated_scan_backward", mutates_args=(), device_types=("cpu", "cuda"))
def gated_scan_backward(
    x: Tensor,
    gates: Tensor,
    z: Tensor,
    decay: Tensor,
    offsets: Tensor,
    h0: Tensor,
    segment_h: Tensor,
    grad_y: Tensor,
    grad_last_h: Tensor,
    last_only: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, gates, z, decay and h0, each of the shape and dtype of its input."""
    return kernel_calls.calls_for(x).gated_scan_backward(
        x, gates, z, decay, offsets, h0, segment_h, grad_y, grad_last_h, last_only
    )


@gated_scan_backward.register_fake
def _(
    x: Tensor,
    gates: Tensor,
    z: Tensor,
    decay: Tensor,
    offsets: Tensor,
    h0: Tensor,
    segment_h: Tensor,
    grad_y: Tensor,
    grad_last_h: Tensor,
    last_only: bool,
) -> tuple[Tensor, ...]:
    return _empty_like(x, gates, z, decay, h0)


def _scan_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.last_only = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.mark_non_differentiable(output[2])


def _scan_gradients(ctx: Any, grad_y: Tensor, grad_last_h: Tensor, _grad_h: Tensor) -> tuple[Tensor | None, ...]:
    grad_x, grad_gates, grad_z, grad_decay, grad_h0 = gated_scan_backward(
        *ctx.saved_tensors, grad_y, grad_last_h, ctx.last_only
    )
    return grad_x, grad_gates, grad_z, grad_decay, None, grad_h0, None


gated_scan.register_autograd(_scan_gradients, setup_context=_scan_setup)


@torch.library.custom_op("recblr::causal_conv1d", mutates_args=(), device_types=("cpu", "cuda"))
def causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """y [N, H] and the new tail [B, K-1, H]."""
    return kernel_calls.calls_for(x).causal_conv1d(x, weight, bias, offsets, tail)


@causal_conv1d.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, tail: Tensor) -> tuple[Tensor, ...]:
    return _empty_like(x, tail)


@torch.library.custom_op("recblr::causal_conv1d_backward", mutates_args=(), device_types=("cpu", "cuda"))
def causal_conv1d_backward(
    x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, tail: Tensor, grad_y: Tensor, grad_new_tail: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight, bias and tail, each of the shape and dtype of its input."""
    return kernel_calls.calls_for(x).causal_conv1d_backward(x, weight, bias, offsets, tail, grad_y, grad_new_tail)


@causal_conv1d_backward.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, tail: Tensor, grad_y: Tensor, grad_new_tail: Tensor
) -> tuple[Tensor, ...]:
    return _empty_like(x, weight, bias, tail)


def _conv_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs)


def _conv_gradients(ctx: Any, grad_y: Tensor, grad_new_tail: Tensor) -> tuple[Tensor | None, ...]:
    grad_x, grad_weight, grad_bias, grad_tail = causal_conv1d_backward(*ctx.saved_tensors, grad_y, grad_new_tail)
    return grad_x, grad_weight, grad_bias, None, grad_tail


causal_conv1d.register_autograd(_conv_gradients, setup_context=_conv_setup)


@torch.library.custom_op("recblr::dropout", mutates_args=(), device_types="cpu")
def dropout(x: Tensor, seed: Tensor, p: float) -> Tensor:
    """x / (1 - p), or 0 with probability p, as the seed (an int64 scalar) decides."""
    return kernel_calls.calls_for(x).dropout(x, seed, p)


@dropout.register_fake
def _(x: Tensor, seed: Tensor, p: float) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _dropout_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, seed, ctx.p = inputs
    ctx.save_for_backward(seed)


def _dropout_gradients(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
    return dropout(grad_y, *ctx.saved_tensors, ctx.p), None, None


dropout.register_autograd(_dropout_gradients, setup_context=_dropout_setup)


def _autocast_rule(device: str, key: str, op: Any, data: tuple[int, ...]) -> Callable[..., Any]:
    """The op under autocast: arguments `data` in the autocast dtype, other floating-point ones in float32."""

    def cast(place: int, value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == torch.float64:
            return value
        return value.to(torch.get_autocast_dtype(device) if place in data else torch.float32)

    def rule(*arguments: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))):
            return op(*(cast(place, value) for place, value in enumerate(arguments)))

    return rule


_library: Any = torch.library.Library("recblr", "FRAGMENT")  # type: ignore[no-untyped-call]
for _device, _key in (("cpu", "AutocastCPU"), ("cuda", "AutocastCUDA")):
    _library.impl("gated_scan", _autocast_rule(_device, _key, gated_scan, (0, 1, 2)), _key)
    _library.impl("causal_conv1d", _autocast_rule(_device, _key, causal_conv1d, (0,)), _key)
