"""Reloads under load: requests that fail, latency beside that without reloads, and memory.

    python benchmarks/reloads.py [--reloads N]

Threads ask a recblr-serve for recommendations and for those of stored users, each as soon as its last request is
answered, while POST /v1/model/reload loads one of two bundles after the other. Results are in
benchmarks/results/reloads.json; the status is 1 if a request failed, or memory grew by more than a tenth after the
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
MEMORY_GROWTH = 1.10


@dataclass
class Caller:
    """Asks until it is told to end.

    Attributes:
        milliseconds: of each answered request.
        failures: what was answered, or the error, in place of status 200.
    """

    port: int
    number: int
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


def measure(port: int, pid: int, bundles: list[Path], reloads: int, seconds_before: float) -> dict[str, Any]:
    """Load alone for a while, then with reloads."""
    percentiles: dict[str, list[float]] = {}
    failures: list[str] = []
    memory, seconds, requests = list[float](), list[float](), 0
    for phase in ("alone", "beside_reloads"):
        callers = [Caller(port, number) for number in range(CALLERS)]
        threads = [threading.Thread(target=caller.run) for caller in callers]
        for thread in threads:
            thread.start()
        if phase == "alone":
            time.sleep(seconds_before)
        for n in range(reloads if phase == "beside_reloads" else 0):
            seconds.append(reload_model(port, bundles[n % 2]))
            memory.append(round(resident_mib(pid), 1))
        for caller in callers:
            caller.ended = True
        for thread in threads:
            thread.join()
        failures += [failure for caller in callers for failure in caller.failures]
        taken = np.concatenate([caller.milliseconds for caller in callers])
        percentiles[phase] = np.percentile(taken, (50, 99)).tolist()
        requests += len(taken)
    early, late = (
        statistics.median(memory[int(len(memory) * a) : int(len(memory) * b) + 1]) for a, b in ((0.1, 0.3), (0.8, 1))
    )
    return {
        "reloads": reloads,
        "seconds_of_a_reload": statistics.median(seconds),
        "callers": CALLERS,
        "requests": requests,
        "failed": len(failures),
        "failures": failures[:10],
        "ms": {phase: {"p50": p50, "p99": p99} for phase, (p50, p99) in percentiles.items()},
        "p99_ratio": percentiles["beside_reloads"][1] / percentiles["alone"][1],
        "memory_mib": {"early": early, "late": late, "ratio": late / early},
    }


def run(reloads: int, seconds_before: float) -> dict[str, Any]:
    """All of it, with a server of its own."""
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
            return measure(port, server.pid, bundles, reloads, seconds_before)
        finally:
            server.terminate()
            server.wait()


def problems(result: dict[str, Any]) -> list[str]:
    """What must not be."""
    found = [f"{result['failed']} requests failed, the first: {result['failures'][0]}"] if result["failed"] else []
    memory = result["memory_mib"]
    if memory["ratio"] > MEMORY_GROWTH:
        found.append(f"memory grew from {memory['early']:.0f} to {memory['late']:.0f} MiB")
    return found


@click.command()
@click.option("--reloads", default=1_000, show_default=True, help="How many.")
@click.option("--seconds", default=20.0, show_default=True, help="Of load alone.")
def main(reloads: int, seconds: float) -> None:
    """Run, and write benchmarks/results/reloads.json."""
    result = run(reloads, seconds)
    path = write_result("reloads", {"machine": machine_info(("recblr",)), **result, "problems": problems(result)})
    memory = result["memory_mib"]
    click.echo(
        f"{reloads:,} reloads of {result['seconds_of_a_reload'] * 1e3:.0f} ms, {result['requests']:,} requests, "
        f"{result['failed']} failed; p99 {result['ms']['alone']['p99']:.2f} ms alone, "
        f"{result['ms']['beside_reloads']['p99']:.2f} ms beside reloads ({result['p99_ratio']:.2f}x); memory "
        f"{memory['early']:.0f} MiB early, {memory['late']:.0f} MiB late; written to {path}"
    )
    for problem in problems(result):
        click.echo(problem, err=True)
    sys.exit(bool(problems(result)))


if __name__ == "__main__":
    main()
