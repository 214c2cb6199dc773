"""Clients that are broken, slow, or too many, while others are served."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .process import Server

BODY = b'{"histories": [[10]], "k": 2}'
GET_LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\n"
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY

# What arrives, and the status that answers it; 0 where the connection may be closed without one.
MALFORMED = {
    "nothing": (b"", 0),
    "one line end": (b"\r\n", 0),
    "no HTTP at all": (b"hello\r\n\r\n", 400),
    "bytes beyond ASCII": (bytes(range(128, 256)) * 4 + b"\r\n\r\n", 400),
    "NUL bytes": (b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a client of TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500, 400),
    "HTTP/2 without being asked": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "no version": (b"GET /v2/health/live\r\n\r\n", 400),
    "a version that is none": (b"GET /v2/health/live HTTP/9.9\r\nHost: x\r\n\r\n", 400),
    "a method that is none": (b"G@T /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "an unknown method": (b"BREW /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "a path that is none": (b"GET %zz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a header without a colon": (b"GET / HTTP/1.1\r\nHost x\r\n\r\n", 400),
    "a header without a name": (b"GET / HTTP/1.1\r\n: x\r\n\r\n", 400),
    "a folded header": (b"GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n", 400),
    "a header of 100 KB": (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    "a target of 100 KB": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    "10,000 headers": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", 431),
    "a length that is none": (POST + b"Content-Length: x\r\n\r\n", 400),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "a length beyond 64 bits": (POST + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}", 400),
    "a length, and chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "an encoding that is none": (POST + b"Transfer-Encoding: rot13\r\n\r\n", 400),
    "a chunk without a size": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk beyond 64 bits": (POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc", 400),
    "gzip that is none": (POST + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "a coding that is none": (POST + b"Content-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd", 415),
}
REFUSED = {400, 404, 405, 411, 413, 414, 415, 431, 501, 505}


def connect(server: Server) -> socket.socket:
    """A connection of its own."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def exchange(server: Server, content: bytes, *, half_close: bool = True) -> bytes:
    """All that comes back until the server closes."""
    received = b""
    # It may refuse, and close, before it has read all.
    with connect(server) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(content)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        while chunk := connection.recv(65_536):
            received += chunk
    # It asks those that have closed their half so whether they are still there.
    return received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")


def status_of(answer: bytes) -> int:
    """Of an answer's first line; 0 where there is none."""
    return int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def assert_serves(server: Server) -> None:
    """It is as well as before."""
    assert server.post("/v1/recommend", content=BODY).status_code == 200


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_http(server: Server, name: str) -> None:
    content, expected = MALFORMED[name]
    status = status_of(exchange(server, content))
    if expected:
        assert status in REFUSED, status
    else:
        assert status in REFUSED | {0, 408}
    if expected in (405, 415, 431):
        assert status == expected
    assert_serves(server)


def test_what_is_behind_a_malformed_request_is_no_request(server: Server) -> None:
    """Else a proxy in front of it and the server could take a body's bytes for two different requests."""
    both = POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET_LIVE
    assert len(re.findall(rb"HTTP/1\.1 \d\d\d ", exchange(server, both))) == 1


def test_every_prefix_of_a_request(server: Server) -> None:
    for size in range(0, len(WHOLE), 3):
        assert status_of(exchange(server, WHOLE[:size])) in REFUSED | {0, 408}
    assert status_of(exchange(server, WHOLE)) == 200
    assert_serves(server)


def test_requests_byte_by_byte_and_many_at_once(server: Server) -> None:
    with connect(server) as connection:
        for byte in WHOLE:
            connection.sendall(bytes([byte]))
        assert status_of(connection.recv(65_536)) == 200
        connection.sendall(GET_LIVE * 50)
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 50:
            received += connection.recv(65_536)


def test_a_java_client_asks_for_http_2_on_the_way(server: Server) -> None:
    """java.net.http does so by default with each first request, and goes on in HTTP/1.1 if it is not heard."""
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    settings = b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
    content = POST + upgrade + settings + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    assert status_of(exchange(server, content)) == 200


def test_a_body_that_is_too_large_is_not_asked_for(server: Server) -> None:
    """`Expect: 100-continue`, as curl sends it with large bodies."""
    head = POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    assert status_of(exchange(server, head % (64 * 1024**2), half_close=False)) == 413
    with connect(server) as connection:
        connection.sendall(head % len(BODY))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 Continue\r\n")
        connection.sendall(BODY)
        assert status_of(connection.recv(65_536)) == 200


@contextlib.contextmanager
def many_files(count: int) -> Iterator[None]:
    """This process may hold so many open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"this process may open at most {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed it; what it said before that is read."""
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def open_sockets(server: Server) -> int:
    """How many the server has."""
    count = 0
    for descriptor in Path(f"/proc/{server.pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            count += str(descriptor.readlink()).startswith("socket:")
    return count


def test_slow_headers_hold_up_nobody(start_server: Callable[..., Server], golden_bundles: Path) -> None:
    """Slowloris: 400 clients that send a header's byte now and then, past the time for it."""
    server = start_server(golden_bundles / "integer", "--header-timeout", 1, "--keep-alive", 60)
    with many_files(1_000), contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(server)) for _ in range(400)]
        for connection in connections:
            connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nX-Slow: ")
        deadline = time.monotonic() + 30
        with server.client() as client:
            while connections and time.monotonic() < deadline:
                assert client.post("/v1/recommend", content=BODY).status_code == 200
                connections = [connection for connection in connections if not is_closed(connection)]
                for connection in connections:
                    with contextlib.suppress(OSError):
                        connection.send(b"x")
        assert connections == []


def test_slow_bodies_and_slow_readers_hold_up_nobody(start_server: Callable[..., Server], golden_bundles: Path) -> None:
    options = ("--body-timeout", 1, "--write-timeout", 1, "--keep-alive", 60)
    server = start_server(golden_bundles / "large", *options)
    large = b'{"histories": [%s], "k": 100}' % b",".join([b"[3]"] * 1000)  # its answer does not fit the sockets
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(server)) for _ in range(20)]
        for connection in slow:
            connection.sendall(POST + b"Content-Length: 1000\r\n\r\n{")
        for _ in range(5):
            stack.enter_context(connect(server)).sendall(POST + b"Content-Length: %d\r\n\r\n" % len(large) + large)
        deadline = time.monotonic() + 30
        with server.client() as client:
            while time.monotonic() < deadline:
                assert client.get("/v2/health/live").status_code == 200
                slow = [connection for connection in slow if not is_closed(connection)]
                if not slow and open_sockets(server) < 10:
                    break
        assert slow == []
        assert open_sockets(server) < 10


def test_fifteen_hundred_connections(start_server: Callable[..., Server], golden_bundles: Path) -> None:
    server = start_server(golden_bundles / "integer", "--max-connections", 1_600)
    with many_files(2_000), contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(server)) for _ in range(1_500)]
        for _ in range(2):
            for connection in connections:
                connection.sendall(WHOLE)
            answers = [connection.recv(65_536) for connection in connections]
            assert {status_of(answer) for answer in answers} == {200}
        assert_serves(server)


def test_connections_beyond_the_limit_are_told(start_server: Callable[..., Server], golden_bundles: Path) -> None:
    server = start_server(golden_bundles / "integer", "--max-connections", 10)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(server)) for _ in range(10)]
        for connection in held:
            connection.sendall(WHOLE)
            assert status_of(connection.recv(65_536)) == 200
        refused = stack.enter_context(connect(server))
        with contextlib.suppress(ConnectionError):
            refused.sendall(WHOLE)
        answer = refused.recv(65_536)
        assert status_of(answer) == 503
        assert b"retry-after: 1\r\n" in answer.lower()
        for connection in held:
            connection.sendall(WHOLE)
            assert status_of(connection.recv(65_536)) == 200
        held[0].close()
        deadline = time.monotonic() + 30
        while True:
            with connect(server) as again, contextlib.suppress(ConnectionError):
                again.sendall(WHOLE)
                if status_of(again.recv(65_536)) == 200:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_few_files(start_server: Callable[..., Server], golden_bundles: Path) -> None:
    """As with `ulimit -n 64`: what has a connection is served, the rest once there is room."""
    server = start_server(golden_bundles / "integer", expected="file|connection|accept")
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (64, 64))
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(connect(server))
        first.sendall(WHOLE)
        assert status_of(first.recv(65_536)) == 200
        for _ in range(150):
            stack.enter_context(connect(server)).sendall(GET_LIVE)
        first.sendall(WHOLE)
        assert status_of(first.recv(65_536)) == 200
        used = _cpu_seconds(server)
        time.sleep(0.5)
        assert _cpu_seconds(server) - used < 0.4  # it waits for room, and does not try again and again
    assert_serves(server)


def _cpu_seconds(server: Server) -> float:
    fields = Path(f"/proc/{server.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_clients_that_leave_in_the_middle(server: Server) -> None:
    def leave(size: int) -> None:
        with connect(server) as connection:
            connection.sendall(WHOLE[:size])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, and no end

    threads = [
        threading.Thread(target=lambda n=n: [leave(size) for size in range(n, len(WHOLE) + 1, 8)]) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_serves(server)


def test_tls_where_there_is_none(server: Server) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with connect(server) as connection, pytest.raises(OSError):  # noqa: PT011
        context.wrap_socket(connection)
    assert_serves(server)
