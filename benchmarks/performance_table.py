"""Writes docs/performance.md, its chart, and the README's table of highlights from the files in benchmarks/results/.

python benchmarks/performance_table.py
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import server_sections
from performance_sections import CHART, SECTIONS, elsewhere, read

sys.path.insert(0, str(Path(__file__).parent / "quality"))
from document import table
from plots import new_figure, write_plot

from recblr.files import write_text

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- Written by benchmarks/performance_table.py: -->", "<!-- End. -->"

INTRODUCTION = """# Performance

Written by `benchmarks/performance_table.py` from the files in `benchmarks/results/`; do not edit.

Each section names the file that holds its numbers, with the machine, the versions and the date. The script of the same
name in `benchmarks/` measures them again (`make benchmarks` runs most of them). Compare numbers within a section only:
sections were measured on different days, and some on different machines. Times are medians unless a section says
otherwise. A speedup is the ratio of two times that were measured alternately in one run.

**All of it was measured on CPUs. Nothing has run on a GPU yet.**
"""


def highlights() -> Iterator[str]:
    """The README's table."""
    serving, million = read("serving"), read("catalogue")
    targets, total = read("training")["targets_per_second"], read("data")["integer_ids"]
    shortest, *_, longest = serving["step_against_recommend"]
    n = total["generated"]["interactions"]
    authors = serving["engine_against_authors"]["ms"]
    best = {who: min(ms for name, ms in authors.items() if name.startswith(who)) for who in ("engine", "authors")}
    top = next(row["ms"] for row in million["times"] if (row["rows"], row["k"]) == (1, 100))
    yield from table(
        ["on two CPU cores", "recblr", "compared with", ""],
        [
            [
                f"one new event after {longest['history']:,}, then the top {serving['k']}",
                f"{longest['step_ms']:.3f} ms",
                f"{shortest['step_ms']:.3f} ms",
                f"the same after {shortest['history']} events",
            ],
            [
                "a whole history of MovieLens-1M",
                f"{best['engine']:.2f} ms",
                f"{best['authors']:.2f} ms",
                "the authors' computation in PyTorch",
            ],
            [
                f"the exact top 100 of {million['items']:,} items",
                f"{top['native']:.1f} ms",
                f"{top['onnxruntime']:.1f} ms",
                "MatMul and TopK in ONNX Runtime",
            ],
            [
                "training, targets per second",
                f"{targets['every_position']:,.0f}",
                f"{targets['one_sample_per_prefix']:,.0f}",
                "one sample per prefix",
            ],
            [
                f"{n / 1e6:.0f} million interactions read, filtered and split",
                f"{total['seconds']['total']:.1f} s",
                "",
                "",
            ],
        ],
    )


def chart() -> None:
    """Milliseconds over the length of the history, as PNG."""
    rows = read("serving")["step_against_recommend"]
    figure = new_figure(9.2, 3.4)
    engine, models = figure.subplots(1, 2)
    lengths = [row["history"] for row in rows]
    engine.plot(lengths, [row["recommend_ms"] for row in rows], "o-", color="C7", label="recommend: the whole history")
    engine.plot(lengths, [row["step_ms"] for row in rows], "o-", color="C0", label="step: one new event")
    engine.set_xscale("log")
    engine.set_yscale("log")
    engine.xaxis.set_major_formatter("{x:,.0f}")
    engine.yaxis.set_major_formatter("{x:g}")
    engine.set_title("recblr's engine", fontsize=11)
    measured = read("quality-history-length")["measured"]
    for model, label, color in (
        ("SASRec", "SASRec", "C3"),
        ("SASRec, fused attention", "SASRec, fused attention", "C1"),
        ("RecBLR", "RecBLR, from its state", "C0"),
    ):
        of_model = [row for row in measured if row["model"] == model]
        models.plot(
            [row["length"] for row in of_model], [row["event_ms"] for row in of_model], "o-", color=color, label=label
        )
    models.set_ylim(bottom=0)
    models.set_title("models in PyTorch: one new event", fontsize=11)
    for axes in (engine, models):
        axes.set_xlabel("items in the history")
        axes.set_ylabel("milliseconds")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    write_plot(CHART, figure)


def with_highlights(readme: str, lines: Iterable[str]) -> str:
    """The README with these lines between its two markers."""
    written = "\n".join([BEGIN, "", *lines, END])
    result, places = re.subn(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: written, readme, flags=re.DOTALL)
    if places != 1:
        raise click.ClickException(f"README.md has {places} places between {BEGIN} and {END}: there must be one")
    return result


@click.command()
def main() -> None:
    """Write docs/performance.md, its chart, and the README's table."""
    sections = (*SECTIONS, server_sections.server, server_sections.reloads, elsewhere)
    write_text(DOCUMENT, "\n".join([INTRODUCTION, *(line for section in sections for line in section())]))
    write_text(README, with_highlights(README.read_text(encoding="utf-8"), highlights()))
    chart()
    click.echo(f"written to {DOCUMENT} and {README}")


if __name__ == "__main__":
    main()
