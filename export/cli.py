"""recblr-export: from a trained model to a bundle, with a TensorRT plan if asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from recblr.cli.common import require_extra, version_option
from recblr.cli.groups import GroupedCommand, option_group
from recblr.cli.options import data_options
from recblr.cli.parameters import FilePath
from recblr.errors import ConfigError
from recblr.export.report import verification_summary
from recblr.export.tensorrt.settings import DEFAULT_OPT_ROWS, DEFAULT_OPT_TOKENS, PlanSettings
from recblr.runtime.bundle.plan_section import PRECISIONS, TARGETS
from recblr.runtime.limits import Limits

_IN, _OUT = FilePath(), FilePath(writes=True)

_PLAN_OPTIONS = (
    "precision",
    "max_rows",
    "opt_rows",
    "max_tokens",
    "opt_tokens",
    "max_exclusions",
    "compute_capabilities",
    "timing_cache",
    "embed_plugin",
    "workspace",
)


@click.command(cls=GroupedCommand, context_settings={"show_default": True})
@click.argument("checkpoint", type=_IN, required=False)
@option_group(
    "What to write",
    click.option("-o", "--output", type=_OUT, help="Folder to write; replaces a bundle."),
    click.option(
        "--target",
        type=click.Choice(["onnx", "native", *TARGETS]),
        default="onnx",
        help="What will run it; tensorrt and tensorrt-rtx add an engine (plan), native only matters to Triton.",
    ),
    click.option("--max-k", type=int, default=100, help="The most results per user that it will give."),
    click.option(
        "--triton-repository",
        type=_OUT,
        help="Folder for a model repository of Triton Inference Server; replaces one that this wrote.",
    ),
)
@option_group(
    "Models of the authors' implementation",
    click.option("--history-length", type=int, help="MAX_ITEM_LIST_LENGTH, where the file does not have it."),
    click.option(
        "--item-ids",
        type=_IN,
        help="Your ids of embedding rows 1, 2, ..., where the model has none: a JSON list, or one per line.",
    ),
)
@option_group(
    "The TensorRT engine (plan), with --target tensorrt or tensorrt-rtx",
    click.option("--precision", type=click.Choice(PRECISIONS), default="fp32", help="Of products and recurrences."),
    click.option("--max-rows", type=int, default=Limits.rows, help="The most users in one run."),
    click.option("--opt-rows", type=int, default=DEFAULT_OPT_ROWS, help="Users in one run to optimise for."),
    click.option("--max-tokens", type=int, default=Limits.tokens, help="The most new items of all users in one run."),
    click.option("--opt-tokens", type=int, default=DEFAULT_OPT_TOKENS, help="New items to optimise for."),
    click.option("--max-exclusions", type=int, default=Limits.exclusions, help="The most excluded items in one run."),
    click.option(
        "--compute-capability",
        "compute_capabilities",
        multiple=True,
        show_default=False,
        help="TensorRT-RTX: GPU to build for, such as 8.9; may be given again. [default: its own choice]",
    ),
    click.option("--timing-cache", type=_OUT, help="TensorRT: file of measurements, read if it exists, and written."),
    click.option("--embed-plugin", is_flag=True, help="Put the plugin library into the plan, too."),
    click.option(
        "--workspace",
        type=int,
        help="MiB of GPU memory for what a layer needs while it runs.  [default: all]",
    ),
)
@option_group(
    "Checks",
    click.option("--verify", type=_IN, metavar="BUNDLE", help="Only check a bundle, on the machine that will serve."),
    click.option(
        "--evaluation-data",
        multiple=True,
        show_default=False,
        help="Measure on these interactions what fp16 or bf16 costs: a file, folder, glob or URI; may be given again.",
    ),
    data_options(from_model=True),
)
@version_option
@click.pass_context
def main(
    context: click.Context,
    /,
    checkpoint: Path | None,
    output: Path | None,
    target: str,
    max_k: int,
    history_length: int | None,
    item_ids: Path | None,
    triton_repository: Path | None,
    verify: Path | None,
    evaluation_data: tuple[str, ...],
    **given: Any,
) -> None:
    """Export CHECKPOINT to a bundle that recblr-serve, recblr-recommend and recblr.runtime open.

    CHECKPOINT is a model.pt of recblr-train, or weights of its model alone or of the authors' implementation, as
    RecBole, Lightning, torch.save or safetensors writes them. The exported graph is run in ONNX Runtime and compared
    with PyTorch before anything is written; a TensorRT engine (plan) is, too, where there is a GPU to run it.
    """
    if verify is not None:
        _verify(context, verify)
        return
    if checkpoint is None:
        raise click.UsageError("Missing argument 'CHECKPOINT'.", context)
    if output is None:
        raise click.UsageError("Missing option '-o' / '--output'.", context)
    plan = _plan_settings(context, target, given)
    require_extra("recblr-export", "export", "torch", "onnx", "onnxscript", "onnxruntime")
    from recblr.export.export_run import ExportRun

    run = ExportRun(
        checkpoint=checkpoint,
        output=output,
        max_k=max_k,
        history_length=history_length,
        item_ids=item_ids,
        triton_repository=triton_repository,
        native=target == "native",
        plan=plan,
        evaluation_data=evaluation_data,
        data_options=given,
    )
    run.execute()


def _verify(context: click.Context, bundle: Path) -> None:
    for parameter in context.command.params:
        name = parameter.name or ""
        if name != "verify" and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            what = context.params[name] if isinstance(parameter, click.Argument) else parameter.opts[-1]
            raise click.UsageError(f"--verify checks a bundle alone: leave out {what}.", context)
    require_extra("recblr-export --verify", "export", "onnx", "onnxruntime")
    from recblr.export.checks.verify import verify_bundle

    what, report = verify_bundle(bundle)
    click.echo(verification_summary(bundle, what, report))


def _plan_settings(context: click.Context, target: str, given: dict[str, Any]) -> PlanSettings | None:
    if target not in TARGETS:
        for name in _PLAN_OPTIONS:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                option = next(p.opts[0] for p in context.command.params if p.name == name)
                raise ConfigError(
                    f"{option} is for TensorRT only: give --target tensorrt or tensorrt-rtx, or leave it out"
                )
        return None
    return PlanSettings(target=target, **{name: given[name] for name in _PLAN_OPTIONS})
