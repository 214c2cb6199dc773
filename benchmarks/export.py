"""Exports of a model of the paper's size: time, and per precision the engine's build time, size and memory.

python benchmarks/export.py

TensorRT-RTX builds engines without a GPU; with --target tensorrt, TensorRT times its kernels on the GPU that is there.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import onnx
import torch
from machine import machine_info, write_result

from recblr.checkpoint import Checkpoint
from recblr.config import RecBLRConfig
from recblr.export.bundle import export_bundle
from recblr.export.tensorrt.plan_builder import PlanBuilder
from recblr.export.tensorrt.settings import PlanSettings
from recblr.model import RecBLR
from recblr.runtime.bundle.plan_section import PRECISIONS, TARGETS, Target
from recblr.runtime.gpu.cuda import current_gpu
from recblr.vocabulary import ItemVocabulary

T = TypeVar("T")

N_ITEMS = 3416
_PACKAGES = ("recblr", "torch", "onnx", "onnxscript", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx-cu13-bindings")


def measured(function: Callable[[], T], repeats: int) -> tuple[T, dict[str, Any]]:
    """Call a function once, which loads libraries, and then `repeats` times; what the last call returned, and times.

    Of the processors, too: on a busy machine their time says more than the clock's.
    """
    seconds, cpu_seconds = [], []
    for _ in range(repeats + 1):
        started, cpu_started = time.perf_counter(), time.process_time()
        result = function()
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - cpu_started)
    return result, {
        "first_s": seconds[0],
        "median_s": statistics.median(seconds[1:]),
        "median_cpu_s": statistics.median(cpu_seconds[1:]),
        "all_but_first_s": seconds[1:],
    }


def measure_export(checkpoint: Checkpoint, path: Path, repeats: int) -> dict[str, Any]:
    """Graph, check, comparison with PyTorch, files."""
    _, times = measured(lambda: export_bundle(checkpoint, path), repeats)
    return {"bytes": sum(file.stat().st_size for file in path.iterdir()), **times}


def measure_plan(model_path: Path, settings: PlanSettings, repeats: int) -> dict[str, Any]:
    """Parsing, proof of the precision, and build."""
    builder = PlanBuilder(settings)
    graph = onnx.load(model_path)
    plan, times = measured(lambda: builder.build(graph, model_path), repeats)
    with_library = builder.build(graph, model_path, embed_plugin=True)
    return {
        "precision": settings.precision,
        "version": plan.version,
        "bytes": len(plan.plan),
        "bytes_with_plugin_library": len(with_library.plan),
        "activation_bytes": plan.memory_bytes,
        "weight_bytes": plan.weight_bytes,
        **times,
    }


@click.command()
@click.option("--target", type=click.Choice(TARGETS), default="tensorrt-rtx", show_default=True)
@click.option(
    "--repeats", type=click.IntRange(1), default=10, show_default=True, help="Besides a first, which warms up."
)
def main(target: Target, repeats: int) -> None:
    """Measure and write benchmarks/results/export.json."""
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=N_ITEMS)).eval()
    vocabulary = ItemVocabulary(list(range(1, N_ITEMS + 1)), np.ones(N_ITEMS, dtype=np.int64))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        bundle = measure_export(Checkpoint(model, vocabulary), path, repeats)
        settings = [PlanSettings(target=target, precision=precision) for precision in PRECISIONS]
        plans = [measure_plan(path / "model.onnx", each, repeats) for each in settings]
    gpu = current_gpu()
    result = {
        "machine": machine_info(_PACKAGES),
        "gpu": gpu and gpu.name,
        "model": model.config.to_dict(),
        "repeats": repeats,
        "bundle": bundle,
        "target": target,
        "profile": dataclasses.asdict(settings[0].profile),
        "engines": plans,
    }
    written = write_result("export", result)
    click.echo(f"bundle: {bundle['bytes'] / 1e6:.1f} MB, exported in {bundle['median_s']:.2f} s")
    for row in plans:
        memory = "unknown" if row["activation_bytes"] is None else f"{row['activation_bytes'] / 1e6:.0f} MB"
        click.echo(
            f"{row['precision']}: built in {row['median_s']:.2f} s, {row['bytes'] / 1e6:.2f} MB, "
            f"activations of the largest profile {memory}"
        )
    click.echo(f"written to {written}")


if __name__ == "__main__":
    main()
