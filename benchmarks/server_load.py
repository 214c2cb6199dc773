"""Load on a server from another process: wrk over HTTP/1.1, h2load over gRPC.

Debian and Ubuntu have both: apt-get install wrk nghttp2-client.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

_PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client"}
_WARM_UP_SECONDS = 0.3

# Requests are made beforehand, and sent in turn.
_SCRIPT = """
local requests, place = {}, 0
function init(args)
  for n, path in ipairs(args) do
    local file = assert(io.open(path, "rb"))
    requests[n] = wrk.format(%(method)s, %(path)s, %(headers)s, file:read("*a"))
    file:close()
  end
end
function request()
  place = place %% #requests + 1
  return requests[place]
end
function done(summary, latency)
  local errors = 0
  for _, count in pairs(summary.errors) do errors = errors + count end
  print(string.format('{"requests": %%d, "seconds": %%g, "p50_us": %%g, "p99_us": %%g, "errors": %%d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99), errors))
end
"""


@dataclass(frozen=True)
class Asked:
    """What is sent again and again.

    Attributes:
        path: of the address.
        bodies: taken in turn; h2load takes the first alone.
        headers: beside those of the protocol.
        method: of HTTP.
    """

    path: str
    bodies: Sequence[bytes]
    headers: Mapping[str, str]
    method: str = "POST"


@dataclass(frozen=True)
class Load:
    """What came back in one run."""

    requests: int
    per_s: float
    p50_us: float
    p99_us: float


def tool(name: str) -> str:
    """Its path.

    Raises:
        click.ClickException: it is not installed; the message says how to get it.
    """
    found = shutil.which(name)
    if found is None:
        raise click.ClickException(f"{name} is missing: apt-get install {_PACKAGES[name]}")
    return found


def over_http(port: int, asked: Asked, connections: int, seconds: float, folder: Path) -> Load:
    """Load by wrk, after a short warm-up; an error stops the benchmark.

    Args:
        folder: for the files that wrk reads.
    """
    script, paths = folder / "load.lua", []
    for n, body in enumerate(asked.bodies):
        paths.append(folder / f"body-{n}")
        paths[-1].write_bytes(body)
    headers = ", ".join(f"[{_lua(name)}] = {_lua(value)}" for name, value in asked.headers.items())
    values = {"method": _lua(asked.method), "path": _lua(asked.path), "headers": f"{{{headers}}}"}
    script.write_text(_SCRIPT % values, encoding="utf-8")

    def run(duration: float) -> Load:
        # wrk knows whole seconds; its own clock tells how many they were.
        options = ["-t1", f"-c{connections}", f"-d{max(1, round(duration))}s", "--timeout", "30s", "-s", str(script)]
        command = [tool("wrk"), *options, f"http://127.0.0.1:{port}", "--", *map(str, paths)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise click.ClickException(f"wrk failed: {done.stderr or done.stdout}")
        counts = json.loads(done.stdout.splitlines()[-1])
        if counts["errors"] or not counts["requests"]:
            raise click.ClickException(f"{asked.method} {asked.path} on port {port}: {counts}")
        rate = counts["requests"] / counts["seconds"]
        return Load(counts["requests"], rate, counts["p50_us"], counts["p99_us"])

    run(_WARM_UP_SECONDS)
    return run(seconds)


def _lua(text: str) -> str:
    return json.dumps(text)


def over_grpc(port: int, method: str, message: bytes, connections: int, seconds: float, folder: Path) -> Load:
    """Load of one message by h2load, one call at a time on each connection.

    Args:
        method: as /inference.GRPCInferenceService/ModelInfer.
        message: in protobuf.
    """
    body, log = folder / "message", folder / "h2load.log"
    body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    log.unlink(missing_ok=True)
    clients = [f"-c{connections}", "-m1", "-t1", "-D", str(max(1, round(seconds))), "--warm-up-time=1s"]
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    options = [*clients, *headers, "-d", str(body), f"--log-file={log}"]
    command = [tool("h2load"), *options, f"http://127.0.0.1:{port}{method}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise click.ClickException(f"h2load failed: {done.stderr or done.stdout}")
    rows = np.loadtxt(log, dtype=np.int64, ndmin=2)  # start in us, status, us
    if not len(rows) or (rows[:, 1] != 200).any():
        raise click.ClickException(f"{method} on port {port} is not answered: {done.stdout}")
    began, took = rows[:, 0], rows[:, 2]
    span = float((began + took).max() - began.min()) / 1e6
    p50, p99 = np.percentile(took, (50, 99)).tolist()
    return Load(len(rows), len(rows) / span, p50, p99)
