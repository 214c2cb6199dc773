"""The command-line tools of the runtime."""

from __future__ import annotations

import json
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from recblr.runtime.cli.recommend import main as recommend
from recblr.runtime.cli.serve import main as serve
from recblr.runtime.server.app import MAX_BODY_BYTES

BIN = Path(sys.executable).parent


def invoke(command: Any, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def refusal(result: Result) -> str:
    """The one line of an expected failure."""
    assert result.exit_code == 1
    assert result.stdout == ""
    assert re.fullmatch(r"Error: [^\n]+\n", result.stderr)
    return result.stderr


def test_a_table(toy: Any) -> None:
    result = invoke(recommend, "--engine", toy.path, "--history", "10, 20,999", "--k", 3)
    items, scores = toy.ranking([10, 20], 3, exclude=[10, 20])
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["rank", "item", "score"]
    assert rows[1:] == [[str(j + 1), str(items[j]), f"{scores[j]:.4f}"] for j in range(3)]
    assert result.stderr == "1 of 3 item ids are unknown to the model and were skipped, the first of them 999.\n"


def test_popular_items_for_an_empty_history(toy: Any) -> None:
    result = invoke(recommend, "--engine", toy.path / "model.onnx", "-k", 2)
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["rank", "item", "count"],
        ["1", "20", "7"],
        ["2", "30", "7"],
    ]
    assert result.stderr.startswith("Nothing is known of this user")


def test_json(toy: Any) -> None:
    result = invoke(
        recommend, "--engine", toy.path, "--history", "10", "--exclude", "30,40", "--include-seen", "-k", 4, "--json"
    )
    items, scores = toy.ranking([10], 4, exclude=[30, 40])
    assert json.loads(result.stdout) == {
        "items": items,
        "scores": scores,
        "popular": False,
        "unknown": 0,
        "model": "sha256:toy",
    }


def test_ids_with_commas(text_toy: Any) -> None:
    result = invoke(recommend, "--engine", text_toy.path, "--history", "b,c|ü", "--separator", "|", "-k", 3, "--json")
    assert json.loads(result.stdout)["items"] == text_toy.ranking(["b,c", "ü"], 3, exclude=["b,c", "ü"])[0]


def test_bad_requests(toy: Any, tmp_path: Path) -> None:
    engine = ("--engine", toy.path)
    assert "item id 'x' is not an integer" in refusal(invoke(recommend, *engine, "--history", "10,x"))
    assert "item id '007' is not an integer in plain decimal form" in refusal(
        invoke(recommend, *engine, "--history", "10,007")
    )
    assert "item id '' is not an integer" in refusal(invoke(recommend, *engine, "--exclude", "10,,20"))
    assert "k is 10" in refusal(invoke(recommend, *engine, "-k", 10))
    assert "--separator is empty" in refusal(invoke(recommend, *engine, "--separator", ""))
    assert "nowhere does not exist" in refusal(invoke(recommend, "--engine", tmp_path / "nowhere"))
    assert "is no bundle" in refusal(invoke(serve, "--engine", tmp_path, "--port", 0))


def test_a_damaged_bundle(new_toy: Any) -> None:
    (new_toy.path / "model.onnx").write_bytes(b"x")
    for command in (recommend, serve):
        port = ("--port", 0) if command is serve else ()
        assert "model.onnx has 1 bytes" in refusal(invoke(command, "--engine", new_toy.path, *port))


def test_a_port_in_use(toy: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refusal(invoke(serve, "--engine", toy.path, "--port", port))
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use; choose another --port" in message


def test_a_host_that_is_none(toy: Any) -> None:
    message = refusal(invoke(serve, "--engine", toy.path, "--host", "256.0.0.1", "--port", 0))
    assert "cannot listen on 256.0.0.1" in message
    assert "check --host" in message


def test_missing_packages_are_named(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else object())
    message = refusal(invoke(serve, "--engine", toy.path, "--port", 0))
    assert "recblr-serve needs uvicorn: pip install 'recblr[serve]'" in message


def test_recommend_as_a_process(toy: Any) -> None:
    command = [BIN / "recblr-recommend", "--engine", toy.path, "--history", "10", "-k", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["items"] == toy.ranking([10], 1, exclude=[10])[0]


@pytest.fixture
def server(toy: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running recblr-serve, and its address."""
    process = subprocess.Popen(
        [BIN / "recblr-serve", "--engine", toy.path, "--port", "0", "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 60)[0], "no line within a minute"
        line = process.stdout.readline()
        match = re.fullmatch(
            r"Serving 9 items at (http://127\.0\.0\.1:\d+) \(API page: \1/docs\), "
            r"(recblr's own kernels on the CPU, 1 thread|ONNX Runtime .*), batching\n",
            line,
        )
        assert match, line
        yield process, match[1]
    finally:
        process.kill()
        process.communicate()


def post(url: str) -> Any:
    body = json.dumps({"histories": [[10]], "k": 2}).encode()
    with urllib.request.urlopen(f"{url}/v1/recommend", body, timeout=30) as response:
        return json.load(response)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serving_until_a_signal(server: tuple[subprocess.Popen[str], str], toy: Any, number: signal.Signals) -> None:
    process, url = server
    assert post(url)["rankings"][0]["items"] == toy.ranking([10], 2, exclude=[10])[0]
    with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=30) as response:
        assert json.load(response) == {"ready": True}
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


def test_requests_under_way_are_answered_before_the_end(server: tuple[subprocess.Popen[str], str]) -> None:
    process, url = server
    host, port = url.removeprefix("http://").split(":")
    body = b'{"histories": [[10]], "k": 2}'
    head = f"POST /v1/recommend HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head + body[:5])
        post(url)  # by now the first request has arrived, too
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        connection.sendall(body[5:])
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert process.wait(timeout=30) == 0


def test_a_client_that_sends_too_much_can_read_why(server: tuple[subprocess.Popen[str], str]) -> None:
    _, url = server
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{url}/v1/recommend", b" " * (MAX_BODY_BYTES + 1), timeout=30)
    with caught.value as error:
        assert error.code == 413
        assert "the body is larger than 33,554,432 bytes" in json.load(error)["error"]


def test_many_clients_at_once(server: tuple[subprocess.Popen[str], str]) -> None:
    _, url = server
    expected = post(url)
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.extend(post(url) for _ in range(5))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [expected] * 40
