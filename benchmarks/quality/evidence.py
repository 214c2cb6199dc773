"""The parts of docs/quality.md that other scripts of this folder measured, where their results are there."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from document import spread, table
from runner import QUALITY
from sweep import METRICS

RESULTS = QUALITY.parent

ORDERS = """\
RecBLR's published numbers are of RecBole's order of the interactions, ours of their exact times, so on this data set
they cannot be compared directly. RecBole keeps timestamps as float32 (its issues 1653 and 2204): they differ by 64
seconds at least, and within those a user's films stay in the order of the ratings file, which is not by time, but
an order of films that many users share and that can be learned. (HSTU's code sorts without stability; the authors of
eSASRec found a quarter of its test set to be others.) `orders.py recbole` puts the original ratings file
into that order, for whoever has it. What such an order can do was measured without it (`order_effect.py`): after
{epochs} epochs of the same training, validation NDCG@10 is {exact:.4f} in the exact order, and {tied:.4f} with the
same interactions in {how} of all items"""


def read(name: str) -> dict[str, Any] | None:
    """A result of benchmarks/results/, None where there is none."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def threads_of(result: dict[str, Any]) -> str:
    """How many threads of what."""
    threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
    return f"{threads} of the {result['device'].upper()}" if "device" in result else threads


def image(name: str, alt: str) -> Iterator[str]:
    """A plot beside a result."""
    yield f"![{alt}](../benchmarks/results/{name}.png)"
    yield ""


def paragraph(text: str) -> Iterator[str]:
    """Text, wrapped."""
    yield textwrap.fill(text, 120)
    yield ""


def order_effect(data: str) -> Iterator[str]:
    """What an order of ties does to a data set's score, by `order_effect.py`."""
    result = read(f"quality-order-effect-{data}")
    if result is None:
        return
    (_, exact), (in_runs, tied) = result["runs"].items()
    exact_score, tied_score = (run["validation"]["ndcg@10"] for run in (exact, tied))
    text = ORDERS.format(epochs=exact["epochs"], exact=exact_score, tied=tied_score, how=in_runs)
    yield from paragraph(f"{text} ({tied_score / exact_score - 1:+.0%}).")


def inference_cost(data: str) -> Iterator[str]:
    """What answers cost with a data set's histories, by `inference_cost.py`."""
    result = read(f"quality-inference-cost-{data}")
    if result is None:
        return
    one, many = (users["ms"] for users in result["users"])
    length = f"{result['mean_length']:.0f} items on average"
    yield f"What an answer costs, histories of {length}, {threads_of(result)} (`inference_cost.py`):"
    yield ""
    yield from table(["ms", "1 user", "32 users"], [[name, f"{one[name]:.2f}", f"{many[name]:.2f}"] for name in one])


def sweeps(data: str) -> Iterator[str]:
    """The options of the open recipe, the ablations and the expansion factors, by the scripts of these names."""
    for sweep, title in (
        ("options", "What each option of the open row gives, one changed at a time"),
        ("ablations", "What each part is worth"),
        ("expansion", "How wide the recurrence should be"),
    ):
        name = f"quality-{sweep}-{data}"
        result = read(name)
        if result is None:
            continue
        negatives = result["objective"].get("negatives")
        loss = "all items" if negatives is None else f"{negatives} sampled negatives"
        seeds = result["seeds"]
        yield (
            f"{title} (`{sweep}.py`; {loss}, at most {result['training']['epochs']} epochs, "
            f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}):"
        )
        yield ""
        # No times: they ran beside other work of the machine.
        yield from table(
            [
                "",
                "parameters",
                *(f"test {m.upper()}" for m in METRICS[:3]),
                "validation NDCG@10",
            ],
            [
                [
                    entry["label"],
                    f"{entry['parameters']:,}",
                    *(spread([run["test"][metric] for run in entry["runs"]]) for metric in METRICS[:3]),
                    spread([run["validation"]["ndcg@10"] for run in entry["runs"]]),
                ]
                for entry in result["entries"]
            ],
        )
        yield from image(name, title)


def learning_speed(data: str) -> Iterator[str]:
    """All positions at once against a sample per prefix, by `learning_speed.py`."""
    name = f"quality-learning-speed-{data}"
    result = read(name)
    if result is None:
        return
    target = result["target_validation_ndcg@10"]
    yield f"How soon validation NDCG@10 {target:g} is reached (`learning_speed.py`; {threads_of(result)}):"
    yield ""
    rows = []
    for label, key in (("every position", "every_position"), ("a sample per prefix", "one_sample_per_prefix")):
        scheme = result[key]
        reached, last = scheme["reached"], scheme["curve"][-1]
        rows.append(
            [
                label,
                f"{scheme['targets_per_second']:,.0f}",
                f"{result['seconds_per_epoch_in_turn']['seconds'][key]:,.0f}",
                f"epoch {reached['epochs']:g}, {reached['wall_seconds'] / 60:.1f} min"
                if reached
                else f"no: {last['validation_ndcg@10']:.4f} after {last['epoch']:.2g} epochs, "
                f"{scheme['train_seconds'] / 60:.1f} min",
            ]
        )
    yield from table(["", "targets per s", "s per epoch, both timed in turn", "reached"], rows)
    cpu, other = result["machine"]["cpu"], result["every_position"]["machine"]["cpu"]
    elsewhere = "" if cpu == other else f" on another machine ({other}, not {cpu})"
    yield from paragraph(
        f"The minutes of the first are those of its run of record{elsewhere}, beside whatever else that machine did; "
        "only the seconds per epoch were timed under equal conditions."
    )
    yield from image(name, "Validation NDCG@10 over time and epochs")


def large_catalogue() -> Iterator[str]:
    """A million items, by `large_catalogue.py`."""
    result = read("quality-large-catalogue")
    if result is None:
        return
    yield "## Large catalogues"
    yield ""
    yield from paragraph(
        f"Training with {result['items']:,} items (`large_catalogue.py`). What sampling costs in quality: see the "
        "trials and sweeps above."
    )
    yield from table(
        ["loss", "tokens per s", "peak memory, GiB"],
        [
            [
                f"{run['negatives']:,} sampled negatives" if run["loss"] == "sampled" else "all items, in chunks",
                f"{run['tokens_per_second']:,.0f}",
                f"{run['peak_gib']:.2f}",
            ]
            for run in result["runs"]
        ],
    )


def history_length() -> Iterator[str]:
    """The paper's figure 4, by `history_length.py`."""
    result = read("quality-history-length")
    if result is None:
        return
    yield "## Histories of 250 to 1,000 items"
    yield ""
    yield from paragraph(
        f"The paper's figure 4 (`history_length.py`): {result['data']}; {result['loss']}; {threads_of(result)}. After "
        "one more item RecBLR and the LRU go on from a state; a SASRec reads the history again."
    )
    yield from table(
        [
            "model",
            "items",
            "training step, ms",
            "its memory, MiB",
            "history to query vector, ms",
            "the same after one more item, ms",
        ],
        [
            [
                run["model"],
                f"{run['length']:,}",
                f"{run['train_ms']:.0f}",
                f"{run['train_memory_mib']:.0f}",
                f"{run['query_ms']:.2f}",
                f"{run['event_ms']:.2f}",
            ]
            for run in result["measured"]
        ],
    )
    yield from image("quality-history-length", "Training, memory and inference over the length of histories")


def scan_variants() -> Iterator[str]:
    """The paper's table 5, by `scan_variants.py`."""
    result = read("quality-scan-variants")
    if result is None:
        return
    yield "## Ways to scan a batch"
    yield ""
    yield from paragraph(
        f"The paper's table 5 (`scan_variants.py`): {result['rows']} histories of {result['data']}, "
        f"{threads_of(result)}. All compute the same."
    )
    milliseconds = result["milliseconds"]
    yield from table(
        ["variant", "positions", "recurrent layers, ms", "whole training step, ms"],
        [
            [
                name.replace("_", " "),
                f"{positions:,}",
                *(f"{milliseconds[part][name]['median']:.0f}" for part in ("layers", "step")),
            ]
            for name, positions in result["positions"].items()
        ],
    )
