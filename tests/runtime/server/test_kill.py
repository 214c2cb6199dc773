"""Histories that servers share, and kill -9 under load: no acknowledged event is lost, and none is there twice."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recblr.runtime import load, open_store

from .process import Server

WRITERS = 8
KILLS = 3
SECONDS = 0.7  # of load before each kill


class Writer(threading.Thread):
    """Gives its own user one item after another, each with an event_id, and goes on once it is acknowledged."""

    def __init__(self, name: str, port: Callable[[], int]) -> None:
        super().__init__()
        self.user = name
        self.acknowledged = 0
        self.repeats = 0
        self.ended = False
        self.failure: BaseException | None = None
        self._port = port

    def run(self) -> None:
        try:
            while not self.ended:
                self._write(self.acknowledged + 1)
                self.acknowledged += 1
        except BaseException as error:
            self.failure = error

    def _write(self, number: int) -> None:
        """One event, again and again until it is acknowledged: a killed server may have stored it or not."""
        body = json.dumps({"items": [number], "event_id": f"event-{number}"})
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self._port(), timeout=30)
            try:
                connection.request("POST", f"/v1/users/{self.user}/events", body)
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                self.repeats += 1
                time.sleep(0.01)
                continue
            finally:
                connection.close()
            assert answer.status == 200, text
            return


@pytest.mark.slow
def test_no_acknowledged_event_is_lost_and_none_is_there_twice(
    start_server: Callable[..., Server], golden_bundles: Path, shared_store_address: str
) -> None:
    servers = [start_server(golden_bundles / "integer", "--store", shared_store_address)]
    writers = [Writer(f"user-{n}", lambda: servers[-1].port) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    for _ in range(KILLS):
        time.sleep(SECONDS)
        servers[-1].kill()
        servers.append(start_server(golden_bundles / "integer", "--store", shared_store_address))
    time.sleep(SECONDS)
    for writer in writers:
        writer.ended = True
    for writer in writers:
        writer.join()
    assert [writer.failure for writer in writers] == [None] * WRITERS
    servers[-1].stop()
    assert any(writer.repeats for writer in writers)
    with contextlib.closing(open_store(shared_store_address)) as store:
        events = store.read([writer.user for writer in writers], [0] * WRITERS)
    for writer, stored in zip(writers, events, strict=True):
        assert writer.acknowledged > 0
        assert [item for event in stored for item in event.items] == list(range(1, writer.acknowledged + 1))


def test_what_one_server_stores_the_other_knows(
    start_server: Callable[..., Server], golden_bundles: Path, shared_store_address: str
) -> None:
    engine = load(golden_bundles / "integer", threads=1, backend="native")
    servers = [start_server(golden_bundles / "integer", "--store", shared_store_address) for _ in range(2)]
    items = [1, 2, 3, 5, 6, 7, 8, 10]
    for n, item in enumerate(items):
        body = {"items": [item], "event_id": n}
        for server in (servers[n % 2], servers[(n + 1) % 2]):  # the second time changes nothing
            assert server.post("/v1/users/anna/events", json=body).status_code == 200
        (expected,) = engine.recommend([items[: n + 1]], k=5)
        for server in servers:
            answer = server.get("/v1/users/anna/recommendations", params={"k": 5}).json()
            assert answer["items"] == expected.items
