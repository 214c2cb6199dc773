"""Which backend `load` chooses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recblr.errors import BundleError, ConfigError, RecblrError
from recblr.runtime import load
from recblr.runtime.bundle.manifest import file_entry, write_manifest
from recblr.runtime.bundle.opening import open_bundle
from recblr.runtime.gpu import backend as backend_module


@pytest.fixture
def with_plan(new_toy: Any, add_plan: Callable[..., Any], fake_cuda: Any) -> Path:
    """A bundle on the disk whose manifest names a TensorRT plan, which is not one."""
    bundle = add_plan(open_bundle(new_toy.path), 8, 64, 48)
    for name in (bundle.plan.file, bundle.plan.plugin_library):
        (new_toy.path / name).write_bytes(b"no plan")
        bundle.manifest.files[name] = file_entry(new_toy.path / name)
    write_manifest(new_toy.path, bundle.manifest)
    return new_toy.path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, fake_cuda: Any, fake_plan: Callable[..., Any]) -> list[Any]:
    """Plans that were opened, by a stand-in for TensorRT."""
    plans: list[Any] = []

    def open_plan(bundle: Any, section: Any) -> Any:
        plans.append(fake_plan(bundle))
        return plans[-1]

    monkeypatch.setattr(backend_module, "open_plan", open_plan)
    return plans


def test_the_plan_where_there_is_one_and_a_gpu(
    with_plan: Path, opened: list[Any], toy: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "recblr.runtime.loading")
    engine = load(with_plan)
    assert len(opened) == 1
    assert engine.description.startswith("TensorRT-RTX 0.0 in fp32 on a fake, 2 execution contexts, CUDA graphs of")
    assert engine.description in caplog.text
    history = toy.ids[:7] * 20  # longer than the profile
    assert engine.recommend([history], k=3, exclude_seen=False)[0].items == toy.ranking(history, 3)[0]


def test_onnx_runtime_where_it_is_asked_for_or_there_is_no_plan(with_plan: Path, opened: list[Any], toy: Any) -> None:
    assert load(with_plan, backend="onnxruntime").description.startswith("ONNX Runtime")
    assert load(toy.path).description.startswith("ONNX Runtime")
    assert opened == []
    with pytest.raises(BundleError, match="holds no TensorRT plan"):
        load(toy.path, backend="tensorrt")
    with pytest.raises(ConfigError, match="backend is 'cpu'"):
        load(toy.path, backend="cpu")  # type: ignore[arg-type]


def test_a_plan_that_does_not_open(with_plan: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = load(with_plan, threads=1)  # TensorRT refuses it, or is not installed
    assert engine.description.startswith("ONNX Runtime")
    assert "TensorRT plan is not used" in caplog.text
    with pytest.raises(RecblrError, match=r"TensorRT"):
        load(with_plan, backend="tensorrt")


def test_without_a_gpu(with_plan: Path, fake_cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_cuda, "cudaGetDeviceCount", lambda: (fake_cuda.cudaError_t.cudaErrorLaunchFailure, 0))
    assert load(with_plan, threads=1).description.startswith("ONNX Runtime")
    with pytest.raises(RecblrError, match="no GPU here|TensorRT"):
        load(with_plan, backend="tensorrt")
