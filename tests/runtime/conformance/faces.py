"""The faces of the runtime: each puts a question in its own form, and gives the answer in that of `questions`."""

from __future__ import annotations

import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from recblr.item_ids import IdType

from .questions import Answer, ItemId, Question, hex_of, ranking_of

_NO_BIG_INTEGERS = "an integer beyond 64 bits is text here"
_LARGE = 1e30  # of a state
_OUTPUTS = ("items", "scores", "counts", "unknown", "popular")


class Face(ABC):
    """Answers questions for one model."""

    def cannot_express(self, question: Question) -> str | None:
        """Why this face has no form for a question; None where it has one."""
        return None

    @abstractmethod
    def answers(self, questions: Mapping[str, Question]) -> dict[str, Answer]:
        """The answers by the questions' names."""


def _has_big_integers(question: Question) -> bool:
    rows = [*question.rows, *(question.exclude or ()), question.only or []]
    return any(isinstance(item_id, int) and not _is_int64(item_id) for row in rows for item_id in row)


def _is_int64(item_id: ItemId) -> bool:
    return isinstance(item_id, int) and -(2**63) <= item_id < 2**63


def _are_integers(rows: Iterable[Iterable[ItemId]]) -> bool:
    return all(_is_int64(item_id) for row in rows for item_id in row)


class Program(Face):
    """One of programs/: a client of the C API or of recblr.hpp, in a process of its own."""

    def __init__(self, program: Path, bundle: Path) -> None:
        self._command = [str(program), str(bundle)]

    def cannot_express(self, question: Question) -> str | None:
        if _has_big_integers(question):
            return _NO_BIG_INTEGERS
        return "in C, a k of 0 is the default" if question.k == 0 else None

    def answers(self, questions: Mapping[str, Question]) -> dict[str, Answer]:
        text = "".join(" ".join(self._words(question)) + "\n" for question in questions.values())
        done = subprocess.run(self._command, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        lines = iter(done.stdout.split("\n"))
        return {name: self._answer(lines) for name in questions}

    def _words(self, question: Question) -> Iterator[str]:
        yield str(question.k or 0)
        yield from (str(int(flag)) for flag in (question.exclude_seen, question.is_step, question.is_step))
        yield "x" + (b"" if question.states is None else question.states.astype("<f4").tobytes()).hex()
        yield from self._ids(question.rows)
        for rows in (question.exclude, None if question.only is None else [question.only]):
            yield str(int(rows is not None))
            if rows is not None:
                yield from self._ids(rows)

    @staticmethod
    def _ids(rows: list[list[ItemId]]) -> Iterator[str]:
        integers = _are_integers(rows)
        yield from (str(int(not integers)), str(len(rows)), *(str(len(row)) for row in rows))
        for row in rows:
            yield from (str(item_id) if integers else f"x{str(item_id).encode().hex()}" for item_id in row)

    @staticmethod
    def _answer(lines: Iterator[str]) -> Answer:
        kind, _, rest = next(lines).partition(" ")
        if kind == "error":
            return {"error": rest}
        rankings = []
        for _ in range(int(rest)):
            unknown, popular, *pairs = next(lines).split()
            items: list[ItemId] = []
            for pair in pairs:
                item = pair.partition(":")[0]
                items.append(bytes.fromhex(item[1:]).decode() if item.startswith("x") else int(item))
            scores = "".join(pair.partition(":")[2] for pair in pairs)
            rankings.append({"items": items, "scores": scores, "unknown": int(unknown), "popular": popular == "1"})
        return {"rankings": rankings, "states": next(lines).removeprefix("states ")}


class V1(Face):
    """POST /v1/recommend."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def cannot_express(self, question: Question) -> str | None:
        if _has_big_integers(question):
            return _NO_BIG_INTEGERS
        return "/v1/recommend takes histories and no states" if question.is_step else None

    def answers(self, questions: Mapping[str, Question]) -> dict[str, Answer]:
        return {name: self._answer(question) for name, question in questions.items()}

    def _answer(self, question: Question) -> Answer:
        fields = {
            "histories": question.rows,
            "k": question.k,
            "exclude_seen": question.exclude_seen,
            "exclude": question.exclude,
            "only": question.only,
        }
        response = self._client.post(
            "/v1/recommend", json={name: value for name, value in fields.items() if value is not None}
        )
        body = response.json()
        if response.status_code != 200:
            assert response.status_code == 400, response.text
            return {"error": body["error"]}
        return {
            "rankings": [
                ranking_of(r["items"], np.array(r["scores"], np.float32), r["unknown"], r["popular"])
                for r in body["rankings"]
            ],
            "states": "",
        }


class OpenInference(Face):
    """The Open Inference Protocol; how requests travel is the subclasses'."""

    _only_text = False  # whether integers are sent as text, too

    def cannot_express(self, question: Question) -> str | None:
        if _has_big_integers(question):
            return _NO_BIG_INTEGERS
        if question.exclude is not None and len(question.exclude) != len(question.rows):
            return "the message names the tensors, of which one has a length for each user"
        return None

    def answers(self, questions: Mapping[str, Question]) -> dict[str, Answer]:
        found = {}
        for name, question in questions.items():
            outputs = (*_OUTPUTS, *(["state_out"] if question.is_step else []))
            answered = self.infer(_inputs(question, self._only_text), _parameters(question), outputs)
            found[name] = answered if "error" in answered else _answer_of(answered)
        return found

    @abstractmethod
    def infer(
        self, inputs: Mapping[str, np.ndarray], parameters: Mapping[str, Any], outputs: tuple[str, ...]
    ) -> dict[str, Any]:
        """Output tensors by name, those of BYTES with elements of `bytes`; or {"error": message}."""


def _inputs(question: Question, only_text: bool) -> dict[str, np.ndarray]:
    inputs = {"item_ids": _ids(question.rows, only_text), "lengths": _lengths(question.rows)}
    if question.states is not None:
        inputs["state_in"] = question.states
    if question.exclude is not None:
        inputs["exclude_ids"] = _ids(question.exclude, only_text)
        inputs["exclude_lengths"] = _lengths(question.exclude)
    if question.only is not None:
        inputs["only_ids"] = _ids([question.only], only_text)
    return inputs


def _ids(rows: list[list[ItemId]], only_text: bool) -> np.ndarray:
    flat = [item_id for row in rows for item_id in row]
    if _are_integers(rows) and not only_text:
        return np.array(flat, np.int64)
    array = np.empty(len(flat), object)
    array[:] = [str(item_id).encode() for item_id in flat]
    return array


def _lengths(rows: list[list[ItemId]]) -> np.ndarray:
    return np.array([len(row) for row in rows], np.int64)


def _parameters(question: Question) -> dict[str, Any]:
    parameters: dict[str, Any] = {"exclude_seen": question.exclude_seen}
    return parameters if question.k is None else {**parameters, "k": question.k}


def _answer_of(outputs: Mapping[str, np.ndarray]) -> Answer:
    rankings = []
    columns = (outputs[name].reshape(-1) for name in ("counts", "unknown", "popular"))
    for row, (count, unknown, popular) in enumerate(zip(*columns, strict=True)):
        items = [item.decode() if isinstance(item, bytes) else item for item in outputs["items"][row, :count].tolist()]
        rankings.append(ranking_of(items, outputs["scores"][row, :count], int(unknown), bool(popular)))
    states = outputs.get("state_out")
    return {"rankings": rankings, "states": "" if states is None else hex_of(states)}


_TYPES = {"int64": "INT64", "float32": "FP32", "bool": "BOOL", "object": "BYTES"}
_DTYPES = {"INT64": np.int64, "FP32": np.float32, "BOOL": np.bool_, "BYTES": object}


class OverHttpJson(OpenInference):
    """POST /v2/models/recblr/infer with all in JSON."""

    def __init__(self, client: httpx.Client, model: str = "recblr") -> None:
        self._client = client
        self._path = f"/v2/models/{model}/infer"

    def cannot_express(self, question: Question) -> str | None:
        if question.states is not None and not (np.abs(question.states) < _LARGE).all():
            return "JSON has no infinite numbers, which such states, or their scores, are"
        return super().cannot_express(question)

    def infer(
        self, inputs: Mapping[str, np.ndarray], parameters: Mapping[str, Any], outputs: tuple[str, ...]
    ) -> dict[str, Any]:
        described = [
            {
                "name": name,
                "datatype": _TYPES[array.dtype.name],
                "shape": list(array.shape),
                "data": [item.decode() if isinstance(item, bytes) else item for item in array.reshape(-1).tolist()],
            }
            for name, array in inputs.items()
        ]
        body = {"inputs": described, "parameters": parameters, "outputs": [{"name": name} for name in outputs]}
        response = self._client.post(self._path, content=json.dumps(body))
        if response.status_code != 200:
            assert response.status_code == 400, response.text
            return {"error": response.json()["error"]}
        return {
            tensor["name"]: _array(
                [item.encode() if isinstance(item, str) else item for item in tensor["data"]], tensor
            )
            for tensor in response.json()["outputs"]
        }


def _array(values: list[Any], tensor: Mapping[str, Any]) -> np.ndarray:
    array = np.empty(len(values), _DTYPES[tensor["datatype"]])
    array[:] = values
    return array.reshape(tensor["shape"])


class OverHttpBinary(OpenInference):
    """The same with tensors behind the JSON, in and out."""

    def __init__(self, client: httpx.Client, model: str = "recblr") -> None:
        self._client = client
        self._path = f"/v2/models/{model}/infer"

    def infer(
        self, inputs: Mapping[str, np.ndarray], parameters: Mapping[str, Any], outputs: tuple[str, ...]
    ) -> dict[str, Any]:
        contents = {name: _to_bytes(array) for name, array in inputs.items()}
        described = [
            {
                "name": name,
                "datatype": _TYPES[array.dtype.name],
                "shape": list(array.shape),
                "parameters": {"binary_data_size": len(contents[name])},
            }
            for name, array in inputs.items()
        ]
        wanted = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
        head = json.dumps({"inputs": described, "parameters": parameters, "outputs": wanted}).encode()
        response = self._client.post(
            self._path,
            content=head + b"".join(contents.values()),
            headers={"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"},
        )
        if response.status_code != 200:
            assert response.status_code == 400, response.text
            return {"error": response.json()["error"]}
        size = int(response.headers["Inference-Header-Content-Length"])
        rest = response.content[size:]
        found = {}
        for tensor in json.loads(response.content[:size])["outputs"]:
            n = tensor["parameters"]["binary_data_size"]
            found[tensor["name"]], rest = _from_bytes(rest[:n], tensor), rest[n:]
        assert rest == b""
        return found


def _to_bytes(array: np.ndarray) -> bytes:
    if array.dtype != object:
        return array.tobytes()
    return b"".join(len(item).to_bytes(4, "little") + item for item in array.reshape(-1).tolist())


def _from_bytes(content: bytes, tensor: Mapping[str, Any]) -> np.ndarray:
    if tensor["datatype"] != "BYTES":
        return np.frombuffer(content, _DTYPES[tensor["datatype"]]).reshape(tensor["shape"])
    values = []
    while content:
        end = 4 + int.from_bytes(content[:4], "little")
        values.append(content[4:end])
        content = content[end:]
    return _array(values, tensor)


class OverGrpc(OpenInference):
    """ModelInfer by tritonclient."""

    def __init__(self, address: str, model: str = "recblr") -> None:
        from tritonclient import grpc

        self._grpc = grpc
        self._client = grpc.InferenceServerClient(address)
        self._model = model

    def close(self) -> None:
        """Its connection."""
        self._client.close()

    def infer(
        self, inputs: Mapping[str, np.ndarray], parameters: Mapping[str, Any], outputs: tuple[str, ...]
    ) -> dict[str, Any]:
        tensors = []
        for name, array in inputs.items():
            tensor = self._grpc.InferInput(name, list(array.shape), _TYPES[array.dtype.name])
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        wanted = [self._grpc.InferRequestedOutput(name) for name in outputs]
        try:
            answer = self._client.infer(self._model, tensors, outputs=wanted, parameters=dict(parameters))
        except self._grpc.InferenceServerException as error:
            invalid = error.status() == "StatusCode.INVALID_ARGUMENT"
            return {"error": error.message() if invalid else str(error)}
        return {name: answer.as_numpy(name) for name in outputs}


class Triton(OverGrpc):
    """Triton's, which checks tensors' types itself: ids are of the model's."""

    def __init__(self, address: str, model: str, id_type: IdType) -> None:
        super().__init__(address, model)
        self._only_text = id_type == "string"

    def cannot_express(self, question: Question) -> str | None:
        rows = [*question.rows, *(question.exclude or ()), question.only or []]
        if not self._only_text and not _are_integers(rows):
            return "Triton itself refuses text for a tensor of integers"
        return super().cannot_express(question)
