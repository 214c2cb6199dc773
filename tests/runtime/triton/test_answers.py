"""What a real Triton answers with recblr's backend, against recblr.runtime in this process."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from recblr.errors import RequestError
from recblr.runtime import Engine, Ranking

from ..golden.answers import cases_of
from ..golden.models import item_ids
from ..golden.values import value_of
from .client import OUTPUTS, Client, check_answer, request
from .conftest import MODELS
from .process import Triton

_SURROGATES = re.compile("[\ud800-\udfff]")  # no UTF-8 has them


def _sendable(model: str, arguments: dict[str, Any]) -> bool:
    """Whether tensors can say the same: lists of ids of the model's type, and one allow-list."""
    exclude, only = arguments.get("exclude"), arguments.get("only")
    rows = [arguments["histories"], [] if exclude is None else exclude, [] if only is None else [only]]
    if not all(isinstance(lists, list) and all(isinstance(row, list) for row in lists) for lists in rows):
        return False
    if exclude is not None and len(exclude) != len(rows[0]):
        return False  # which is said of tensors in their own words
    ids = list(chain.from_iterable(chain.from_iterable(rows)))
    if model == "string":
        # Without ids, they are sent as integers.
        return ids != [] and all(type(item_id) is str and not _SURROGATES.search(item_id) for item_id in ids)
    return all(type(number) is int and abs(number) < 2**63 for number in (*ids, arguments.get("k", 1)))


def _cases(model: str) -> dict[str, dict[str, Any]]:
    """The golden cases of whole histories that tensors can say, by name."""
    found = {}
    for case in cases_of(model):
        if case["call"] != "recommend" or "$allow" in str(case["arguments"]):
            continue
        arguments = {name: value_of(value, item_ids(model), {}) for name, value in case["arguments"].items()}
        if isinstance(exclude := arguments.get("exclude"), list):
            arguments["exclude"] = [[] if row is None else row for row in exclude]
        if _sendable(model, arguments):
            found[case["name"]] = arguments
    return found


def _answered(engine: Engine, arguments: dict[str, Any]) -> list[Ranking] | str:
    try:
        return engine.recommend(**arguments)
    except RequestError as error:
        return str(error)


@pytest.mark.parametrize("model", MODELS)
def test_the_golden_cases_are_answered_bit_for_bit(client: Client, engines: Mapping[str, Engine], model: str):
    """All at once, so that the server merges them."""
    cases = _cases(model)
    assert len(cases) > 30
    requests = [
        request(model, arguments["histories"], **{k: v for k, v in arguments.items() if k != "histories"})
        for arguments in cases.values()
    ]
    for (name, arguments), answer in zip(cases.items(), client.infer_all(requests), strict=True):
        expected = _answered(engines[model], arguments)
        if isinstance(expected, str) or isinstance(answer, str):
            assert (name, answer) == (name, expected)
        else:
            check_answer(answer, expected)


def test_states_go_back_and_forth(client: Client, engines: Mapping[str, Engine]):
    """Users' histories in pieces, some of them empty, are their histories as a whole."""
    engine, ids = engines["integer"], item_ids("integer")
    pieces = [[ids[:5], [], ids[9:12]], [[], ids[3:4], ids[2:9]], [ids[20:21], ids[7:9], []]]
    states: Any = None
    expected_states: Any = None
    for rows in pieces:
        outputs = (*OUTPUTS, "state_out")
        answer = client.ask("integer", rows, states=states, outputs=outputs, k=7, exclude_seen=False)
        expected, expected_states = engine.step(expected_states, rows, k=7)
        states = answer["state_out"]
        check_answer(answer, expected)
        assert states.tobytes() == expected_states.tobytes()
    whole = [list(chain.from_iterable(rows)) for rows in zip(*pieces, strict=True)]
    for ranking, items, scores in zip(
        engine.recommend(whole, k=7, exclude_seen=False), answer["items"], answer["scores"], strict=True
    ):
        assert ranking.items == items.tolist()
        np.testing.assert_allclose(ranking.scores, scores, rtol=1e-4)


def test_one_user_needs_no_lengths_and_offsets_are_lengths_too(client: Client, engines: Mapping[str, Engine]):
    ids = np.array(item_ids("integer")[:4])
    (ranking,) = engines["integer"].recommend([ids.tolist()])
    check_answer(client.infer("integer", {"item_ids": ids}), [ranking])
    rows = [ids[:1].tolist(), [], ids[1:].tolist()]
    answer = client.infer("integer", {"item_ids": ids, "offsets": np.array([0, 1, 1, 4])})
    check_answer(answer, engines["integer"].recommend(rows))


def test_json_asks_and_gets_all_outputs_that_it_does_not_choose_among(triton: Triton, engines: Mapping[str, Engine]):
    """Triton takes a request that names none for one that names all: the states are among them."""
    ids = item_ids("string")[:2]
    inputs = [{"name": "item_ids", "datatype": "BYTES", "shape": [2], "data": ids}]
    answer = triton.infer("string", {"inputs": inputs, "parameters": {"k": 3}, "id": "42"}).json()
    assert answer["id"] == "42"
    tensors = {tensor["name"]: tensor for tensor in answer["outputs"]}
    assert set(tensors) == {*OUTPUTS, "state_out"}
    engine = engines["string"]
    (ranking,) = engine.recommend([ids], k=3)
    assert tensors["items"]["data"] == ranking.items
    assert np.array(tensors["scores"]["data"], np.float32).tobytes() == ranking.scores.tobytes()
    assert tensors["state_out"]["shape"] == [1, engine.state_size]


NUMBERS = np.array([1, 2, 3])


@pytest.mark.parametrize(
    ("tensors", "parameters", "message"),
    [
        ({}, {"k": 0}, "k is 0: give a whole number from 1 to 57"),
        ({}, {"k": 58}, "k is 58, but the catalogue has 57 items: ask for at most those"),
        ({}, {"k": "3"}, "k is '3': give a whole number from 1 to 57"),
        ({}, {"exclude_seen": 1}, "exclude_seen is 1: give true or false"),
        ({}, {"timeout_ms": 0}, "timeout_ms is 0: give milliseconds above 0"),
        (
            {"lengths": np.array([1, 1])},
            {},
            "lengths sum to 2, but there are 3 item_ids: give how many are each user's",
        ),
        (
            {"lengths": np.array([1, -1, 3])},
            {},
            "lengths[1] is -1, but 2 of the 3 item_ids are left: give how many are each user's",
        ),
        (
            {"offsets": np.array([0, 2])},
            {},
            "offsets[1] is 2: give offsets from 0 to 3, the number of item_ids, that do not fall",
        ),
        (
            {"lengths": np.array([3]), "offsets": np.array([0, 3])},
            {},
            "lengths and offsets are given: give one of them",
        ),
        ({"exclude_lengths": np.array([1])}, {}, "exclude_lengths is given without exclude_ids: give both or none"),
        (
            {"exclude_ids": NUMBERS, "exclude_lengths": np.array([1, 2])},
            {},
            "exclude_ids are of 2 users, item_ids of 1: give exclude_lengths, a number for each user",
        ),
    ],
)
def test_a_wrong_request_gets_its_own_error_and_no_other_does(
    client: Client,
    engines: Mapping[str, Engine],
    tensors: dict[str, np.ndarray],
    parameters: dict[str, Any],
    message: str,
):
    right = request("integer", [NUMBERS.tolist()])
    wrong = ("integer", {"item_ids": NUMBERS, **tensors}, ("items",), parameters)
    answers = client.infer_all([right, wrong, right])
    assert answers[1] == message
    for answer in (answers[0], answers[2]):
        assert not isinstance(answer, str)
        check_answer(answer, engines["integer"].recommend([NUMBERS.tolist()]))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"lengths": np.array([3])}, r"expected \[?1\]? .*inputs? .*got|missing|item_ids"),
        ({"item_ids": NUMBERS, "lenghts": np.array([3])}, "unexpected inference input 'lenghts'"),
        ({"item_ids": NUMBERS.astype(np.float32)}, "data-type is 'FP32', but model 'integer' expects 'INT64'"),
        ({"item_ids": NUMBERS.reshape(1, 3)}, r"unexpected shape for input 'item_ids'.*Expected \[-1\]"),
        ({"item_ids": NUMBERS, "state_in": np.zeros((1, 3), np.float32)}, "unexpected shape for input 'state_in'"),
    ],
)
def test_triton_itself_refuses_other_tensors(client: Client, tensors: dict[str, np.ndarray], message: str):
    with pytest.raises(InferenceServerException, match=message):
        client.infer("integer", tensors, ("items",))


def test_a_state_of_other_users_is_refused(client: Client, engines: Mapping[str, Engine]):
    size = engines["integer"].state_size
    with pytest.raises(InferenceServerException) as caught:
        client.ask("integer", [[1], [2]], states=np.zeros((1, size), np.float32))
    assert caught.value.message() == (
        f"state_in has shape [1, {size}], but the states of 2 users of this model are [2, {size}]: give state_out of "
        "their last answer"
    )


def test_statistics_count_what_was_answered_and_what_failed(triton: Triton, client: Client):
    before = triton.statistics("integer")
    good = [request("integer", [[1, 2], [3]])] * 20
    answers = client.infer_all([*good, ("integer", {"item_ids": NUMBERS}, ("items",), {"k": -1}), *good])
    assert [isinstance(answer, str) for answer in answers] == [False] * 20 + [True] + [False] * 20
    after = triton.statistics("integer")
    for name in ("inference_count", "execution_count"):
        assert after[name] - before[name] == 40
    spent = {}
    for name, kind in after["inference_stats"].items():
        count, spent[name] = (kind[field] - before["inference_stats"][name][field] for field in ("count", "ns"))
        assert count == (1 if name == "fail" else 0 if name.startswith("cache") else 40)
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert all(spent[name] > 0 for name in parts)
    assert sum(spent[name] for name in parts) <= spent["success"]
    assert [batch["batch_size"] for batch in after["batch_stats"]] == [1]


def test_metadata_describe_the_models_tensors(triton: Triton, engines: Mapping[str, Engine]):
    for model, ids in (("integer", "INT64"), ("string", "BYTES")):
        metadata = triton.http.get(f"/v2/models/{model}").json()
        shapes = {tensor["name"]: (tensor["datatype"], tensor["shape"]) for tensor in metadata["inputs"]}
        numbers, size = ("INT64", [-1]), engines[model].state_size
        assert shapes == {
            **{name: (ids, [-1]) for name in ("item_ids", "exclude_ids", "only_ids")},
            **dict.fromkeys(("lengths", "offsets", "exclude_lengths", "exclude_offsets"), numbers),
            "state_in": ("FP32", [-1, size]),
        }
        outputs = {tensor["name"]: (tensor["datatype"], tensor["shape"]) for tensor in metadata["outputs"]}
        assert outputs == {
            "items": (ids, [-1, -1]),
            "scores": ("FP32", [-1, -1]),
            "counts": numbers,
            "unknown": numbers,
            "popular": ("BOOL", [-1]),
            "state_out": ("FP32", [-1, size]),
        }
        config = json.loads(triton.http.get(f"/v2/models/{model}/config").text)
        assert [tensor["name"] for tensor in config["input"] if not tensor["optional"]] == ["item_ids"]
        assert config["max_batch_size"] == 0
        assert [(group["kind"], group["count"]) for group in config["instance_group"]] == [("KIND_CPU", 1)]
