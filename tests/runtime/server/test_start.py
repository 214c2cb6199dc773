"""How recblr-serve starts and ends: what it says, health, signals."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .process import Server

PATH = "/v1/recommend"
Run = Callable[..., subprocess.CompletedProcess[str]]


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The message of an expected failure: of the log's one line that is an error."""
    assert done.returncode == 1, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["level"] for line in lines} <= {"info", "error"}
    (message,) = (line["message"] for line in lines if line["level"] == "error")
    assert isinstance(message, str)
    assert "\n" not in message
    return message


def test_no_bundle(run_server: Run, tmp_path: Path) -> None:
    assert f"{tmp_path} is no bundle" in refusal(run_server("--engine", tmp_path, "--port", 0))
    assert "nowhere does not exist" in refusal(run_server("--engine", tmp_path / "nowhere", "--port", 0))


def test_a_damaged_bundle(run_server: Run, new_toy: Any) -> None:
    (new_toy.path / "model.onnx").write_bytes(b"x")
    assert "model.onnx has 1 bytes" in refusal(run_server("--engine", new_toy.path, "--port", 0))


def test_a_port_in_use(run_server: Run, golden_bundles: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refusal(run_server("--engine", golden_bundles / "integer", "--port", port))
    assert f"127.0.0.1:{port}" in message
    assert os.strerror(errno.EADDRINUSE) in message


def test_a_host_that_is_none(run_server: Run, golden_bundles: Path) -> None:
    assert "256.0.0.1" in refusal(
        run_server("--engine", golden_bundles / "integer", "--host", "256.0.0.1", "--insecure")
    )


def test_a_wrong_command_line(run_server: Run) -> None:
    for words in (["--engine"], ["--no-such-option"], ["--engine", "x", "--port", "x"], ["--port", "0"]):
        done = run_server(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serving_until_a_signal(
    start_server: Callable[..., Server], golden_bundles: Path, number: signal.Signals
) -> None:
    server = start_server(golden_bundles / "integer")
    ready = server.get("/v2/health/ready")
    assert (ready.status_code, ready.json()) == (200, {"ready": True})
    live = server.get("/v2/health/live")
    assert (live.status_code, live.json()) == (200, {"live": True})
    server.stop(number)


def test_requests_under_way_are_answered_before_the_end(
    start_server: Callable[..., Server], golden_bundles: Path
) -> None:
    server = start_server(golden_bundles / "integer")
    body = b'{"histories": [[10]], "k": 2}'
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head + body[:5])
        assert server.post(PATH, content=body).status_code == 200  # by now the first request has arrived, too
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(timeout=1)
        connection.sendall(body[5:])
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    server.stop(None)
