"""recblr-bench: how fast a bundle answers on this machine, under which load."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from recblr.cli.common import require_extra, version_option
from recblr.cli.groups import GroupedCommand, option_group
from recblr.cli.parameters import LARGEST_COUNT, MOST_THREADS, SEED, SHARE, THREADS, FilePath
from recblr.cli.start import INTERRUPTED
from recblr.errors import ConfigError
from recblr.runtime.backends.base import BackendName
from recblr.runtime.cli.batching_options import BATCHING_OPTIONS
from recblr.runtime.cli.batching_options import NAMES as BATCHING_NAMES
from recblr.runtime.cli.engine_options import BACKEND_OPTION, DEVICE_OPTION, ENGINE_OPTION, K_OPTION

if TYPE_CHECKING:
    from recblr.runtime.benchmark.traffic import Lengths

T = TypeVar("T")


def _listed(parse: Callable[[str], T], what: str) -> Callable[[click.Context, click.Parameter, str], list[T]]:
    """Click callback: values between commas, each once.

    Raises:
        ConfigError: one that `parse` refuses.
    """

    def values(_context: click.Context, parameter: click.Parameter, text: str) -> list[T]:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        try:
            return list(dict.fromkeys(map(parse, parts)))
        except (ValueError, OverflowError) as error:
            raise ConfigError(f"{parameter.opts[0]} {text!r:.160}: give {what}, with commas between") from error

    return values


def _whole(most: int) -> Callable[[str], int]:
    def positive_whole(text: str) -> int:
        if not 1 <= (number := int(text)) <= most:
            raise ValueError
        return number

    return positive_whole


def _positive(text: str) -> float:
    if not 0 < (number := float(text)) < float("inf"):
        raise ValueError
    return number


def _kind(text: str) -> str:
    if text not in ("cold", "step", "mixed"):
        raise ValueError
    return text


_COUNTS = _listed(_whole(LARGEST_COUNT), f"whole numbers from 1 to {LARGEST_COUNT}")
_CALLERS = _listed(_whole(MOST_THREADS), f"whole numbers from 1 to {MOST_THREADS}")
_NUMBERS = _listed(_positive, "numbers above 0")


@click.command(cls=GroupedCommand)
@option_group(
    "Engine",
    ENGINE_OPTION,
    click.option("--threads", type=THREADS, help="CPU threads per request.  [default: all CPUs]"),
    BACKEND_OPTION,
    DEVICE_OPTION,
    click.option(
        "--native-ops/--no-native-ops",
        default=None,
        help="The native library's ops in ONNX Runtime.  [default: where it has them]",
    ),
)
@option_group(
    "Traffic",
    click.option(
        "--traffic",
        callback=_listed(_kind, "cold, step or mixed"),
        default="cold,step,mixed",
        show_default=True,
        help="cold: whole histories; step: one new item per user, on stored states; mixed: both at random.",
    ),
    click.option(
        "--step-share",
        type=SHARE,
        default=0.9,
        show_default=True,
        help="Of mixed traffic's requests.",
    ),
    click.option("--rows", callback=_COUNTS, default="1,32", show_default=True, help="Users per request."),
    click.option("--lengths", callback=_COUNTS, default="", help="Of histories.  [default: 20,200, or as in --data]"),
    click.option("--data", type=FilePath(), help="Draw lengths of histories from this data file."),
    click.option("--user-column", default="user_id", show_default=True, help="In --data."),
    click.option("--item-column", default="item_id", show_default=True, help="In --data."),
    click.option("--timestamp-column", default="timestamp", show_default=True, help="In --data."),
    K_OPTION,
    click.option("--seed", type=SEED, default=0, show_default=True, help="Of all that is drawn."),
)
@option_group(
    "Load",
    click.option(
        "--callers",
        callback=_CALLERS,
        default="1,4",
        show_default=True,
        help="Closed loop: so many callers, each of which waits for its answer.",
    ),
    click.option(
        "--loads",
        callback=_NUMBERS,
        default="0.3,0.7",
        show_default=True,
        help='Open loop: fractions of the most requests/s that the closed loop came to; "" for none.',
    ),
    click.option("--rates", callback=_NUMBERS, default="", help="Open loop: requests/s."),
    click.option(
        "--in-flight",
        type=THREADS,
        default=32,
        show_default=True,
        help="Open loop: the most requests under way at once.",
    ),
    click.option("--duration", type=float, default=2.0, show_default=True, help="Seconds of each measurement."),
    click.option("--warm-up", type=float, default=0.5, show_default=True, help="Seconds before each, not measured."),
)
@option_group(
    "Batching",
    click.option(
        "--batching/--no-batching",
        default=False,
        show_default=True,
        help="Send requests in batches, as recblr-serve does, with the options below.",
    ),
    *BATCHING_OPTIONS,
)
@option_group(
    "Output",
    click.option("--json", "json_file", type=FilePath(writes=True), help="Write all results there."),
    click.option("--plot", type=FilePath(writes=True), help="Plot latency against load and length, as PNG."),
)
@version_option
def main(
    engine: Path,
    threads: int | None,
    backend: BackendName,
    device: Literal["cpu", "cuda"],
    native_ops: bool | None,
    json_file: Path | None,
    plot: Path | None,
    **given: Any,
) -> None:
    """Measure how fast a bundle answers: latency and throughput over rows, lengths of histories, traffic and load.

    In an open loop requests arrive at random times that do not wait for answers, and latency counts from the time a
    request should have been sent. Ctrl-C ends early, with what was measured until then.
    """
    from recblr.files import check_not_input, check_writable, write_json
    from recblr.runtime import Batching, load
    from recblr.runtime.benchmark.plan import Plan, Result, run
    from recblr.runtime.benchmark.report import json_report, print_table
    from recblr.runtime.bundle.manifest import MANIFEST_FILE
    from recblr.runtime.inputs import check_k

    for path in (json_file, plot):
        if path is not None:
            check_writable(path)
    if plot is not None:
        require_extra("recblr-bench --plot", "bench", "matplotlib")
        from recblr.runtime.benchmark.plot import plot_results
    plan = Plan(
        traffic=given["traffic"],
        rows=given["rows"],
        lengths=_lengths(given),
        callers=given["callers"],
        rates=given["rates"],
        loads=given["loads"],
        in_flight=given["in_flight"],
        seconds=given["duration"],
        warm_up=given["warm_up"],
        step_share=given["step_share"],
        seed=given["seed"],
    )
    batching = Batching(**{name: given[name] for name in BATCHING_NAMES}) if given["batching"] else None
    loaded = load(engine, threads, device, native_ops, batching, backend)
    click.get_current_context().call_on_close(loaded.close)
    # What the command class knows of are the paths of options, not the other files of a bundle.
    inputs = [loaded.bundle.path / name for name in (*loaded.bundle.manifest.files, MANIFEST_FILE)]
    for path in (json_file, plot):
        if path is not None:
            check_not_input(path, inputs)
    plan = dataclasses.replace(plan, k=check_k(given["k"], loaded.n_items))
    about = plan.n_measurements * (plan.seconds + plan.warm_up)
    click.echo(
        f"{loaded.description}: {plan.n_measurements} measurements, about {about:,.0f} s; Ctrl-C ends early", err=True
    )
    results: list[Result] = []
    interrupted = False
    try:
        for result in run(loaded, loaded.bundle.item_ids(), plan, lambda name: click.echo(name, err=True)):
            results.append(result)
            interrupted = result.measured.interrupted
    except KeyboardInterrupt:
        interrupted = True
    if results:
        print_table(results)
    if json_file is not None:
        write_json(json_file, json_report(loaded, plan, results, interrupted))
    if plot is not None and results:
        plot_results(plot, results, f"{loaded.n_items:,} items, {loaded.description}")
    if interrupted:
        click.echo(f"Interrupted: {len(results)} of {plan.n_measurements} measurements.", err=True)
        click.get_current_context().exit(INTERRUPTED)


def _lengths(given: dict[str, Any]) -> list[Lengths]:
    from recblr.runtime.benchmark.traffic import Lengths, lengths_of_data

    data: Path | None = given["data"]
    fixed = given["lengths"] or ([] if data is not None else [20, 200])
    lengths = [Lengths.fixed(length) for length in fixed]
    if data is not None:
        if not data.exists():
            raise ConfigError(f"--data {data} does not exist: check the path")
        require_extra("recblr-bench --data", "bench", "pyarrow")
        lengths.append(lengths_of_data(data, given["user_column"], given["item_column"], given["timestamp_column"]))
    return lengths


if __name__ == "__main__":
    main()
