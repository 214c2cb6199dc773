"""POST /v1/recommend: answers, limits, and one form for all errors."""

from __future__ import annotations

import gzip
import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from recblr.errors import RequestError
from recblr.runtime import Engine, Ranking

from .process import Server

PATH = "/v1/recommend"


def refusal(server: Server, status: int = 400, **request: Any) -> str:
    """The error of a request that must be refused."""
    response = server.post(PATH, **request)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    message: str = response.json()["error"]
    assert "\n" not in message
    return message


def as_json(ranking: Ranking) -> dict[str, Any]:
    """What the body has for a ranking, number for number."""
    return {
        "items": ranking.items,
        "scores": [float(score) for score in ranking.scores],
        "popular": ranking.popular,
        "unknown": ranking.unknown,
    }


def rounded(body: Any) -> Any:
    """An answer, its scores as the float32 that they are."""
    for ranking in body["rankings"]:
        ranking["scores"] = [float(np.float32(score)) for score in ranking["scores"]]
    return body


def test_rankings(server: Server, engines: Mapping[str, Engine]) -> None:
    histories: list[list[int]] = [[10, 2**32, 99], [], [2**63 - 1, -(2**63)]]
    body = {"histories": histories, "k": 3, "exclude": [[], [20], [30]]}
    response = server.post(PATH, json=body)
    assert response.status_code == 200
    engine = engines["integer"]
    assert rounded(response.json()) == {
        "rankings": [as_json(ranking) for ranking in engine.recommend(**body)],
        "model": engine.fingerprint,
    }
    assert [ranking["popular"] for ranking in response.json()["rankings"]] == [False, True, False]
    assert [ranking["unknown"] for ranking in response.json()["rankings"]] == [1, 0, 0]


def test_seen_items_on_request(server: Server, engines: Mapping[str, Engine]) -> None:
    (expected,) = engines["integer"].recommend([[10, 1000]], k=8, exclude_seen=False)
    for body in ({"exclude_seen": False}, {"exclude_seen": False, "exclude": None, "only": None}):
        response = server.post(PATH, json={"histories": [[10, 1000]], "k": 8, **body})
        assert response.json()["rankings"][0]["items"] == expected.items


def test_string_ids(text_server: Server, engines: Mapping[str, Engine]) -> None:
    histories: list[list[Any]] = [["straße", 'a"b', "line\nbreak", "nul\0inside", "\N{GUITAR}"], ["", "never seen"]]
    response = text_server.post(PATH, json={"histories": histories, "k": 40, "exclude_seen": False})
    expected = engines["string"].recommend(histories, k=40, exclude_seen=False)
    assert rounded(response.json())["rankings"] == [as_json(ranking) for ranking in expected]
    assert response.json()["rankings"][1]["unknown"] == 1


def test_no_histories(server: Server) -> None:
    assert server.post(PATH, json={"histories": [], "k": 1}).json()["rankings"] == []


def test_an_integer_and_the_string_of_its_digits_are_one_id(server: Server, text_server: Server) -> None:
    for asked, (one, other) in ((server, ("10", 10)), (text_server, (10, "10"))):
        bodies = [
            {"histories": [["25", form, 999]], "k": 3, "exclude": [[form]], "only": [form, "7", "1", "-7"]}
            for form in (one, other)
        ]
        first, second = (asked.post(PATH, json=body).json()["rankings"] for body in bodies)
        assert first == second
        assert not first[0]["popular"]


@pytest.mark.parametrize("large", [False, True])
def test_ids_of_another_catalogue_are_refused(server: Server, large: bool) -> None:
    for field in ("histories", "exclude", "only"):
        ids: list[Any] = [99_999] * (30_000 if large else 1) + ["A-1"]
        body = {"histories": [[10]], "k": 1, field: ids if field == "only" else [ids]}
        message = refusal(server, json=body)
        assert message.startswith("only: " if field == "only" else f"{field}[0]: ")
        assert "item id 'A-1' is of type str, the model's item ids are integers such as " in message


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"histories": [[10, True]]}, "histories[0][1] is true: item ids are integers or strings"),
        ({"histories": [[10], [10, 1.5]]}, "histories[1][1] is 1.5: item ids are integers or strings"),
        ({"histories": [[None]]}, "histories[0][0] is null: item ids are integers or strings"),
        ({"histories": [10]}, "histories[0] is 10: "),
        ({"histories": "10"}, "histories is '10': "),
        ({"histories": None}, "histories is null: "),
        ({}, "histories is missing"),
        ([], "give a JSON object with histories, k, exclude_seen, exclude, only"),
        ("x", "give a JSON object"),
        ({"histories": [[10]], "top": 3}, "top is no field of a request: use histories, k,"),
        ({"histories": [[10]], "k": "3"}, "k is '3': "),
        ({"histories": [[10]], "k": True}, "k is true: "),
        ({"histories": [[10]], "k": 3.5}, "k is 3.5: "),
        ({"histories": [[10]], "k": 0}, "k is 0: "),
        ({"histories": [[10]], "k": -1}, "k is -1: "),
        ({"histories": [[10]], "k": 10**30}, "k is 1"),
        ({"histories": [[10]], "k": 1000}, "k is 1000, but the catalogue has "),
        ({"histories": [[10]], "exclude_seen": 1}, "exclude_seen is 1: "),
        ({"histories": [[10]], "k": 1, "exclude": [[1], [2]]}, "exclude has 2 rows for 1"),
        ({"histories": [[10]], "exclude": [1]}, "exclude[0] is 1: "),
        ({"histories": [[10]], "only": 10}, "only is 10: "),
        ({"histories": [[10]], "only": [10, 2.5]}, "only[1] is 2.5: item ids are integers or strings"),
        ({"histories": [[10]], "exclude": [[{}]]}, "exclude[0][0] is an object: item ids are integers or strings"),
    ],
)
def test_bad_requests_say_why(server: Server, body: Any, reason: str) -> None:
    assert reason in refusal(server, json=body)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"histories": [[1]]', b"\xff", b'{"histories": [["\\ud800"]]}', b'{"histories": ' + b"[" * 100_000],
)
def test_malformed_json(server: Server, content: bytes) -> None:
    message = refusal(server, content=content)
    assert "the body is no JSON" in message or (content.endswith(b"[") and "histories[0][0] is a list" in message)
    assert len(message) < 500


def test_a_long_key_is_not_repeated(server: Server) -> None:
    message = refusal(server, content=b'{"%s": 1}' % (b"x" * 20_000_000))
    assert "is no field of a request" in message
    assert len(message) < 500


def test_what_clients_send_before_and_around_json(server: Server, engines: Mapping[str, Engine]) -> None:
    """A byte-order mark, packed bodies, no or another content type."""
    plain = b'{"histories": [[10]], "k": 2}'
    expected = [as_json(ranking) for ranking in engines["integer"].recommend([[10]], k=2)]
    for content, headers in (
        (b"\xef\xbb\xbf" + plain, {}),
        (gzip.compress(plain), {"content-encoding": "gzip"}),
        (plain, {"content-type": "text/plain"}),
        (b" \r\n\t" + plain + b"\n", {}),
    ):
        response = server.post(PATH, content=content, headers=headers)
        assert response.status_code == 200, response.text
        assert rounded(response.json())["rankings"] == expected


def test_limits_are_named(start_server: Callable[..., Server], golden_bundles: Path) -> None:
    server = start_server(golden_bundles / "integer", environment={"RECBLR_SERVE_MAX_IDS": "5"})
    assert server.post(PATH, json={"histories": [[]] * 1024, "k": 1}).status_code == 200
    assert refusal(server, json={"histories": [[]] * 1025, "k": 1}) == (
        "the request has 1,025 users, the limit is 1,024: send fewer at once"
    )
    assert server.post(PATH, json={"histories": [[1, 2], [3]], "exclude": [[5], [6]], "k": 1}).status_code == 200
    message = refusal(server, json={"histories": [[1, 2], [3]], "exclude": [[5], [6, 7]], "k": 1})
    assert message == "the request has 6 item ids, the limit is 5: send fewer at once"


def test_large_bodies_are_refused_before_they_are_parsed(
    start_server: Callable[..., Server], golden_bundles: Path
) -> None:
    server = start_server(golden_bundles / "integer", "--max-body-bytes", 30)
    small = b'{"histories": [], "k": 1}'.ljust(30)
    assert server.post(PATH, content=small).status_code == 200
    assert "longer than 30 bytes" in refusal(server, 413, content=b"x" * 31)
    chunks = (b"x" * 16 for _ in range(2))  # no content-length
    assert "longer than 30 bytes" in refusal(server, 413, content=chunks)
    packed = gzip.compress(small + b" " * 10_000_000)
    assert len(packed) > 30
    assert "longer than 30 bytes" in refusal(server, 413, content=packed, headers={"content-encoding": "gzip"})


def test_a_client_that_sends_too_much_can_read_why(server: Server) -> None:
    assert "the body is longer than 33" in refusal(server, 413, content=b" " * (32 * 1024**2 + 1))


def test_unknown_addresses_and_methods(server: Server) -> None:
    assert server.get("/nothing").json() == {"error": "nothing answers GET '/nothing': the page /docs lists what does"}
    response = server.get(PATH)
    assert response.status_code == 405
    assert list(response.json()) == ["error"]
    assert response.headers["allow"] == "POST"


def test_allow_lists_and_large_bodies(server: Server, engines: Mapping[str, Engine]) -> None:
    engine = engines["integer"]
    for histories in ([[10, 25], []], [[10, 25] * 10_000]):
        body = {"histories": histories, "k": 3, "only": [1000, 100, 25]}
        response = server.post(PATH, json=body)
        expected = [ranking.items for ranking in engine.recommend(histories, k=3, only=[1000, 100, 25])]
        assert [ranking["items"] for ranking in response.json()["rankings"]] == expected
        with pytest.raises(RequestError) as error:
            engine.recommend(histories, k=100)
        assert refusal(server, json={**body, "k": 100}) == str(error.value)


def test_without_k_a_small_catalogue_gives_all_it_has(server: Server, engines: Mapping[str, Engine]) -> None:
    answer = server.post(PATH, json={"histories": [[]]})
    assert answer.status_code == 200
    assert answer.json()["rankings"][0]["items"] == engines["integer"].recommend([[]])[0].items


def test_many_clients_at_once(server: Server, engines: Mapping[str, Engine]) -> None:
    histories = [[[1, 2, n % 7]] for n in range(40)]
    expected = [[as_json(ranking) for ranking in engines["integer"].recommend(rows, k=5)] for rows in histories]

    def ask(number: int) -> list[Any]:
        with server.client() as client:
            found = []
            for rows in histories[number::8]:
                found.append(rounded(client.post(PATH, json={"histories": rows, "k": 5}).json())["rankings"])
            return found

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert answers == [expected[number::8] for number in range(8)]


def test_too_many_requests_are_told_when_to_come_again(
    start_server: Callable[..., Server], golden_bundles: Path
) -> None:
    """One worker, and a queue that holds one request."""
    server = start_server(golden_bundles / "large", "--workers", 1, "--max-queue", 1)
    body = json.dumps({"histories": [[3 * n for n in range(1000)]], "k": 100}).encode()
    statuses: list[int] = []
    retry: set[str | None] = set()

    def ask() -> None:
        with server.client() as client:
            for _ in range(20):
                answer = client.post(PATH, content=body)
                statuses.append(answer.status_code)
                if answer.status_code == 503:
                    retry.add(answer.headers.get("retry-after"))
                    assert list(answer.json()) == ["error"]

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statuses) == 320
    assert set(statuses) == {200, 503}
    assert retry == {"1"}


def test_requests_that_waited_too_long(start_server: Callable[..., Server], golden_bundles: Path) -> None:
    server = start_server(golden_bundles / "large", "--workers", 1, "--timeout", 0.001)
    body = json.dumps({"histories": [[3 * n for n in range(1000)]] * 50, "k": 100}).encode()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: server.post(PATH, content=body), range(48)))
    late = [answer for answer in answers if answer.status_code == 504]
    assert late
    assert {answer.status_code for answer in answers} <= {200, 504}
    assert all("waited" in answer.json()["error"] for answer in late)


def test_a_large_answer_delays_nobody(start_server: Callable[..., Server], golden_bundles: Path) -> None:
    """While answers of 20 MB are built, the server's health is told."""
    server = start_server(golden_bundles / "large")
    ended = threading.Event()
    sizes = list[int]()

    def ask() -> None:
        body = {"histories": [[3, 6]] * 1024, "k": 900, "exclude_seen": False}
        try:
            for _ in range(3):
                sizes.append(len(server.post(PATH, json=body).content))
        finally:
            ended.set()

    asking = threading.Thread(target=ask)
    asking.start()
    seen = 0
    with server.client() as client:
        while not ended.is_set():
            assert client.get("/v2/health/live").status_code == 200
            seen += 1
    asking.join()
    assert len(sizes) == 3
    assert min(sizes) > 10_000_000
    assert seen > 20


def test_a_client_that_has_left_is_not_computed_for(start_server: Callable[..., Server], golden_bundles: Path) -> None:
    """Requests that wait are withdrawn with their connections."""
    server = start_server(golden_bundles / "large", "--workers", 1)
    body = {"histories": [[3 * n for n in range(1000)]] * 1000, "k": 100}

    def leave() -> None:
        with pytest.raises(httpx.TimeoutException):
            server.post(PATH, json=body, timeout=0.5)

    with ThreadPoolExecutor(6) as pool:
        for _ in range(6):
            pool.submit(leave)
    began = time.monotonic()
    assert server.post(PATH, json={"histories": [[3]], "k": 1}).status_code == 200
    waited = time.monotonic() - began
    began = time.monotonic()
    assert server.post(PATH, json=body).status_code == 200
    assert waited < 6 * (time.monotonic() - began)


def test_stores_that_fail_are_told_to_the_log(
    start_server: Callable[..., Server], golden_bundles: Path, tmp_path: Path
) -> None:
    """With the place of the store, which clients are not told, and without users."""
    folder = tmp_path / "histories"
    server = start_server(golden_bundles / "integer", "--store", folder, expected='"reason":"store"')
    assert server.post("/v1/users/secretive/events", json={"items": [3]}).status_code == 200
    shutil.rmtree(folder)
    for _ in range(20):
        reply = server.post("/v1/users/secretive/events", json={"items": [3]})
        assert reply.status_code == 503
        assert reply.json() == {"error": "the store does not answer: try again later"}
    lines = [line for line in server.errors().splitlines() if '"reason":"store"' in line]
    assert 1 <= len(lines) <= 5
    assert str(folder) in lines[0]
    assert "secretive" not in server.errors()
