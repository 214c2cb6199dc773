"""recblr-export: from a model file to a bundle."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from recblr.cli.common import Command, require_extra, version_option


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The bundle's folder.")
@click.option("--max-k", type=click.IntRange(min=1), default=100, help="The most results per user.")
@click.option(
    "--history-length",
    type=click.IntRange(min=1),
    help="For a bare state_dict of the authors' code: its MAX_ITEM_LIST_LENGTH.",
)
@click.option(
    "--item-ids",
    type=click.Path(path_type=Path),
    help="For a checkpoint of the authors' code: your ids of embedding rows 1, 2, ...; a JSON list, or one per line.",
)
@version_option
def main(checkpoint: Path, output: Path, max_k: int, history_length: int | None, item_ids: Path | None) -> None:
    """Export CHECKPOINT - a model.pt, or a checkpoint of the authors' code - to a bundle that every engine opens.

    The exported graph is run against PyTorch first; if it differs, no bundle is written.
    """
    require_extra("recblr-export", "export", "torch", "onnx", "onnxscript")
    from recblr.checkpoint import load_checkpoint
    from recblr.export.bundle_writer import export_bundle

    started = time.perf_counter()
    ids = read_item_ids(item_ids) if item_ids is not None else None
    loaded = load_checkpoint(checkpoint, history_length=history_length, item_ids=ids)
    manifest = export_bundle(loaded, output, max_k)
    size = sum(entry["bytes"] for entry in manifest.files.values())
    worst = max(max(case["top_scores"], case["state"]) for case in manifest.parity["cases"].values())
    click.echo(
        f"wrote {output}: {manifest.n_items:,} items, up to {manifest.max_k} results, {manifest.state_size:,} floats "
        f"of state per user, {size / 1e6:.1f} MB in {time.perf_counter() - started:.1f} s"
    )
    click.echo(f"ONNX Runtime equals PyTorch: largest difference {worst:.1e}, rankings equal")


def read_item_ids(path: Path) -> list[int] | list[str]:
    """Item ids from a JSON list, or from text with one id per line (integers, if all are).

    Raises:
        DataError: unreadable, or neither.
    """
    from recblr.errors import DataError

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as item ids ({error}): give a text file") from error
    if text.lstrip().startswith("["):
        try:
            ids = json.loads(text)
        except ValueError as error:
            raise DataError(
                f"{path} is no JSON list of item ids ({error}): mend it, or give one id per line"
            ) from error
        return list(ids)
    lines = text.splitlines()
    return [int(line) for line in lines] if all(line == str(_as_integer(line)) for line in lines) else lines


def _as_integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
