"""A model repository for Triton Inference Server, from a bundle.

DIR/
  README.md                            how to serve and ask it
  recblr/config.pbtxt                  states come with requests and go with answers
  recblr/configs/implicit_state.pbtxt  the alternative: Triton keeps the states of sequences
  recblr/1/model.onnx or model.plan    the graph of `recblr.export.triton.graph`, or an engine built from it
  recblr/1/model.onnx.data             only for a large model's graph: the items' embedding
  recblr/items.json                    the item vocabulary
  recblr/initial_state/state_in        raw float32 [S]
  recblr/warmup/                       raw inputs of the warm-up requests
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
from onnx import TensorProto

from recblr.errors import ConfigError, ExportError
from recblr.export.onnx.graph_file import external_initializer, read_graph
from recblr.export.triton.graph import triton_graph
from recblr.export.triton.templates import CONFIG, ENGINE_NOTES, IMPLICIT_STATE, ONNX_NOTES, README, WARMUP
from recblr.export.triton.tensor_spec import TensorSpec
from recblr.files import check_replaceable, replacing_directory, write_text
from recblr.runtime.bundle.manifest import ITEMS_FILE, MODEL_DATA_FILE, MODEL_FILE
from recblr.runtime.bundle.opening import Bundle, open_bundle

MODEL_NAME = "recblr"
_KIND = "model repository of recblr-export"
DEFAULT_MAX_ROWS = 64
DEFAULT_MAX_QUEUE_DELAY = 500

_MARK = "# Written by recblr-export"  # how a repository of ours is known
_WARMUP_ITEMS = 16
_SEQUENCES = 1024  # that one instance keeps, at least
_IDLE_SECONDS = 600

_DTYPES = {TensorProto.INT32: "int32", TensorProto.FLOAT: "float32"}


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A serialized TensorRT engine of a `triton_graph`, with the plugin library embedded.

    Attributes:
        plan: the engine's bytes.
        tensors: its inputs and outputs.
        max_rows: the most rows of its optimization profile; the least must be 1, as for tokens and exclusions.
        max_tokens: the most entries of `items`, all rows together.
        max_exclusions: the most entries of `exclude_items`, all rows together.
        tensorrt_version: that it was built with.
    """

    plan: bytes
    tensors: tuple[TensorSpec, ...]
    max_rows: int
    max_tokens: int
    max_exclusions: int
    tensorrt_version: str


BuildEngine: TypeAlias = Callable[[onnx.ModelProto, Path], Engine]


def write_repository(
    bundle_path: str | Path,
    directory: str | Path,
    build_engine: BuildEngine | None = None,
    max_rows: int = DEFAULT_MAX_ROWS,
    max_queue_delay: int = DEFAULT_MAX_QUEUE_DELAY,
) -> None:
    """Write a model repository, whole or not at all.

    Args:
        bundle_path: the model.
        directory: to make; a repository that this function wrote is replaced, anything else is left alone.
        build_engine: makes the engine for the TensorRT backend of the graph and the bundle's ONNX file, beside which
            a large model has its embedding; None for the ONNX Runtime backend, on the CPU.
        max_rows: the most rows of a batch; an engine brings its own number.
        max_queue_delay: how long a request may wait for others, in microseconds.

    Raises:
        BundleError: `bundle_path` is not a bundle.
        ConfigError: `max_rows` or `max_queue_delay` out of range.
        ExportError: the bundle's graph is not one that this version wrote, or the engine does not fit it.
        OutputError: `directory` holds something else, or cannot be written.
    """
    if isinstance(max_rows, bool) or not isinstance(max_rows, int) or max_rows < 1:
        raise ConfigError(f"max_rows is {max_rows!r}: give a whole number of at least 1")
    if isinstance(max_queue_delay, bool) or not isinstance(max_queue_delay, int) or max_queue_delay < 0:
        raise ConfigError(f"max_queue_delay is {max_queue_delay!r}: give microseconds, at least 0")
    bundle = open_bundle(bundle_path)
    directory = Path(directory).resolve()
    with replacing_directory(directory, is_repository, _KIND) as root:
        graph = triton_graph(read_graph(bundle.model_path))
        engine = None
        if build_engine is not None:
            engine = build_engine(graph, bundle.model_path)
            check_tensors(graph_tensors(graph), engine.tensors)
            if min(engine.max_tokens, engine.max_exclusions) < engine.max_rows:
                raise ExportError(
                    f"the engine takes {engine.max_rows} rows, but {engine.max_tokens} tokens and "
                    f"{engine.max_exclusions} exclusions: build it for at least one of each per row"
                )
            max_rows = engine.max_rows
        folder = root / MODEL_NAME
        for name in ("1", "configs", "initial_state", "warmup"):
            (folder / name).mkdir(parents=True)
        if engine is None:
            (folder / "1" / MODEL_FILE).write_bytes(graph.SerializeToString(deterministic=True))
            if external_initializer(graph) is not None:  # copied, as onnx refuses links, hard ones, too
                shutil.copyfile(bundle.path / MODEL_DATA_FILE, folder / "1" / MODEL_DATA_FILE)
        else:
            (folder / "1" / "model.plan").write_bytes(engine.plan)
        shutil.copyfile(bundle.path / ITEMS_FILE, folder / ITEMS_FILE)
        initial_state = bundle.initial_state.astype("<f4").tobytes()
        warmup_items = _WARMUP_ITEMS if engine is None else max(1, min(_WARMUP_ITEMS, engine.max_tokens // max_rows))
        items = (np.arange(warmup_items) % bundle.manifest.n_items + 1).astype("<i4")
        (folder / "initial_state" / "state_in").write_bytes(initial_state)
        (folder / "warmup" / "state_in").write_bytes(initial_state)
        (folder / "warmup" / "items").write_bytes(items.tobytes())
        values = _values(bundle, engine, max_rows, max_queue_delay, warmup_items)
        write_text(folder / "config.pbtxt", CONFIG.substitute(values))
        write_text(folder / "configs" / "implicit_state.pbtxt", IMPLICIT_STATE.substitute(values))
        write_text(root / "README.md", README.substitute(values))


def check_directory(directory: Path) -> None:
    """Raise now what `write_repository` would raise of a folder at the end of long work.

    Raises:
        OutputError: it holds something else.
    """
    check_replaceable(directory.resolve(), is_repository, _KIND)


def is_repository(path: Path) -> bool:
    """Whether `path` is a folder with nothing but a repository that `write_repository` wrote."""
    try:
        others = {entry.name for entry in path.iterdir()} - {"README.md", MODEL_NAME}
        config = (path / MODEL_NAME / "config.pbtxt").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return not others and config.startswith(_MARK)


def graph_tensors(model: onnx.ModelProto) -> tuple[TensorSpec, ...]:
    """A graph's inputs and outputs, in its order.

    Raises:
        ExportError: one of another type than int32 and float32.
    """
    specs = []
    for values, is_input in ((model.graph.input, True), (model.graph.output, False)):
        for value in values:
            tensor = value.type.tensor_type
            if tensor.elem_type not in _DTYPES:
                kind = TensorProto.DataType.Name(tensor.elem_type)
                raise ExportError(f"{value.name} has type {kind}, not int32 or float32: export the bundle again")
            shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
            specs.append(TensorSpec(value.name, _DTYPES[tensor.elem_type], shape, is_input))
    return tuple(specs)


def check_tensors(expected: Iterable[TensorSpec], found: Iterable[TensorSpec]) -> None:
    """Check that an engine has the graph's inputs and outputs, in whatever order.

    Raises:
        ExportError: a name, type or shape differs.
    """
    by_name = {spec.name: spec for spec in found}
    for spec in expected:
        other = by_name.pop(spec.name, None)
        if other != spec:
            raise ExportError(f"the engine has {other} where the graph has {spec}: build it from that graph")
    if by_name:
        raise ExportError(f"the engine has {', '.join(by_name)}, the graph has not: build it from that graph")


def _values(
    bundle: Bundle, engine: Engine | None, max_rows: int, max_queue_delay: int, warmup_items: int
) -> dict[str, object]:
    """What the templates take."""
    values: dict[str, object] = {
        "mark": _MARK,
        "name": MODEL_NAME,
        "fingerprint": bundle.manifest.fingerprint,
        "backend": "onnxruntime" if engine is None else "tensorrt",
        "instance_kind": "KIND_CPU" if engine is None else "KIND_GPU",
        "max_rows": max_rows,
        "max_queue_delay": max_queue_delay,
        "state_size": bundle.manifest.state_size,
        "n_items": f"{bundle.manifest.n_items:,}",
        "k": bundle.manifest.max_k,
        "warmup_items": warmup_items,
        "sequences": max(_SEQUENCES, max_rows),
        "idle_seconds": _IDLE_SECONDS,
        "idle_microseconds": _IDLE_SECONDS * 1_000_000,
    }
    batches = {"one_row": 1, "full_batch": max_rows}
    samples = [WARMUP.substitute(values, sample=name, batch_size=size) for name, size in batches.items()]
    values["warmup"] = ",\n".join(samples)
    if engine is None:
        values["notes"] = ONNX_NOTES.substitute(values)
    else:
        values["notes"] = ENGINE_NOTES.substitute(
            values,
            max_tokens=f"{engine.max_tokens:,}",
            max_exclusions=f"{engine.max_exclusions:,}",
            row_tokens=max(1, engine.max_tokens // max_rows),
            row_exclusions=max(1, engine.max_exclusions // max_rows),
            tensorrt_version=engine.tensorrt_version,
        )
    return values
