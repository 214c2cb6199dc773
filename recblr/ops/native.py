"""The ops by the native library's CPU kernels, as PyTorch operators with gradients.

Saved for the backward pass: the inputs, and h before every fourth token in float32; all else is computed again.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from recblr.array_types import Channels, ConvTail, ConvWeight, Gates, Hidden, Inner, Offsets
from recblr.plugins import PluginLibraryError, abi, load_library

_DTYPES = {torch.float32: abi.FLOAT32, torch.float16: abi.FLOAT16, torch.bfloat16: abi.BFLOAT16}


def supports(x: Tensor) -> bool:
    """Whether the kernels take data of this kind: on the CPU, in float32, float16 or bfloat16."""
    return x.device.type == "cpu" and x.dtype in _DTYPES


class NativeOps:
    """`recblr.ops.SequenceOps`, for data that `supports` accepts; parameters and states are taken in float32."""

    def causal_conv1d(
        self, x: Inner, weight: ConvWeight, bias: Channels, offsets: Offsets, tail: ConvTail
    ) -> tuple[Inner, ConvTail]:
        """See `recblr.ops.SequenceOps.causal_conv1d`."""
        y, new_tail = _causal_conv1d(x, weight.float(), bias.float(), offsets.long(), tail.float())
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
        """See `recblr.ops.SequenceOps.gated_scan`."""
        y, last_h, _ = _gated_scan(
            x, gates.to(x.dtype), z.to(x.dtype), decay.float(), offsets.long(), h0.float(), last_only
        )
        return y, last_h.to(h0.dtype)


@torch.library.custom_op("recblr::gated_scan", mutates_args=(), device_types="cpu")
def _gated_scan(
    x: Tensor, gates: Tensor, z: Tensor, decay: Tensor, offsets: Tensor, h0: Tensor, last_only: bool
) -> tuple[Tensor, Tensor, Tensor]:
    inputs = [tensor.contiguous() for tensor in (offsets, x, gates, z, decay, h0)]
    y, last_h = torch.empty_like(inputs[3]), torch.empty_like(inputs[5])
    h = torch.empty((x.shape[0] // abi.SEGMENT + len(offsets) - 1, x.shape[1]), dtype=torch.float32)
    arguments = _scan_arguments(inputs, h, last_only)
    arguments.y, arguments.last_h = y.data_ptr(), last_h.data_ptr()
    _call("recblr_gated_scan_forward_cpu", arguments)
    return y, last_h, h


@_gated_scan.register_fake
def _(
    x: Tensor, gates: Tensor, z: Tensor, decay: Tensor, offsets: Tensor, h0: Tensor, last_only: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(z, memory_format=torch.contiguous_format),
        torch.empty_like(h0, memory_format=torch.contiguous_format),
        x.new_empty((x.shape[0] // abi.SEGMENT + h0.shape[0], x.shape[1]), dtype=torch.float32),
    )


@torch.library.custom_op("recblr::gated_scan_backward", mutates_args=(), device_types="cpu")
def _gated_scan_backward(
    x: Tensor,
    gates: Tensor,
    z: Tensor,
    decay: Tensor,
    offsets: Tensor,
    h0: Tensor,
    h: Tensor,
    grad_y: Tensor,
    grad_last_h: Tensor,
    last_only: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = [tensor.contiguous() for tensor in (offsets, x, gates, z, decay, h0)]
    grad_y, grad_last_h = grad_y.to(x.dtype).contiguous(), grad_last_h.float().contiguous()
    gradients = tuple(torch.empty_like(tensor) for tensor in inputs[1:])
    arguments = _scan_arguments(inputs, h, last_only)
    arguments.grad_y, arguments.grad_last_h = grad_y.data_ptr(), grad_last_h.data_ptr()
    for name, gradient in zip(("x", "gates", "z", "decay", "h0"), gradients, strict=True):
        setattr(arguments, f"grad_{name}", gradient.data_ptr())
    _call("recblr_gated_scan_backward_cpu", arguments)
    return gradients  # type: ignore[return-value]


@_gated_scan_backward.register_fake
def _(
    x: Tensor,
    gates: Tensor,
    z: Tensor,
    decay: Tensor,
    offsets: Tensor,
    h0: Tensor,
    h: Tensor,
    grad_y: Tensor,
    grad_last_h: Tensor,
    last_only: bool,
) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (x, gates, z, decay, h0))


def _scan_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.last_only = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.mark_non_differentiable(output[2])


def _scan_gradients(ctx: Any, grad_y: Tensor, grad_last_h: Tensor, _grad_h: Tensor) -> tuple[Tensor | None, ...]:
    grad_x, grad_gates, grad_z, grad_decay, grad_h0 = _gated_scan_backward(
        *ctx.saved_tensors, grad_y, grad_last_h, ctx.last_only
    )
    return grad_x, grad_gates, grad_z, grad_decay, None, grad_h0, None


_gated_scan.register_autograd(_scan_gradients, setup_context=_scan_setup)


@torch.library.custom_op("recblr::causal_conv1d", mutates_args=(), device_types="cpu")
def _causal_conv1d(x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    inputs = [tensor.contiguous() for tensor in (offsets, x, weight, bias, tail)]
    y, new_tail = torch.empty_like(inputs[1]), torch.empty_like(inputs[4])
    arguments = _conv_arguments(inputs)
    arguments.y, arguments.new_tail = y.data_ptr(), new_tail.data_ptr()
    _call("recblr_causal_conv1d_forward_cpu", arguments)
    return y, new_tail


@_causal_conv1d.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(x, memory_format=torch.contiguous_format),
        torch.empty_like(tail, memory_format=torch.contiguous_format),
    )


@torch.library.custom_op("recblr::causal_conv1d_backward", mutates_args=(), device_types="cpu")
def _causal_conv1d_backward(
    x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, tail: Tensor, grad_y: Tensor, grad_new_tail: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    inputs = [tensor.contiguous() for tensor in (offsets, x, weight, bias, tail)]
    grad_y, grad_new_tail = grad_y.to(x.dtype).contiguous(), grad_new_tail.float().contiguous()
    gradients = tuple(torch.empty_like(tensor) for tensor in inputs[1:])
    arguments = _conv_arguments(inputs)
    arguments.grad_y, arguments.grad_new_tail = grad_y.data_ptr(), grad_new_tail.data_ptr()
    for name, gradient in zip(("x", "weight", "bias", "tail"), gradients, strict=True):
        setattr(arguments, f"grad_{name}", gradient.data_ptr())
    _call("recblr_causal_conv1d_backward_cpu", arguments)
    return gradients  # type: ignore[return-value]


@_causal_conv1d_backward.register_fake
def _(
    x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, tail: Tensor, grad_y: Tensor, grad_new_tail: Tensor
) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (x, weight, bias, tail))


def _conv_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs)


def _conv_gradients(ctx: Any, grad_y: Tensor, grad_new_tail: Tensor) -> tuple[Tensor | None, ...]:
    grad_x, grad_weight, grad_bias, grad_tail = _causal_conv1d_backward(*ctx.saved_tensors, grad_y, grad_new_tail)
    return grad_x, grad_weight, grad_bias, None, grad_tail


_causal_conv1d.register_autograd(_conv_gradients, setup_context=_conv_setup)


def _scan_arguments(inputs: list[Tensor], h: Tensor, last_only: bool) -> abi.GatedScan:
    """The fields of both directions; `inputs` are contiguous and must outlive the call."""
    offsets, x, gates, z, decay, h0 = inputs
    return abi.GatedScan(
        n_tokens=x.shape[0],
        n_rows=len(offsets) - 1,
        width=x.shape[1],
        dtype=_DTYPES[x.dtype],
        last_only=last_only,
        n_threads=torch.get_num_threads(),
        offsets=offsets.data_ptr(),
        x=x.data_ptr(),
        gates=gates.data_ptr(),
        z=z.data_ptr(),
        decay=decay.data_ptr(),
        h0=h0.data_ptr(),
        segment_h=h.data_ptr(),
    )


def _conv_arguments(inputs: list[Tensor]) -> abi.CausalConv1d:
    """The fields of both directions; `inputs` are contiguous and must outlive the call."""
    offsets, x, weight, bias, tail = inputs
    return abi.CausalConv1d(
        n_tokens=x.shape[0],
        n_rows=len(offsets) - 1,
        width=x.shape[1],
        taps=weight.shape[1],
        dtype=_DTYPES[x.dtype],
        n_threads=torch.get_num_threads(),
        offsets=offsets.data_ptr(),
        x=x.data_ptr(),
        weight=weight.data_ptr(),
        bias=bias.data_ptr(),
        tail=tail.data_ptr(),
    )


def _call(name: str, arguments: ctypes.Structure) -> None:
    """Call a function of the library.

    Raises:
        PluginLibraryError: it refuses the arguments.
    """
    handle = load_library().handle
    if getattr(handle, name)(ctypes.byref(arguments)) != abi.OK:
        handle.recblr_last_error.restype = ctypes.c_char_p
        raise PluginLibraryError(f"{name}: {handle.recblr_last_error().decode()}")
