"""Fixtures of the export room: a small model with weights of every size, and its bundle."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

import onnx
import pytest
import torch
from click.testing import CliRunner, Result

from recblr.checkpoint import Checkpoint
from recblr.cli import train
from recblr.config import RecBLRConfig
from recblr.data import synthetic_interactions, write_interactions
from recblr.export import cli
from recblr.export.bundle import export_bundle
from recblr.export.onnx.graph import build_graph
from recblr.model import RecBLR
from recblr.plugins import find_library
from recblr.runtime.bundle.plan_section import Precision
from recblr.vocabulary import ItemVocabulary

MakeModel: TypeAlias = Callable[..., RecBLR]


def _make_model(seed: int = 0, **settings: object) -> RecBLR:
    config = RecBLRConfig(**{"n_items": 60, "dim": 12, "initial_state": True, **settings})  # type: ignore[arg-type]
    model = RecBLR(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.endswith("decay"):
                weight.copy_(0.4 * torch.randn(weight.shape, generator=generator) + name.endswith("norm.weight"))
    return model.eval()


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """Makes a model, in which nothing is zero or near its initial value; settings as in `RecBLRConfig`."""
    return _make_model


_graphs: dict[tuple[str, int], bytes] = {}  # by a model's fingerprint and the results per row


def _share_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    def shared(model: RecBLR, max_k: int, fingerprint: str) -> onnx.ModelProto:
        if (fingerprint, max_k) not in _graphs:
            _graphs[fingerprint, max_k] = build_graph(model, max_k, fingerprint).SerializeToString()
        return onnx.ModelProto.FromString(_graphs[fingerprint, max_k])

    monkeypatch.setattr("recblr.export.bundle.build_graph", shared)


@pytest.fixture
def shared_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of a model in these tests share one graph for each number of results.

    PyTorch's exporter takes seconds, and gives the same graph each time, as a test of graphs shows.
    """
    _share_graphs(monkeypatch)


CheckpointOf: TypeAlias = Callable[[int], Checkpoint]
BundleOf: TypeAlias = Callable[[int], Path]


@pytest.fixture(scope="session")
def checkpoint_of() -> CheckpointOf:
    """Gives, by conv_width, a model of 60 items named item-0, item-1, ..., with metrics and data."""

    @cache
    def make(conv_width: int) -> Checkpoint:
        return Checkpoint(
            model=_make_model(conv_width=conv_width),
            vocabulary=ItemVocabulary([f"item-{j}" for j in range(60)], list(range(60))),
            data={"fingerprint": "sha256:0"},
            metrics={"validation": {"ndcg@10": 0.25}},
        )

    return make


@pytest.fixture(scope="session")
def checkpoint(checkpoint_of: CheckpointOf) -> Checkpoint:
    """`checkpoint_of` conv_width 4."""
    return checkpoint_of(4)


@pytest.fixture(scope="session")
def bundle_of(checkpoint_of: CheckpointOf, tmp_path_factory: pytest.TempPathFactory) -> BundleOf:
    """Gives the bundle of `checkpoint_of` a conv_width, up to 20 results; not to be changed."""

    @cache
    def export(conv_width: int) -> Path:
        path = tmp_path_factory.mktemp("exported") / "bundle"
        with pytest.MonkeyPatch.context() as monkeypatch:
            _share_graphs(monkeypatch)
            export_bundle(checkpoint_of(conv_width), path, max_k=20)
        return path

    return export


@pytest.fixture(scope="session")
def bundle(bundle_of: BundleOf) -> Path:
    """The bundle of `checkpoint`."""
    return bundle_of(4)


@dataclass(frozen=True)
class Exported:
    """A bundle, and what recblr-export printed about it."""

    path: Path
    printed: str


MakePlanBundle: TypeAlias = Callable[[Precision], Exported]


@pytest.fixture(scope="session")
def interactions_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 200 users with 50 items, which follow one another in a way that can be learnt."""
    path = tmp_path_factory.mktemp("interactions") / "data.csv"
    write_interactions(synthetic_interactions(200, 50, 12, seed=5), path)
    return path


@pytest.fixture(scope="session")
def trained_path(interactions_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model.pt that recblr-train made from `interactions_path`."""
    path = tmp_path_factory.mktemp("trained") / "model.pt"
    options = ["--epochs", "8", "--batch-tokens", "500", "--learning-rate", "0.01", "--dim", "16"]
    result = CliRunner().invoke(train.main, [str(interactions_path), "-o", str(path), *options])
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="session")
def plugin_library() -> Path:
    """The native library, where a plan can be built: it and TensorRT-RTX are here."""
    # Looked for, not imported: imported before recblr, it lacks the name of its library.
    if importlib.util.find_spec("tensorrt_rtx_bindings") is None:
        pytest.skip("TensorRT-RTX is not installed: pip install 'recblr[tensorrt-rtx]'")
    found = find_library()
    if found is None:
        pytest.skip("librecblr_plugins.so was not built: no C++ compiler at installation")
    return found


@pytest.fixture(scope="session")
def run_export() -> Callable[..., Result]:
    """Runs recblr-export with the arguments given."""
    return lambda *arguments: CliRunner().invoke(cli.main, list(map(str, arguments)))


@pytest.fixture(scope="session")
def refusal(run_export: Callable[..., Result]) -> Callable[..., str]:
    """Runs recblr-export with arguments that it refuses: gives the error, one line, and checks that the status is 1."""

    def refused(*arguments: object) -> str:
        result = run_export(*arguments)
        assert result.exit_code == 1, result.output
        assert result.stdout == ""
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
        return result.stderr

    return refused


@pytest.fixture(scope="session")
def export_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs recblr-export in a process of its own, which sees no GPU: gives the process at its end."""

    def run(*arguments: object, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("recblr-export"), *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def _hide_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        from cuda.bindings import runtime as cuda
    except ImportError:  # nothing is found then, either
        return
    monkeypatch.setattr(cuda, "cudaGetDeviceCount", lambda: (cuda.cudaError_t.cudaErrorNoDevice, 0))


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports and checks find no GPU, even where there is one."""
    _hide_gpu(monkeypatch)


@pytest.fixture(scope="session")
def plan_bundle(
    plugin_library: Path, trained_path: Path, interactions_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> MakePlanBundle:
    """Gives the bundle of `trained_path` with a plan for TensorRT-RTX; not to be changed.

    Of each precision one is made, as on a machine without a GPU, with 12 results; fp16 and bf16 with evaluation data.
    """

    @cache
    def export(precision: Precision) -> Exported:
        path = tmp_path_factory.mktemp(precision) / "bundle"
        options: list[object] = ["--target", "tensorrt-rtx", "--precision", precision, "--max-k", 12]
        options += [] if precision == "fp32" else ["--evaluation-data", interactions_path]
        with pytest.MonkeyPatch.context() as monkeypatch:
            _hide_gpu(monkeypatch)
            _share_graphs(monkeypatch)
            result = CliRunner().invoke(cli.main, [str(trained_path), "-o", str(path), *map(str, options)])
        assert result.exit_code == 0, result.output
        return Exported(path, result.stdout)

    return export


@pytest.fixture(scope="session")
def authors_state_dict() -> dict[str, torch.Tensor]:
    """Made-up weights under the names of the authors' implementation: 40 items, D 8, H 16, K 4, 2 layers."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(shape, generator=generator)

    weights = {"item_embedding.weight": random(41, 8), "layer_norm.weight": 1 + random(8), "layer_norm.bias": random(8)}
    for layer in range(2):
        block = {
            "behavior_modeling.Lambda": random(16) - 3,
            "behavior_modeling.input.weight": random(32, 8),
            "behavior_modeling.conv1d.weight": random(16, 1, 4),
            "behavior_modeling.conv1d.bias": random(16),
            "behavior_modeling.gates.weight": random(32, 16),
            "behavior_modeling.gates.bias": random(32),
            "behavior_modeling.output.weight": random(8, 16),
            "layer_norm.weight": 1 + random(8),
            "layer_norm.bias": random(8),
            "ffn.w_1.weight": random(32, 8),
            "ffn.w_1.bias": random(32),
            "ffn.w_2.weight": random(8, 32),
            "ffn.w_2.bias": random(8),
            "ffn.layer_norm.weight": 1 + random(8),
            "ffn.layer_norm.bias": random(8),
        }
        weights |= {f"recurrent_layers.{layer}.{name}": weight for name, weight in block.items()}
    return weights
