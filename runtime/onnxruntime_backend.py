"""ONNX Runtime on the CPU. Importing this module imports onnxruntime; `recblr.runtime.load` does it late."""

from __future__ import annotations

import os
from pathlib import Path

import onnxruntime

from recblr.array_types import (
    ExcludeArray,
    ItemsArray,
    OffsetsArray,
    StatesArray,
    TopItemsArray,
    TopScoresArray,
)
from recblr.errors import BundleError, ConfigError

_INPUTS = {
    "items": "tensor(int32)",
    "offsets": "tensor(int32)",
    "state_in": "tensor(float)",
    "exclude": "tensor(int32)",
}
_OUTPUTS = {"top_items": "tensor(int32)", "top_scores": "tensor(float)", "state_out": "tensor(float)"}
_ERRORS_ONLY = 3  # the GPU build warns of missing GPUs, which are no concern of a CPU session


class OnnxRuntimeBackend:
    """A `recblr.runtime.Backend`."""

    def __init__(self, model_path: Path, threads: int | None = None) -> None:
        """Load a graph.

        Args:
            model_path: the bundle's ONNX file.
            threads: for one run; None for one per CPU this process may use.

        Raises:
            ConfigError: `threads` below 1.
            BundleError: ONNX Runtime cannot load the file, or its inputs and outputs are others.
        """
        # Left to itself, ONNX Runtime counts and pins the machine's cores, not those this process may use.
        threads = _usable_cpus() if threads is None else threads
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise ConfigError(f"threads is {threads!r}: give a whole number of at least 1")
        onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1  # the graph is a chain
        try:
            session = onnxruntime.InferenceSession(
                str(model_path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common base
            reason = str(error).strip().splitlines()[0]
            raise BundleError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load {model_path} ({reason}): "
                "upgrade onnxruntime, or export the bundle again"
            ) from error
        for expected, actual in ((_INPUTS, session.get_inputs()), (_OUTPUTS, session.get_outputs())):
            found = {node.name: node.type for node in actual}
            if found != expected:
                raise BundleError(f"{model_path} has {found} where {expected} is needed: export the bundle again")
        self._session = session

    def run(
        self, items: ItemsArray, offsets: OffsetsArray, state_in: StatesArray, exclude: ExcludeArray
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """See `recblr.runtime.Backend.run`."""
        inputs = {"items": items, "offsets": offsets, "state_in": state_in, "exclude": exclude}
        top_items, top_scores, state_out = self._session.run(list(_OUTPUTS), inputs)
        return top_items, top_scores, state_out


def _usable_cpus() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1
