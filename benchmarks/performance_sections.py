"""The sections of docs/performance.md, each of one file in benchmarks/results/."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from machine import RESULTS

sys.path.insert(0, str(Path(__file__).parent / "quality"))
from document import table

CHART = "performance"
PYTHON_CALLS = ("recommend", "step")  # of Python, for one user


def read(name: str) -> dict[str, Any]:
    """A result of benchmarks/results/."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return result


def heading(title: str, name: str, result: dict[str, Any], text: str) -> Iterator[str]:
    """A section's title, what was measured, and where the numbers are from."""
    machine = result["machine"]
    yield from paragraph(f"## {title}")
    yield from paragraph(text)
    yield from paragraph(
        f"Source: [benchmarks/results/{name}.json](../benchmarks/results/{name}.json), {machine['date'][:10]}, "
        f"{machine['cpu']}, {machine['logical_cores']} logical cores."
    )


def paragraph(text: str) -> Iterator[str]:
    """Text, wrapped, and an empty line after it."""
    yield textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)
    yield ""


def times(ratio: float) -> str:
    """A speedup."""
    return f"{ratio:.1f}x"


def one_user() -> Iterator[str]:
    """A step and a whole history, over the history's length."""
    result = read("serving")
    yield from heading(
        "One user, over the length of the history",
        "serving",
        result,
        f"`step` feeds one new event to a stored state and ranks the best {result['k']}; `recommend` reads the whole "
        f"history and ranks. The catalogue has {result['model']['n_items']:,} items; the engine is "
        f"{result['engine']}.",
    )
    yield from table(
        ["items in the history", "`step`, ms", "`recommend`, ms"],
        [
            [f"{row['history']:,}", f"{row['step_ms']:.3f}", f"{row['recommend_ms']:.2f}"]
            for row in result["step_against_recommend"]
        ],
    )
    other = read("quality-history-length")
    yield from paragraph(f"![Milliseconds over the length of the history](../benchmarks/results/{CHART}.png)")
    yield from paragraph(
        "The right half of the chart is from "
        "[quality-history-length.json](../benchmarks/results/quality-history-length.json): models in "
        f"PyTorch on {other['threads']} thread, from one new event to the user's vector, without ranking. RecBLR goes "
        "on from its state; SASRec reads the history again. The numbers are in "
        "[quality.md](quality.md#histories-of-250-to-1000-items)."
    )


def against_pytorch() -> Iterator[str]:
    """Whole histories against the authors' computation and against the same model in PyTorch."""
    result = read("serving")
    authors = result["engine_against_authors"]
    yield from heading(
        "Whole histories, against PyTorch",
        "serving",
        result,
        f"Histories of MovieLens-1M. The first table has one user at a time, {authors['mean_length']:.0f} items on "
        f"average, against the authors' computation in PyTorch, which pads to {authors['padded_to']} positions. With "
        f"the better number of threads each, the engine is {authors['ratio']:.1f} times as fast.",
    )
    ms = authors["ms"]
    yield from table(
        ["threads", "recblr's engine, ms", "the authors' computation, ms"],
        [[n, f"{ms[f'engine, threads: {n}']:.2f}", f"{ms[f'authors, threads: {n}']:.2f}"] for n in ("1", "2")],
    )
    yield from paragraph("The same model run in PyTorch with recblr's own operators:")
    yield from table(
        ["users in a request", "recblr's engine, ms", "PyTorch, ms", "speedup"],
        [
            [str(row["users"]), f"{row['ms']['engine']:.2f}", f"{row['ms']['pytorch']:.2f}", times(row["ratio"])]
            for row in result["engine_against_pytorch"]
        ],
    )
    yield from paragraph(
        "ONNX Runtime (`--backend onnxruntime`), with the native library's operators and with standard ones alone:"
    )
    yield from table(
        ["call", "users", "new items of all users", "native operators, ms", "standard operators, ms", "speedup"],
        [
            [
                f"`{row['call']}`",
                str(row["users"]),
                f"{row['items']:,}",
                f"{row['ms']['native']:.2f}",
                f"{row['ms']['functions']:.2f}",
                times(row["ratio"]),
            ]
            for row in result["native_against_functions"]
        ],
    )


def core() -> Iterator[str]:
    """What a request costs beside the kernels, and the batcher with many callers and at a moderate load."""
    result = read("core")
    native, python = result["native"], result["python"]
    saturated = native["saturated"]
    handovers = saturated["steps"]["handovers_per_s"]
    yield from heading(
        "Requests beside the kernels, and many callers at once",
        "core",
        result,
        "Runs have one thread each. The first table has one user at a time: new items on a state, or a short history "
        f"(Python's `recommend`), and the best {result['k']}. It tells how much longer a request takes than the "
        f"kernels alone. After warm-up {native['allocations']['answers']:,} requests in C++ took memory from the heap "
        f"{native['allocations']['direct']:,} times, and {native['allocations']['batching']:,} times with batching.",
    )
    yield from table(
        ["items", "the kernels alone, us", "C++", "Python, `recommend`", "Python, `step`"],
        [
            [
                str(in_cpp["items"]),
                f"{in_cpp['bare_us']:.0f}",
                *(f"{ratio:.2f}x" for ratio in (in_cpp["ratio"], *(in_python[f]["ratio"] for f in PYTHON_CALLS))),
            ]
            for in_cpp, in_python in zip(native["single"], python["single"], strict=True)
        ],
    )
    yield from paragraph(
        f"{saturated['callers']} callers in C++ that ask for one user each, through the batcher, against "
        f"{saturated['cpus']} threads that give the bare engine batches of the best size and do nothing else. "
        "Histories are of log-normal lengths with a median of 90 items; a step is one new item."
    )
    yield from table(
        ["call", "callers", "batcher, users/s", "bare engine, users/s", "share"],
        [
            [
                call,
                label,
                f"{row[side]['per_s']:,.0f}",
                f"{row['bare_per_s']:,.0f}",
                f"{row[side]['ratio']:.2f}",
            ]
            for call, row in (("whole histories", saturated["histories"]), ("steps", saturated["steps"]))
            for side, label in (("submit", "`recblr_submit`"), ("threads", "blocked threads"))
        ],
    )
    yield from paragraph(
        f"As many threads that are woken together and sleep again, with nothing to compute, get {handovers:,.0f} "
        "answers/s on this machine."
    )
    yield from paragraph("Threads in Python that call `step` for one user:")
    yield from table(
        ["threads", "batcher, users/s", "without the batcher, users/s", "ratio"],
        [
            [str(row["callers"]), f"{row['batched_per_s']:,.0f}", f"{row['direct_per_s']:,.0f}", f"{row['ratio']:.2f}"]
            for row in python["threads"]
        ],
    )
    labels = {
        "submit": "`recblr_submit`",
        "threads": "threads",
        "threads_without_batching": "threads, without the batcher",
        "threads_without_requests": "threads, calls as long that only hash",
    }
    yield from paragraph(
        f"Latency of steps, arriving at random at {python['at_load']['load']:.0%} of what one thread does; the last "
        "column is against the median of requests that meet no other:"
    )
    yield from table(
        ["callers", "median, us", "99th percentile, us", "times a lone one"],
        [
            [
                f"{language}, {label}",
                f"{at_load[side]['p50_us']:.0f}",
                f"{at_load[side]['p99_us']:.0f}",
                f"{at_load[side]['p99_to_lone']:.1f}",
            ]
            for language, at_load in (("C++", native["at_load"]), ("Python", python["at_load"]))
            for side, label in labels.items()
            if side in at_load
        ],
    )


def catalogue() -> Iterator[str]:
    """The exact top k of a large catalogue."""
    result = read("catalogue")
    allowed = result["allow_list"]
    yield from heading(
        "Large catalogues",
        "catalogue",
        result,
        f"The exact best k of {result['items']:,} items of width {result['dim']}, {result['threads']} threads: ONNX "
        "Runtime's MatMul and TopK, and an engine, which ranks with an 8-bit index.",
    )
    columns = {"onnxruntime": "ONNX Runtime", "native": "engine"}
    yield from table(
        ["users", "k", *(f"{label}, ms" for label in columns.values())],
        [[str(row["rows"]), str(row["k"]), *(f"{row['ms'][name]:.1f}" for name in columns)] for row in result["times"]],
    )
    memory = result["memory"]
    yield from paragraph(f"Memory beside one copy of the embedding, {memory['rows']} users, k {memory['k']}:")
    yield from table(
        ["", "held, MiB", "more while ranking, MiB"],
        [
            [label, *(f"{memory[name][f'{kind}_mib']:.1f}" for kind in ("held", "peak"))]
            for name, label in columns.items()
        ],
    )
    yield from paragraph(
        f"The best {allowed['k']} for one user among {allowed['items']:,} allowed items of the same catalogue: "
        f"{allowed['ms']['native']:.1f} ms."
    )


def users() -> Iterator[str]:
    """A Recommender with stored histories."""
    result = read("users")
    yield from heading(
        "Stored histories",
        "users",
        result,
        f"`Recommender` with {result['users']} users and histories of {result['history']} items, one thread of calls.",
    )
    stores = {row["store"]: row for row in result["throughput"]}
    labels = {
        "add_events_per_s": "`add_events`, one event a call",
        "add_events_many_per_s": "`add_events_many`",
        "recommend_per_s": "`recommend`",
        "recommend_many_per_s": "`recommend_many`",
        "add_events_and_recommend_per_s": "`add_events`, then `recommend`",
        "rebuild_many_per_s": "states rebuilt from histories",
    }
    yield from table(
        ["per second", "in memory", "SQLite"],
        [[label, *(f"{stores[store][name]:,.0f}" for store in ("memory", "sqlite"))] for name, label in labels.items()],
    )
    yield from paragraph(
        f"For a user whose state is cached, however long the history; `engine.step` of one item takes "
        f"{result['step_us']:.0f} µs here:"
    )
    yield from table(
        ["store", "events of the user", "`recommend`, µs", "`add_events`, then `recommend`, µs"],
        [
            [
                row["store"],
                f"{row['events']:,}",
                f"{row['recommend_us']:.0f}",
                f"{row['add_events_and_recommend_us']:.0f}",
            ]
            for row in result["history_lengths"]
        ],
    )
    yield from paragraph("Memory of the state cache:")
    yield from table(
        ["user ids", "users", "states alone, GiB", "the process, GiB"],
        [
            [
                row["ids"],
                f"{row['users']:,}",
                f"{row['raw_bytes'] / 2**30:.2f}",
                f"{row['resident_bytes'] / 2**30:.2f}",
            ]
            for row in result["state_cache"]
        ],
    )


def training() -> Iterator[str]:
    """Training: every position at once, and the native kernels."""
    result = read("training")
    yield from heading(
        "Training",
        "training",
        result,
        "recblr learns from every position of a history in one pass. Other implementations read the history anew for "
        f"each prefix. Data: {result['data']}; {result['threads']} threads; both with the same native kernels.",
    )
    labels = {"every_position": "every position in one pass", "one_sample_per_prefix": "one sample per prefix"}
    yield from table(
        ["", "targets/s"], [[label, f"{result['targets_per_second'][name]:,.0f}"] for name, label in labels.items()]
    )
    yield from paragraph(f"The first is {result['ratio']:.0f} times as fast.")


def kernels() -> Iterator[str]:
    """The native operators against the reference."""
    result = read("kernels-cpu")
    step = result["training_step"]
    yield from heading(
        "Kernels",
        "kernels-cpu",
        result,
        f"The native library against the reference operators in PyTorch, {result['threads']} threads, float32, 64 "
        "histories of 200 items, width 128. Times are the least of all repeats; the file has more shapes and types.",
    )
    chosen = [
        kernel
        for kernel in result["kernels"]
        if (kernel["rows"], kernel["length"], kernel["width"], kernel["dtype"]) == (64, 200, 128, "fp32")
    ]
    names = {"gated_scan": "gated scan", "causal_conv1d": "causal convolution"}
    rows = [[f"{names[kernel['op']]}, {kernel['direction'].replace('_', ' and ')}", kernel] for kernel in chosen]
    rows.append([f"a whole training step, {step['tokens']:,} items", step])
    yield from table(
        ["", "native, ms", "reference, ms", "speedup"],
        [
            [label, *(f"{of['milliseconds'][who]['min']:.1f}" for who in ("native", "reference")), times(of["speedup"])]
            for label, of in rows
        ],
    )


def data() -> Iterator[str]:
    """Reading and preparing interactions."""
    result = read("data")
    yield from heading(
        "Data",
        "data",
        result,
        f"{result['integer_ids']['generated']['interactions']:,} interactions in a Parquet file are read, filtered to "
        "their 5-core, sorted and split.",
    )
    steps = ("read", "encode", "filter", "sort", "split", "total")
    yield from table(
        ["ids", *(f"{step}, s" for step in steps), "peak memory, GiB"],
        [
            [
                kind.removesuffix("_ids"),
                *(f"{result[kind]['seconds'][step]:.2f}" for step in steps),
                f"{result[kind]['peak_rss_gib']:.2f}",
            ]
            for kind in ("integer_ids", "string_ids")
        ],
    )


def export() -> Iterator[str]:
    """Engines of TensorRT-RTX."""
    result = read("export")
    yield from heading(
        "Export",
        "export",
        result,
        "TensorRT-RTX engines of the paper's model for MovieLens-1M, built on a machine without a GPU, and not run. "
        f"Writing the bundle that they belong to took {result['bundle']['median_s']:.1f} s, checks against PyTorch "
        "included.",
    )
    yield from table(
        ["precision", "build, s", "engine, MB", "GPU memory of the largest run, MB"],
        [
            [
                engine["precision"],
                f"{engine['median_s']:.2f}",
                f"{engine['bytes'] / 1e6:.1f}",
                f"{engine['activation_bytes'] / 1e6:.0f}",
            ]
            for engine in result["engines"]
        ],
    )


def large_export() -> Iterator[str]:
    """A model of more than 2 GB."""
    result = read("large-export")
    yield from heading(
        "A model of more than 2 GB",
        "large-export",
        result,
        f"{result['items']:,} items of width {result['dim']}, a model of {result['model_bytes'] / 1e9:.2f} GB, "
        "exported and then served without PyTorch.",
    )
    yield from table(
        ["", "seconds", "peak memory, GB", "peak over the model's size"],
        [
            [
                label,
                f"{result[step][seconds]:.1f}",
                f"{result[step]['peak_bytes'] / 1e9:.2f}",
                f"{result['peak_to_model'][step]:.1f}",
            ]
            for label, step, seconds in (
                ("export", "export", "seconds"),
                ("opening and verifying the bundle, then serving", "serve", "opened_seconds"),
            )
        ],
    )


def elsewhere() -> Iterator[str]:
    """What docs/quality.md has."""
    yield from paragraph("## Against other models")
    yield from paragraph(
        "Beside the quality of each model, [quality.md](quality.md) has what it costs: answers of SASRec, GRU4Rec and "
        "item-kNN on real histories, training and inference over histories of 250 to 1,000 items, ways to scan a "
        "batch, training with a million items, and how soon a given quality is reached."
    )


SECTIONS = (
    one_user,
    against_pytorch,
    core,
    catalogue,
    users,
    training,
    kernels,
    data,
    export,
    large_export,
)
