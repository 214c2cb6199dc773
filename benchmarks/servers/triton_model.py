"""recblr.runtime behind Triton's Python backend, which gives a batch of requests in one call."""

from __future__ import annotations

import os
import site
from typing import Any

# The interpreter in Triton ignores PYTHONPATH, which would not run an editable install's hooks anyway.
for folder in os.environ["PYTHONPATH"].split(os.pathsep):
    site.addsitedir(folder)

import numpy as np  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402  # Triton's own: there in its processes alone
from answers import ENGINE  # noqa: E402


class TritonPythonModel:
    """What Triton looks for."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """The best next items of each request: item_ids [1, n] gives items [1, k] and scores [1, k]."""
        k = int(pb_utils.get_input_tensor_by_name(requests[0], "k").as_numpy()[0, 0])
        histories = [pb_utils.get_input_tensor_by_name(request, "item_ids").as_numpy()[0] for request in requests]
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor("items", np.array([ranking.items], dtype=np.int64)),
                    pb_utils.Tensor("scores", np.asarray(ranking.scores, dtype=np.float32)[None]),
                ]
            )
            for ranking in ENGINE.recommend(histories, k)
        ]
