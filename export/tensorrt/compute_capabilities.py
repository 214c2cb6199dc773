"""The GPUs that TensorRT-RTX builds for.

Importing this module needs `recblr.runtime.gpu.trt_module.load_tensorrt` to have been called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recblr.errors import ConfigError
from recblr.runtime.gpu.trt_module import tensorrt_in_use

if TYPE_CHECKING:
    import tensorrt as trt
else:
    trt = tensorrt_in_use()


def compute_capability_kinds(capabilities: tuple[str, ...]) -> list[Any]:
    """TensorRT-RTX's values for compute capabilities such as "8.9".

    Raises:
        ConfigError: it builds for others only.
    """
    if not capabilities:
        return []
    kinds = trt.ComputeCapability.__members__  # type: ignore[attr-defined]
    for capability in capabilities:
        if _kind_name(capability) not in kinds:
            known = ", ".join(f"{name[2:-1]}.{name[-1]}" for name in kinds if name.startswith("SM"))
            raise ConfigError(
                f"compute-capability is {capability}, TensorRT-RTX {trt.__version__} builds for {known}: give one of "
                "those, or use --target tensorrt on a machine with the GPU"
            )
    return [kinds[_kind_name(capability)] for capability in capabilities]


def _kind_name(capability: str) -> str:
    return f"SM{capability.replace('.', '')}"
