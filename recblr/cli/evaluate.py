"""recblr-evaluate: ranking quality of a model on held-out interactions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from recblr.cli.common import Command, require_extra, version_option
from recblr.cli.options import data_options, model_data_settings, print_notes
from recblr.cli.parameters import Count, FilePath


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("model", type=FilePath())
@click.argument("data", nargs=-1, required=True)
@click.option("--part", type=click.Choice(["test", "validation"]), default="test", help="Which held-out items.")
@click.option("--mask-seen", is_flag=True, help="Leave items of a user's history out of the ranking.")
@click.option("--json", "json_file", type=FilePath(writes=True), help="Write the metrics there, too.")
@click.option(
    "--history-length",
    type=Count(),
    help="MAX_ITEM_LIST_LENGTH of a model of the authors' code, where the file does not tell.",
)
@data_options(from_model=True)
@version_option
def main(
    model: Path,
    data: tuple[str, ...],
    part: str,
    mask_seen: bool,
    json_file: Path | None,
    history_length: int | None,
    **given: Any,
) -> None:
    """Evaluate MODEL on the held-out items of DATA: HR, NDCG and MRR at 10 and 20 over the whole catalogue.

    MODEL is a model.pt of recblr-train, or weights of its model alone or of the authors' implementation, as RecBole,
    Lightning, torch.save or safetensors writes them. DATA are files, folders, globs in quotes, or URIs. They are read,
    filtered and split as in training, unless options say otherwise.
    """
    require_extra("recblr-evaluate", "train", "torch", "pyarrow", "rich")
    from rich.console import Console

    from recblr.checkpoint import load_checkpoint
    from recblr.cli.tables import metrics_table, repeats_warning
    from recblr.data import DataIdentity
    from recblr.data.sources import local_files
    from recblr.evaluation import evaluate, translate_targets
    from recblr.files import check_not_input, check_writable, write_json
    from recblr.preparation import DataSettings, prepare

    if json_file is not None:
        check_not_input(json_file, [model, *local_files(data)])
        check_writable(json_file)
    checkpoint = load_checkpoint(model, history_length=history_length)
    trained = checkpoint.data.get("settings", DataSettings().to_dict())
    settings = DataSettings.from_dict(model_data_settings(trained, given))
    prepared = prepare(data, settings)
    print_notes(prepared.report.notes)
    targets = translate_targets(getattr(prepared.split, part), prepared.interactions, checkpoint.vocabulary)
    result = evaluate(checkpoint.model, targets, mask_seen)
    console = Console()
    console.print(metrics_table({part: result.metrics}))
    identity = DataIdentity(prepared.interactions)
    trained_on = checkpoint.data.get("fingerprint")  # None of a model of the authors' code
    same = None if trained_on is None else trained_on == identity.fingerprint
    same_ties = same and checkpoint.data.get("ties") == identity.row_order.ties
    console.print(
        f"{result.rows:,} users, {'seen items masked' if mask_seen else 'nothing masked'}; "
        f"{result.repeated_targets / result.rows:.1%} of the next items are repeats of earlier ones"
        + (", which count as misses" if mask_seen and result.repeated_targets else "")
        + (f"; {result.unknown_targets:,} are unknown to the model" if result.unknown_targets else "")
        + ("; not the data the model was trained on" if same is False else "")
        + ("; other order of equal times than in training" if same and not same_ties else ""),
        highlight=False,
        soft_wrap=True,
    )
    warning = None if mask_seen else repeats_warning(result)
    if warning:
        console.print(f"[bold]{warning}", highlight=False, soft_wrap=True)
    if json_file is not None:
        report = {
            **result.to_dict(),
            "part": part,
            "mask_seen": mask_seen,
            "model": checkpoint.fingerprint(),
            "data": identity.fingerprint,
            "same_data_as_training": same,
            "same_order_of_equal_times": same_ties,
            "settings": settings.to_dict(),
        }
        write_json(json_file, report)
