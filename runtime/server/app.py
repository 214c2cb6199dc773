"""The HTTP server: JSON in, JSON out, in front of one engine."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import swagger_ui_bundle
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import recblr
from recblr.errors import ClosedError, DeadlineError, OverloadedError, RecblrError, RequestError, shown
from recblr.runtime.engine import Engine
from recblr.runtime.server.schemas import (
    ErrorBody,
    Live,
    Ready,
    RecommendRequest,
    RecommendResponse,
    explain,
    request_body_schema,
    to_json,
)

MAX_HISTORIES = 1_024
MAX_IDS = 1_000_000
MAX_RESULTS = 1_000_000
MAX_BODY_BYTES = 32 * 1024 * 1024

# A larger body is parsed in a thread, since it would hold up the others for longer than the change of threads takes.
_LARGE_BODY_BYTES = 64 * 1024
_RETRY_SECONDS = "1"
_INTERNAL_ERROR = "internal error: the server's log says why"
_STATUSES: dict[type[RecblrError], int] = {
    RequestError: 400,
    OverloadedError: 503,
    ClosedError: 503,
    DeadlineError: 504,
}

_log = logging.getLogger(__name__)

# Most clients read an answer only once they have sent all, so this many times the limit is read and thrown away.
_DISCARDED_BODIES = 4

_DESCRIPTION = """The best next items for users, given their histories.

One request holds at most {histories:,} histories, {ids:,} item ids in all, and {mebibytes} MiB, and asks for at most
{results:,} results. Requests of many connections are merged into batches. The item ids of this model are {id_type}s.
Every error has the form `{{"error": "what is wrong and what to do"}}`."""


class _BodyTooLargeError(Exception):
    """The request's body is beyond the limit."""


def create_app(engine: Engine) -> FastAPI:
    """The application that answers with `engine`; it is ready once its startup has made the engine answer."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(engine.recommend, [[]], k=1)  # the first run allocates
        app.state.ready = True
        yield
        app.state.ready = False

    app = FastAPI(
        title="recblr",
        version=recblr.__version__,
        description=_DESCRIPTION.format(
            histories=MAX_HISTORIES,
            ids=MAX_IDS,
            results=MAX_RESULTS,
            mebibytes=MAX_BODY_BYTES // 1024**2,
            id_type=engine.id_type,
        ),
        docs_url=None,  # FastAPI's own pages load their scripts from the internet
        redoc_url=None,
        lifespan=lifespan,
    )
    app.openapi_version = "3.0.3"  # the newest that the bundled API page can show
    app.state.ready = False
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RecblrError, _recblr_error)
    app.add_exception_handler(Exception, _unexpected_error)
    _add_recommend(app, engine)
    _add_health(app)
    _add_docs(app)
    return app


def _add_recommend(app: FastAPI, engine: Engine) -> None:
    def answer(body: bytes) -> bytes:
        return to_json(engine.recommend(**_parse(body).arguments), engine)

    @app.post(
        "/v1/recommend",
        tags=["recommendations"],
        summary="The best next items for each user",
        response_model=RecommendResponse,
        responses={
            400: {"model": ErrorBody, "description": "The request is malformed or out of a limit"},
            413: {"model": ErrorBody, "description": "The body is too large"},
            500: {"model": ErrorBody, "description": "The server failed; its log says why"},
            503: {"model": ErrorBody, "description": "Too many requests wait, or the server ends: try again later"},
            504: {"model": ErrorBody, "description": "The request waited longer than the server lets it"},
        },
        openapi_extra={"requestBody": request_body_schema()},
    )
    async def recommend(request: Request) -> Response:
        try:
            body = await _read_body(request)
        except _BodyTooLargeError:
            return _error(413, f"the body is larger than {MAX_BODY_BYTES:,} bytes: send fewer histories at once")
        except ClientDisconnect:
            return _error(400, "the body ended early")
        if len(body) > _LARGE_BODY_BYTES:
            return Response(await run_in_threadpool(answer, body), media_type="application/json")
        rankings = await engine.arecommend(**_parse(body).arguments)
        return Response(to_json(rankings, engine), media_type="application/json")


def _add_health(app: FastAPI) -> None:
    @app.get("/v2/health/live", tags=["health"], summary="Does the process run?")
    async def live() -> Live:
        return Live(live=True)

    @app.get(
        "/v2/health/ready",
        tags=["health"],
        summary="Are requests answered?",
        responses={503: {"model": Ready, "description": "Not yet, or no longer"}},
    )
    async def ready(request: Request, response: Response) -> Ready:
        is_ready: bool = request.app.state.ready
        response.status_code = 200 if is_ready else 503
        return Ready(ready=is_ready)


def _add_docs(app: FastAPI) -> None:
    # Relative addresses: right behind a proxy that adds a prefix, too.
    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title="recblr API",
            swagger_js_url="docs/assets/swagger-ui-bundle.js",
            swagger_css_url="docs/assets/swagger-ui.css",
            swagger_favicon_url="docs/assets/favicon-32x32.png",
        )

    app.mount("/docs/assets", StaticFiles(directory=swagger_ui_bundle.swagger_ui_path))


async def _read_body(request: Request) -> bytes:
    """The body; one beyond the limit is never held in memory."""
    announced = request.headers.get("content-length", "")
    size = int(announced) if announced.isdecimal() else 0
    too_large = size > MAX_BODY_BYTES
    body, received = bytearray(), 0
    async for chunk in request.stream():
        received += len(chunk)
        too_large = too_large or received > MAX_BODY_BYTES
        if not too_large:
            body += chunk
        elif received > _DISCARDED_BODIES * MAX_BODY_BYTES:
            break
    if too_large:
        raise _BodyTooLargeError
    return bytes(body)


def _parse(body: bytes) -> RecommendRequest:
    """The request in a body.

    Raises:
        RequestError: it is malformed or out of a limit.
    """
    try:
        request = RecommendRequest.model_validate_json(body)
    except ValidationError as error:
        raise RequestError(explain(error)) from error
    if len(request.histories) > MAX_HISTORIES:
        raise RequestError(f"{len(request.histories):,} histories: send at most {MAX_HISTORIES:,} at once")
    if request.n_ids > MAX_IDS:
        raise RequestError(f"{request.n_ids:,} item ids: send at most {MAX_IDS:,} at once")
    if len(request.histories) * request.k > MAX_RESULTS:
        raise RequestError(
            f"{len(request.histories):,} histories with k {request.k}: ask for at most {MAX_RESULTS:,} results at once"
        )
    return request


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = str(error.detail)
    if error.status_code in (404, 405):
        message = f"nothing answers {request.method} {shown(request.url.path)}: the page /docs lists what does"
    return _error(error.status_code, message, dict(error.headers or {}))


async def _recblr_error(_request: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 500)
    if status == 500:
        _log.error("a request failed", exc_info=error)
        return _error(500, _INTERNAL_ERROR)
    return _error(status, str(error), {"Retry-After": _RETRY_SECONDS} if status == 503 else None)


async def _unexpected_error(_request: Request, _cause: Exception) -> Response:
    # Starlette raises the error again once this is sent, so that the server logs its traceback.
    return _error(500, _INTERNAL_ERROR)
