"""A model repository for Triton Inference Server with ONNX Runtime or TensorRT, from a bundle.

DIR/
  README.md                            how to serve and ask it
  recblr/config.pbtxt                  states come with requests and go with answers
  recblr/configs/implicit_state.pbtxt  the alternative: Triton keeps the states of sequences
  recblr/1/model.onnx or model.plan    the graph of `recblr.export.triton.graph`, or a plan built from it
  recblr/1/model.onnx.data             only for a large model's graph: the items' embedding
  recblr/items.json                    the item vocabulary
  recblr/initial_state/state_in        raw float32 [S]
  recblr/warmup/                       raw inputs of the warm-up requests
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from recblr.errors import ExportError
from recblr.export.onnx.graph_file import has_external_data, read_graph
from recblr.export.tensorrt.tensors import check_tensors, graph_tensors
from recblr.export.triton.graph import triton_graph
from recblr.export.triton.plan import BuildTritonPlan, TritonPlan
from recblr.files import check_not_input, check_replaceable, replacing_directory, write_text
from recblr.runtime.bundle.manifest import ITEMS_FILE, MODEL_DATA_FILE, MODEL_FILE
from recblr.runtime.bundle.opening import Bundle, open_bundle

MODEL_NAME = "recblr"  # in templates/client.py, too
PLAN_NAME = "model.plan"
REPOSITORY_KIND = "model repository of recblr-export"

MARK = "# Written by recblr-export"  # how a repository of ours is known
_MAX_ROWS = 64  # of a batch, for the ONNX Runtime backend; a plan brings its own number
_MAX_QUEUE_DELAY = 500  # microseconds that a request may wait for others
_WARMUP_ITEMS = 16
_SEQUENCES = 1024  # that one instance keeps, at least
_IDLE_SECONDS = 600


def write_repository(
    bundle_path: str | Path,
    directory: str | Path,
    build_plan: BuildTritonPlan | None = None,
) -> None:
    """Write a model repository, whole or not at all.

    Args:
        bundle_path: the model.
        directory: to make; a repository that this function wrote is replaced, anything else is left alone.
        build_plan: makes the plan for the TensorRT backend, of the graph and the bundle's ONNX file, in whose folder
            a large model has its embedding; None for the ONNX Runtime backend, on the CPU.

    Raises:
        BundleError: `bundle_path` is not a bundle.
        ExportError: the bundle's graph is not one that this version wrote, or the plan does not fit it.
        OutputError: `directory` holds something else, the bundle included, or cannot be written.
    """
    bundle = open_bundle(bundle_path)
    directory = Path(directory).resolve()
    check_not_input(directory, [bundle.path])
    with replacing_directory(directory, is_repository, REPOSITORY_KIND) as root:
        graph = triton_graph(read_graph(bundle.model_path))
        plan, max_rows = None, _MAX_ROWS
        if build_plan is not None:
            plan = build_plan(graph, bundle.model_path)
            check_tensors(graph_tensors(graph), plan.tensors)
            if min(plan.max_tokens, plan.max_exclusions) < plan.max_rows:
                raise ExportError(
                    f"the plan takes {plan.max_rows} rows, but {plan.max_tokens} tokens and {plan.max_exclusions} "
                    "exclusions: build it for at least one of each per row"
                )
            max_rows = plan.max_rows
        folder = root / MODEL_NAME
        for name in ("1", "configs", "initial_state", "warmup"):
            (folder / name).mkdir(parents=True)
        if plan is None:
            (folder / "1" / MODEL_FILE).write_bytes(graph.SerializeToString(deterministic=True))
            if has_external_data(graph):  # copied, as onnx refuses links, hard ones, too
                shutil.copyfile(bundle.path / MODEL_DATA_FILE, folder / "1" / MODEL_DATA_FILE)
        else:
            (folder / "1" / PLAN_NAME).write_bytes(plan.plan)
        shutil.copyfile(bundle.path / ITEMS_FILE, folder / ITEMS_FILE)
        initial_state = bundle.initial_state.astype("<f4").tobytes()
        warmup_items = _WARMUP_ITEMS if plan is None else max(1, min(_WARMUP_ITEMS, plan.max_tokens // max_rows))
        items = (np.arange(warmup_items) % bundle.manifest.n_items + 1).astype("<i4")
        (folder / "initial_state" / "state_in").write_bytes(initial_state)
        (folder / "warmup" / "state_in").write_bytes(initial_state)
        (folder / "warmup" / "items").write_bytes(items.tobytes())
        values = _values(bundle, plan, max_rows, warmup_items)
        write_text(folder / "config.pbtxt", filled("config.pbtxt", values))
        write_text(folder / "configs" / "implicit_state.pbtxt", filled("implicit_state.pbtxt", values))
        write_text(root / "README.md", filled("README.md", values))


def check_directory(directory: Path) -> None:
    """Check before long work that a repository may replace a folder.

    Raises:
        OutputError: it holds something else.
    """
    check_replaceable(directory.resolve(), is_repository, REPOSITORY_KIND)


def is_repository(path: Path) -> bool:
    """Whether `path` is a folder with nothing but a repository that recblr-export wrote."""
    try:
        others = {entry.name for entry in path.iterdir()} - {"README.md", MODEL_NAME}
        config = (path / MODEL_NAME / "config.pbtxt").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return not others and config.startswith(MARK)


def _values(bundle: Bundle, plan: TritonPlan | None, max_rows: int, warmup_items: int) -> dict[str, object]:
    """The values of the templates' placeholders."""
    values: dict[str, object] = {
        "mark": MARK,
        "name": MODEL_NAME,
        "fingerprint": bundle.manifest.fingerprint,
        "backend": "onnxruntime" if plan is None else "tensorrt",
        "instance_kind": "KIND_CPU" if plan is None else "KIND_GPU",
        "max_rows": max_rows,
        "max_queue_delay": _MAX_QUEUE_DELAY,
        "state_size": bundle.manifest.state_size,
        "n_items": f"{bundle.manifest.n_items:,}",
        "k": bundle.manifest.max_k,
        "warmup_items": warmup_items,
        "sequences": max(_SEQUENCES, max_rows),
        "idle_seconds": _IDLE_SECONDS,
        "idle_microseconds": _IDLE_SECONDS * 1_000_000,
    }
    batches = {"one_row": 1, "full_batch": max_rows}
    samples = [filled("warmup.pbtxt", {**values, "sample": name, "batch_size": size}) for name, size in batches.items()]
    values["warmup"] = "".join(samples).rstrip()
    values["common"] = filled("common.pbtxt", values).rstrip()
    values["client"] = template("client.py").rstrip()
    if plan is None:
        notes = filled("onnx_notes.md", values)
    else:
        limits = {
            "max_tokens": f"{plan.max_tokens:,}",
            "max_exclusions": f"{plan.max_exclusions:,}",
            "row_tokens": max(1, plan.max_tokens // max_rows),
            "row_exclusions": max(1, plan.max_exclusions // max_rows),
            "tensorrt_version": plan.tensorrt_version,
        }
        notes = filled("plan_notes.md", {**values, **limits})
    values["notes"] = notes.rstrip()
    return values


def filled(name: str, values: Mapping[str, object]) -> str:
    """The text of `template`, with these values in the places of its placeholders."""
    return Template(template(name)).substitute(values)


def template(name: str) -> str:
    """The text of a file in the package's folder templates/."""
    return (files("recblr.export.triton") / "templates" / name).read_text(encoding="utf-8")
