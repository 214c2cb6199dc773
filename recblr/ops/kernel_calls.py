"""Calls of the native library's kernels with tensors: allocates the outputs, fills the C structures, checks the status.

Which functions are called - the CPU's, the GPU's, of which library - is a matter of one object, `KernelCalls`; the rest
is the same for all.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from recblr.plugins import PluginLibraryError, abi, load_library

DTYPES = {torch.float32: abi.FLOAT32, torch.float16: abi.FLOAT16, torch.bfloat16: abi.BFLOAT16}
INTEGERS = {torch.int64: abi.INT64, torch.int32: abi.INT32}


@dataclass(frozen=True)
class KernelCalls:
    """The functions of one library for one kind of device.

    Data tensors are float32, float16 or bfloat16, all of one dtype; decay, bias, weight and states are float32; offsets
    are int32 or int64. x, gates and z may be views whose last dimension alone is contiguous: they are not
    copied.

    Attributes:
        handle: the library.
        suffix: which functions: "cpu" or "cuda".
        stream: the CUDA stream's address; unused for "cpu".
        strategy: how a GPU scans, for comparisons: `abi.ROWS_IN_THREADS` or `abi.ROWS_IN_BLOCKS`.
    """

    handle: ctypes.CDLL
    suffix: str = "cpu"
    stream: int = 0
    strategy: int = abi.BY_SHAPE

    def gated_scan(
        self, x: Tensor, gates: Tensor, z: Tensor, decay: Tensor, offsets: Tensor, h0: Tensor, last_only: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """y, as z; the last h [B, H]; and h before every segment, for the backward pass."""
        x, gates, z = _rows(x), _rows(gates), _rows(z)
        inputs = {"decay": decay.contiguous(), "offsets": offsets.contiguous(), "h0": h0.contiguous()}
        outputs = {
            "y": _empty_like(z),
            "last_h": _empty_like(h0),
            "segment_h": h0.new_empty(x.shape[0] // abi.SEGMENT + h0.shape[0], x.shape[1]),
        }
        self._call("gated_scan_forward", self._scan_arguments(x, gates, z, last_only, inputs | outputs))
        return outputs["y"], outputs["last_h"], outputs["segment_h"]

    def gated_scan_backward(
        self,
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
        x, gates, z = _rows(x), _rows(gates), _rows(z)
        inputs = {
            "decay": decay.contiguous(),
            "offsets": offsets.contiguous(),
            "h0": h0.contiguous(),
            "segment_h": segment_h.contiguous(),
            "grad_y": grad_y.to(x.dtype).contiguous(),
            "grad_last_h": grad_last_h.float().contiguous(),
        }
        gradients = (_empty_like(x), _empty_like(gates), _empty_like(z), _empty_like(decay), _empty_like(h0))
        names = ("grad_x", "grad_gates", "grad_z", "grad_decay", "grad_h0")
        arguments = self._scan_arguments(x, gates, z, last_only, inputs | dict(zip(names, gradients, strict=True)))
        self._call("gated_scan_backward", arguments, self._workspace("gated_scan", arguments, x))
        return gradients

    def causal_conv1d(
        self, x: Tensor, weight: Tensor, bias: Tensor, offsets: Tensor, tail: Tensor
    ) -> tuple[Tensor, Tensor]:
        """y [N, H] and the new tail [B, K-1, H]."""
        x = _rows(x)
        inputs = _contiguous(weight=weight, bias=bias, offsets=offsets, tail=tail)
        y, new_tail = _empty_like(x), _empty_like(tail)
        self._call("causal_conv1d_forward", _conv_arguments(x, inputs | {"y": y, "new_tail": new_tail}))
        return y, new_tail

    def causal_conv1d_backward(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        offsets: Tensor,
        tail: Tensor,
        grad_y: Tensor,
        grad_new_tail: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of x, weight, bias and tail, each of the shape and dtype of its input."""
        x = _rows(x)
        inputs = _contiguous(
            weight=weight,
            bias=bias,
            offsets=offsets,
            tail=tail,
            grad_y=grad_y.to(x.dtype),
            grad_new_tail=grad_new_tail.float(),
        )
        gradients = (_empty_like(x), _empty_like(weight), _empty_like(bias), _empty_like(tail))
        names = ("grad_x", "grad_weight", "grad_bias", "grad_tail")
        arguments = _conv_arguments(x, inputs | dict(zip(names, gradients, strict=True)))
        self._call("causal_conv1d_backward", arguments, self._workspace("causal_conv1d", arguments, x))
        return gradients

    def dropout(self, x: Tensor, seed: Tensor, p: float) -> Tensor:
        """Dropout that is a function of the seed, an int64 scalar; CPU only."""
        x = x.contiguous()
        y = torch.empty_like(x)
        arguments = abi.Dropout(
            n_elements=x.numel(),
            seed=int(seed) % 2**64,
            p=p,
            dtype=DTYPES[x.dtype],
            n_threads=torch.get_num_threads(),
            x=x.data_ptr(),
            y=y.data_ptr(),
        )
        self._call("dropout", arguments)
        return y

    def cross_entropy_(self, logits: Tensor, targets: Tensor, keep_logits: bool) -> Tensor:
        """Losses float32 [N] of contiguous logits [N, V+1] with int64 targets, item 0 left out; CPU only.

        Unless `keep_logits`, the logits are replaced by their gradient.
        """
        targets = targets.contiguous()
        losses = logits.new_empty(len(logits), dtype=torch.float32)
        arguments = abi.CrossEntropy(
            n_rows=logits.shape[0],
            width=logits.shape[1],
            dtype=DTYPES[logits.dtype],
            n_threads=torch.get_num_threads(),
            keep_logits=keep_logits,
            targets=targets.data_ptr(),
            logits=logits.data_ptr(),
            losses=losses.data_ptr(),
        )
        self._call("cross_entropy", arguments)
        return losses

    def _scan_arguments(
        self, x: Tensor, gates: Tensor, z: Tensor, last_only: bool, others: dict[str, Tensor]
    ) -> abi.GatedScan:
        return abi.GatedScan(
            n_tokens=x.shape[0],
            n_rows=len(others["offsets"]) - 1,
            width=x.shape[1],
            x_stride=x.stride(0),
            gates_stride=gates.stride(0),
            z_stride=z.stride(0),
            dtype=DTYPES[x.dtype],
            offsets_type=INTEGERS[others["offsets"].dtype],
            last_only=last_only,
            n_threads=torch.get_num_threads(),
            strategy=self.strategy,
            **_pointers({"x": x, "gates": gates, "z": z} | others),
        )

    def _workspace(self, name: str, arguments: ctypes.Structure, like: Tensor) -> Tensor | None:
        if self.suffix == "cpu":
            return None
        size = getattr(self.handle, f"recblr_{name}_workspace_{self.suffix}")
        size.restype = ctypes.c_int64
        return like.new_empty(size(ctypes.byref(arguments)), dtype=torch.uint8)

    def _call(self, name: str, arguments: ctypes.Structure, workspace: Tensor | None = None) -> None:
        """Call a function.

        Raises:
            PluginLibraryError: it refuses the arguments, or fails.
        """
        places = [] if workspace is None else [ctypes.c_void_p(workspace.data_ptr())]
        streams = [] if self.suffix == "cpu" else [ctypes.c_void_p(self.stream)]
        status = getattr(self.handle, f"recblr_{name}_{self.suffix}")(ctypes.byref(arguments), *places, *streams)
        if status != abi.OK:
            raise PluginLibraryError(f"recblr_{name}_{self.suffix}: {load_library().last_error}")


def calls_for(x: Tensor) -> KernelCalls:
    """The installed library's functions for the device that x is on."""
    handle = load_library().handle
    if x.device.type == "cuda":
        return KernelCalls(handle, "cuda", torch.cuda.current_stream(x.device).cuda_stream)
    return KernelCalls(handle)


@functools.cache
def has_cuda() -> bool:
    """Whether the installed library has CUDA kernels."""
    try:
        return bool(load_library().cuda_architectures)
    except PluginLibraryError:
        return False


def _rows(tensor: Tensor) -> Tensor:
    """The tensor [n, width], copied only if its rows are not each contiguous."""
    step, within = tensor.stride()
    return tensor if within == 1 and step >= tensor.shape[1] else tensor.contiguous()


def _contiguous(**tensors: Tensor) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _empty_like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _pointers(tensors: dict[str, Tensor]) -> dict[str, int]:
    """Addresses; the tensors must outlive the call."""
    return {name: tensor.data_ptr() for name, tensor in tensors.items()}


def _conv_arguments(x: Tensor, others: dict[str, Tensor]) -> abi.CausalConv1d:
    return abi.CausalConv1d(
        n_tokens=x.shape[0],
        n_rows=len(others["offsets"]) - 1,
        width=x.shape[1],
        taps=others["weight"].shape[1],
        x_stride=x.stride(0),
        dtype=DTYPES[x.dtype],
        offsets_type=INTEGERS[others["offsets"].dtype],
        n_threads=torch.get_num_threads(),
        **_pointers({"x": x} | others),
    )
