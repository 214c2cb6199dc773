"""recblr.runtime in Ray Serve: replicas that share users' histories. Needs `pip install 'recblr[ray]'`.

    serve run recblr.runtime.ray_app:app engine=bundle/ store=redis://localhost:6379/0 replicas=2

Over HTTP a replica answers as recblr-serve does: POST /v1/recommend and, with a store, POST /v1/users/{id}/events and
GET /v1/users/{id}/recommendations. Other deployments call its methods by a handle.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

from recblr.array_types import ItemId
from recblr.errors import ClosedError, ConfigError, DeadlineError, OverloadedError, RecblrError, RequestError
from recblr.runtime import Batching, Ranking, Recommender, load

_STATUSES: dict[type[RecblrError], int] = {
    RequestError: 400,
    OverloadedError: 503,
    ClosedError: 503,
    DeadlineError: 504,
}
_FIELDS = {"histories", "k", "exclude_seen", "exclude", "only"}


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

    async def recommend_user(self, user: str, k: int | None = None) -> dict[str, Any]:
        """The best next items for a user whose history is stored; see `Recommender.recommend`."""
        return _as_json(await asyncio.to_thread(self._stored_users.recommend, user, k))

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer over HTTP."""
        try:
            return JSONResponse(await self._answer(request))
        except RecblrError as error:
            status = next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), 500)
            return JSONResponse({"error": str(error)}, status)

    def check_health(self) -> None:
        """Ray asks now and then: a replica whose engine does not answer is replaced."""
        self._engine.recommend([[]], k=1)

    @property
    def _stored_users(self) -> Recommender:
        if self._users is None:
            raise RequestError("there are no stored users: start the application with store=")
        return self._users

    async def _answer(self, request: Request) -> dict[str, Any]:
        match request.method, request.url.path.strip("/").split("/"):
            case "POST", ["v1", "recommend"]:
                body = await _body(request, _FIELDS, "histories")
                return {"rankings": await self.recommend(**body), "model": self._engine.fingerprint}
            case "POST", ["v1", "users", user, "events"]:
                body = await _body(request, {"items", "event_id"}, "items")
                return {"added": await self.add_events(user, **body)}
            case "GET", ["v1", "users", user, "recommendations"]:
                return await self.recommend_user(user, _whole(request.query_params.get("k")))
            case method, _:
                raise RequestError(f"nothing answers {method} {request.url.path!r}")


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


async def _body(request: Request, fields: set[str], needed: str) -> dict[str, Any]:
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise RequestError(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict) or not body.keys() <= fields or needed not in body:
        raise RequestError(f"the body has to be a JSON object with {needed}, and may have {', '.join(sorted(fields))}")
    return body


def _whole(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal():
        raise RequestError(f"k is {text!r}: give a whole number")
    return int(text)
