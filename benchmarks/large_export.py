"""Memory of exporting and serving a model of more than 2 GB, whose bundle has its embedding beside the graph.

    python benchmarks/large_export.py

Each step is a process of its own: one writes the checkpoint; one reads and exports it, as recblr-export does; one
serves the bundle without PyTorch and answers a few users. Memory is the peak of a process's resident pages, mapped
files included, less what it held once its modules were imported. It takes disk space for twice the model in --folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from machine import machine_info, write_result

TOLERANCE = 1e-4  # of scores, as a share of the largest
MOST_TIMES = 3.0  # the model's size, in memory
HISTORIES = [[50, 172, 181], [8], list(range(1, 400))]
K = 10


def status_bytes(name: str) -> int:
    """A field of this process's status, such as VmRSS or VmHWM."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def make_checkpoint(folder: Path, n_items: int, dim: int) -> dict[str, Any]:
    """A model of random weights."""
    import torch

    from recblr.checkpoint import Checkpoint
    from recblr.config import RecBLRConfig
    from recblr.model import RecBLR
    from recblr.vocabulary import ItemVocabulary

    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=n_items, dim=dim))
    vocabulary = ItemVocabulary(list(range(1, n_items + 1)), np.ones(n_items, dtype=np.int64))
    Checkpoint(model, vocabulary).save(folder / "model.pt")
    return {"model_bytes": sum(weight.nbytes for weight in model.parameters())}


def export(folder: Path) -> dict[str, Any]:
    """The checkpoint's bundle, and PyTorch's answers for `serve` to compare with."""
    import torch

    from recblr.checkpoint import load_checkpoint
    from recblr.export.bundle import export_bundle

    base = status_bytes("VmRSS")
    started = time.perf_counter()
    checkpoint = load_checkpoint(folder / "model.pt")
    loaded, peak_of_loading = status_bytes("VmRSS"), status_bytes("VmHWM")
    Path("/proc/self/clear_refs").write_text("5")  # start the peak anew
    manifest = export_bundle(checkpoint, folder / "bundle")
    result = {
        "seconds": time.perf_counter() - started,
        "loading_peak_bytes": peak_of_loading - base,
        "loaded_bytes": loaded - base,
        "peak_bytes": status_bytes("VmHWM") - base,
        "files": {name: entry["bytes"] for name, entry in manifest["files"].items()},
        "max_score_difference": manifest["parity"]["max_score_difference"],
    }
    scores = []
    with torch.inference_mode():
        for history in HISTORIES:
            query, _ = checkpoint.model.query(torch.tensor(history, dtype=torch.int32), torch.tensor([0, len(history)]))
            scores.append(checkpoint.model.scores(query)[0].numpy())
    np.save(folder / "scores.npy", np.stack(scores))
    return result


def serve(folder: Path) -> dict[str, Any]:
    """The bundle opened by the native library, and its answers."""
    from recblr.runtime import load

    base = status_bytes("VmRSS")
    started = time.perf_counter()
    engine = load(folder / "bundle", backend="native")
    opened = time.perf_counter()
    rankings, _ = engine.step(None, HISTORIES, k=K)
    answered = time.perf_counter()
    peak = status_bytes("VmHWM") - base
    scores = np.load(folder / "scores.npy", mmap_mode="r")
    differences = []
    for ranking, of_row in zip(rankings, scores, strict=True):
        best = np.sort(np.partition(of_row, -K)[-K:])[::-1]
        of_ranked = of_row[np.array(ranking.items)]
        differences.append(max(np.abs(of_ranked - best).max(), np.abs(ranking.scores - best).max()))
    largest = float(np.abs(scores[:, 1:]).max())
    difference = float(max(differences))
    if difference > TOLERANCE * largest:
        raise click.ClickException(
            f"the bundle's best scores differ from PyTorch's by {difference:.3g} of {largest:.3g}"
        )
    return {
        "engine": engine.description,
        "opened_seconds": opened - started,
        "answered_ms": (answered - opened) * 1e3,
        "rows": len(HISTORIES),
        "peak_bytes": peak,
        "score_difference": difference,
        "largest_score": largest,
    }


@click.command()
@click.option("--items", default=10_000_000, show_default=True)
@click.option("--dim", default=64, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path, exists=True), help="For its files, which it removes again.")
@click.option("--step", type=click.Choice(["make", "export", "serve"]), help="Do one step in --folder, print JSON.")
def main(items: int, dim: int, folder: Path | None, step: str | None) -> None:
    """Measure and write benchmarks/results/large-export.json; fail where export takes more memory than it may."""
    if step is not None:
        assert folder is not None
        steps = {"make": lambda: make_checkpoint(folder, items, dim), "export": lambda: export(folder)}
        click.echo(json.dumps(steps.get(step, lambda: serve(folder))()))
        return
    results = {}
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        for name in ("make", "export", "serve"):
            command = [sys.executable, __file__, "--items", str(items), "--dim", str(dim)]
            done = subprocess.run(
                [*command, "--folder", temporary, "--step", name], check=True, stdout=subprocess.PIPE, text=True
            )
            results[name] = json.loads(done.stdout)
            click.echo(f"{name}: {results[name]}")
    size = results["make"]["model_bytes"]
    times = {name: results[name]["peak_bytes"] / size for name in ("export", "serve")}
    times["loading"] = results["export"]["loading_peak_bytes"] / size
    result = {
        "machine": machine_info(("recblr", "torch", "onnx", "onnxscript", "onnxruntime-gpu", "numpy")),
        "items": items,
        "dim": dim,
        **results["make"],
        "export": results["export"],
        "serve": results["serve"],
        "peak_to_model": times,
        "most_times": MOST_TIMES,
    }
    click.echo(f"of the model's {size / 1e9:.2f} GB: " + ", ".join(f"{name} {n:.2f}x" for name, n in times.items()))
    if max(times["export"], times["loading"]) > MOST_TIMES:
        raise click.ClickException(f"exporting may take {MOST_TIMES} times the model's size in memory")
    click.echo(f"written to {write_result('large-export', result)}")


if __name__ == "__main__":
    main()
