"""The pages for people, in a headless Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from recblr.runtime import Engine

from .browser import Browser
from .process import Server

TEXT = "document.body.innerText"


@pytest.fixture
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


def value_set(field: str, value: str) -> str:
    """The script that fills a field of the form."""
    return f"document.getElementById({field!r}).value = {value!r}"


def test_the_status_page(browser: Browser, server: Server, engines: Mapping[str, Engine]) -> None:
    engine = engines["integer"]
    for _ in range(50):
        assert server.post("/v1/recommend", json={"histories": [[1, 2]], "k": 3}).status_code == 200
    browser.open(f"{server.url}/")
    browser.wait_for(f"document.getElementById('fingerprint').textContent === {engine.fingerprint!r}")
    assert browser.run("document.getElementById('items').textContent").startswith(f"{engine.n_items}, ")
    browser.wait_for("document.getElementById('latency').querySelectorAll('*').length > 0")

    history: list[int] = [1, 10, 25]
    browser.run(value_set("history", ", ".join(map(str, history))))
    browser.run(value_set("k", "4"))
    browser.run("document.getElementById('ask').click()")
    (expected,) = engine.recommend([history], k=4)
    for item in expected.items:
        browser.wait_for(f"document.getElementById('answer').innerText.includes('{item}')")

    browser.run(value_set("history", "A-1"))
    browser.run("document.getElementById('ask').click()")
    browser.wait_for("document.getElementById('answer').innerText.includes('is of type str')")
    assert [message for message in browser.messages if "400" not in message] == []
    assert all(url.startswith((server.url, "data:")) for url in browser.requests)
    assert browser.screenshot().startswith(b"\x89PNG")


def test_what_is_typed_is_text_and_no_markup(browser: Browser, server: Server) -> None:
    browser.open(f"{server.url}/")
    browser.wait_for("document.getElementById('fingerprint').textContent !== ''")
    markup = "<img/src=x/onerror=window.harmed=1>"  # the error repeats it
    browser.run(value_set("history", markup))
    browser.run("document.getElementById('ask').click()")
    browser.wait_for(f"document.getElementById('answer').innerText.includes({markup!r})")
    assert browser.run("window.harmed === undefined && document.querySelector('#answer img') === null")


def test_ids_of_any_number_of_digits_stay_as_they_are(
    browser: Browser, server: Server, engines: Mapping[str, Engine]
) -> None:
    large = [2**63 - 1, -(2**63)]
    (expected,) = engines["integer"].recommend([large], engines["integer"].n_items, exclude_seen=False)
    assert set(large) <= set(expected.items)
    browser.open(f"{server.url}/")
    browser.run(value_set("k", str(len(expected.items))))
    browser.run("document.getElementById('exclude_seen').checked = false")
    for typed in (f"{large[0]} {large[1]}", str(large)):
        browser.run("document.getElementById('answer').replaceChildren()")
        browser.run(value_set("history", typed))
        browser.run("document.getElementById('ask').click()")
        browser.wait_for("document.querySelector('#answer table')")
        shown = browser.run("[...document.querySelectorAll('#answer td:nth-child(2)')].map(cell => cell.textContent)")
        assert shown == [str(item) for item in expected.items]
        assert "unknown" not in browser.run("document.getElementById('answer').innerText")


def test_counts_that_begin_anew_are_no_negative_rates(browser: Browser, server: Server) -> None:
    browser.open(f"{server.url}/")
    browser.wait_for("document.getElementById('fingerprint').textContent !== ''")
    browser.run(
        "(() => { const sum = (requests, time) => ({time, requests, errors: requests, users: requests, queued: 0,"
        " buckets: new Map([[1, requests], [Infinity, requests]])});"
        " show(sum(1e6, 1e7)); show(sum(1e6 + 10, 1e7 + 1000)); show(sum(5, 1e7 + 2000)); })()"
    )
    assert "-" not in browser.run("document.getElementById('load').textContent")
    assert "-" not in browser.run("document.getElementById('quantiles').textContent")


def test_the_status_page_asks_for_a_token(
    browser: Browser, start_server: Callable[..., Server], golden_bundles: Path
) -> None:
    server = start_server(golden_bundles / "integer", environment={"RECBLR_SERVE_TOKEN": "secret"})
    browser.open(f"{server.url}/")
    browser.wait_for("!document.getElementById('needs-token').hidden")
    browser.run(value_set("token", "secret"))
    browser.run("document.getElementById('ask').click()")
    browser.wait_for("document.querySelector('#answer table')")
    assert "secret" not in browser.run(TEXT)


def test_the_page_of_the_api(browser: Browser, server: Server) -> None:
    browser.open(f"{server.url}/docs")
    browser.wait_for(f"{TEXT}.includes('/v1/recommend')")
    browser.wait_for(f"{TEXT}.includes('/v2/models')")
    assert browser.messages == []
    assert all(url.startswith((server.url, "data:")) for url in browser.requests)
