"""Questions to a model of the Open Inference Protocol by NVIDIA's tritonclient, whichever server answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import chain
from typing import Any, Self, TypeAlias

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from recblr.runtime import Ranking

Rows: TypeAlias = Sequence[Sequence[int]] | Sequence[Sequence[str]]
Tensors: TypeAlias = dict[str, np.ndarray]
Answer: TypeAlias = dict[str, np.ndarray]
Request: TypeAlias = tuple[str, Tensors, Sequence[str], dict[str, Any] | None]
OUTPUTS = ("items", "scores", "counts", "unknown", "popular")
_TYPES = {"i": "INT64", "f": "FP32", "O": "BYTES"}


class Client:
    """Asks by gRPC, or by HTTP with binary tensors; of one thread."""

    def __init__(self, address: str, protocol: str) -> None:
        self._module = pytest.importorskip(f"tritonclient.{protocol}")
        self._is_http = protocol == "http"
        settings = {"concurrency": 8} if self._is_http else {}
        self.triton = self._module.InferenceServerClient(address, **settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.triton.close()

    def ask(self, model: str, rows: Rows, **question: Any) -> Answer:
        """The outputs for these users; the words of the question are those of `request`.

        Raises:
            tritonclient.utils.InferenceServerException: the request failed.
        """
        return self.infer(*request(model, rows, **question))

    def infer(
        self, model: str, tensors: Tensors, outputs: Sequence[str] = OUTPUTS, parameters: dict[str, Any] | None = None
    ) -> Answer:
        """The outputs for these inputs.

        Raises:
            tritonclient.utils.InferenceServerException: the request failed.
        """
        return self._answer(self.triton.infer(model, **self._words(tensors, outputs, parameters)), outputs)

    def infer_all(self, requests: Sequence[Request]) -> list[Answer | str]:
        """The same for many requests at once, in order; of one that failed, the message."""
        results: list[Callable[[], Any]] = []
        for model, tensors, outputs, parameters in requests:
            words = self._words(tensors, outputs, parameters)
            if self._is_http:
                results.append(self.triton.async_infer(model, **words).get_result)
            else:
                future: Future[Any] = Future()
                self.triton.async_infer(model, callback=partial(_done, future), **words)
                results.append(future.result)
        answers: list[Answer | str] = []
        for result, (_, _, outputs, _) in zip(results, requests, strict=True):
            try:
                answers.append(self._answer(result(), outputs))
            except InferenceServerException as error:
                answers.append(error.message())
        return answers

    def _words(self, tensors: Tensors, outputs: Sequence[str], parameters: dict[str, Any] | None) -> dict[str, Any]:
        inputs = []
        for name, array in tensors.items():
            inputs.append(self._module.InferInput(name, list(array.shape), _TYPES[array.dtype.kind]))
            inputs[-1].set_data_from_numpy(array)
        wanted = [self._module.InferRequestedOutput(name) for name in outputs]
        return {"inputs": inputs, "outputs": wanted, "parameters": parameters}

    @staticmethod
    def _answer(result: Any, outputs: Sequence[str]) -> Answer:
        return {name: result.as_numpy(name) for name in outputs}


def _done(future: Future[Any], result: Any, error: Exception | None) -> None:
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def request(
    model: str,
    rows: Rows,
    *,
    states: np.ndarray | None = None,
    exclude: Rows | None = None,
    only: Sequence[int] | Sequence[str] | None = None,
    outputs: Sequence[str] = OUTPUTS,
    **parameters: int | bool,
) -> Request:
    """A request for the rankings of users with these histories, or new items since `states`."""
    is_text = any(isinstance(item_id, str) for row in (*rows, *(exclude or ()), only or ()) for item_id in row)
    tensors = {"item_ids": _ids(rows, is_text), "lengths": _lengths(rows)}
    if states is not None:
        tensors["state_in"] = states
    if exclude is not None:
        tensors |= {"exclude_ids": _ids(exclude, is_text), "exclude_lengths": _lengths(exclude)}
    if only is not None:
        tensors["only_ids"] = _ids([only], is_text)  # type: ignore[list-item]
    return model, tensors, outputs, parameters


def _ids(rows: Rows, is_text: bool) -> np.ndarray:
    ids = list(chain.from_iterable(rows))
    if is_text:
        return np.array([str(item_id).encode() for item_id in ids], np.object_)
    return np.array(ids, np.int64)


def _lengths(rows: Rows) -> np.ndarray:
    return np.array([len(row) for row in rows], np.int64)


def check_answer(answer: Answer, rankings: Sequence[Ranking]) -> None:
    """Check that an answer is these rankings, bit for bit."""
    k = max((len(ranking.items) for ranking in rankings), default=0)
    assert answer["items"].shape == answer["scores"].shape == (len(rankings), k)
    no_item = 0 if np.issubdtype(answer["items"].dtype, np.integer) else ""
    for b, ranking in enumerate(rankings):
        count = len(ranking.items)
        items = [item.decode() if isinstance(item, bytes) else item for item in answer["items"][b].tolist()]
        assert items == [*ranking.items, *[no_item] * (k - count)]
        assert answer["scores"][b, :count].tobytes() == ranking.scores.tobytes()
        assert (answer["scores"][b, count:] == np.finfo(np.float32).min).all()
    for name in ("unknown", "popular"):
        assert answer[name].tolist() == [getattr(ranking, name) for ranking in rankings]
    assert answer["counts"].tolist() == [len(ranking.items) for ranking in rankings]
