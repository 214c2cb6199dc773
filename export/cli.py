"""recblr-export: from a trained model to a bundle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from recblr.cli.common import Command, require_extra, version_option


@click.command(cls=Command)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to write; replaces a bundle.",
)
@click.option("--max-k", type=int, default=100, show_default=True, help="The most results per user that it will give.")
@click.option(
    "--history-length",
    type=int,
    help="MAX_ITEM_LIST_LENGTH of a model of the authors' implementation, where its file does not tell.",
)
@click.option(
    "--item-ids",
    type=click.Path(path_type=Path),
    help="Your ids of embedding rows 1, 2, ..., where the model has none: a JSON list, or one per line.",
)
@click.option(
    "--triton-repository",
    type=click.Path(path_type=Path),
    help="Folder for a model repository of Triton Inference Server; replaces one that this wrote.",
)
@version_option
def main(
    checkpoint: Path,
    output: Path,
    max_k: int,
    history_length: int | None,
    item_ids: Path | None,
    triton_repository: Path | None,
) -> None:
    """Export CHECKPOINT to a bundle that recblr-serve, recblr-recommend and recblr.runtime open.

    CHECKPOINT is a model.pt of recblr-train, or a checkpoint of the authors' implementation: a bare state_dict or as
    RecBole saves it. The exported graph is run in ONNX Runtime and compared with PyTorch before anything is written.
    """
    require_extra("recblr-export", "export", "torch", "onnx", "onnxscript", "onnxruntime")
    from recblr.checkpoint import load_checkpoint
    from recblr.export.bundle_writer import export_bundle
    from recblr.export.item_ids import read_item_ids
    from recblr.export.triton_repository import write_repository

    start = time.perf_counter()
    ids = None if item_ids is None else read_item_ids(item_ids)
    model = load_checkpoint(checkpoint, history_length=history_length, item_ids=ids)
    manifest = export_bundle(model, output, max_k)
    if triton_repository is not None:
        write_repository(output, triton_repository)
        click.echo(f"{triton_repository}: model repository for Triton; its README.md says how to serve it")
    click.echo(_summary(output, manifest, time.perf_counter() - start))


def _summary(output: Path, manifest: dict[str, Any], seconds: float) -> str:
    size = sum(entry["bytes"] for entry in manifest["files"].values())
    parity = manifest["parity"]
    return (
        f"{output}: {size / 1e6:.1f} MB, {manifest['n_items']:,} items, up to {manifest['max_k']:,} results, "
        f"states of {manifest['state_size']:,} numbers\n"
        f"ONNX Runtime against PyTorch: scores within {parity['max_score_difference']:.1e}, "
        f"states within {parity['max_state_difference']:.1e}, "
        f"the same best items in {parity['top_k_agreement']:.0%} of rows\n"
        f"exported in {seconds:.1f} s"
    )
