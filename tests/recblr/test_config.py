"""What is said of a model's settings before it is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import recblr.config
from recblr.cli.train import main as train_main
from recblr.config import RecBLRConfig
from recblr.model import RecBLR


@pytest.mark.parametrize(
    "settings",
    [{}, {"layers": 3, "conv_width": 5, "expansion": 1.5, "dim": 10, "initial_state": True}, {"conv_width": 1}],
    ids=str,
)
def test_parameters_of_the_layers(settings: dict[str, object]) -> None:
    config = RecBLRConfig(n_items=7, **settings)  # type: ignore[arg-type]
    model = RecBLR(config)
    assert config.layer_parameters == sum(p.numel() for p in model.parameters()) - model.embedding.weight.numel()


@pytest.mark.parametrize(
    ("settings", "obstacle"),
    [
        ({"n_items": 40_000_000}, ""),  # 9.5 GiB
        ({"conv_width": 1}, ""),
        ({"n_items": 2**31 - 2, "dim": 1}, ""),
        ({"n_items": 2**31 - 1, "dim": 1}, "2,147,483,647 items cannot be exported, item indices end at 2,147,483,646"),
        ({"dim": 3400}, ""),
        ({"dim": 3600}, "layers have 2.1 GiB of weights cannot be exported"),
    ],
    ids=str,
)
def test_what_cannot_be_exported(settings: dict[str, int], obstacle: str) -> None:
    found = RecBLRConfig(**{"n_items": 100, **settings}).export_obstacle  # type: ignore[arg-type]
    assert obstacle in found
    assert bool(obstacle) == bool(found)


def test_what_tensorrt_builds_no_engine_for() -> None:
    largest = (2**31 - 1) // 64 - 1
    assert RecBLRConfig(n_items=largest).engine_obstacle == ""
    obstacle = RecBLRConfig(n_items=largest + 1).engine_obstacle
    assert f"no engine for {largest + 1:,} items x 64, its tensors hold 2,147,483,647 numbers" in obstacle


@pytest.mark.parametrize("largest", [2**31 - 1, 100])
def test_it_is_told_before_the_first_epoch(
    small_csv: Path, tmp_path: Path, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line; training goes on."""
    monkeypatch.setattr(recblr.config, "LARGEST_TENSOR", largest)
    result = CliRunner().invoke(
        train_main, [str(small_csv), "-o", str(tmp_path / "model.pt"), "--epochs", "1", "--dim", "16"]
    )
    assert result.exit_code == 0, result.output
    before, _ = result.output.split("epoch   1")
    notes = [line for line in before.splitlines() if line.startswith("note: ")]
    assert len(notes) == (largest == 100)
    assert all("no engine for" in note and "hold 100 numbers" in note for note in notes)
