"""Is there a GPU to run engines on?"""

from __future__ import annotations

from typing import NamedTuple


class Gpu(NamedTuple):
    """The current GPU: its name, and its compute capability such as "8.9"."""

    name: str
    compute_capability: str


def current_gpu() -> Gpu | None:
    """The GPU that this process would use; None without a GPU, its driver, or cuda-bindings."""
    try:
        from cuda.bindings import runtime as cuda
    except ImportError:
        return None
    success = cuda.cudaError_t.cudaSuccess
    error, count = cuda.cudaGetDeviceCount()
    if error != success or not count:
        return None
    error, device = cuda.cudaGetDevice()
    if error != success:
        return None
    error, properties = cuda.cudaGetDeviceProperties(device)
    if error != success:
        return None
    return Gpu(properties.name.decode(), f"{properties.major}.{properties.minor}")
