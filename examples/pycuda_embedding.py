"""Recommendations in a pycuda program: its arrays and its stream in, results on the GPU out, nothing through the host.

    python examples/pycuda_embedding.py bundle/

The bundle needs a TensorRT engine (recblr-export --target tensorrt, or tensorrt-rtx), and pycuda must be installed
(pip install 'recblr[pycuda]'). This file was checked against the interfaces that it uses; it was not run, for want of
pycuda and a GPU where it was written.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from recblr.errors import RecblrError
from recblr.runtime import Bundle, open_bundle
from recblr.runtime.gpu.arrays import DeviceArray
from recblr.runtime.gpu.backend import TensorRTBackend

# In the model's indices, as a program would hold them that maps its item ids once: two users.
ITEMS = np.array([1, 2, 3, 2], np.int32)
OFFSETS = np.array([0, 3, 4], np.int32)


def recommend(bundle: Bundle, backend: TensorRTBackend, gpuarray: Any, stream: Any) -> tuple[Any, Any]:
    """Run a batch, and the next event of its first user, on the caller's stream.

    Args:
        bundle: that the backend runs.
        gpuarray: pycuda.gpuarray.
        stream: a pycuda.driver.Stream.

    Returns:
        pycuda arrays, which are there once the stream gets to them: int32 [2, k] the best items of each user,
        int32 [1, k] those of the first after the event.
    """

    def upload(values: np.ndarray) -> Any:
        return gpuarray.to_gpu_async(values, stream=stream)

    initial = np.tile(bundle.initial_state, (len(OFFSETS) - 1, 1))
    first = backend.run_device(upload(ITEMS), upload(OFFSETS), upload(initial), stream=stream)

    # The new states are an input again, as a pycuda array like any other: here the first user's row.
    states = as_gpuarray(first.state_out, gpuarray)
    event, offsets = np.array([4], np.int32), np.array([0, 1], np.int32)
    second = backend.run_device(upload(event), upload(offsets), states[:1], stream=stream)
    return as_gpuarray(first.top_items, gpuarray), as_gpuarray(second.top_items, gpuarray)


def as_gpuarray(result: DeviceArray | None, gpuarray: Any) -> Any:
    """A result as a pycuda array, which keeps its memory."""
    if result is None:
        raise ValueError("the states are in a pool")
    interface = result.__cuda_array_interface__
    return gpuarray.GPUArray(
        interface["shape"], np.dtype(interface["typestr"]), base=result, gpudata=interface["data"][0]
    )


def main() -> None:
    """Recommend from the bundle named on the command line."""
    # The context that CUDA's runtime, and so TensorRT, uses; `pycuda.autoinit` would make another.
    import pycuda.autoprimaryctx  # type: ignore[import-not-found]
    import pycuda.driver  # type: ignore[import-not-found]
    from pycuda import gpuarray

    if len(sys.argv) != 2:
        raise SystemExit(f"usage: {sys.argv[0]} BUNDLE")
    try:
        bundle = open_bundle(sys.argv[1])
        backend = TensorRTBackend(bundle)
        stream = pycuda.driver.Stream()
        before, after = recommend(bundle, backend, gpuarray, stream)
    except RecblrError as error:
        raise SystemExit(str(error)) from error
    stream.synchronize()
    for title, items in (("from the histories", before.get()), ("after one more event", after.get())):
        for row in items:
            print(f"{title}: {[bundle.item(index) for index in row[:5].tolist()]}")


if __name__ == "__main__":
    main()
