"""Reloads under load: requests that fail, latency beside that without reloads, and memory.

    python benchmarks/reloads.py [--reloads N]

Threads ask a recblr-serve for recommendations and for those of stored users, while POST /v1/model/reload loads one of
two bundles after the other, a tenth of a second apart. The callers rest between their requests, so that the server has
CPU to spare; then, for a fifth as many reloads, they do not. Results are in benchmarks/results/reloads.json; the status
is 1 if a request failed, the 99th percentile doubled where callers rest, or memory grew by more than a tenth after the
first tenth of the reloads.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from machine import machine_info, write_result
from server import write_bundle
from server_sides import free_port, recblr_serve

N_ITEMS = 1_682
CALLERS = 4
USERS = 200
HISTORY = 100
REST_SECONDS = 0.002  # of a caller, on average
SECONDS_BETWEEN = 0.1  # reloads
SATURATED_SHARE = 5
MEMORY_GROWTH = 1.10
P99_RATIO = 2.0


@dataclass
class Caller:
    """Asks until it is told to end.

    Attributes:
        rest: seconds between an answer and the next request, on average.
        milliseconds: of each answered request.
        failures: what was answered, or the error, in place of status 200.
    """

    port: int
    number: int
    rest: float
    milliseconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    ended: bool = False

    def run(self) -> None:
        """A thread's life."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        random = np.random.default_rng(self.number)
        while not self.ended:
            user, item = int(random.integers(USERS)), int(random.integers(1, N_ITEMS + 1))
            requests = (
                ("POST", "/v1/recommend", json.dumps({"histories": [[item, 7, 11]], "k": 10})),
                ("POST", f"/v1/users/{user}/events", json.dumps({"items": [item]})),
                ("GET", f"/v1/users/{user}/recommendations?k=10", None),
            )
            for method, path, body in requests:
                if self.rest > 0:
                    time.sleep(self.rest * random.uniform(0.5, 1.5))
                started = time.perf_counter()
                try:
                    connection.request(method, path, body)
                    answer = connection.getresponse()
                    content = answer.read()
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(f"{method} {path}: {type(error).__name__}: {error}")
                    connection.close()
                    continue
                self.milliseconds.append((time.perf_counter() - started) * 1e3)
                if answer.status != 200:
                    self.failures.append(f"{method} {path}: {answer.status} {content.decode()}")
        connection.close()


def reload_model(port: int, bundle: Path) -> float:
    """Seconds that it took.

    Raises:
        click.ClickException: it failed.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    started = time.perf_counter()
    connection.request("POST", "/v1/model/reload", json.dumps({"path": str(bundle)}))
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status != 200:
        raise click.ClickException(f"a reload failed: {answer.status} {content.decode()}")
    return time.perf_counter() - started


def resident_mib(pid: int) -> float:
    """Memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def measure(port: int, pid: int, bundles: list[Path], rest: float, reloads: int, seconds: float) -> dict[str, Any]:
    """Load alone for some seconds, then beside reloads."""
    percentiles: dict[str, list[float]] = {}
    failures: list[str] = []
    memory, taken, requests = list[float](), list[float](), 0
    for phase in ("alone", "beside_reloads"):
        callers = [Caller(port, number, rest) for number in range(CALLERS)]
        threads = [threading.Thread(target=caller.run) for caller in callers]
        for thread in threads:
            thread.start()
        if phase == "alone":
            time.sleep(seconds)
        for n in range(reloads if phase == "beside_reloads" else 0):
            taken.append(reload_model(port, bundles[n % 2]))
            time.sleep(SECONDS_BETWEEN)
            memory.append(round(resident_mib(pid), 1))
        for caller in callers:
            caller.ended = True
        for thread in threads:
            thread.join()
        failures += [failure for caller in callers for failure in caller.failures]
        milliseconds = np.concatenate([caller.milliseconds for caller in callers])
        percentiles[phase] = np.percentile(milliseconds, (50, 99)).tolist()
        requests += len(milliseconds)
    early, late = (
        statistics.median(memory[int(len(memory) * a) : int(len(memory) * b) + 1]) for a, b in ((0.1, 0.3), (0.8, 1))
    )
    return {
        "reloads": reloads,
        "rest_ms": rest * 1e3,
        "seconds_of_a_reload": statistics.median(taken),
        "requests": requests,
        "failed": len(failures),
        "failures": failures[:10],
        "ms": {phase: {"p50": p50, "p99": p99} for phase, (p50, p99) in percentiles.items()},
        "p99_ratio": percentiles["beside_reloads"][1] / percentiles["alone"][1],
        "memory_mib": {"early": early, "late": late, "ratio": late / early},
    }


def run(reloads: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Both loads, on one server."""
    with tempfile.TemporaryDirectory() as folder:
        # Two models of other weights and the same items.
        bundles = [write_bundle(Path(folder) / f"bundle-{seed}", N_ITEMS, seed) for seed in range(2)]
        port = free_port()
        options = ["--engine", bundles[0], "--port", port, "--store", "memory", "--rebuild-users", USERS]
        options += ["--store-max-history", HISTORY]  # so that histories do not grow on
        server = subprocess.Popen(
            [str(word) for word in (recblr_serve(), *options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert server.stdout is not None
        try:
            while not server.stdout.readline().startswith("Serving "):
                if server.poll() is not None:
                    raise click.ClickException(f"recblr-serve ended with status {server.returncode}")
            return {
                "with_rests": measure(port, server.pid, bundles, REST_SECONDS, reloads, seconds),
                "without_rests": measure(port, server.pid, bundles, 0, max(1, reloads // SATURATED_SHARE), seconds),
            }
        finally:
            server.terminate()
            server.wait()


def problems(loads: dict[str, dict[str, Any]]) -> list[str]:
    """What must not be."""
    found = []
    for name, load in loads.items():
        if load["failed"]:
            found.append(f"{name}: {load['failed']} requests failed, the first: {load['failures'][0]}")
    rested = loads["with_rests"]
    if rested["p99_ratio"] > P99_RATIO:
        found.append(f"the 99th percentile beside reloads is {rested['p99_ratio']:.1f} times that without")
    if rested["memory_mib"]["ratio"] > MEMORY_GROWTH:
        memory = rested["memory_mib"]
        found.append(f"memory grew from {memory['early']:.0f} to {memory['late']:.0f} MiB")
    return found


@click.command()
@click.option("--reloads", default=1_000, show_default=True, help="How many.")
@click.option("--seconds", default=20.0, show_default=True, help="Of load alone.")
def main(reloads: int, seconds: float) -> None:
    """Run, and write benchmarks/results/reloads.json."""
    loads = run(reloads, seconds)
    found = problems(loads)
    result = {"callers": CALLERS, "users": USERS, "seconds_between": SECONDS_BETWEEN, **loads, "problems": found}
    path = write_result("reloads", {"machine": machine_info(("recblr",)), **result})
    for name, load in loads.items():
        ms, memory = load["ms"], load["memory_mib"]
        click.echo(
            f"{name}: {load['reloads']:,} reloads of {load['seconds_of_a_reload'] * 1e3:.0f} ms, "
            f"{load['requests']:,} requests, {load['failed']} failed; p99 {ms['alone']['p99']:.2f} ms alone, "
            f"{ms['beside_reloads']['p99']:.2f} ms beside reloads ({load['p99_ratio']:.2f}x); memory "
            f"{memory['early']:.0f} MiB early, {memory['late']:.0f} MiB late"
        )
    click.echo(f"written to {path}")
    for problem in found:
        click.echo(problem, err=True)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
