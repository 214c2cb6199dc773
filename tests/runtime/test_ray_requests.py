"""What a replica answers over HTTP, without Ray around it: as recblr-serve does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from recblr.errors import BackendError, ClosedError, DeadlineError, OverloadedError

from .server.process import Server

pytest.importorskip("ray", reason="ray[serve], of the extra ray, is not installed")

JSON = {"histories": [[10, 20]], "k": 2}
RECOMMEND, ANN = "/v1/recommend", "/v1/users/ann"
ASKED: list[tuple[str, str, Any]] = [
    ("POST", RECOMMEND, {"histories": [[10, 2**32, 99], [], [2**63 - 1, 10**30]], "k": 3}),
    ("POST", RECOMMEND, {"histories": [["10", 25]], "k": 3, "exclude": [["20"]], "only": None}),
    ("POST", RECOMMEND, {"histories": [[10]], "exclude_seen": False, "only": [10, 1000, 25], "k": 3}),
    ("POST", RECOMMEND, {"histories": []}),
    ("POST", RECOMMEND, b"\xef\xbb\xbf" + json.dumps(JSON).encode()),
    ("POST", RECOMMEND, {"histories": [[10, True]]}),
    ("POST", RECOMMEND, {"histories": [[10], [10, 1.5]]}),
    ("POST", RECOMMEND, {"histories": [[None]]}),
    ("POST", RECOMMEND, {"histories": [10]}),
    ("POST", RECOMMEND, {"histories": "10"}),
    ("POST", RECOMMEND, {"histories": None}),
    ("POST", RECOMMEND, {"histories": [["A-1"]]}),
    ("POST", RECOMMEND, {}),
    ("POST", RECOMMEND, []),
    ("POST", RECOMMEND, {"histories": [[10]], "top": 3}),
    ("POST", RECOMMEND, {"histories": [[10]], "k": None}),
    ("POST", RECOMMEND, {"histories": [[10]], "k": "3"}),
    ("POST", RECOMMEND, {"histories": [[10]], "k": 0}),
    ("POST", RECOMMEND, {"histories": [[10]], "k": 1000}),
    ("POST", RECOMMEND, {"histories": [[10]], "exclude_seen": 1}),
    ("POST", RECOMMEND, {"histories": [[10]], "exclude": [None]}),
    ("POST", RECOMMEND, {"histories": [[10]], "exclude": [[1], [2]]}),
    ("POST", RECOMMEND, {"histories": [[10]], "only": [[1]]}),
    ("POST", RECOMMEND, b""),
    ("POST", RECOMMEND, b"{"),
    ("POST", RECOMMEND, b"\xff"),
    ("POST", RECOMMEND, b'{"histories": [["\\ud800"]]}'),
    ("POST", RECOMMEND, b'{"histories": [[1]], "histories": [[1]]}'),
    ("GET", RECOMMEND, None),
    ("POST", RECOMMEND + "/", JSON),
    ("GET", "/nothing", None),
    ("GET", f"{ANN}/recommendations", None),
    ("POST", f"{ANN}/events", {"items": [10, "20", "x", 10**25], "event_id": "a"}),
    ("POST", f"{ANN}/events", {"items": [10], "event_id": "a"}),
    ("POST", f"{ANN}/events", {"events": [{"items": [30]}, {"items": [30], "event_id": "a"}, {"items": []}]}),
    ("POST", f"{ANN}/events", {"events": []}),
    ("POST", f"{ANN}/events", {"events": [{"items": [30]}], "items": [1]}),
    ("POST", f"{ANN}/events", {"events": [{"event_id": 1}]}),
    ("POST", f"{ANN}/events", {"events": [[1]]}),
    ("POST", f"{ANN}/events", {"items": None}),
    ("POST", f"{ANN}/events", {"event_id": 1}),
    ("POST", f"{ANN}/events", {"items": [1], "event_id": 1.5}),
    ("POST", f"{ANN}/events?k=1", {"items": [1]}),
    ("GET", ANN, None),
    ("GET", f"{ANN}/recommendations?k=3", None),
    ("GET", f"{ANN}/recommendations?k=3&exclude_seen=false&exclude=1000&exclude=25", None),
    ("GET", f"{ANN}/recommendations?only=1000&only=25&only=7", None),
    ("GET", f"{ANN}/recommendations?k=x", None),
    ("GET", f"{ANN}/recommendations?k=0", None),
    ("GET", f"{ANN}/recommendations?k=" + "9" * 5000, None),
    ("GET", f"{ANN}/recommendations?k=1&k=2", None),
    ("GET", f"{ANN}/recommendations?exclude_sen=false", None),
    ("GET", f"{ANN}/recommendations?exclude_seen=1", None),
    ("GET", f"{ANN}/recommendations?k=%zz", None),
    ("POST", "/v1/users/7/events?integer=true", {"items": [10]}),
    ("GET", "/v1/users/7", None),
    ("GET", "/v1/users/7?integer=true", None),
    ("GET", "/v1/users/-0?integer=true", None),
    ("GET", "/v1/users/x?integer=true", None),
    ("POST", "/v1/users/a%3Fb/events", {"items": [10]}),
    ("POST", "/v1/users/a%2Fb/events", {"items": [20]}),
    ("GET", "/v1/users/a%3Fb", None),
    ("GET", "/v1/users/a%2Fb", None),
    ("GET", "/v1/users//recommendations", None),
    ("GET", "/v1/users/%ff", None),
    ("PUT", ANN, None),
    ("DELETE", ANN, None),
    ("DELETE", ANN, None),
]


def made(bundle: Path, store: str | None = None) -> Any:
    """A replica in this process."""
    from recblr.runtime.ray_app import Recommendations

    return Recommendations(str(bundle), store)


def answer(replica: Any, method: str, path: str, body: Any) -> httpx.Response:
    """What it answers over HTTP."""
    from starlette.requests import Request

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await (await replica(Request(scope, receive)))(scope, receive, send)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://replica") as client:
            return await client.request(method, path, content=content(body))

    return asyncio.run(ask())


def content(body: Any) -> bytes | None:
    """Of a request."""
    return body if body is None or isinstance(body, bytes) else json.dumps(body).encode()


def comparable(response: httpx.Response) -> tuple[int, Any]:
    """Status and body, scores as the float32 that they are."""
    body = response.json()
    for ranking in [*body.get("rankings", []), body]:
        if "scores" in ranking:
            ranking["scores"] = [float(np.float32(score)) for score in ranking["scores"]]
    # What the parsers say of no JSON, where the pages are, and how much of a long text is shown, differs.
    for start in ("the body is no JSON", "nothing answers", "the query", "k is '9"):
        if body.get("error", "").startswith(start):
            body["error"] = start
    return response.status_code, body


@pytest.fixture(scope="module")
def faces(golden_bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Server]]:
    """A replica and a server of the same model, each with an empty store."""
    server = Server(golden_bundles / "integer", "--store", "memory", expected="histor")
    yield made(golden_bundles / "integer", str(tmp_path_factory.mktemp("replica") / "store")), server
    server.stop()


def test_a_replica_answers_as_the_server_does(faces: tuple[Any, Server]) -> None:
    replica, server = faces
    differences = []
    for method, path, body in ASKED:
        expected = httpx.request(method, server.url + path, content=content(body), timeout=60, trust_env=False)
        found = answer(replica, method, path, body)
        allowed = [response.headers.get("allow") for response in (found, expected)]
        if comparable(found) != comparable(expected) or allowed[0] != allowed[1]:
            differences.append((method, path, body, found.text, expected.text, allowed))
    assert differences == []


def test_lists_in_lists_without_end_are_refused(faces: tuple[Any, Server]) -> None:
    found = answer(faces[0], "POST", RECOMMEND, b'{"histories": ' + b"[" * 100_000)
    assert (found.status_code, "the body is no JSON" in found.json()["error"]) == (400, True)


def test_without_a_store_there_are_no_users(golden_bundles: Path) -> None:
    replica = made(golden_bundles / "integer")
    for method, path in (("GET", ANN), ("GET", f"{ANN}/recommendations"), ("DELETE", ANN), ("POST", f"{ANN}/events")):
        found = answer(replica, method, path, {"items": [1]})
        assert (found.status_code, "store=" in found.json()["error"]) == (404, True)


class _Failing:
    """An engine that refuses."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def arecommend(self, *_: Any, **__: Any) -> Any:
        raise self._error


@pytest.mark.parametrize("error", [OverloadedError("4096 wait"), DeadlineError("it waited 1 s")])
def test_a_replica_with_too_much_to_do_is_not_replaced(golden_bundles: Path, error: Exception) -> None:
    replica = made(golden_bundles / "integer")
    asyncio.run(replica.check_health())
    replica._engine = _Failing(error)
    asyncio.run(replica.check_health())
    found = answer(replica, "POST", RECOMMEND, JSON)
    assert found.status_code in (503, 504)
    assert ("retry-after" in found.headers) == (found.status_code == 503)


@pytest.mark.parametrize("error", [ClosedError("it is closed"), BackendError("secret of the device")])
def test_a_replica_whose_engine_fails_is(golden_bundles: Path, error: Exception) -> None:
    replica = made(golden_bundles / "integer")
    replica._engine = _Failing(error)
    with pytest.raises(type(error)):
        asyncio.run(replica.check_health())
    assert "secret" not in answer(replica, "POST", RECOMMEND, JSON).text
