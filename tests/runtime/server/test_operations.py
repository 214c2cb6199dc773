"""What whoever runs recblr-serve relies on: loading, draining, reloading, metrics, traces, logs."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .process import Server, executable

BODY = b'{"histories": [[10]], "k": 2}'
WHOLE = b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
HALF = b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
# What a client over HTTP/2 begins with, and empty settings.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
SECONDS = 60

Start = Callable[..., Server]


def until(holds: Callable[[], Any], seconds: float = SECONDS) -> None:
    """Wait for something that comes soon."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def connect(server: Server) -> socket.socket:
    """A connection of its own."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS)


def received(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    content = b""
    while chunk := connection.recv(65_536):
        content += chunk
    return content


def lead(link: Path, target: Path) -> None:
    """Let a link lead elsewhere, at once."""
    made = link.with_name("made")
    made.symlink_to(target)
    made.rename(link)


def version(server: Server) -> int:
    """Of the model that is served."""
    found: int = server.get("/v1/model").json()["version"]
    return found


def metrics(server: Server) -> dict[str, float]:
    """The value of each line, by its name and labels."""
    answer = server.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    values: dict[str, float] = {}
    types: dict[str, str] = {}
    for line in answer.text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types
            types[name] = kind
        elif not line.startswith("# HELP "):
            match = re.fullmatch(r'(([a-z_]+)(?:\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})?) (\S+)', line)
            assert match, line
            name = re.sub("_(bucket|sum|count)$", "", match[2])
            assert (match[2] if types.get(match[2]) in ("counter", "gauge") else name) in types, line
            assert match[1] not in values, line
            values[match[1]] = float(match[3])
    return values


@pytest.fixture
def silent_store() -> Iterator[str]:
    """The address of a Redis server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}?socket_timeout={SECONDS}"


def test_while_it_loads(start_server: Start, golden_bundles: Path, silent_store: str) -> None:
    server = start_server(golden_bundles / "integer", "--store", silent_store, ready=False)
    assert server.get("/v2/health/live").status_code == 200
    assert server.get("/v2/health/ready").status_code == 503
    refused = server.post("/v1/recommend", content=BODY)
    assert (refused.status_code, "loaded" in refused.json()["error"]) == (503, True)
    assert "retry-after" in refused.headers
    assert metrics(server)["recblr_ready"] == 0
    assert "Serving" not in server.output()
    with connect(server) as idle:
        server.process.send_signal(signal.SIGHUP)
        server.stop()  # ends it well
        assert received(idle) == b""


def test_a_model_that_cannot_be_loaded_ends_it(run_server: Any, golden_bundles: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    done = run_server("--engine", golden_bundles / "integer", "--port", 0, "--store", f"redis://127.0.0.1:{port}")
    assert done.returncode == 1
    line = json.loads(done.stderr)
    assert (line["level"], line["event"]) == ("error", "load")
    assert f"127.0.0.1:{port}" in line["message"]
    assert done.stdout.startswith("Listening at http://127.0.0.1:")


def test_what_is_in_the_accept_queue_is_answered(start_server: Start, golden_bundles: Path) -> None:
    server = start_server(golden_bundles / "integer")
    server.process.send_signal(signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(20)]
        for client in clients:
            client.sendall(WHOLE)
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGCONT)
        for client in clients:
            assert received(client).startswith(b"HTTP/1.1 200 OK\r\n")
    server.stop(None)


def test_while_it_drains_it_is_not_ready_and_answers(start_server: Start, golden_bundles: Path) -> None:
    server = start_server(golden_bundles / "integer")
    with connect(server) as slow, connect(server) as other:
        slow.sendall(HALF)
        other.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        assert other.recv(65_536).startswith(b"HTTP/1.1 200")
        other.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n")
        time.sleep(0.1)  # until that has arrived
        server.process.send_signal(signal.SIGTERM)
        until(lambda: any(line["event"] == "drain" for line in server.log()))
        time.sleep(0.1)
        # Requests that began before are read to their ends.
        other.sendall(b"\r\n")
        answer = received(other)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"\r\nConnection: close\r\n" in answer
        slow.sendall(b'"histories": [[10]], "k": 2}'.ljust(99))
        assert received(slow).startswith(b"HTTP/1.1 200")
    server.stop(None)


def test_while_balancers_have_not_noticed_its_end_it_takes_connections(
    start_server: Start, golden_bundles: Path
) -> None:
    server = start_server(golden_bundles / "integer", "--drain-delay", 1)
    server.process.send_signal(signal.SIGTERM)
    until(lambda: server.get("/v2/health/ready").status_code == 503)
    assert server.get("/v2/health/live").status_code == 200
    assert server.post("/v1/recommend", content=BODY).status_code == 200
    server.stop(None)


@pytest.mark.parametrize("sent", [b"", WHOLE[:20]], ids=["nothing", "half a head"])
def test_clients_without_a_request_do_not_keep_it(start_server: Start, golden_bundles: Path, sent: bytes) -> None:
    server = start_server(golden_bundles / "integer", "--drain-timeout", 3600)
    with connect(server) as client:
        client.sendall(sent)
        time.sleep(0.1)
        server.stop()


@pytest.mark.parametrize("sent", [b"", PREFACE], ids=["nothing", "no pings"])
def test_clients_without_a_call_do_not_keep_it(start_server: Start, golden_bundles: Path, sent: bytes) -> None:
    pytest.importorskip("grpc")
    server = start_server(golden_bundles / "integer", "--grpc-port", 0, "--drain-timeout", 3600)
    host, _, port = server.grpc.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as client:
        client.sendall(sent)
        time.sleep(0.1)
        server.stop()


def test_it_drains_though_there_are_no_more_threads(start_server: Start, golden_bundles: Path) -> None:
    server = start_server(golden_bundles / "integer")
    mapped = int(Path(f"/proc/{server.pid}/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    try:
        resource.prlimit(server.pid, resource.RLIMIT_AS, (mapped + (1 << 20),) * 2)  # a thread's stack is larger
    except PermissionError:
        pytest.skip("the limits of other processes may not be set here")
    server.stop()


@pytest.mark.parametrize("stalled", ["half a body", "unread answers"])
def test_stalled_requests_are_left_and_told_of(start_server: Start, golden_bundles: Path, stalled: str) -> None:
    server = start_server(golden_bundles / "integer", "--drain-timeout", 2, expected="request under way is left")
    with connect(server) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        if stalled == "half a body":
            client.sendall(HALF)
        else:
            client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)  # more than sockets hold
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(SECONDS) == 1
    assert server.log()[-1]["message"] == "the time to drain is over: 1 request under way is left"


def test_requests_that_are_left_are_told_of(start_server: Start, golden_bundles: Path, new_redis_server: Any) -> None:
    store = f"{new_redis_server.address}?socket_timeout={SECONDS}"
    server = start_server(
        golden_bundles / "integer", "--store", store, "--drain-timeout", 2, expected="requests under way are left"
    )
    assert server.get("/v1/users/x").status_code in (200, 404)
    new_redis_server.pause()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(40)]
        for client in clients:
            client.sendall(b"GET /v1/users/x HTTP/1.1\r\nHost: x\r\n\r\n")
        # What needs no store does not wait behind them.
        assert server.post("/v1/recommend", content=BODY + b" " * 200_000).status_code == 200
        assert metrics(server)["recblr_ready"] == 1
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(SECONDS) == 1
        assert time.monotonic() - began < 2.5
        assert [received(client) for client in clients] == [b""] * len(clients)
    (line,) = (line for line in server.log() if line["event"] == "stop")
    assert line["message"] == "the time to drain is over: 40 requests under way are left"


def test_users_wait_for_a_stuck_store_as_long_as_the_timeout_allows(
    start_server: Start, golden_bundles: Path, new_redis_server: Any
) -> None:
    store = f"{new_redis_server.address}?socket_timeout=1"
    server = start_server(golden_bundles / "integer", "--store", store, "--timeout", 0.5, expected="store")
    assert server.get("/v1/users/x").status_code == 200
    new_redis_server.pause()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(60)]
        for client in clients:
            client.sendall(b"GET /v1/users/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        statuses = Counter(received(client).split(b" ")[1] for client in clients)
    assert set(statuses) == {b"503", b"504"}  # those that wait for the store, and those behind them
    assert statuses[b"504"] > 20


def test_a_second_signal_a_second_later_ends_it_at_once(start_server: Start, golden_bundles: Path) -> None:
    server = start_server(golden_bundles / "integer", "--drain-timeout", 3600, expected="told to end again")
    with connect(server) as client:
        client.sendall(HALF)
        time.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: any(line["event"] == "drain" for line in server.log()))
        server.process.send_signal(signal.SIGTERM)  # the same, as supervisors send it twice
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(timeout=1.2)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(SECONDS) == 128 + signal.SIGTERM
    assert server.log()[-1]["message"].startswith("told to end again")


def test_as_the_first_process_of_a_container(golden_bundles: Path, tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    alone = [unshare or "", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
    if unshare is None or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no namespaces of processes may be made here")
    out = tmp_path / "out"
    command = [*alone, str(executable()), "--engine", str(golden_bundles / "integer"), "--port", "0"]
    with out.open("wb") as stdout, subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE) as process:
        until(lambda: "Serving" in out.read_text())
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def test_without_standard_files(golden_bundles: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [str(executable()), "--engine", str(golden_bundles / "integer"), "--port", str(port), "--log-requests"]
    with subprocess.Popen(["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', *words]) as process:

        def is_ready() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"http://127.0.0.1:{port}/v2/health/ready", trust_env=False).status_code == 200
            return False

        until(is_ready)
        with httpx.Client(trust_env=False) as client:
            for _ in range(20):
                answer = client.post(f"http://127.0.0.1:{port}/v1/recommend", content=BODY)
                assert set(answer.json()) == {"rankings", "model"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def test_a_signal_reloads(start_server: Start, golden_bundles: Path) -> None:
    server = start_server(golden_bundles / "integer")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: version(server) == 2)
    reloaded = next(line for line in server.log() if line["event"] == "reload")
    assert reloaded["fingerprint"] == server.get("/v1/model").json()["fingerprint"]
    assert metrics(server)['recblr_reloads_total{kind="reload",outcome="done"}'] == 1


def test_a_changed_link_reloads(start_server: Start, golden_bundles: Path, tmp_path: Path) -> None:
    link, broken = tmp_path / "current", tmp_path / "broken"
    shutil.copytree(golden_bundles / "string", broken)
    (broken / "items.json").write_bytes(b"{}")
    lead(link, golden_bundles / "integer")
    server = start_server(link, "--watch-interval", 0.05, expected="items.json")
    first = server.get("/v1/model").json()["fingerprint"]
    lead(link, broken)
    until(lambda: any(line["event"] == "reload" for line in server.log()))
    failed = [line for line in server.log() if line["event"] == "reload"]
    assert {(line["level"], line["version"]) for line in failed} == {("error", 1)}
    assert server.get("/v1/model").json()["fingerprint"] == first
    lead(link, golden_bundles / "string")
    until(lambda: server.get("/v1/model").json()["fingerprint"] != first)
    assert server.post("/v1/recommend", json={"histories": [["x"]], "k": 1}).status_code == 200
    assert server.post("/v1/model/rollback").json()["fingerprint"] == first
    time.sleep(0.3)  # the link is as it was: nothing is loaded
    assert server.get("/v1/model").json()["fingerprint"] == first
    counts = metrics(server)
    assert counts['recblr_reloads_total{kind="reload",outcome="failed"}'] >= 1
    assert counts['recblr_reloads_total{kind="reload",outcome="done"}'] == 1
    assert counts['recblr_reloads_total{kind="rollback",outcome="done"}'] == 1


def test_reloads_under_load_fail_no_request(start_server: Start, golden_bundles: Path) -> None:
    server = start_server(golden_bundles / "integer", "--store", "memory")
    assert server.post("/v1/users/1/events", json={"items": [1, 2, 3]}).status_code == 200
    is_over = threading.Event()
    failures: list[str] = []
    answered = [0] * 4

    def ask(number: int) -> None:
        with server.client() as client:
            while not is_over.is_set():
                path = "/v1/users/1/recommendations?k=3"
                answer = client.get(path) if number % 2 else client.post("/v1/recommend", content=BODY)
                if answer.status_code != 200:
                    failures.append(answer.text)
                answered[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(answered))]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            assert server.post("/v1/model/reload", json={}).status_code == 200
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert min(answered) > 0
    assert version(server) == 101


def test_metrics_of_requests_and_users(start_server: Start, golden_bundles: Path) -> None:
    server = start_server(golden_bundles / "integer", "--store", "memory")
    server.post("/v1/recommend", json={"histories": [[10], [20, 30]], "k": 2})
    server.post("/v1/recommend", json={"histories": 1})
    server.post("/v1/users/ann/events", json={"items": [10]})
    for _ in range(3):
        server.get("/v1/users/ann/recommendations")
    server.get("/v1/users/ben/recommendations")
    assert server.get("/v1/users/ann").status_code == 200
    assert httpx.delete(f"{server.url}/v1/users/ben", trust_env=False).status_code == 200
    server.get("/nowhere")
    now = metrics(server)
    route = 'protocol="http",method="POST",route="/v1/recommend"'
    assert now[f'recblr_requests_total{{{route},status="200",reason=""}}'] == 1
    refused = [name for name in now if name.startswith(f'recblr_requests_total{{{route},status="400"')]
    assert [now[name] for name in refused] == [1]
    assert 'reason=""' not in refused[0]
    assert now[f"recblr_request_seconds_count{{{route}}}"] == 2
    assert now[f"recblr_request_rows_total{{{route}}}"] == 2
    assert now[f"recblr_request_items_total{{{route}}}"] == 3
    users = 'protocol="http",method="GET",route="/v1/users/{id}/recommendations"'
    assert now[f'recblr_requests_total{{{users},status="200",reason=""}}'] == 4
    assert (now["recblr_state_rebuilds_total"], now["recblr_state_hits_total"]) == (1, 2)
    assert now["recblr_cached_users"] == 1
    assert now["recblr_run_seconds_count"] == now["recblr_batch_rows_count"] > 0
    assert now["process_resident_memory_bytes"] > 1e6
    assert "ann" not in server.get("/metrics").text


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes traces by OTLP over HTTP."""

    taken: list[dict[str, Any]]

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["content-length"]))
        self.taken.append({"path": self.path, "body": json.loads(content)})
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def collecting(tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a collector, and what it has taken."""
    taken: list[dict[str, Any]] = []
    handler = type("ThisCollector", (Collector,), {"taken": taken})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}", taken
        server.shutdown()
        thread.join()


@pytest.fixture
def collector() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """One over HTTP."""
    with collecting() as collector:
        yield collector


def test_traces(start_server: Start, golden_bundles: Path, collector: tuple[str, list[dict[str, Any]]]) -> None:
    address, taken = collector
    server = start_server(golden_bundles / "integer", environment={"OTEL_EXPORTER_OTLP_ENDPOINT": address})
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    answer = server.post(
        "/v1/recommend", content=BODY, headers={"traceparent": f"00-{trace}-{parent}-01", "x-request-id": "mine"}
    )
    assert answer.status_code == 200
    model = server.get("/v1/model").json()["fingerprint"]
    server.stop()  # what waits is sent
    assert {request["path"] for request in taken} == {"/v1/traces"}
    spans = [
        span
        for request in taken
        for resource in request["body"]["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    (span,) = (span for span in spans if span.get("parentSpanId") == parent)
    assert (span["traceId"], span["name"]) == (trace, "POST /v1/recommend")
    children = [child for child in spans if child.get("parentSpanId") == span["spanId"]]
    assert [child["name"] for child in children] == ["read", "engine", "write"]
    assert {child["traceId"] for child in children} == {trace}
    # One ends where the next begins.
    begins, ends = ([int(one[key]) for one in [span, *children]] for key in ("startTimeUnixNano", "endTimeUnixNano"))
    assert [*begins, ends[0]] == [begins[0], begins[0], *ends[1:]]
    assert begins == sorted(begins)
    values = {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}
    assert values["http.response.status_code"] == "200"
    assert values["recblr.rows"] == "1"
    assert values["recblr.request_id"] == "mine"
    assert values["recblr.model.fingerprint"] == model


@pytest.mark.parametrize("trusted", [True, False])
def test_traces_over_https(start_server: Start, golden_bundles: Path, tmp_path: Path, trusted: bool) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with collecting(tls) as (address, taken):
        server = start_server(
            *(golden_bundles / "integer", "--otlp-endpoint", address),
            environment={"OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificate)} if trusted else None,
            expected=None if trusted else "certificate verify failed",
        )
        assert server.post("/v1/recommend", content=BODY).status_code == 200
        server.stop()
        assert bool(taken) == trusted


def test_an_endpoint_with_a_password_is_refused_without_repeating_it(run_server: Any, golden_bundles: Path) -> None:
    done = run_server("--engine", golden_bundles / "integer", "--otlp-endpoint", "http://me:secret@127.0.0.1:4318")
    assert done.returncode == 1
    assert "URL" in done.stderr
    assert "secret" not in done.stderr + done.stdout


def test_a_collector_that_is_not_there_delays_nothing(start_server: Start, golden_bundles: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # takes connections, and never answers
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = start_server(golden_bundles / "integer", "--otlp-endpoint", address, expected="collector")
        for _ in range(20):
            assert server.post("/v1/recommend", content=BODY).status_code == 200
        server.stop()


def test_logs_tell_of_requests_and_of_no_ids(start_server: Start, golden_bundles: Path) -> None:
    token, user, item, text_item = "token-a1b2c3", "user-d4e5f6", 777_000_111, "item-i9j0"
    server = start_server(
        *(golden_bundles / "integer", "--store", "memory", "--log-requests", "--log-level", "debug"),
        environment={"RECBLR_SERVE_TOKEN": token},
    )
    server.ready_line()
    headers = {"authorization": f"Bearer {token}", "x-request-id": "request-1"}
    with server.client(headers=headers) as client:
        client.post(f"/v1/users/{user}/events", json={"items": [item, text_item], "event_id": "event-g7h8"})
        client.get(f"/v1/users/{user}/recommendations?exclude={item}")
        client.post("/v1/recommend", json={"histories": [[item, 10]], "k": 2})
        client.post("/v1/recommend", json={"histories": [[user]], "k": 0})
        client.get(f"/v1/users/{user}/nothing")
        client.delete(f"/v1/users/{user}")
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(SECONDS)
    errors = server.errors()
    for private in (token, user, str(item), text_item, "event-g7h8", 'histories\\"'):
        assert private not in errors
    assert "histories hold item ids that are text" in errors  # a warning that names none
    lines = [json.loads(line) for line in errors.splitlines()]  # each is JSON
    events = [line["event"] for line in lines]
    assert events[0] == "ready"
    assert events[-2:] == ["drain", "stop"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)
    requests = [line for line in lines if line["event"] == "request" and line["request_id"] == "request-1"]
    assert [line["route"] for line in requests][:2] == ["/v1/users/{id}/events", "/v1/users/{id}/recommendations"]
    assert [line["status"] for line in requests] == [200, 200, 200, 400, 404, 200]
    assert requests[2]["items"] == 2


def test_a_log_that_nobody_reads_delays_nothing(golden_bundles: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [executable(), "--engine", golden_bundles / "integer", "--port", "0", "--log-requests"]
    with (
        out.open("wb") as stdout,
        subprocess.Popen([str(word) for word in command], stdout=stdout, stderr=subprocess.PIPE) as process,
    ):
        until(lambda: "Serving" in out.read_text())
        url = out.read_text().split()[2].rstrip(",")
        with httpx.Client(base_url=url, trust_env=False, timeout=SECONDS) as client:
            for _ in range(500):  # 200 bytes each, where a pipe takes 65,536
                assert client.post("/v1/recommend", content=BODY).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def test_logs_as_text(start_server: Start, golden_bundles: Path) -> None:
    server = start_server(golden_bundles / "integer", "--log-format", "text", expected=" info ")
    server.stop()
