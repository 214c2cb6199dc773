"""What an export does where there is a GPU, with ONNX Runtime in the place of the engine: that takes a GPU to run.

So these prove what is made of the results, not that engines are right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recblr.checkpoint import Checkpoint
from recblr.data import Sequences, Targets
from recblr.errors import ExportError
from recblr.export.bundle import export_bundle
from recblr.export.report import summary
from recblr.export.tensorrt.settings import EngineSettings
from recblr.export.tensorrt.writer import EngineRequest
from recblr.runtime import Bundle, open_bundle
from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend
from recblr.runtime.gpu.cuda import Gpu

pytestmark = pytest.mark.usefixtures("plugin_library")


class _Engine(OnnxRuntimeBackend):
    """Answers as the engine should; beyond a number of rows it is off by `error`."""

    memory_bytes = 12_345
    error = 0.0

    def inspect(self) -> dict[str, Any]:
        return {"layers": 7, "types": ["Float", "Half"]}

    def run(self, *batch: Any) -> Any:
        top_items, top_scores, states = super().run(*batch)
        return top_items, top_scores + (self.error if len(states) > 30 else 0), states


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> type[_Engine]:
    """The stand-in, and a GPU that is not there."""

    class Engine(_Engine):
        pass

    def open_engine(bundle: Bundle) -> Engine:
        assert bundle.plan is not None
        assert bundle.plan.status == "built, not run"
        return Engine(bundle.model_path)

    monkeypatch.setattr("recblr.export.tensorrt.writer.open_engine", open_engine)
    for module in ("engine_writer", "verify"):
        monkeypatch.setattr(f"recblr.export.{module}.current_gpu", lambda: Gpu("Made-up 4000", "8.9"))
    return Engine


def _request(evaluation: Targets | None = None) -> EngineRequest:
    settings = EngineSettings(
        target="tensorrt-rtx", precision="fp16", max_rows=40, max_tokens=300, max_exclusions=20, opt_rows=1
    )
    return EngineRequest(settings, evaluation=evaluation)


def test_a_verified_engine(engine: type[_Engine], checkpoint: Checkpoint, tmp_path: Path) -> None:
    targets = Targets(
        np.arange(2), Sequences(np.array([1, 2, 3], np.int32), np.array([0, 2, 3])), np.array([4, 5], np.int32)
    )
    manifest = export_bundle(checkpoint, tmp_path / "bundle", 20, _request(targets))
    section = open_bundle(tmp_path / "bundle").plan
    assert section is not None
    assert section.to_dict() == manifest["plan"]
    assert (section.status, section.gpu) == ("verified", "Made-up 4000")
    assert section.proof["inspector"] == {"layers": 7, "types": ["Float", "Half"]}
    assert section.verification["reference"] == "PyTorch"
    assert (section.verification["gpu"], section.verification["memory_bytes"]) == ("Made-up 4000", 12_345)
    cases = section.verification["cases"]
    assert list(cases) == ["cold", "dense", "single", "incremental", "empty", "exclusions", "largest"]
    assert (cases["largest"]["rows"], cases["largest"]["tokens"]) == (40, 300)
    assert section.verification["max_score_difference"] < 1e-4
    assert section.evaluation["measured"] == "the engine on Made-up 4000, against fp32 in ONNX Runtime"
    assert (section.evaluation["users"], section.evaluation["top_10_overlap"]) == (2, 1)

    printed = summary(tmp_path / "bundle", manifest, 1.0)
    assert "engine: run on Made-up 4000, scores within" in printed
    assert "by the network's types and the engine's: " in printed
    assert "not run" not in printed


def test_an_engine_that_differs_is_not_written(
    engine: type[_Engine], checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it is right but for the largest profile."""
    monkeypatch.setattr(engine, "error", 100.0)
    with pytest.raises(ExportError, match="TensorRT-RTX and PyTorch differ in the case 'largest': scores by 1e\\+02"):
        export_bundle(checkpoint, tmp_path / "bundle", 20, _request())
    assert not list(tmp_path.iterdir())


def test_an_engine_that_cannot_run_is_not_written(
    engine: type[_Engine], checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("an illegal memory access\nwas encountered")

    monkeypatch.setattr(engine, "run", fail)
    with pytest.raises(ExportError, match=r"TensorRT-RTX cannot run the .* \(an illegal memory access was enc"):
        export_bundle(checkpoint, tmp_path / "bundle", 20, _request())
    assert not list(tmp_path.iterdir())
