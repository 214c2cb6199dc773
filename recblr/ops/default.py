"""The ops that are used unless others are asked for: the native kernels, or the reference where those can't be."""

from __future__ import annotations

import warnings

from torch import Tensor

from recblr.array_types import Channels, ConvTail, ConvWeight, Gates, Hidden, Inner, Offsets
from recblr.ops.native import NativeOps, supports
from recblr.ops.reference import ReferenceOps
from recblr.plugins import PluginLibraryError, load_library


def _load_native() -> NativeOps | None:
    """The native ops; None, with a warning, where their library cannot be loaded."""
    try:
        load_library()
    except PluginLibraryError as error:
        warnings.warn(f"recblr uses its slower PyTorch ops: {error}", RuntimeWarning, stacklevel=1)
        return None
    return NativeOps()


_reference = ReferenceOps()
_native = _load_native()


def _ops_for(x: Tensor) -> NativeOps | ReferenceOps:
    return _native if _native is not None and supports(x) else _reference


class DefaultOps:
    """`recblr.ops.SequenceOps`: native for CPU data in float32, float16 or bfloat16, else the reference."""

    def causal_conv1d(
        self, x: Inner, weight: ConvWeight, bias: Channels, offsets: Offsets, tail: ConvTail
    ) -> tuple[Inner, ConvTail]:
        """See `recblr.ops.SequenceOps.causal_conv1d`."""
        return _ops_for(x).causal_conv1d(x, weight, bias, offsets, tail)

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
        return _ops_for(x).gated_scan(x, gates, z, decay, offsets, h0, last_only)
