"""A bundle's plan: its files, what the manifest says of it, and what an export does where there is a GPU."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from click.testing import Result

from recblr.checkpoint import Checkpoint, load_checkpoint
from recblr.data import Sequences, Targets
from recblr.errors import BundleError, ConfigError, ExportError
from recblr.export.bundle import export_bundle
from recblr.export.report import summary
from recblr.export.tensorrt.plan_builder import PlanBuilder
from recblr.export.tensorrt.settings import PlanSettings
from recblr.runtime import Bundle, is_bundle, load, open_bundle
from recblr.runtime.backends.onnxruntime import OnnxRuntimeBackend
from recblr.runtime.bundle.manifest import file_entry, write_content
from recblr.runtime.bundle.plan_section import PRECISIONS, PlanSection, Precision, tensorrt_type
from recblr.runtime.gpu.cuda import Gpu

# Precision -> .path of the bundle, .printed by recblr-export.
MakePlanBundle: TypeAlias = Callable[[Precision], Any]


LIMITS = ("--max-rows", 8, "--opt-rows", 2, "--max-tokens", 500, "--opt-tokens", 900, "--max-exclusions", 70)


def _manifest(bundle: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    return content


def _rewrite_section(bundle: Path, engine: object, **changes: object) -> None:
    """Another plan's section in the manifest, under a right checksum."""
    manifest = {**_manifest(bundle), "plan": engine, **changes}
    write_content(bundle, manifest)


@pytest.fixture
def copied_bundle(plan_bundle: MakePlanBundle, tmp_path: Path) -> Path:
    """A bundle with a plan, to be changed."""
    return Path(shutil.copytree(plan_bundle("fp32").path, tmp_path / "copied"))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_the_manifest_says(plan_bundle: MakePlanBundle, plugin_library: Path, precision: Precision) -> None:
    bundle = plan_bundle(precision).path
    manifest = _manifest(bundle)
    engine = manifest["plan"]
    assert engine["file"] == "model.plan"
    assert (engine["target"], engine["precision"]) == ("tensorrt-rtx", precision)
    assert version("tensorrt-rtx-cu13-bindings").startswith(engine["version"])
    assert engine["profile"] == {
        "rows": {"minimum": 1, "optimum": 16, "maximum": 256},
        "tokens": {"minimum": 0, "optimum": 1024, "maximum": 65_536},
        "exclusions": {"minimum": 0, "optimum": 1024, "maximum": 65_536},
    }
    assert engine["max_k"] == manifest["max_k"] == 12
    assert engine["plugin_library"] == "librecblr_plugins.so"
    assert engine["plugin_embedded"] is False
    assert (engine["compute_capabilities"], engine["gpu"]) == ([], None)
    assert (engine["status"], engine["verification"]) == ("built, not run", {})
    assert 0 < engine["build_seconds"] < 600
    assert engine["memory_bytes"] > 65_536 * 16 * 4  # of x alone
    low = tensorrt_type(precision)
    assert engine["proof"]["inspector"] is None
    assert engine["proof"]["network"]["plugins"] == {low: 4}
    assert engine["proof"]["network"]["layer_norms"] == {"FLOAT": 5}
    assert sum(engine["proof"]["network"]["products"].values()) == 12

    assert set(manifest["files"]) == {path.name for path in bundle.iterdir()} - {"manifest.json"}
    assert manifest["files"] == {name: file_entry(bundle / name) for name in manifest["files"]}
    assert (bundle / "librecblr_plugins.so").read_bytes() == plugin_library.read_bytes()
    assert open_bundle(bundle).plan.to_dict() == engine


def test_plans_of_lower_precision_are_smaller(plan_bundle: MakePlanBundle) -> None:
    weights = {precision: _manifest(plan_bundle(precision).path)["plan"]["weight_bytes"] for precision in PRECISIONS}
    assert weights["fp16"] < weights["fp32"]
    assert weights["bf16"] < weights["fp32"]


def test_the_same_onnx_as_without_a_plan(plan_bundle: MakePlanBundle, trained_path: Path, tmp_path: Path) -> None:
    """And it answers: a bundle with a plan serves where there is no TensorRT."""
    export_bundle(load_checkpoint(trained_path), tmp_path / "plain", max_k=12)
    bundle = plan_bundle("fp16").path
    assert (bundle / "model.onnx").read_bytes() == (tmp_path / "plain" / "model.onnx").read_bytes()
    assert open_bundle(tmp_path / "plain").plan is None
    history = open_bundle(bundle).item_ids()[:3]
    answers = [load(path, threads=1).recommend([history], k=5)[0].items for path in (bundle, tmp_path / "plain")]
    assert len(answers[0]) == 5
    assert answers[0] == answers[1]


@pytest.mark.usefixtures("no_gpu", "plugin_library", "shared_graphs")
def test_limits_and_an_embedded_plugin(
    run_export: Callable[..., Result],
    plan_bundle: MakePlanBundle,
    trained_path: Path,
    plugin_library: Path,
    tmp_path: Path,
) -> None:
    result = run_export(
        trained_path, "-o", tmp_path / "bundle", "--target", "tensorrt-rtx", *LIMITS, "--max-k", 12, "--embed-plugin"
    )
    assert result.exit_code == 0, result.output
    section = open_bundle(tmp_path / "bundle").plan
    assert section is not None
    assert section.to_dict()["profile"] == {
        "rows": {"minimum": 1, "optimum": 2, "maximum": 8},
        "tokens": {"minimum": 0, "optimum": 500, "maximum": 500},
        "exclusions": {"minimum": 0, "optimum": 70, "maximum": 70},
    }
    assert (section.profile.limits.rows, section.profile.limits.tokens) == (8, 500)
    assert "1 to 8 rows (best at 2), 0 to 500 new items (best at 500) and 0 to 70 exclusions" in result.stdout

    plain = open_bundle(plan_bundle("fp32").path)
    assert section.memory_bytes < plain.plan.memory_bytes
    assert section.plugin_embedded
    with_plugin, without = (
        bundle.manifest.files["model.plan"]["bytes"] for bundle in (open_bundle(tmp_path / "bundle"), plain)
    )
    assert with_plugin - without > 0.9 * plugin_library.stat().st_size


@pytest.mark.usefixtures("no_gpu", "plugin_library", "shared_graphs")
def test_compute_capabilities(run_export: Callable[..., Result], trained_path: Path, tmp_path: Path) -> None:
    two = ("--compute-capability", "8.9", "--compute-capability", "8.6")
    result = run_export(
        trained_path, "-o", tmp_path / "bundle", "--target", "tensorrt-rtx", *two, *LIMITS, "--max-k", 12
    )
    assert result.exit_code == 0, result.output
    section = open_bundle(tmp_path / "bundle").plan
    assert section is not None
    assert section.compute_capabilities == ["8.9", "8.6"]
    assert "(compute capabilities: 8.9, 8.6)" in result.stdout


def test_bundles_from_before_there_were_plans(plan_bundle: MakePlanBundle, copied_bundle: Path) -> None:
    manifest = _manifest(copied_bundle)
    del manifest["plan"]
    write_content(copied_bundle, manifest)
    bundle = open_bundle(copied_bundle)
    assert bundle.plan is None
    assert bundle.manifest.max_k == 12


def test_fields_of_a_later_version_are_no_error(copied_bundle: Path) -> None:
    engine = _manifest(copied_bundle)["plan"]
    _rewrite_section(copied_bundle, {**engine, "weather": "fine"})
    assert open_bundle(copied_bundle).plan.to_dict() == engine


_MALFORMED: dict[str, list[object]] = {
    "file": [None, "", 1],
    "target": ["onnx", []],
    "version": [1.7],
    "precision": ["int8"],
    "profile": [None, {}, {"rows": 1}],
    "max_k": [0, True, "12"],
    "compute_capabilities": ["8.9", [8.9]],
    "gpu": [""],
    "build_seconds": ["1", True, None],
    "memory_bytes": [-1, 0.5],
    "weight_bytes": ["1"],
    "plugin_library": [None],
    "plugin_embedded": [0],
    "proof": [None],
    "status": [""],
    "verification": [[]],
    "evaluation": [None],
}


@pytest.mark.parametrize("field", _MALFORMED)
def test_a_section_that_is_malformed(copied_bundle: Path, field: str) -> None:
    engine = _manifest(copied_bundle)["plan"]
    assert set(engine) == set(_MALFORMED)
    values = [*_MALFORMED[field], *([] if field in ("gpu", "memory_bytes", "weight_bytes") else ["missing"])]
    for value in values:
        changed = {**engine, field: value}
        if value == "missing":
            del changed[field]
        _rewrite_section(copied_bundle, changed)
        message = rf"manifest\.json: plan\.{field} is missing or malformed \(.*\): copy the bundle again"
        with pytest.raises(BundleError, match=message) as caught:
            open_bundle(copied_bundle)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["rows", "tokens", "exclusions"])
@pytest.mark.parametrize(
    "sizes",
    [
        {"minimum": 2, "optimum": 1, "maximum": 3},
        {"minimum": 1, "optimum": 4, "maximum": 3},
        {"minimum": -1, "optimum": 1, "maximum": 3},
        {"minimum": 1, "maximum": 3},
        {"minimum": 1, "optimum": "2", "maximum": 3},
        [1, 2, 3],
    ],
    ids=str,
)
def test_a_profile_that_is_malformed(copied_bundle: Path, kind: str, sizes: object) -> None:
    engine = _manifest(copied_bundle)["plan"]
    _rewrite_section(copied_bundle, {**engine, "profile": {**engine["profile"], kind: sizes}})
    with pytest.raises(BundleError, match=r"plan\.profile is missing or malformed"):
        open_bundle(copied_bundle)


@pytest.mark.parametrize("section", ["model.plan", [], 1, True])
def test_a_section_that_is_none(copied_bundle: Path, section: object) -> None:
    _rewrite_section(copied_bundle, section)
    with pytest.raises(BundleError, match=r"plan is missing or malformed"):
        open_bundle(copied_bundle)


@pytest.mark.parametrize("name", ["model.plan", "librecblr_plugins.so"])
def test_files_of_the_plan_are_listed(copied_bundle: Path, name: str) -> None:
    manifest = _manifest(copied_bundle)
    files = {other: entry for other, entry in manifest["files"].items() if other != name}
    _rewrite_section(copied_bundle, manifest["plan"], files=files)
    with pytest.raises(BundleError, match=rf"manifest\.json does not list {name}"):
        open_bundle(copied_bundle)


@pytest.mark.parametrize("name", ["model.plan", "librecblr_plugins.so"])
@pytest.mark.parametrize("damage", ["missing", "altered", "longer"])
def test_files_of_the_plan_that_are_damaged(copied_bundle: Path, name: str, damage: str) -> None:
    """Found by all who open the bundle, those who need the ONNX file alone, too."""
    path = copied_bundle / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "longer":
        path.write_bytes(content + b"\0")
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    reason = {"missing": "is missing", "altered": "was altered, its sha256 is", "longer": "has .* bytes, its manifest"}
    with pytest.raises(BundleError, match=f"{name} {reason[damage]}.*: copy the bundle again, or export it again"):
        load(copied_bundle)
    assert is_bundle(copied_bundle)


def test_a_section_without_a_field() -> None:
    with pytest.raises(ConfigError, match=r"plan\.file is missing"):
        PlanSection.from_dict({})


class _Plan(OnnxRuntimeBackend):
    """Answers as the plan should, which takes a GPU to run; beyond a number of rows it is off by `error`."""

    memory_bytes = 12_345
    error = 0.0

    def inspect(self) -> dict[str, Any]:
        return {"layers": 7, "types": ["Float", "Half"]}

    def run(self, *batch: Any) -> Any:
        top_items, top_scores, states = super().run(*batch)
        return top_items, top_scores + (self.error if len(states) > 30 else 0), states


@pytest.fixture
def run_plan(monkeypatch: pytest.MonkeyPatch) -> type[_Plan]:
    """The stand-in for the plan on a GPU, and a GPU that is not there.

    So the tests prove what is made of the results, not that plans are right.
    """

    class Plan(_Plan):
        pass

    def open_plan(bundle: Bundle) -> Plan:
        assert bundle.plan is not None
        assert bundle.plan.status == "built, not run"
        return Plan(bundle.model_path)

    monkeypatch.setattr("recblr.export.tensorrt.writer.open_plan", open_plan)
    for module in ("tensorrt.writer", "checks.verify"):
        monkeypatch.setattr(f"recblr.export.{module}.current_gpu", lambda: Gpu("Made-up 4000", "8.9"))
    return Plan


@pytest.fixture
def builder(plugin_library: Path, shared_graphs: None) -> PlanBuilder:
    return PlanBuilder(
        PlanSettings(
            target="tensorrt-rtx", precision="fp16", max_rows=40, max_tokens=300, max_exclusions=20, opt_rows=1
        )
    )


@pytest.mark.usefixtures("run_plan")
def test_a_verified_plan(builder: PlanBuilder, checkpoint: Checkpoint, tmp_path: Path) -> None:
    targets = Targets(
        np.arange(2), Sequences(np.array([1, 2, 3], np.int32), np.array([0, 2, 3])), np.array([4, 5], np.int32)
    )
    manifest = export_bundle(checkpoint, tmp_path / "bundle", 20, builder, targets)
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
    assert section.evaluation["measured"] == "the plan on Made-up 4000, against fp32 in ONNX Runtime"
    assert (section.evaluation["users"], section.evaluation["top_10_overlap"]) == (2, 1)

    printed = summary(tmp_path / "bundle", manifest, 1.0)
    assert "plan: run on Made-up 4000, scores within" in printed
    assert "by the network's types and the plan's: " in printed
    assert "not run" not in printed


def test_a_plan_that_differs_is_not_written(
    run_plan: type[_Plan], builder: PlanBuilder, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it is right but for the largest profile."""
    monkeypatch.setattr(run_plan, "error", 100.0)
    with pytest.raises(ExportError, match="TensorRT-RTX and PyTorch differ in the case 'largest': scores by 1e\\+02"):
        export_bundle(checkpoint, tmp_path / "bundle", 20, builder)
    assert not list(tmp_path.iterdir())


def test_a_plan_that_cannot_run_is_not_written(
    run_plan: type[_Plan], builder: PlanBuilder, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("an illegal memory access\nwas encountered")

    monkeypatch.setattr(run_plan, "run", fail)
    with pytest.raises(ExportError, match=r"TensorRT-RTX cannot run the .* \(an illegal memory access was enc"):
        export_bundle(checkpoint, tmp_path / "bundle", 20, builder)
    assert not list(tmp_path.iterdir())
