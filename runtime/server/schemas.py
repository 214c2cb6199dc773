"""The bodies of the HTTP API, as pydantic models: what is checked, and what the API page shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    WithJsonSchema,
)

from recblr.runtime.engine import Engine
from recblr.runtime.limits import DEFAULT_K
from recblr.runtime.ranking import Ranking

EXAMPLE = {"histories": [[1, 2, 3], [42]], "k": 3, "exclude_seen": True, "exclude": [[7], []], "only": [50, 172, 181]}

# Strict, so that neither true nor 1.0 is taken for item 1; one error says enough.
_ItemId: TypeAlias = StrictInt | StrictStr
_Ids: TypeAlias = Annotated[list[_ItemId], Field(fail_fast=True)]
_Rows: TypeAlias = Annotated[list[_Ids], Field(fail_fast=True)]

_ID_SCHEMA = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
_IDS_SCHEMA = {"type": "array", "items": _ID_SCHEMA}
_ROWS_SCHEMA = {"type": "array", "items": _IDS_SCHEMA}


class RecommendRequest(BaseModel):
    """Users, each given by the whole history."""

    model_config = ConfigDict(extra="forbid")

    histories: Annotated[_Rows, WithJsonSchema(_ROWS_SCHEMA)] = Field(
        description="Per user the item ids in chronological order. Ids the model does not know are skipped "
        "and counted. A user with no known item gets the most popular items. The string of an integer's digits is "
        "the same id; a list without a known id is refused if one can be none of the model's for its type."
    )
    k: StrictInt = Field(
        default=DEFAULT_K, description="Results per user, at most the items of the catalogue; by default all of fewer."
    )
    exclude_seen: StrictBool = Field(default=True, description="Leave out the items of the history.")
    exclude: Annotated[_Rows | None, WithJsonSchema({**_ROWS_SCHEMA, "nullable": True})] = Field(
        default=None, description="Per user the item ids to leave out besides."
    )
    only: Annotated[_Ids | None, WithJsonSchema({**_IDS_SCHEMA, "nullable": True})] = Field(
        default=None, description="Item ids to choose from, for all users; null for the whole catalogue."
    )

    @property
    def n_ids(self) -> int:
        """How many item ids there are in all."""
        return sum(map(len, self.histories)) + sum(map(len, self.exclude or ())) + len(self.only or ())

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of `Engine.recommend`, but for those that were left to their defaults."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


class RankingBody(BaseModel):
    """The best items for one user."""

    items: list[int | str] = Field(description="Item ids, best first; fewer than k where the exclusions leave no more.")
    scores: list[float] = Field(description="One score per item, descending.")
    popular: bool = Field(
        description="No item of the history is known: the most popular items, and as scores their counts."
    )
    unknown: int = Field(description="How many ids of the history the model does not know.")


class RecommendResponse(BaseModel):
    """One ranking per user, in the order of the request."""

    rankings: list[RankingBody]
    model: str = Field(description="Fingerprint of the model that answered.")


class ErrorBody(BaseModel):
    """Why a request was not answered."""

    error: str = Field(description="What is wrong, and what to do.")


class Live(BaseModel):
    """The process runs."""

    live: bool


class Ready(BaseModel):
    """Whether requests are answered."""

    ready: bool


def request_body_schema() -> dict[str, Any]:
    """The OpenAPI 3.0 description of a request's body."""
    content = {"schema": RecommendRequest.model_json_schema(), "example": EXAMPLE}
    return {"required": True, "content": {"application/json": content}}


def to_json(rankings: Sequence[Ranking], engine: Engine) -> bytes:
    """The engine's answer to a request, as JSON."""
    bodies = [
        RankingBody(
            items=ranking.items,
            scores=ranking.scores.tolist(),
            popular=ranking.popular,
            unknown=ranking.unknown,
        )
        for ranking in rankings
    ]
    return RecommendResponse(rankings=bodies, model=engine.fingerprint).model_dump_json().encode()


def explain(error: ValidationError) -> str:
    """The first problem of a body in one line."""
    first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return f"the body is no JSON ({first['msg'].removeprefix('Invalid JSON: ')})"
    fields = RecommendRequest.model_fields
    path = ""
    for part in first["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part in fields or not path:
            path = str(part)
    shown = repr(first["input"])
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    if first["type"] == "missing":
        return f"{path} is missing: give one list of item ids per user"
    if first["type"] == "extra_forbidden":
        return f"{path} is no field of a request: use {', '.join(fields)}"
    if not path:
        return f"the body is {shown}: give a JSON object with {', '.join(fields)}"
    if path.count("[") == 2 or path.startswith("only["):
        return f"{path} is {shown}: item ids are integers or strings"
    return f"{path} is {shown}: {first['msg'][:1].lower()}{first['msg'][1:]}"
