"""recblr-train: from interactions to a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from recblr.cli.common import Command, require_extra, version_option
from recblr.cli.options import data_options, data_settings
from recblr.cli.parameters import NOT_NEGATIVE, POSITIVE, PROBABILITY, SEED, SHARE, Count, FilePath
from recblr.config import MOST_LAYERS


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("data", nargs=-1, required=True)
@click.option("-o", "--output", type=FilePath(writes=True), required=True, help="The model file to write.")
@data_options(from_model=False)
@click.option("--dim", type=Count(), default=64, help="Model width D.")
@click.option("--layers", type=click.IntRange(1, MOST_LAYERS), default=2, help="Number of layers.")
@click.option("--expansion", type=POSITIVE, default=2.0, help="Inner width over model width.")
@click.option("--conv-width", type=Count(), default=4, help="Taps of the causal convolution.")
@click.option("--dropout", type=PROBABILITY, default=0.2, help="Dropout probability.")
@click.option("--initial-state", is_flag=True, help="Learn the state before a user's first item.")
@click.option("--epochs", type=Count(), default=200, help="At most so many epochs.")
@click.option("--patience", type=Count(), default=10, help="Stop after epochs without a better NDCG@10.")
@click.option("--batch-tokens", type=Count(), default=4096, help="Items per optimizer step.")
@click.option("--learning-rate", type=POSITIVE, default=1e-3, help="Adam's learning rate.")
@click.option("--weight-decay", type=NOT_NEGATIVE, default=0.0, help="AdamW's weight decay.")
@click.option("--schedule", type=click.Choice(["constant", "cosine"]), default="constant", help="Of the learning rate.")
@click.option("--warmup-epochs", type=NOT_NEGATIVE, default=0.0, help="Epochs in which the learning rate rises from 0.")
@click.option(
    "--weight-average",
    type=PROBABILITY,
    default=0.0,
    help="Decay of a moving average of the weights; 0: none.",
)
@click.option("--loss", type=click.Choice(["softmax", "sampled"]), default="softmax", help="Over all items or some.")
@click.option("--negatives", type=Count(), default=512, help="Of the sampled loss.")
@click.option("--correction", type=SHARE, default=1.0, help="Of the sampled loss for what is not in it.")
@click.option(
    "--label-smoothing",
    type=PROBABILITY,
    default=0.0,
    help="Probability spread over all items.",
)
@click.option(
    "--item-norm", type=NOT_NEGATIVE, default=0.0, help="Length of all items' vectors in scoring; 0: as learned."
)
@click.option("--max-history", type=Count(), default=None, help="Train on windows of so many items.")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", help="bf16 is autocast.")
@click.option("--seed", type=SEED, default=0, help="Decides all randomness.")
@click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
@click.option("--resume", is_flag=True, help="Go on from OUTPUT.resume, if it is there.")
@version_option
def main(data: tuple[str, ...], output: Path, device: str, resume: bool, **given: Any) -> None:
    """Train RecBLR on the interactions in DATA (.parquet, .csv, .tsv, .inter).

    DATA are files, folders, globs in quotes, or URIs such as s3://bucket/folder; docs/data.md tells more.

    Beside OUTPUT it writes a log (OUTPUT.log.jsonl), a plot (OUTPUT.png), and what --resume needs (OUTPUT.resume).
    Histories longer than --batch-tokens are learned in pieces, with the state carried on. Ctrl-C ends training and
    keeps the best model so far. Under torchrun several processes train together.
    """
    require_extra("recblr-train", "train", "torch", "pyarrow", "rich", "matplotlib")
    from recblr.cli.training_run import TrainingRun
    from recblr.distributed import process_group
    from recblr.objective import Objective
    from recblr.preparation import DataSettings
    from recblr.trainer import TrainingConfig

    settings = data_settings(given)
    run = TrainingRun(
        data=data,
        output=output,
        data_settings=DataSettings.from_dict(settings),
        model_settings={
            name: given[name] for name in ("dim", "layers", "expansion", "conv_width", "dropout", "initial_state")
        },
        config=TrainingConfig(
            objective=Objective(
                **{name: given[name] for name in ("loss", "negatives", "correction", "label_smoothing", "item_norm")}
            ),
            **{
                name: given[name]
                for name in (
                    "epochs",
                    "patience",
                    "batch_tokens",
                    "learning_rate",
                    "weight_decay",
                    "schedule",
                    "warmup_epochs",
                    "weight_average",
                    "max_history",
                    "precision",
                    "seed",
                )
            },
        ),
        device=device,
        resume=resume,
    )
    with process_group(run.device) as processes:
        run.execute(processes)
