"""Weights in .safetensors files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from recblr.checkpoint import load_checkpoint
from recblr.config import RecBLRConfig
from recblr.errors import CheckpointError, MissingExtraError
from recblr.model import RecBLR
from recblr.weight_names import AUTHORS


@pytest.fixture
def weights() -> dict[str, Tensor]:
    """Of a model of this package, of 5 items."""
    torch.manual_seed(0)
    return RecBLR(RecBLRConfig(n_items=5, dim=4, layers=2)).state_dict()


@pytest.fixture
def authors_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same under the authors' names, with a prefix."""
    return {
        f"module.{AUTHORS.name(name)}": w[:, None].clone() if name.endswith("conv_weight") else w
        for name, w in weights.items()
    }


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt"])  # told by its content, too
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision(weights: dict[str, Tensor], name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    save_file({key: weight.to(dtype) for key, weight in weights.items()}, tmp_path / name)
    model = load_checkpoint(tmp_path / name).model
    assert {weight.dtype for weight in model.state_dict().values()} == {torch.float32}
    for key, weight in weights.items():
        assert torch.equal(model.state_dict()[key], weight.to(dtype).float())


@pytest.mark.parametrize("key", ["history_length", "MAX_ITEM_LIST_LENGTH"])
def test_metadata_may_tell_the_history_length(authors_weights: dict[str, Tensor], key: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(authors_weights, path)
    with pytest.raises(CheckpointError, match="--history-length"):
        load_checkpoint(path)
    wanted = load_checkpoint(path, history_length=50).fingerprint()
    save_file(authors_weights, path, {key: "50", "format": "pt", "state_dict": "x"})
    assert load_checkpoint(path).fingerprint() == wanted
    with pytest.raises(CheckpointError, match="history length of 50, not 64"):
        load_checkpoint(path, history_length=64)
    save_file(authors_weights, path, {key: "fifty"})
    with pytest.raises(CheckpointError, match="--history-length"):
        load_checkpoint(path)


def test_the_model_does_not_depend_on_the_file(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(weights, path)
    loaded = load_checkpoint(path)
    before = loaded.fingerprint()
    path.write_bytes(bytes(path.stat().st_size))
    assert loaded.fingerprint() == before
    loaded.model.scale_items(2.0)
    assert loaded.fingerprint() != before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"blocks.0.recurrent.decay": torch.ones(8, dtype=torch.int64)},
            "'blocks.0.recurrent.decay' as a tensor of torch",
        ),
        ({"blocks.0.recurrent.decay": torch.ones(3)}, r"'blocks.0.recurrent.decay' of shape \[3\], expected \[8\]"),
        ({"blocks.0.recurrent.decay": torch.full((8,), torch.nan)}, "'blocks.0.recurrent.decay' that are not finite"),
        ({"head.weight": torch.ones(3)}, "'head.weight', which RecBLR does not"),
    ],
)
def test_refusals_name_the_key(weights: dict[str, Tensor], changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    save_file(weights | changes, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(tmp_path / "m.safetensors")


def test_damaged_files(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(weights, path)
    content = path.read_bytes()
    damaged = [content[:length] for length in (0, 5, 8, 9, 100, len(content) // 2, len(content) - 1)]
    damaged += [
        content + b"x",
        b"\xff" * 8 + content[8:],
        (2**40).to_bytes(8, "little") + content[8:],
        content.replace(b"F32", b"F99"),
        content.replace(b"[6,4]", b"[6,9]"),
        content.replace(b"}}", b"}]"),
        b"\x80\x02" + content[2:],
        b"\x00" * len(content),
    ]
    for changed in damaged:
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match="is no safetensors file, or a damaged one") as raised:
            load_checkpoint(path)
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) - len(str(path)) < 400


def test_a_package_that_is_missing(weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    save_file(weights, tmp_path / "m.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'recblr\[train\]'"):
        load_checkpoint(tmp_path / "m.safetensors")
