"""What one request may cost of memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .process import Server

MOST = 32 * 1024**2  # bytes of a body
MOST_MEMORY = 400 * 1024**2  # of the process, whatever a body of that size holds

INFER = "/v2/models/recblr/infer"
TENSOR = '{"inputs":[{"name":"item_ids","datatype":"%s","shape":[16000000],"data":[%s]}]}'


def filled(before: str, each: str, after: str) -> bytes:
    """A body of almost the largest size."""
    times = (MOST - 1000) // (len(each) + 1)
    return (before + ",".join([each] * times) + after).encode()


BODIES = {
    "integers of a tensor": (INFER, filled(*(TENSOR % ("INT64", "|")).replace("|", "|7|").split("|"))),
    "strings of a tensor": (INFER, filled(*(TENSOR % ("BYTES", "|")).replace("|", '|""|').split("|"))),
    "lists of a tensor": (INFER, filled(*(TENSOR % ("INT64", "|")).replace("|", "|[]|").split("|"))),
    "objects that mean nothing": (INFER, filled('{"later":[', "{}", "]}")),
    "parameters": (INFER, filled('{"parameters":{', '"sequence_a":{}', "}}")),
    "tensors": (INFER, filled('{"inputs":[', '{"name":"a","datatype":"b","shape":[],"data":[]}', "]}")),
    "outputs": (INFER, filled('{"outputs":[', '{"name":"a"}', "]}")),
    "ids of a history": ("/v1/recommend", filled('{"histories":[[', "7", "]]}")),
    "texts of a history": ("/v1/recommend", filled('{"histories":[[', '""', "]]}")),
    "histories": ("/v1/recommend", filled('{"histories":[', "[]", "]}")),
    "ids of an event": ("/v1/users/ann/events", filled('{"items":[', "7", "]}")),
    "events": ("/v1/users/ann/events", filled('{"events":[', '{"items":[]}', "]}")),
}


@pytest.mark.parametrize("name", BODIES)
def test_large_bodies_take_little(name: str, start_server: Callable[..., Server], golden_bundles: Path) -> None:
    server = start_server(golden_bundles / "integer", "--store", "memory")
    path, body = BODIES[name]
    reply = server.post(path, content=body)
    assert reply.status_code == 400, reply.text
    assert server.peak_bytes() < MOST_MEMORY
