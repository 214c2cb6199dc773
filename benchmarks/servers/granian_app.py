"""recblr.runtime behind Granian's RSGI and msgspec."""

from __future__ import annotations

from typing import Any

import msgspec
from answers import ENGINE, answer

_HEADERS = [("content-type", "application/json")]


class Request(msgspec.Struct):
    """The body."""

    histories: list[list[int]]
    k: int | None = None


_decoder = msgspec.json.Decoder(Request)
_encoder = msgspec.json.Encoder()


async def app(_scope: Any, protocol: Any) -> None:
    """POST /v1/recommend."""
    request = _decoder.decode(await protocol())
    rankings = await ENGINE.arecommend(request.histories, request.k)
    protocol.response_bytes(200, _HEADERS, _encoder.encode(answer(rankings)))
