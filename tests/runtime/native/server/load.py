"""recblr-serve itself under load of every kind, from its start to SIGTERM in its midst: for builds with sanitizers.

    python load.py RECBLR_SERVE WRITE_BUNDLE [--grpc] [--seconds S]

Several clients ask, add users' events, send what is malformed, leave early and change the model. Fails, with status 1
and a line for each reason, if the server ends with another status than 0, says anything but lines of its log, answers
with a status of 500 or more but 503, or never answers a kind of request with 200.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import itertools
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

# Whatever takes longer hangs.
TIMEOUT = 60
ITEMS = [10, 20, 30, 40, 50, 60]  # of a tiny bundle
HISTORY = {"name": "item_ids", "datatype": "INT64", "shape": [3]}
LENGTHS = {"name": "lengths", "datatype": "INT64", "shape": [1], "data": [3]}
JSON = {"Content-Type": "application/json"}

Send = Callable[..., int]  # method, path, body, headers: the status


class Load:
    """Clients in threads, what they were answered, and what was wrong."""

    def __init__(self, ports: dict[str, int], bundles: list[Path], signal_server: Callable[[int], None]) -> None:
        self._port, self._grpc_port = ports["http"], ports.get("grpc")
        self._bundles, self._signal_server = bundles, signal_server
        self.answers: Counter[tuple[str, int]] = Counter()
        self.wrong: list[str] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()  # the server may be gone
        kinds = [self._recommend, self._users, self._oip, self._malformed, self._leave, self._model, self._look]
        if self._grpc_port:
            kinds.append(self._grpc)
        self._threads = [threading.Thread(target=self._run, args=(kind,)) for kind in (*kinds, self._recommend)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def never_answered(self) -> list[str]:
        """The kinds of requests that had no answer with 200."""
        with self._lock:
            answers = dict(self.answers)
        asked = {name for name, _ in answers if not name.startswith("malformed")}
        silent = {"recommend", "users", "oip", "model", "look"} - {name.split()[0] for name in asked}
        return sorted(silent | {name for name in asked if (name, 200) not in answers})

    def may_end(self) -> None:
        """From now on connections may be refused or closed."""
        self._ended.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(TIMEOUT)
            if thread.is_alive():
                self.wrong.append("a client still waits")

    def _run(self, kind: Callable[[Send, int], None]) -> None:
        name = kind.__name__.strip("_")
        for n in itertools.count():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
            try:
                for j in range(20):
                    kind(self._sender(connection, name), 20 * n + j)
            except (OSError, http.client.HTTPException) as error:
                if self._ended.is_set():
                    return
                self.wrong.append(f"{name}: {error!r}")
                return
            finally:
                connection.close()

    def _sender(self, connection: http.client.HTTPConnection, name: str) -> Send:
        def send(method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> int:
            content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, content, {**JSON, **(headers or {})})
            answer = connection.getresponse()
            text = answer.read()
            with self._lock:
                self.answers[f"{name} {method} {re.sub(r'[0-9]+', 'N', path)}", answer.status] += 1
            if answer.status >= 500 and answer.status != 503:
                self.wrong.append(f"{method} {path}: {answer.status} {text[:200]!r}")
            if answer.status == 503:
                time.sleep(0.01)
            return answer.status

        return send

    def _recommend(self, send: Send, n: int) -> None:
        histories = [[ITEMS[(n + j) % 6], ITEMS[(n * j) % 6]] for j in range(1 + n % 5)]
        body = {"histories": histories, "k": 1 + n % 3}
        send("POST", "/v1/recommend", body)
        send("POST", "/v1/recommend?zip", gzip.compress(json.dumps(body).encode()), {"Content-Encoding": "gzip"})

    def _users(self, send: Send, n: int) -> None:
        send("POST", f"/v1/users/{n % 7}/events", {"items": [ITEMS[n % 6]], "event_id": f"e{n}"})
        send("GET", f"/v1/users/{n % 7}/recommendations?k=2")
        if n % 11 == 10:
            send("DELETE", f"/v1/users/{n % 7}")

    def _oip(self, send: Send, n: int) -> None:
        history = [ITEMS[n % 6], ITEMS[n // 6 % 6], ITEMS[0]]
        body = {"inputs": [{**HISTORY, "data": history}, LENGTHS], "parameters": {"k": 2}}
        send("POST", "/v2/models/recblr/infer", body)
        data = struct.pack("<3q", *history)
        tensor = {**HISTORY, "parameters": {"binary_data_size": len(data)}}
        head = json.dumps({"inputs": [tensor, LENGTHS], "parameters": {"k": 2, "binary_data_output": True}}).encode()
        header = {"Inference-Header-Content-Length": str(len(head))}
        send("POST", "/v2/models/recblr/infer?binary", head + data, header)

    def _malformed(self, send: Send, n: int) -> None:
        send("POST", "/v1/recommend", b'{"histories": [[1, ')
        send("POST", "/v1/recommend", {"histories": [[10]], "k": -1})
        send("POST", "/v1/recommend", b"no gzip", {"Content-Encoding": "gzip"})
        send("POST", "/v2/models/recblr/infer", b"{}" * 9, {"Inference-Header-Content-Length": "900"})
        send("PUT", "/nowhere")
        for garbage in (
            b"GET / HTTP/9\r\n\r\n",
            b"POST /v1/recommend HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            b"\x16\x03\x01",
        ):
            with self._connected(self._port) as client:
                client.sendall(garbage)
                client.shutdown(socket.SHUT_WR)
                while client.recv(4096):
                    pass

    def _leave(self, send: Send, n: int) -> None:
        """Within a request, or before its answer, with a reset every other time."""
        body = json.dumps({"histories": [[10, 20]] * 200, "k": 3}).encode()
        request = b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        with self._connected(self._port) as client:
            client.sendall(request[: len(request) // (1 + n % 3)] * (1 + n % 2))
            if n % 2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _model(self, send: Send, n: int) -> None:
        send("POST", "/v1/model/reload", {"path": str(self._bundles[n % 2])})
        send("POST", "/v1/model/rollback")
        if n % 3 == 0:
            self._signal_server(signal.SIGHUP)
        time.sleep(0.02)

    def _look(self, send: Send, n: int) -> None:
        for path in ("/metrics", "/v1/model", "/v2/models/recblr/stats", "/", "/docs"):
            send("GET", path)
        time.sleep(0.01)

    def _grpc(self, send: Send, n: int) -> None:
        """What is no gRPC, and what begins as HTTP/2 and goes on otherwise."""
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04\x00" + bytes(4)
        frames = (
            b"",
            b"\x00\x00\x04\x08\x00" + bytes(4) + b"\x7f\xff\xff\xff",
            b"\xff" * 64,
            b"GET / HTTP/1.1\r\n\r\n",
        )
        with self._connected(self._grpc_port or 0) as client, contextlib.suppress(ConnectionError):
            client.sendall((preface if n % 2 else b"") + frames[n % 4])
            client.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                while client.recv(4096):
                    pass

    @contextlib.contextmanager
    def _connected(self, port: int) -> Iterator[socket.socket]:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as client,
            contextlib.suppress(ConnectionResetError, BrokenPipeError),
        ):
            yield client


def main() -> int:
    """Run it all. Returns the exit status."""
    parser = argparse.ArgumentParser(description="recblr-serve under load, for builds with sanitizers.")
    parser.add_argument("recblr_serve", type=Path)
    parser.add_argument("write_bundle", type=Path)
    parser.add_argument("--grpc", action="store_true", help="its gRPC port is open, too, and gets garbage")
    parser.add_argument("--seconds", type=float, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = _serve_under_load(arguments, Path(folder))
    for line in dict.fromkeys(wrong):
        print(line)
    return 1 if wrong else 0


def _serve_under_load(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """What was wrong."""
    bundles = [folder / "first", folder / "second"]
    for seed, bundle in enumerate(bundles):
        bundle.mkdir()
        subprocess.run([arguments.write_bundle, bundle, str(seed)], check=True)
    words = ["--engine", str(bundles[0]), "--port", "0", "--store", "memory", "--log-format", "json", "--threads", "2"]
    words += ["--workers", "2", "--http-threads", "2", *(["--grpc-port", "0"] if arguments.grpc else [])]
    output, errors = folder / "stdout", folder / "stderr"
    with output.open("wb") as stdout, errors.open("wb") as stderr:
        server = subprocess.Popen([arguments.recblr_serve, *words], stdout=stdout, stderr=stderr)
    try:
        ports = _wait_for_ports(output, server, 2 if arguments.grpc else 1)
        load = Load(ports, bundles, server.send_signal)
        load.start()
        time.sleep(arguments.seconds)
        deadline = time.monotonic() + TIMEOUT  # on a busy machine
        while load.never_answered() and not load.wrong and time.monotonic() < deadline:
            time.sleep(0.1)
        load.may_end()
        server.send_signal(signal.SIGTERM)
        status: int | str = server.wait(TIMEOUT)
    except (subprocess.TimeoutExpired, TimeoutError) as error:
        server.kill()
        return [str(error), errors.read_text(errors="replace")]
    load.join()
    for (name, answer), count in sorted(load.answers.items()):
        print(f"{count:7} {answer} {name}")
    wrong = list(load.wrong)
    if status != 0:
        wrong.append(f"recblr-serve ended with {status}")
    wrong += [line for line in errors.read_text(errors="replace").splitlines() if not line.startswith("{")]
    wrong += [f"never answered with 200: {name}" for name in load.never_answered()]
    return wrong


def _wait_for_ports(output: Path, server: subprocess.Popen[bytes], count: int) -> dict[str, int]:
    """Once it is ready: the ports of the addresses that it prints."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and server.poll() is None:
        found = dict(re.findall(r"\b(http|grpc)://127\.0\.0\.1:(\d+)", output.read_text()))
        if len(found) == count:
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", int(found["http"]), timeout=TIMEOUT)
                connection.request("GET", "/v2/health/ready")
                if connection.getresponse().status == 200:
                    return {name: int(port) for name, port in found.items()}
        time.sleep(0.05)
    raise TimeoutError(f"recblr-serve is not ready after {TIMEOUT} s, or ended")


if __name__ == "__main__":
    sys.exit(main())
