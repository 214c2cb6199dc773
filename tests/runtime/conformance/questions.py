"""The golden cases as questions of plain rows of ids, which every face can put in its own form, and their answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from recblr.errors import RecblrError, RequestError
from recblr.runtime import Engine, Ranking
from recblr.runtime.inputs import prepare_states

from ..golden.answers import cases_of
from ..golden.models import item_ids
from ..golden.values import value_of

ItemId: TypeAlias = int | str
Answer: TypeAlias = dict[str, Any]  # {"rankings": [...], "states": hex digits}, or {"error": message}


@dataclass(frozen=True)
class Question:
    """A request for B users.

    Attributes:
        name: of its case.
        rows: B histories, or what is new where `is_step`.
        k: None for the default.
        exclude: None, or B rows.
        only: None for all items.
        states: None, or float32 [B, S].
        is_step: the new states are wanted, and seen items are not left out.
    """

    name: str
    rows: list[list[ItemId]]
    k: int | None
    exclude_seen: bool
    exclude: list[list[ItemId]] | None
    only: list[ItemId] | None
    states: np.ndarray | None
    is_step: bool


def answers_of(engine: Engine, model: str) -> tuple[dict[str, Question], dict[str, Answer]]:
    """The questions of a model's golden cases, and what the engine in Python answers, by the names of the cases.

    Cases that only Python can express, such as those with NumPy arrays for histories or with None for an id, are no
    questions.
    """
    questions, answers = {}, {}
    states: dict[str, np.ndarray] = {}
    for case in cases_of(model):
        question = _question_of(case, engine, states)
        if question is None:
            continue
        questions[question.name] = question
        try:
            answer, new_states = ask(engine, question)
        except RecblrError as error:
            answer, new_states = {"error": str(error)}, None
        if new_states is not None:
            states[question.name] = new_states
        answers[question.name] = answer
    return questions, answers


def ask(engine: Engine, question: Question) -> tuple[Answer, np.ndarray | None]:
    """Python's own face.

    Raises:
        RecblrError: what a face must say, too.
    """
    more: Any = {"exclude": question.exclude, "only": question.only}
    if not question.is_step:
        rankings = engine.recommend(question.rows, question.k, question.exclude_seen, **more)
        return {"rankings": list(map(_as_answer, rankings)), "states": ""}, None
    rankings, states = engine.step(question.states, question.rows, question.k, **more)
    return {"rankings": list(map(_as_answer, rankings)), "states": hex_of(states)}, states


def _as_answer(ranking: Ranking) -> Answer:
    return ranking_of(list(ranking.items), ranking.scores, ranking.unknown, ranking.popular)


def ranking_of(items: list[ItemId], scores: np.ndarray, unknown: int, popular: bool) -> Answer:
    """A ranking as answers have it: its scores bit for bit."""
    return {"items": items, "scores": hex_of(scores), "unknown": unknown, "popular": popular}


def hex_of(numbers: np.ndarray) -> str:
    """float32 as the hex digits of their bits, eight for each."""
    return numbers.astype(">f4").tobytes().hex()


def _question_of(case: Any, engine: Engine, states: Mapping[str, np.ndarray]) -> Question | None:
    try:
        arguments = {
            name: value_of(value, item_ids(case["model"]), states) for name, value in case["arguments"].items()
        }
    except (RequestError, KeyError, TypeError):  # an AllowList of what is none, or states that no question returned
        return None
    is_step = case["call"] == "step"
    rows, exclude, only = (arguments.get(name) for name in ("new_items" if is_step else "histories", "exclude", "only"))
    k, exclude_seen, given = (
        arguments.get(name, default) for name, default in (("k", None), ("exclude_seen", True), ("states", None))
    )
    if (
        not _are_rows(rows)
        or not (k is None or (type(k) is int and -(2**63) <= k < 2**63))
        or type(exclude_seen) is not bool
    ):
        return None
    if exclude is not None:
        exclude = [[] if row is None else row for row in exclude] if isinstance(exclude, list) else exclude
        if not _are_rows(exclude):
            return None
    if only is not None and not _is_row(only):
        return None
    try:
        prepared = prepare_states(given, len(rows), engine.bundle.initial_state)
    except RequestError:
        return None
    return Question(case["name"], rows, k, exclude_seen and not is_step, exclude, only, prepared, is_step)


def _are_rows(rows: object) -> bool:
    return isinstance(rows, list) and all(map(_is_row, rows))


def _is_row(row: object) -> bool:
    if not isinstance(row, list) or not all(type(item_id) in (int, str) for item_id in row):
        return False
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except (UnicodeEncodeError, ValueError):  # half of a surrogate pair, or thousands of digits
        return False
    return True
