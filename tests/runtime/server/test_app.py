"""The HTTP API: answers, limits, and one form for all errors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from recblr.errors import (
    BackendError,
    ClosedError,
    DeadlineError,
    ForkError,
    OverloadedError,
    RecblrError,
    RequestError,
)
from recblr.runtime import Batching, Engine, Limits
from recblr.runtime.server import app as server
from recblr.runtime.server.app import create_app

URL = "/v1/recommend"


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(engine)) as client:
        yield client


@pytest.fixture(scope="module")
def text_client(text_engine: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(text_engine)) as client:
        yield client


def refusal(client: TestClient, status: int = 400, **request: Any) -> str:
    """The error of a request that must be refused."""
    response = client.post(URL, **request)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    message: str = response.json()["error"]
    assert "\n" not in message
    return message


def test_rankings(client: TestClient, engine: Engine) -> None:
    histories: list[list[int]] = [[10, 20, 99], [], [2**63 - 1]]
    response = client.post(URL, json={"histories": histories, "k": 3, "exclude": [[], [20], [30]]})
    assert response.status_code == 200
    assert response.json() == {
        "rankings": [
            {
                "items": ranking.items,
                "scores": ranking.scores.tolist(),
                "popular": ranking.popular,
                "unknown": ranking.unknown,
            }
            for ranking in engine.recommend(histories, k=3, exclude=[[], [20], [30]])
        ],
        "model": "sha256:toy",
    }
    assert [ranking["popular"] for ranking in response.json()["rankings"]] == [False, True, False]


def test_seen_items_on_request(client: TestClient, toy: Any) -> None:
    for body in ({"exclude_seen": False}, {"exclude_seen": False, "exclude": None}):
        response = client.post(URL, json={"histories": [[10, 20]], "k": 8, **body})
        assert response.json()["rankings"][0]["items"] == toy.ranking([10, 20], 8)[0]


def test_string_ids(text_client: TestClient, text_toy: Any) -> None:
    response = text_client.post(URL, json={"histories": [["ü", "b,c"], [11]], "k": 2})
    known, unknown = response.json()["rankings"]
    assert known["items"] == text_toy.ranking(["ü", "b,c"], 2, exclude=["ü", "b,c"])[0]
    assert (unknown["unknown"], unknown["popular"]) == (1, True)


def test_no_histories(client: TestClient) -> None:
    assert client.post(URL, json={"histories": [], "k": 1}).json()["rankings"] == []


def test_an_integer_and_the_string_of_its_digits_are_one_id(client: TestClient, text_client: TestClient) -> None:
    for asked, (one, other) in ((client, ("10", 10)), (text_client, (10, "10"))):
        bodies = [
            {"histories": [["20", form, 999]], "k": 3, "exclude": [[form]], "only": [form, "30", "70", "ü"]}
            for form in (one, other)
        ]
        first, second = (asked.post(URL, json=body).json()["rankings"] for body in bodies)
        assert first == second
        assert not first[0]["popular"]


@pytest.mark.parametrize("large", [False, True])
def test_ids_of_another_catalogue_are_refused(client: TestClient, large: bool) -> None:
    for field in ("histories", "exclude", "only"):
        ids: list[Any] = [999] * (30_000 if large else 1) + ["A-1"]
        body = {"histories": [[10]], "k": 1, field: ids if field == "only" else [ids]}
        message = refusal(client, json=body)
        assert message.startswith("only: " if field == "only" else f"{field}[0]: ")
        assert "item id 'A-1' is of type str, the model's item ids are integers such as 10" in message


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"histories": [[10, True]]}, "histories[0][1] is True: item ids are integers or strings"),
        ({"histories": [[10], [10, 1.0]]}, "histories[1][1] is 1.0: item ids are integers or strings"),
        ({"histories": [[None]]}, "histories[0][0] is None: item ids are integers or strings"),
        ({"histories": [10]}, "histories[0] is 10: "),
        ({"histories": "10"}, "histories is '10': "),
        ({"histories": None}, "histories is None: "),
        ({}, "histories is missing"),
        ([], "the body is []: give a JSON object with histories, k, exclude_seen, exclude, only"),
        ("x", "the body is 'x': give a JSON object"),
        ({"histories": [[10]], "top": 3}, "top is no field of a request: use histories, k,"),
        ({"histories": [[10]], "k": "3"}, "k is '3': "),
        ({"histories": [[10]], "k": True}, "k is True: "),
        ({"histories": [[10]], "k": 3.0}, "k is 3.0: "),
        ({"histories": [[10]], "k": 0}, "k is 0: give a whole number from 1 to 9"),
        ({"histories": [[10]], "k": 10**30}, "ask for at most 1,000,000 results at once"),
        ({"histories": [[10]], "k": 10}, "the catalogue has 9 items"),
        ({"histories": [[10]], "exclude_seen": 1}, "exclude_seen is 1: "),
        ({"histories": [[10]], "k": 1, "exclude": [[1], [2]]}, "exclude has 2 rows for 1"),
        ({"histories": [[10]], "exclude": [1]}, "exclude[0] is 1: "),
        ({"histories": [[10]], "only": 10}, "only is 10: "),
        ({"histories": [[10]], "only": [10, 2.5]}, "only[1] is 2.5: item ids are integers or strings"),
        ({"histories": [[10]], "exclude": [[{}]]}, "exclude[0][0] is {}: item ids are integers or strings"),
    ],
)
def test_bad_requests_say_why(client: TestClient, body: Any, reason: str) -> None:
    assert reason in refusal(client, json=body)


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"histories": [[1]]', b"\xff", b'{"histories": [["\\ud800"]]}', b"[" * 100_000]
)
def test_malformed_json(client: TestClient, content: bytes) -> None:
    assert "the body is no JSON" in refusal(client, content=content)


def test_limits_are_named(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.post(URL, json={"histories": [[]] * 1024, "k": 1}).status_code == 200
    assert refusal(client, json={"histories": [[]] * 1025, "k": 1}).startswith("1,025 histories: send at most 1,024")
    monkeypatch.setattr(server, "MAX_IDS", 5)
    assert client.post(URL, json={"histories": [[1, 2], [3]], "exclude": [[4], [5]], "k": 1}).status_code == 200
    message = refusal(client, json={"histories": [[1, 2], [3]], "exclude": [[4], [5, 6]], "k": 1})
    assert message == "6 item ids: send at most 5 at once"


def test_large_bodies_are_refused_before_they_are_parsed(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_BODY_BYTES", 30)
    small = b'{"histories": [], "k": 1}'.ljust(30)
    assert client.post(URL, content=small).status_code == 200
    assert "larger than 30 bytes" in refusal(client, 413, content=b"x" * 31)
    announced_only = {"content-length": "31"}
    assert "larger than 30 bytes" in refusal(client, 413, content=b"", headers=announced_only)
    chunks = (b"x" * 16 for _ in range(2))  # no content-length
    assert "larger than 30 bytes" in refusal(client, 413, content=chunks)
    assert "larger than 30 bytes" in refusal(client, 413, content=b"x" * 1_000)


def test_unknown_addresses_and_methods(client: TestClient) -> None:
    assert client.get("/nothing").json() == {"error": "nothing answers GET '/nothing': the page /docs lists what does"}
    response = client.get(URL)
    assert response.status_code == 405
    assert list(response.json()) == ["error"]
    assert response.headers["allow"] == "POST"


def test_unexpected_errors_tell_the_client_nothing_and_the_server_all(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("secret")

    with TestClient(create_app(engine), raise_server_exceptions=False) as client:
        monkeypatch.setattr(Engine, "arecommend", fail)
        response = client.post(URL, json={"histories": [[10]]})
    assert response.status_code == 500
    assert response.json() == {"error": "internal error: the server's log says why"}
    # What passes the application with its traceback, the HTTP server logs.
    with pytest.raises(RuntimeError, match="secret"):
        TestClient(create_app(engine)).post(URL, json={"histories": [[10]]})


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (OverloadedError("no room: send it again later"), 503, "no room"),
        (ClosedError("the engine is closed"), 503, "the engine is closed"),
        (DeadlineError("the request waited 1 s"), 504, "the request waited 1 s"),
        (BackendError("secret"), 500, "internal error: the server's log says why"),
        (ForkError("secret"), 500, "internal error: the server's log says why"),
    ],
)
def test_errors_of_the_batcher_have_their_status(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: RecblrError,
    status: int,
    shown: str,
) -> None:
    async def fail(*_arguments: object, **_options: object) -> None:
        raise error

    with TestClient(create_app(engine)) as client:
        monkeypatch.setattr(Engine, "arecommend", fail)
        response = client.post(URL, json={"histories": [[10]]})
    assert response.status_code == status
    assert shown in response.json()["error"]
    assert response.headers.get("retry-after") == ("1" if status == 503 else None)
    assert ("secret" in caplog.text) == (status == 500)


def test_requests_of_many_connections_share_runs(engine: Engine, toy: Any) -> None:
    gate, runs = threading.Event(), []

    assert engine.backend is not None
    run = engine.backend.run

    class Gated:
        description, max_k, limits = "gated", engine.backend.max_k, Limits()

        def run(self, items: np.ndarray, offsets: np.ndarray, *others: Any) -> Any:
            runs.append(len(offsets) - 1)
            assert gate.wait(20)
            return run(items, offsets, *others)

    def wait_until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    gate.set()
    batched = Engine(engine.bundle, Gated(), batching=Batching(max_batch_rows=4, max_queue=8, workers=1))

    def is_full() -> bool:
        metrics = batched.metrics()
        assert metrics is not None
        return metrics.refused == 1 and metrics.queued_rows == 8

    with batched, TestClient(create_app(batched)) as client, ThreadPoolExecutor(10) as pool:
        gate.clear()
        runs.clear()
        try:
            body = {"histories": [[10]], "k": 2}
            asked = [pool.submit(client.post, URL, json=body)]
            wait_until(lambda: runs == [1])
            asked += [pool.submit(client.post, URL, json=body) for _ in range(9)]
            wait_until(is_full)
        finally:
            gate.set()
        answers = [future.result(20) for future in asked]
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [503]
    assert runs == [1, 4, 4]
    expected = toy.ranking([10], 2, exclude=[10])[0]
    assert all(a.json()["rankings"][0]["items"] == expected for a in answers if a.status_code == 200)


def test_allow_lists_and_large_bodies(client: TestClient, engine: Engine) -> None:
    for histories in ([[10, 20], []], [[10, 20] * 10_000]):
        body = {"histories": histories, "k": 3, "only": [40, 80, 20]}
        response = client.post(URL, json=body)
        expected = [ranking.items for ranking in engine.recommend(histories, k=3, only=[40, 80, 20])]
        assert [ranking["items"] for ranking in response.json()["rankings"]] == expected
        assert refusal(client, json={**body, "k": 10}) == engine_refusal(engine, histories)


def engine_refusal(engine: Engine, histories: list[list[int]]) -> str:
    with pytest.raises(RequestError) as error:
        engine.recommend(histories, k=10)
    return str(error.value)


def test_health(engine: Engine) -> None:
    client = TestClient(create_app(engine))
    assert client.get("/v2/health/live").json() == {"live": True}
    not_yet = client.get("/v2/health/ready")
    assert (not_yet.status_code, not_yet.json()) == (503, {"ready": False})
    with client:
        ready = client.get("/v2/health/ready")
        assert (ready.status_code, ready.json()) == (200, {"ready": True})
    assert client.get("/v2/health/ready").status_code == 503


def test_the_api_page_needs_no_internet(client: TestClient) -> None:
    page = client.get("/docs").text
    assert "//" not in page.replace("<!--", "").split("<script>")[0]  # no address elsewhere in its links
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        assert f"docs/assets/{asset}" in page
        assert client.get(f"/docs/assets/{asset}").status_code == 200
    assert "openapi.json" in page


def test_without_k_a_small_catalogue_gives_all_it_has(client: TestClient) -> None:
    answer = client.post(URL, json={"histories": [[]]})
    assert answer.status_code == 200
    assert len(answer.json()["rankings"][0]["items"]) == 9
    assert "the catalogue has 9 items" in refusal(client, json={"histories": [[]], "k": 10})


def test_the_api_is_described(client: TestClient) -> None:
    api = client.get("/openapi.json").json()
    assert api["openapi"] == "3.0.3"
    assert set(api["paths"]) == {"/v1/recommend", "/v2/health/live", "/v2/health/ready"}
    assert "1,024 histories" in api["info"]["description"]
    assert "The item ids of this model are integers." in api["info"]["description"]
    post = api["paths"]["/v1/recommend"]["post"]
    assert set(post["responses"]) == {"200", "400", "413", "500", "503", "504"}
    content = post["requestBody"]["content"]["application/json"]
    assert set(content["schema"]["properties"]) == set(content["example"])
    assert all("description" in field for field in content["schema"]["properties"].values())
    assert client.post(URL, json=content["example"]).status_code == 200
    # OpenAPI 3.0 has no null type, and no examples or const in schemas.
    assert '"null"' not in client.get("/openapi.json").text


def test_scores_survive_json_exactly(client: TestClient, engine: Engine) -> None:
    scores = client.post(URL, json={"histories": [[10, 80]], "k": 5}).json()["rankings"][0]["scores"]
    assert np.float32(scores).tolist() == engine.recommend([[10, 80]], k=5)[0].scores.tolist()
