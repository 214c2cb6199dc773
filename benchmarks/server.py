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
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
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
from server_triton import with_backend, with_python

from recblr.checkpoint import Checkpoint
from recblr.config import RecBLRConfig
from recblr.export.bundle import export_bundle
from recblr.model import RecBLR
from recblr.vocabulary import ItemVocabulary

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
TRITON = "Triton, recblr's backend"
TRITON_PYTHON = "Triton, Python backend"
INFER = "/v2/models/recblr/infer"
INFER_CALL = "/inference.GRPCInferenceService/ModelInfer"
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


def inputs_of(row: np.ndarray, in_batches: bool) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Tensors and parameters of one user's request; `in_batches`: for a model with a dimension for the batch, to which
    k is a tensor, as Triton does not merge requests with parameters.
    """
    return ({"item_ids": row[None], "k": np.array([[K]])}, {}) if in_batches else ({"item_ids": row}, {"k": K})


def infer_over_http(rows: np.ndarray, in_batches: bool = False) -> Asked:
    """Of the Open Inference Protocol, with binary tensors in and out."""
    tensors, parameters = inputs_of(rows[0], in_batches)
    head = {
        "parameters": {**parameters, "binary_data_output": True},
        "inputs": [
            {
                "name": name,
                "datatype": "INT64",
                "shape": tensor.shape,
                "parameters": {"binary_data_size": tensor.nbytes},
            }
            for name, tensor in tensors.items()
        ],
    }
    text = json.dumps(head).encode()
    bodies = [text + b"".join(tensor.tobytes() for tensor in inputs_of(row, in_batches)[0].values()) for row in rows]
    return Asked(
        INFER,
        bodies,
        {"content-type": "application/octet-stream", "inference-header-content-length": str(len(text))},
    )


def infer_message(row: np.ndarray, in_batches: bool = False) -> bytes:
    """The same as a message of gRPC."""
    from tritonclient.grpc import service_pb2

    tensors, parameters = inputs_of(row, in_batches)
    request = service_pb2.ModelInferRequest(
        model_name="recblr", raw_input_contents=[tensor.tobytes() for tensor in tensors.values()]
    )
    for name, tensor in tensors.items():
        request.inputs.add(name=name, datatype="INT64", shape=tensor.shape)
    for name, value in parameters.items():
        request.parameters[name].int64_param = value
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

    def protocols(self, side: Side, n_items: int, tritons: Mapping[str, tuple[int, int]]) -> list[dict[str, Any]]:
        """The Open Inference Protocol over HTTP and gRPC, beside Tritons of these ports where they run."""
        ports = {OURS: (side.port, self.grpc_port), **tritons}
        measured = []
        for items in ITEMS:
            rows = histories(n_items, items)

            def http(name: str, rows: np.ndarray = rows) -> Load:
                asked = infer_over_http(rows, in_batches=name == TRITON_PYTHON)
                return over_http(ports[name][0], asked, CONNECTIONS, self.seconds, self.folder)

            def grpc(name: str, rows: np.ndarray = rows) -> Load:
                message = infer_message(rows[0], in_batches=name == TRITON_PYTHON)
                return over_grpc(ports[name][1], INFER_CALL, message, CONNECTIONS, self.seconds, self.folder)

            for protocol, load in (("HTTP", http), ("gRPC", grpc)):
                sides = {name: partial(load, name) for name in ports}
                measured.append({"protocol": protocol, "items": items, **take_turns(sides, self.rounds)})
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
        with ExitStack() as stack:
            tritons = {}
            if triton:
                tritons[TRITON] = stack.enter_context(with_backend(bundle, Path(folder)))
                tritons[TRITON_PYTHON] = stack.enter_context(with_python(bundle, Path(folder)))
            side = stack.enter_context(running(OURS, benchmark.serve, bundle))
            result = {
                "machine": machine_info(("recblr", "numpy")),
                "k": K,
                "rounds": rounds,
                "seconds": seconds,
                "connections_of_a_load": CONNECTIONS,
                "recommend": against,
                "users": benchmark.users(side, n_items),
                "protocols": benchmark.protocols(side, n_items, tritons),
                "connections": benchmark.connections(side, n_items),
                "cpu_us": benchmark.cpu(side, bundle, n_items),
            }
    path = write_result("server", result)
    show(result)
    click.echo(f"written to {path}")


if __name__ == "__main__":
    main()
