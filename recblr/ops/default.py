"""The ops that are used unless others are asked for: the native kernels, or the reference where those can't be."""

from __future__ import annotations

import warnings

from torch import Tensor

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


def ops_for(x: Tensor) -> NativeOps | ReferenceOps:
    """The native ops for data that they support, else the reference."""
    return _native if _native is not None and supports(x) else _reference
