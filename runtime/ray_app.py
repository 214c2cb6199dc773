"""recblr.runtime in Ray Serve: replicas that share users' histories. Needs `pip install 'recblr[ray]'`.

    serve run recblr.runtime.ray_app:app engine=bundle/ store=redis://localhost:6379/0 replicas=2

Over HTTP a replica answers these of recblr-serve's addresses, in the same way and as strictly: POST /v1/recommend and,
with a store, POST /v1/users/{id}/events, GET /v1/users/{id}/recommendations, and GET and DELETE of /v1/users/{id}. It
has none of its limits and tokens, and unpacks no bodies. Other deployments call its methods by a handle.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

from recblr.array_types import ItemId
from recblr.errors import (
    ClosedError,
    ConfigError,
    DeadlineError,
    OverloadedError,
    RecblrError,
    RequestError,
    StoreError,
    shown,
)
from recblr.runtime import Batching, Ranking, Recommender, load
from recblr.runtime.ray_requests import UserQuery, new_events, recommend_arguments, segments, user_query


class NoUsersError(RequestError):
    """A request for stored users to an application without a store."""


_STATUSES: dict[type[RecblrError], int] = {
    NoUsersError: 404,
    RequestError: 400,
    OverloadedError: 503,
    ClosedError: 503,
    StoreError: 503,
    DeadlineError: 504,
}
_LOG = logging.getLogger("ray.serve")


class Recommendations:
    """One replica of a deployment: an engine of its own, which merges the requests that it gets at once.

    Histories are in the store, which all replicas share; the states that a replica keeps of users are a cache, which
    notices what others have stored. So any replica may answer any request.
    """

    def __init__(self, engine: str, store: str | None = None, timeout: float | None = None) -> None:
        """Load the model in the replica's process.

        Args:
            engine: a bundle, which every node can read.
            store: what `open_store` takes; a folder or an address that all replicas reach. None for no users.
            timeout: seconds that a request may wait.
        """
        self._engine = load(engine, batching=Batching(timeout=timeout))
        self._users = None if store is None else Recommender(self._engine, store)

    async def recommend(
        self,
        histories: list[list[ItemId]],
        k: int | None = None,
        exclude_seen: bool = True,
        exclude: list[list[ItemId]] | None = None,
        only: list[ItemId] | None = None,
    ) -> list[dict[str, Any]]:
        """The best next items for users given by their histories; see `Engine.recommend`."""
        return [_as_json(r) for r in await self._engine.arecommend(histories, k, exclude_seen, exclude, only)]

    async def add_events(self, user: str, items: list[ItemId], event_id: str | None = None) -> bool:
        """Store new items of a user; see `Recommender.add_events`."""
        return await asyncio.to_thread(self._stored_users.add_events, user, items, event_id=event_id)

    async def recommend_user(
        self,
        user: int | str,
        k: int | None = None,
        exclude_seen: bool = True,
        exclude: list[ItemId] | None = None,
        only: list[ItemId] | None = None,
    ) -> dict[str, Any]:
        """The best next items for a user whose history is stored; see `Recommender.recommend`."""
        ranking = await asyncio.to_thread(self._stored_users.recommend, user, k, exclude_seen, exclude or (), only)
        return _as_json(ranking)

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer over HTTP."""
        try:
            return await self._answer(request)
        except RecblrError as error:
            status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 500)
            if status != 500:
                return _refusal(status, str(error))
            _LOG.exception("a request failed")
            return _refusal(500, "internal error: the replica's log says why")

    async def check_health(self) -> None:
        """Ray asks now and then: a replica whose engine fails is replaced. One that has too much to do is well."""
        with contextlib.suppress(OverloadedError, DeadlineError):
            await self._engine.arecommend([[]], k=1)

    @property
    def _stored_users(self) -> Recommender:
        if self._users is None:
            raise NoUsersError("this application keeps no histories: start it with store=")
        return self._users

    async def _answer(self, request: Request) -> JSONResponse:
        path = segments(_raw_path(request))
        method = "GET" if request.method == "HEAD" else request.method
        routes: dict[str, Callable[[Request, str], Awaitable[Any]]]
        match path:
            case ["v1", "recommend"]:
                routes, user = {"POST": self._answer_recommend}, ""
            case ["v1", "users", user, "events"] if user:
                routes = {"POST": self._answer_events}
            case ["v1", "users", user, "recommendations"] if user:
                routes = {"GET": self._answer_recommendations}
            case ["v1", "users", user] if user:
                routes = {"GET": self._answer_history, "DELETE": self._answer_forget}
            case _:
                routes, user = {}, ""
        if method in routes:
            return JSONResponse(await routes[method](request, user))
        nobody = f"nothing answers {request.method} {shown(request.url.path)}"
        if not routes:
            return _refusal(404, nobody)
        allowed = ", ".join(routes).replace("GET", "GET, HEAD")
        return _refusal(405, f"{nobody}: use {allowed}", {"Allow": allowed})

    async def _answer_recommend(self, request: Request, _: str) -> dict[str, Any]:
        rankings = await self.recommend(**recommend_arguments(await request.body()))
        return {"rankings": rankings, "model": self._engine.fingerprint}

    async def _answer_events(self, request: Request, segment: str) -> dict[str, Any]:
        users, user = self._stored_users, _query(request).user(segment)
        events, is_list = new_events(await request.body(), user)
        added = await asyncio.to_thread(users.add_events_many, events)
        return {"added": added if is_list else added[0]}

    async def _answer_recommendations(self, request: Request, segment: str) -> dict[str, Any]:
        query = _query(request, ranks=True)
        ranking = await self.recommend_user(query.user(segment), **query.ranking)
        del ranking["unknown"]  # of a history that is sent
        return {**ranking, "model": self._engine.fingerprint}

    async def _answer_history(self, request: Request, segment: str) -> dict[str, Any]:
        users, user = self._stored_users, _query(request).user(segment)
        return {"user": user, "items": await asyncio.to_thread(users.history, user)}

    async def _answer_forget(self, request: Request, segment: str) -> dict[str, Any]:
        users, user = self._stored_users, _query(request).user(segment)
        return {"found": await asyncio.to_thread(users.forget, user)}


def app(args: dict[str, str]) -> serve.Application:
    """The application; `args` are those of `serve run` or of a configuration file's application.

    Args:
        args: `engine`, the bundle; if need be `store`, `timeout` and `replicas` (1), as text.

    Raises:
        ConfigError: one is missing, unknown, or no number.
    """
    options: dict[str, Any] = dict(args)
    if unknown := options.keys() - {"engine", "store", "timeout", "replicas"}:
        raise ConfigError(f"{min(unknown)!r} is no argument: give engine, store, timeout, replicas")
    if "engine" not in options:
        raise ConfigError("engine is missing: give engine=, the folder of a bundle")
    replicas = options.pop("replicas", 1)
    try:
        timeout = None if options.get("timeout") is None else float(options["timeout"])
        deployment = serve.deployment(num_replicas=int(replicas))(Recommendations)
    except ValueError as error:
        raise ConfigError(f"timeout and replicas are numbers: {error}") from error
    application: serve.Application = deployment.bind(**{**options, "timeout": timeout})
    return application


def _as_json(ranking: Ranking) -> dict[str, Any]:
    return {
        "items": ranking.items,
        "scores": ranking.scores.tolist(),
        "popular": ranking.popular,
        "unknown": ranking.unknown,
    }


def _query(request: Request, *, ranks: bool = False) -> UserQuery:
    return user_query(request.scope["query_string"], ranks=ranks)


def _raw_path(request: Request) -> bytes:
    """The path as it was sent, behind the application's own prefix."""
    scope = request.scope
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    prefix = quote(scope.get("root_path", "")).encode()
    return path.removeprefix(prefix) if path.startswith(prefix + b"/") else path


def _refusal(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    if status == 503:
        headers = {**(headers or {}), "Retry-After": "1"}
    return JSONResponse({"error": message}, status, headers)
