"""Model repositories of recblr-export in a real Triton."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc

from recblr.runtime import Engine

from ..golden.models import item_ids
from .conftest import MODELS
from .process import Triton


@pytest.mark.parametrize("model", MODELS)
def test_it_is_warmed_up_and_the_client_of_its_readme_asks_it(
    golden_bundles: Path, engines: Mapping[str, Engine], tmp_path: Path, model: str
):
    native = pytest.importorskip("recblr.export.triton.native")
    native.write_native_repository(golden_bundles / model, tmp_path / "models")
    server = Triton(tmp_path / "models", "--log-verbose=1")
    try:
        assert server.load("recblr") is None
        assert len(set(re.findall(r"is running warmup sample '(\w+)'", server.log()))) == 2
        assert "failed to run warmup" not in server.log()
        (code,) = re.findall(r"```python\n(.*?)```", (tmp_path / "models" / "README.md").read_text(), re.DOTALL)
        client: dict[str, Any] = {}
        exec(code, client)
        ids = item_ids(model)
        histories = [ids[:3], [], [*ids[5:7], ids[5]]]
        with tritonclient.grpc.InferenceServerClient(server.addresses["grpc"]) as connection:
            answers = client["recommend"](connection, histories, k=4)
            assert client["recommend"](connection, [[]], k=1)[0][0][0] == answers[1][0][0]
        for ranking, expected in zip(answers, engines[model].recommend(histories, k=4), strict=True):
            assert ranking == list(zip(expected.items, expected.scores.tolist(), strict=True))
        server.stop()
    finally:
        server.kill()
