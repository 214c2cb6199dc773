"""recblr-serve under load from another process: against other ways to put recblr.runtime behind HTTP, an earlier
recblr-serve and Triton; users; the Open Inference Protocol; many connections; CPU time beside the engine.

    python benchmarks/server.py [--before CHECKOUT] [--triton]

wrk and h2load make the load: apt-get install wrk nghttp2-client. The alternatives come from PyPI into an environment of
their own. Servers take turns, and those that have none stand still; rates and percentiles are medians over the rounds,
ratios medians of each round's. Requests ask for the best 10 with one connection per caller.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from core import Kernels, built_program
from machine import machine_info, write_result
from server_load import Asked, Load, over_grpc, over_http
from server_sides import Side, alternatives, ask, earlier, free_port, recblr_serve, running

from recblr.checkpoint import Checkpoint
from recblr.config import RecBLRConfig
from recblr.export.bundle import export_bundle
from recblr.model import RecBLR
from recblr.vocabulary import ItemVocabulary

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the Triton of the tests

CATALOGUES = (1_682, 100_000)  # the first is MovieLens-100k's
ITEMS = (1, 50)
K = 10
VARIANTS = 64
CONNECTIONS = 16
MANY = 64
IDLE = 1_000
USERS = 64
OURS = "recblr-serve"
BEFORE = "recblr-serve before"
INFER = "/v2/models/recblr/infer"
JSON = {"content-type": "application/json"}

Measure = Callable[[], Load]


def write_bundle(folder: Path, n_items: int, seed: int = 0) -> Path:
    """A model of random weights, whose item ids are 1 to `n_items`."""
    torch.manual_seed(seed)
    model = RecBLR(RecBLRConfig(n_items=n_items)).eval()
    vocabulary = ItemVocabulary(list(range(1, n_items + 1)), np.ones(n_items, dtype=np.int64))
    export_bundle(Checkpoint(model, vocabulary), folder)
    return folder


def histories(n_items: int, length: int) -> np.ndarray:
    """int64 [VARIANTS, length]."""
    return np.random.default_rng(5).integers(1, n_items + 1, (VARIANTS, length))


def recommend(rows: np.ndarray) -> Asked:
    """Of /v1, one user in each request."""
    return Asked("/v1/recommend", [json.dumps({"histories": [row], "k": K}).encode() for row in rows.tolist()], JSON)


def infer_over_http(rows: np.ndarray) -> Asked:
    """Of the Open Inference Protocol, with binary tensors in and out."""
    size = rows[0].nbytes
    head = {
        "parameters": {"k": K, "binary_data_output": True},
        "inputs": [
            {
                "name": "item_ids",
                "datatype": "INT64",
                "shape": [rows.shape[1]],
                "parameters": {"binary_data_size": size},
            }
        ],
    }
    text = json.dumps(head).encode()
    return Asked(
        INFER,
        [text + row.tobytes() for row in rows],
        {"content-type": "application/octet-stream", "inference-header-content-length": str(len(text))},
    )


def infer_message(row: np.ndarray) -> bytes:
    """The same as a message of gRPC."""
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name="recblr", raw_input_contents=[row.tobytes()])
    request.inputs.add(name="item_ids", datatype="INT64", shape=row.shape)
    request.parameters["k"].int64_param = K
    message: bytes = request.SerializeToString()
    return message


def take_turns(sides: Mapping[str, Measure], rounds: int) -> dict[str, Any]:
    """Each side's medians, and how many times as fast the first one is as each other."""
    loads: dict[str, list[Load]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name in list(sides)[:: 1 if turn % 2 == 0 else -1]:
            loads[name].append(sides[name]())
    first, *others = sides
    return {
        "sides": {
            name: {
                field: statistics.median(getattr(load, field) for load in of) for field in ("per_s", "p50_us", "p99_us")
            }
            for name, of in loads.items()
        },
        "ratios": {
            name: statistics.median(a.per_s / b.per_s for a, b in zip(loads[first], loads[name], strict=True))
            for name in others
        },
    }


def with_turns(side: Side, measure: Callable[[Side], Load]) -> Load:
    """A measurement during which this side runs."""
    side.go()
    try:
        return measure(side)
    finally:
        side.stop()


def check_answers(sides: list[Side], rows: np.ndarray) -> None:
    """All give the same items."""
    body = recommend(rows).bodies[0]
    answers = []
    for side in sides:
        side.go()
        answers.append(json.loads(ask(side.port, body))["rankings"][0]["items"])
        side.stop()
    if any(items != answers[0] for items in answers):
        raise click.ClickException(f"the servers' answers differ: {dict(zip(sides, answers, strict=True))}")


class Benchmark:
    """What the measurements share."""

    def __init__(self, folder: Path, rounds: int, seconds: float) -> None:
        self.folder = folder
        self.rounds = rounds
        self.seconds = seconds
        self.grpc_port = free_port()

    def serve(self, port: int, bundle: Path) -> tuple[object, ...]:
        """recblr-serve's command line."""
        return recblr_serve(), "--engine", bundle, "--port", port, "--store", "memory", "--grpc-port", self.grpc_port

    def http(self, asked: Asked, side: Side, connections: int = CONNECTIONS) -> Load:
        """Load over HTTP."""
        return over_http(side.port, asked, connections, self.seconds, self.folder)

    def alternatives(self, n_items: int, before: Path | None) -> list[dict[str, Any]]:
        """POST /v1/recommend of all sides."""
        bundle = write_bundle(self.folder / f"bundle-{n_items}", n_items)
        commands = {OURS: self.serve, **alternatives()}
        if before is not None:
            commands[BEFORE] = earlier(before)
        measured = []
        with ExitStack() as stack:
            sides = [stack.enter_context(running(name, command, bundle)) for name, command in commands.items()]
            for side in sides:
                side.stop()
            check_answers(sides, histories(n_items, ITEMS[-1]))
            for items in ITEMS:
                asked = recommend(histories(n_items, items))
                measures = {side.name: partial(with_turns, side, partial(self.http, asked)) for side in sides}
                measured.append({"catalogue": n_items, "items": items, **take_turns(measures, self.rounds)})
        return measured

    def users(self, side: Side, n_items: int) -> dict[str, Any]:
        """Users whose states are cached, in the first place, against /v1/recommend with one item."""
        row = histories(n_items, ITEMS[-1])[0].tolist()
        for user in range(USERS):
            ask(side.port, json.dumps({"items": row}).encode(), f"/v1/users/{user}/events")
        # wrk sends the same request again and again: of one path, with nothing in its body.
        of_user = Asked(f"/v1/users/7/recommendations?k={K}", [b""], {}, "GET")
        one = recommend(histories(n_items, 1))
        return take_turns(
            {"a cached user": partial(self.http, of_user, side), "/v1/recommend": partial(self.http, one, side)},
            self.rounds,
        )

    def protocols(self, side: Side, n_items: int, triton: tuple[int, int] | None) -> list[dict[str, Any]]:
        """The Open Inference Protocol over HTTP and gRPC, beside Triton's where it runs."""
        measured = []
        for items in ITEMS:
            rows = histories(n_items, items)
            over = {
                "HTTP": lambda ports, rows=rows: over_http(
                    ports[0], infer_over_http(rows), CONNECTIONS, self.seconds, self.folder
                ),
                "gRPC": lambda ports, rows=rows: over_grpc(
                    ports[1],
                    "/inference.GRPCInferenceService/ModelInfer",
                    infer_message(rows[0]),
                    CONNECTIONS,
                    self.seconds,
                    self.folder,
                ),
            }
            for name, load in over.items():
                sides = {OURS: partial(load, (side.port, self.grpc_port))}
                if triton is not None:
                    sides["Triton"] = partial(load, triton)
                measured.append({"protocol": name, "items": items, **take_turns(sides, self.rounds)})
        return measured

    def connections(self, side: Side, n_items: int) -> dict[str, Any]:
        """More of them, and idle ones beside."""
        asked = recommend(histories(n_items, 1))

        def beside_idle_ones() -> Load:
            with ExitStack() as stack:
                for _ in range(IDLE):
                    stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", side.port))))
                return self.http(asked, side)

        return take_turns(
            {
                f"{CONNECTIONS}": partial(self.http, asked, side),
                f"{MANY}": partial(self.http, asked, side, MANY),
                f"{CONNECTIONS} beside {IDLE:,} idle": beside_idle_ones,
            },
            self.rounds,
        )

    def cpu(self, side: Side, bundle: Path, n_items: int) -> dict[str, float]:
        """Microseconds of CPU per request with one item: of the process, of its runs, and the kernels' for one."""
        totals, runs, steps = [], [], []
        asked = recommend(histories(n_items, 1))
        with Kernels(built_program(), bundle) as kernels:
            for _ in range(self.rounds):
                before = side.cpu_seconds(), *run_seconds(side)
                self.http(asked, side)
                after = side.cpu_seconds(), *run_seconds(side)
                cpu, run, requests = (b - a for a, b in zip(before, after, strict=True))
                totals.append(cpu / requests * 1e6)
                runs.append(run / requests * 1e6)
                steps.append(kernels.microseconds(1, 0.2))
        outside = [total - run for total, run in zip(totals, runs, strict=True)]
        return {
            name: statistics.median(of)
            for name, of in (("total", totals), ("runs", runs), ("outside", outside), ("one_step", steps))
        }


def run_seconds(side: Side) -> tuple[float, float]:
    """Of a recblr-serve: how long runs took in all, and how many requests were answered."""
    with urllib.request.urlopen(f"http://127.0.0.1:{side.port}/metrics", timeout=60) as response:
        text = response.read().decode()

    def sum_of(pattern: str) -> float:
        return sum(map(float, re.findall(rf"^{pattern} (\S+)$", text, flags=re.MULTILINE)))

    return sum_of("recblr_run_seconds_sum"), sum_of(r'recblr_engine_requests_total\{[^}]*"answered"[^}]*\}')


def show(result: dict[str, Any]) -> None:
    """Print the essentials."""

    def rates(measured: dict[str, Any]) -> str:
        return ", ".join(
            f"{name} {side['per_s']:,.0f}/s (p99 {side['p99_us'] / 1e3:.2f} ms"
            + (f", 1/{measured['ratios'][name]:.2f})" if name in measured["ratios"] else ")")
            for name, side in measured["sides"].items()
        )

    for row in result["recommend"]:
        click.echo(f"{row['catalogue']:,} items, {row['items']} in a request: {rates(row)}")
    click.echo(f"users: {rates(result['users'])}")
    for row in result["protocols"]:
        click.echo(f"{row['protocol']}, {row['items']} items: {rates(row)}")
    click.echo(f"connections: {rates(result['connections'])}")
    click.echo("CPU us per request: " + ", ".join(f"{name} {us:.1f}" for name, us in result["cpu_us"].items()))


@contextmanager
def triton_ports(bundle: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """Of HTTP and gRPC, of a Triton with recblr's backend that serves the bundle, as the tests start it."""
    from tests.runtime.triton.process import Triton, add_model

    add_model(folder / "models", "recblr", bundle)
    triton = Triton(folder / "models")
    try:
        if (error := triton.load("recblr")) is not None:
            raise click.ClickException(f"Triton does not load the bundle: {error}")
        http, grpc = (int(triton.addresses[name].rpartition(":")[2]) for name in ("http", "grpc"))
        yield http, grpc
    finally:
        triton.kill()


@click.command()
@click.option("--before", type=click.Path(path_type=Path, exists=True), help="A checkout of an earlier recblr.")
@click.option("--triton", is_flag=True, help="Compare with Triton, too, which the tests download.")
@click.option("--rounds", default=5, show_default=True, help="Rounds of each comparison.")
@click.option("--seconds", default=4.0, show_default=True, help="Of each measurement.")
def main(before: Path | None, triton: bool, rounds: int, seconds: float) -> None:
    """Measure and write benchmarks/results/server.json."""
    with tempfile.TemporaryDirectory() as folder:
        benchmark = Benchmark(Path(folder), rounds, seconds)
        against = [row for n_items in CATALOGUES for row in benchmark.alternatives(n_items, before)]
        n_items = CATALOGUES[0]
        bundle = Path(folder) / f"bundle-{n_items}"
        others = triton_ports(bundle, Path(folder)) if triton else contextlib.nullcontext()
        with running(OURS, benchmark.serve, bundle) as side, others as ports:
            result = {
                "machine": machine_info(("recblr", "numpy")),
                "k": K,
                "rounds": rounds,
                "seconds": seconds,
                "connections_of_a_load": CONNECTIONS,
                "recommend": against,
                "users": benchmark.users(side, n_items),
                "protocols": benchmark.protocols(side, n_items, ports),
                "connections": benchmark.connections(side, n_items),
                "cpu_us": benchmark.cpu(side, bundle, n_items),
            }
    path = write_result("server", result)
    show(result)
    click.echo(f"written to {path}")


if __name__ == "__main__":
    main()
