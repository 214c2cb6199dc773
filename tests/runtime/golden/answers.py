"""What the installed runtime answers to the golden cases.

    python -m tests.runtime.golden.answers BUNDLES

prints the answers of the models whose bundles are in the folder BUNDLES, as JSON; the environment variable
RECBLR_CPU_ISA decides which instruction set answers.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from recblr.errors import RecblrError
from recblr.runtime import Engine, Ranking, Recommender, load

from .models import MODELS, item_ids, read_data
from .stores import copy_sqlite
from .values import Json, ranking_json, rankings_json, states_json, value_of

Answers: TypeAlias = dict[str, Json]  # by the names of cases


def cases_of(model: str) -> list[Json]:
    """The engine's cases for one model."""
    return [case for case in read_data("cases.json") if case["model"] == model]


def engine_answers(engine: Engine, model: str, threads: int = 1) -> Answers:
    """An engine's answers to a model's cases.

    Args:
        engine: of the model's bundle.
        model: which of `MODELS`.
        threads: how many cases to ask for at once, those aside that continue other cases' states.
    """
    states: dict[str, np.ndarray] = {}

    def answer(case: Json) -> Json:
        try:
            arguments = _arguments(case, states)
            if case["call"] == "recommend":
                return rankings_json(engine.recommend(**arguments))
            rankings, new_states = engine.step(**arguments)
        except RecblrError as error:
            return _error_json(error, engine)
        states[case["name"]] = new_states
        return rankings_json(rankings) | {"states": states_json(new_states)}

    cases = cases_of(model)
    continuing = [case for case in cases if '"$state' in json.dumps(case)]
    others = [case for case in cases if case not in continuing]
    with ThreadPoolExecutor(threads) as pool:
        found = dict(zip([case["name"] for case in others], pool.map(answer, others), strict=True))
    found |= {case["name"]: answer(case) for case in continuing}
    return {case["name"]: found[case["name"]] for case in cases}


async def arecommend_answers(engine: Engine, model: str) -> Answers:
    """What `Engine.arecommend` answers to the cases of `recommend`, asked for all at once."""

    async def answer(case: Json) -> Json:
        try:
            return rankings_json(await engine.arecommend(**_arguments(case, {})))
        except RecblrError as error:
            return _error_json(error, engine)

    cases = [case for case in cases_of(model) if case["call"] == "recommend"]
    found = await asyncio.gather(*map(answer, cases))
    return dict(zip([case["name"] for case in cases], found, strict=True))


def _arguments(case: Json, states: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {name: value_of(value, item_ids(case["model"]), states) for name, value in case["arguments"].items()}


def users_answers(
    engines: Mapping[str, Engine], file: str, new_store: Callable[[], str | None], bundles: Path
) -> Answers:
    """A Recommender's answers to the sequences of calls of a file, one for each call.

    Args:
        engines: by model.
        file: users.json, or stored.json for those that begin with a store which was written before.
        new_store: gives what `open_store` takes, another for each sequence that names none.
        bundles: the folder of the models' bundles, which errors name.
    """
    return {
        sequence["name"]: _answers_to(sequence, engines, sequence.get("store", new_store()), bundles)
        for sequence in read_data(file)["sequences"]
    }


def _answers_to(sequence: Json, engines: Mapping[str, Engine], store: str | None, bundles: Path) -> Json:
    ids, model = item_ids(sequence["model"]), engines[sequence["model"]]
    settings = {name: sequence[name] for name in ("max_history", "cache_bytes", "cache_device") if name in sequence}
    try:
        recommender = Recommender(model, store, **settings)
    except RecblrError as error:
        return _error_json(error, model)
    found = []
    with recommender:
        for method, arguments in sequence["calls"]:
            values = {name: value_of(value, ids, {}) for name, value in arguments.items()}
            if method == "swap":
                values["model"] = engines[values["model"]]
            try:
                found.append(_result_json(getattr(recommender, method)(**values)))
            except RecblrError as error:
                found.append(_error_json(error, model, bundles))
    return found


def _result_json(result: Any) -> Json:
    if isinstance(result, Ranking):
        return ranking_json(result)
    if isinstance(result, list) and result and isinstance(result[0], Ranking):
        return rankings_json(result)
    return result


def _error_json(error: RecblrError, engine: Engine, bundles: Path | None = None) -> Json:
    text = str(error).replace(engine.fingerprint, "FINGERPRINT")
    return {"error": [type(error).__name__, text if bundles is None else text.replace(str(bundles), "BUNDLES")]}


def all_answers(bundles: Path) -> dict[str, Any]:
    """Everybody's answers, as answers.json has them by instruction set."""
    engines = {model: load(bundles / model, backend="native") for model in MODELS}
    with tempfile.TemporaryDirectory() as folder:
        return {
            **{model: engine_answers(engines[model], model) for model in MODELS},
            "users": users_answers(engines, "users.json", lambda: None, bundles),
            "stored": users_answers(
                engines, "stored.json", lambda: copy_sqlite(Path(tempfile.mkdtemp(dir=folder))), bundles
            ),
        }


if __name__ == "__main__":
    json.dump(all_answers(Path(sys.argv[1])), sys.stdout)
