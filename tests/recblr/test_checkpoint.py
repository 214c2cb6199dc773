"""Model files: what goes in comes out, and everything else is refused in one line."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import recblr
from recblr.checkpoint import Checkpoint, load_checkpoint, load_tensors, save_tensors
from recblr.config import RecBLRConfig
from recblr.errors import CheckpointError, OutputError
from recblr.model import RecBLR
from recblr.vocabulary import ItemVocabulary


def make_checkpoint(ids: list[int] | list[str] | None = None, initial_state: bool = True) -> Checkpoint:
    ids = ids or [10, 20, 30, 2**40, 50]
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=len(ids), dim=4, layers=1, initial_state=initial_state)).eval()
    return Checkpoint(
        model=model,
        vocabulary=ItemVocabulary(ids, np.arange(len(ids))),
        data={"fingerprint": "sha256:00", "columns": {"item": "item_id"}},
        training={"seed": 7, "epoch": 3},
        metrics={"validation": {"ndcg@10": 0.25}},
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    make_checkpoint().save(path)
    return path


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("ids", [[3, -1, 2**62], ["a", "ü", "3"]])
@pytest.mark.parametrize("initial_state", [True, False])
def test_round_trip(tmp_path: Path, ids: Any, initial_state: bool) -> None:
    path = tmp_path / "model.pt"
    checkpoint = make_checkpoint(ids, initial_state)
    checkpoint.save(path)
    loaded = load_checkpoint(path)
    assert loaded.model.config == checkpoint.model.config
    expected = checkpoint.model.state_dict()
    assert loaded.model.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.model.state_dict().items())
    assert not loaded.model.training
    assert loaded.vocabulary.ids == ids
    assert loaded.vocabulary.counts.tolist() == [0, 1, 2]
    for name in ("data", "training", "metrics"):
        assert getattr(loaded, name) == getattr(checkpoint, name)
    assert loaded.versions["recblr"] == recblr.__version__
    assert loaded.fingerprint() == checkpoint.fingerprint()


def test_the_fingerprint_names_weights_settings_and_ids() -> None:
    reference = make_checkpoint().fingerprint()
    assert reference == make_checkpoint().fingerprint()
    assert reference.startswith("sha256:")
    seen = {reference}
    for name, parameter in make_checkpoint().model.named_parameters():
        for position in (0, parameter.numel() - 1):
            changed = make_checkpoint()
            with torch.no_grad():
                weight = changed.model.get_parameter(name).view(-1)
                weight[position] = torch.nextafter(weight[position], torch.tensor(1e9))
            seen.add(changed.fingerprint())
        assert len(seen) % 2 == 1, name
    assert len(seen) == 1 + 2 * len(list(make_checkpoint().model.parameters()))
    for other in (
        make_checkpoint([10, 20, 30, 2**40, 51]),
        make_checkpoint([20, 10, 30, 2**40, 50]),
        make_checkpoint(["10", "20", "30", str(2**40), "50"]),
        make_checkpoint(initial_state=False),
    ):
        assert other.fingerprint() not in seen
        seen.add(other.fingerprint())


def test_the_fingerprint_leaves_out_what_changes_no_result() -> None:
    changed = make_checkpoint()
    changed.metrics, changed.training = {}, {}
    assert changed.fingerprint() == make_checkpoint().fingerprint()


def content_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def test_a_file_holds_tensors_and_plain_values_only(saved: Path) -> None:
    content = content_of(saved)
    assert content["format"] == "recblr-model"
    assert content["items"]["ids"] == [10, 20, 30, 2**40, 50]


def test_options_for_foreign_files_are_refused(saved: Path) -> None:
    for options in ({"history_length": 50}, {"item_ids": [1, 2, 3, 4, 5]}):
        with pytest.raises(CheckpointError, match="leave those options out"):
            load_checkpoint(saved, **options)  # type: ignore[arg-type]


def unsuitable_files(folder: Path) -> dict[str, Path]:
    def write(name: str, content: bytes) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    whole = folder / "whole.pt"
    make_checkpoint().save(whole)
    files = {
        "empty": write("empty.pt", b""),
        "text": write("text.pt", b"user_id,item_id,timestamp\n1,2,3\n"),
        "a letter": write("letter.pt", b"("),
        "random bytes": write("random.pt", np.random.default_rng(0).bytes(5000)),
        "half": write("half.pt", whole.read_bytes()[: whole.stat().st_size // 2]),
        "all but a byte": write("nearly.pt", whole.read_bytes()[:-1]),
        "a pickle": write("pickle.pt", pickle.dumps({"format": "recblr-model"})),
        "a pickled list": write("list.pt", pickle.dumps([1, 2, 3], protocol=0)),
        "parquet": write("data.parquet", b"PAR1" + bytes(100) + b"PAR1"),
        "an array": folder / "array.npy",
        "arrays": folder / "arrays.npz",
        "another zip": folder / "other.zip",
        "a tensor": folder / "tensor.pt",
        "a list": folder / "list_of_torch.pt",
        "another model": folder / "linear.pt",
        "a directory": folder,
        "missing": folder / "missing.pt",
        "inside a file": whole / "model.pt",
    }
    np.save(files["an array"], np.ones(3))
    np.savez(files["arrays"], a=np.ones(3))
    with zipfile.ZipFile(files["another zip"], "w") as archive:
        archive.writestr("readme.txt", "hello")
    torch.save(torch.ones(3), files["a tensor"])
    torch.save([1, 2], files["a list"])
    torch.save(torch.nn.Linear(2, 2).state_dict(), files["another model"])
    return files


def test_files_that_are_no_model(tmp_path: Path) -> None:
    for name, path in unsuitable_files(tmp_path).items():
        with pytest.raises(CheckpointError) as raised:
            load_checkpoint(path, history_length=50)
        message = one_line(raised)
        assert message.startswith(str(path)), name
        assert ": " in message, name  # says what to do
    with pytest.raises(CheckpointError, match="does not exist: check the path"):
        load_checkpoint(tmp_path / "missing.pt")


@pytest.mark.usefixtures("bound_by_permissions")
def test_a_file_that_may_not_be_read(saved: Path) -> None:
    saved.chmod(0)
    with pytest.raises(CheckpointError, match="cannot be read .*Permission denied"):
        load_checkpoint(saved)


def test_every_truncation_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    for length in range(0, len(content), max(1, len(content) // 60)):
        saved.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            load_checkpoint(saved)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=60),
    st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04\x95", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."]),
)
def test_no_bytes_get_further_than_a_checkpoint_error(tmp_path: Path, content: bytes, start: bytes) -> None:
    path = tmp_path / "any.pt"
    path.write_bytes(start + content)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
def test_a_changed_file_loads_or_is_refused(tmp_path: Path, position: int, change: bytes) -> None:
    path = tmp_path / "changed.pt"
    make_checkpoint().save(path)
    content = bytearray(path.read_bytes())
    position %= len(content)
    content[position : position + len(change)] = change
    path.write_bytes(content)
    try:
        loaded = load_checkpoint(path)
    except CheckpointError:
        return
    assert loaded.vocabulary.n_items == loaded.model.config.n_items


def damages() -> dict[str, dict[str, Any]]:
    """Values that replace those of a good file; None removes."""
    state_dict = make_checkpoint().model.state_dict()
    return {
        "version 2": {"format_version": 2},
        "no version": {"format_version": None},
        "no config": {"config": None},
        "config of a newer version": {"config": {"n_items": 5, "dim": 4, "layers": 1, "heads": 2}},
        "impossible config": {"config": {"n_items": 5, "dim": -4}},
        "config of another size": {"config": {"n_items": 5, "dim": 8}},
        "config that is a list": {"config": [1, 2]},
        "infinite config": {"config": {"n_items": 5, "dim": 4, "expansion": float("inf")}},
        "no weights": {"state_dict": None},
        "weights missing": {"state_dict": {}},
        "weights of other names": {"state_dict": {f"x.{name}": t for name, t in state_dict.items()}},
        "weights of other shapes": {"state_dict": {name: torch.ones(2, 2) for name in state_dict}},
        "weights that are numbers": {"state_dict": dict.fromkeys(state_dict, 1.0)},
        "no items": {"items": None},
        "fewer items": {"items": {"id_type": "integer", "ids": [1, 2], "counts": [1, 1]}},
        "items twice": {"items": {"id_type": "integer", "ids": [1, 1, 2, 3, 4], "counts": [1] * 5}},
        "items of two types": {"items": {"id_type": "integer", "ids": [1, "a", 2, 3, 4], "counts": [1] * 5}},
        "counts missing": {"items": {"id_type": "integer", "ids": [1, 2, 3, 4, 5], "counts": [1]}},
        "no metrics": {"metrics": None},
        "metrics that are a list": {"metrics": [1]},
        "counts beyond 64 bits": {"items": {"id_type": "integer", "ids": [1, 2, 3, 4, 5], "counts": [2**70] * 5}},
        "weights that are not finite": {"state_dict": {name: t / 0 for name, t in state_dict.items()}},
        "weights of another type": {"state_dict": {name: t.int() for name, t in state_dict.items()}},
        "an object as items": {"items": argparse.Namespace(ids=[1, 2, 3, 4, 5])},
        "an object as config": {"config": argparse.Namespace(n_items=5)},
        "an object as version": {"format_version": torch.ones(2)},
    }


@pytest.mark.parametrize("damage", damages())
def test_damaged_content(saved: Path, damage: str) -> None:
    content = content_of(saved) | damages()[damage]
    torch.save({name: value for name, value in content.items() if value is not None}, saved)
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(saved)
    message = one_line(raised)
    assert message.startswith(str(saved))
    assert ("upgrade recblr" in message) == ("version" in damage and "config" not in damage)


def test_saving_replaces_the_file_whole(saved: Path) -> None:
    other = make_checkpoint([1, 2, 3, 4, 5])
    other.save(saved)
    assert load_checkpoint(saved).vocabulary.ids == [1, 2, 3, 4, 5]
    assert list(saved.parent.iterdir()) == [saved]


def test_saving_to_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*; create its folder first") as raised:
        make_checkpoint().save(tmp_path / "none" / "model.pt")
    one_line(raised)
    assert list(tmp_path.iterdir()) == []


def test_saving_over_a_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="the path is a folder: name a file"):
        make_checkpoint().save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert [p.name for p in tmp_path.parent.iterdir() if p.name.startswith(f".{tmp_path.name}")] == []


@pytest.mark.usefixtures("bound_by_permissions")
def test_saving_where_one_may_not(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="choose a place you may write to"):
        make_checkpoint().save(folder / "model.pt")
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("megabytes", [0, 4])  # fails when the file is closed, or amid the writing
def test_a_full_disk_keeps_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch, megabytes: int) -> None:
    before = saved.read_bytes()
    real_open = Path.open

    def on_a_full_disk(self: Path, *arguments: Any, **options: Any) -> Any:
        return real_open(Path("/dev/full") if self.suffix == ".tmp" else self, *arguments, **options)

    monkeypatch.setattr(Path, "open", on_a_full_disk)
    with pytest.raises(OutputError, match=r"cannot write .*model.pt: No space left .*; free some space") as raised:
        save_tensors({"weights": torch.zeros(megabytes * 2**18)}, saved)
    one_line(raised)
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_an_interrupted_save_leaves_nothing(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_checkpoint([9, 8, 7]).save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_tensors_and_plain_values_round_trip(tmp_path: Path) -> None:
    content = {"weights": {"a": torch.arange(3)}, "records": [{"loss": 0.5, "best": True}], "none": None}
    save_tensors(content, tmp_path / "state.pt")
    loaded = load_tensors(tmp_path / "state.pt")
    assert torch.equal(loaded["weights"]["a"], torch.arange(3))
    assert loaded["records"] == content["records"]
    assert loaded["none"] is None
