"""Files of torch.save, RecBole's among them: read without RecBole, with nothing in them run."""

from __future__ import annotations

import enum
import io
import os
import pickle
import subprocess
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recblr.checkpoint import load_checkpoint
from recblr.errors import CheckpointError


def weights() -> OrderedDict[str, torch.Tensor]:
    """Of a tiny model, under the authors' names."""
    draw = torch.Generator().manual_seed(0)
    shapes = {
        "item_embedding.weight": (6, 2),
        "layer_norm.weight": (2,),
        "layer_norm.bias": (2,),
        "recurrent_layers.0.behavior_modeling.Lambda": (4,),
        "recurrent_layers.0.behavior_modeling.input.weight": (8, 2),
        "recurrent_layers.0.behavior_modeling.conv1d.weight": (4, 1, 4),
        "recurrent_layers.0.behavior_modeling.conv1d.bias": (4,),
        "recurrent_layers.0.behavior_modeling.gates.weight": (8, 4),
        "recurrent_layers.0.behavior_modeling.gates.bias": (8,),
        "recurrent_layers.0.behavior_modeling.output.weight": (2, 4),
        "recurrent_layers.0.layer_norm.weight": (2,),
        "recurrent_layers.0.layer_norm.bias": (2,),
        "recurrent_layers.0.ffn.w_1.weight": (8, 2),
        "recurrent_layers.0.ffn.w_1.bias": (8,),
        "recurrent_layers.0.ffn.w_2.weight": (2, 8),
        "recurrent_layers.0.ffn.w_2.bias": (2,),
        "recurrent_layers.0.ffn.layer_norm.weight": (2,),
        "recurrent_layers.0.ffn.layer_norm.bias": (2,),
    }
    return OrderedDict((name, torch.randn(shape, generator=draw)) for name, shape in shapes.items())


@pytest.fixture
def fake_modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Classes that a RecBole checkpoint names, importable until `monkeypatch.undo()`."""
    classes = {
        "recbole.config.configurator": type("Config", (), {}),
        "recbole.utils.enum_type": enum.Enum("ModelType", ["GENERAL", "SEQUENTIAL"]),
        "yaml.loader": type("FullLoader", (), {}),
        "authors_model": type("RecBLR", (), {}),
    }
    for module in ("recbole", "recbole.config", "recbole.utils", "yaml", *classes):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    for module, made in classes.items():
        made.__module__ = module
        setattr(sys.modules[module], made.__name__, made)
    return {made.__name__: made for made in classes.values()}


def recbole_content(fake: dict[str, Any], length: int = 50) -> dict[str, Any]:
    """What RecBole's trainer saves."""
    config = fake["Config"]()
    config.yaml_loader = fake["FullLoader"]
    config.model, config.model_class = "RecBLR", fake["RecBLR"]
    config.parameters = {"Training": ["epochs", "seed"]}
    config.compatibility_settings = {"getattr": getattr}
    config.final_config_dict = {
        "MODEL_TYPE": fake["ModelType"].SEQUENTIAL,
        "device": torch.device("cpu"),
        "MAX_ITEM_LIST_LENGTH": length,
        "metrics": {"Recall", "MRR"},
        "learning_rate": 0.001,
    }
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2)).sum().backward()
    optimizer.step()
    return {
        "config": config,
        "epoch": 12,
        "cur_step": 0,
        "best_valid_score": np.float64(0.0421),
        "state_dict": weights(),
        "other_parameter": None,
        "optimizer": optimizer.state_dict(),
    }


@pytest.mark.parametrize("protocol", [2, 4, 5])  # RecBole 1.2 saves in 4, others in PyTorch's default, 2
def test_recboles_own_files_load_without_recbole(
    fake_modules: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, protocol: int
) -> None:
    path, bare = tmp_path / "RecBLR.pth", tmp_path / "bare.pth"
    torch.save(recbole_content(fake_modules, length=50), path, pickle_protocol=protocol)
    torch.save(weights(), bare)
    monkeypatch.undo()
    assert not [name for name in sys.modules if name.split(".")[0] in ("recbole", "authors_model")]
    loaded, wanted = load_checkpoint(path), load_checkpoint(bare, history_length=50)
    assert loaded.fingerprint() == wanted.fingerprint() != load_checkpoint(bare, history_length=64).fingerprint()
    assert loaded.model.initial_h.any()
    assert load_checkpoint(path, history_length=50).fingerprint() == wanted.fingerprint()
    with pytest.raises(CheckpointError, match="history length of 50, not 64"):
        load_checkpoint(path, history_length=64)


def test_weights_that_share_or_skip_memory(
    fake_modules: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = recbole_content(fake_modules)
    name = "recurrent_layers.0.behavior_modeling.gates.weight"
    content["state_dict"][name] = torch.arange(64.0).reshape(4, 16)[:, ::2].T.to(torch.float64)
    wanted = content["state_dict"][name].clone()
    torch.save(content, tmp_path / "views.pth", pickle_protocol=4)
    monkeypatch.undo()
    model = load_checkpoint(tmp_path / "views.pth").model
    assert torch.equal(model.state_dict()["blocks.0.recurrent.gates.weight"], wanted.float())


@pytest.mark.parametrize("length", [0, -1, "50", None, 1.5, [50]])
def test_settings_without_a_usable_history_length(
    fake_modules: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, length: Any
) -> None:
    torch.save(recbole_content(fake_modules, length=length), tmp_path / "odd.pth", pickle_protocol=4)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="history.length"):
        load_checkpoint(tmp_path / "odd.pth")


# Hostile files. Each payload, were it run, would make the marker file.


class Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Named:
    """Pickles as a call of whatever goes by this name."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.module, self.name, self.arguments = module, name, arguments


class NamingPickler(pickle._Pickler):  # type: ignore[name-defined] # the Python one, as its opcodes can be written
    """Writes `Named` objects, whatever their names."""

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if not isinstance(value, Named):
            super().save(value, save_persistent_id)
        elif self.proto >= 4:
            super().save(value.module)
            super().save(value.name)
            self.write(pickle.STACK_GLOBAL)
            super().save(value.arguments)
            self.write(pickle.REDUCE)
        else:
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
            super().save(value.arguments)
            self.write(pickle.REDUCE)


def pickled(content: object, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    NamingPickler(file, protocol).dump(content)
    return file.getvalue()


def as_torch_file(path: Path, content: bytes) -> None:
    """A file as torch.save writes it, around any pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/version", "3\n")


def payloads(marker: Path) -> dict[str, Any]:
    command, code = f"touch {marker}", f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Call(os.system, command),
        "builtins.eval": Call(eval, code),
        "builtins.exec": Call(exec, code),
        "subprocess.check_call": Call(subprocess.check_call, ["touch", str(marker)]),
        "builtins.open": Call(open, str(marker), "w"),
        "os.mkdir": Call(os.mkdir, str(marker)),
        "nt.system": Named("nt", "system", command),
        "recbole.x.system": Named("recbole.x", "system", command),
        "recbole through os": Named("recbole.utils", "os.system", command),
        "torch through os": Named("torch.serialization", "os.system", command),
        "numpy through os": Named("numpy.lib.npyio", "os.system", command),
        "os.RecBLR": Named("os", "system.RecBLR", command),
        "RecBLR in a module of os": Named("os", "RecBLR", command),
        "yaml.unsafe_load": Named("yaml", "unsafe_load", f"!!python/object/apply:os.system ['{command}']"),
        "getattr and a call": Named("builtins", "getattr", Named("recbole", "os"), "system"),
        "torch.hub.load": Named("torch.hub", "load", str(marker.parent), "x"),
        "torch.load": Named("torch", "load", str(marker)),
        "runpy": Named("runpy", "run_path", str(marker)),
        "codecs": Named("_codecs", "lookup", command),
        "a name with a null": Named("recbole", "a\0b", command),
        "a builtin of Python 2": Named("__builtin__", "eval", code),
    }


PLACES = {
    "the file itself": lambda payload: payload,
    "config": lambda payload: {"config": payload, "state_dict": weights_without_storage()},
    "in config": lambda payload: {"config": {"final_config_dict": {"x": [payload]}}, "state_dict": {}},
    "state_dict": lambda payload: {"config": None, "state_dict": payload},
    "a weight": lambda payload: {"config": None, "state_dict": {"item_embedding.weight": payload}},
    "a key": lambda payload: {(payload,): 1, "state_dict": {}},
}


def weights_without_storage() -> dict[str, Any]:
    return {"recurrent_layers.0.behavior_modeling.Lambda": None}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("place", PLACES)
def test_hostile_files_do_nothing(tmp_path: Path, protocol: int, place: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "model.pth"
    for name, payload in payloads(marker).items():
        content = pickled(PLACES[place](payload), protocol)
        as_torch_file(path, content)
        with pytest.raises(CheckpointError) as raised:
            load_checkpoint(path, history_length=50)
        assert not marker.exists(), name
        assert "\n" not in str(raised.value), name
        path.write_bytes(content)  # a plain pickle
        with pytest.raises(CheckpointError):
            load_checkpoint(path, history_length=50)
        assert not marker.exists(), name


@pytest.mark.parametrize("legacy", [True, False])
def test_hostile_files_of_torch_save_do_nothing(tmp_path: Path, legacy: bool) -> None:
    marker, path = tmp_path / "marker", tmp_path / "model.pth"
    real = [(name, payload) for name, payload in payloads(marker).items() if isinstance(payload, Call)]
    for name, payload in real:
        content = {"config": payload, "epoch": 1, "state_dict": weights(), "optimizer": {"state": [payload]}}
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(CheckpointError):
            load_checkpoint(path, history_length=50)
        assert not marker.exists(), name
    assert len(real) >= 5


def test_the_payloads_work_when_run(tmp_path: Path) -> None:
    """Otherwise their doing nothing would say nothing."""
    for name, payload in payloads(tmp_path / "marker").items():
        if isinstance(payload, Call):
            pickle.loads(pickle.dumps(payload))
            assert (tmp_path / "marker").exists(), name
            subprocess.run(["rm", "-r", tmp_path / "marker"], check=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("os.system", "posix.system"),
        ("builtins.eval", "builtins.eval"),
        ("subprocess.check_call", "subprocess.check_call"),
        ("runpy", "runpy.run_path"),
    ],
)
def test_what_is_refused_is_named(tmp_path: Path, name: str, said: str) -> None:
    payload = payloads(tmp_path / "marker")[name]
    as_torch_file(tmp_path / "model.pth", pickled({"config": payload, "state_dict": {}}, 4))
    with pytest.raises(CheckpointError, match=f"wants to run {said}, .*refused"):
        load_checkpoint(tmp_path / "model.pth")


def test_a_hostile_name_in_an_otherwise_good_file_is_inert(tmp_path: Path) -> None:
    """Under a name that RecBole could have, it loads as data; still nothing runs."""
    marker, path = tmp_path / "marker", tmp_path / "model.pth"
    torch.save(weights(), path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    (entry,) = (name for name in entries if name.endswith("data.pkl"))
    state_dict = entries[entry][2:-1]  # without its protocol and end
    head = pickled({"config": Named("recbole.config", "os.system", f"touch {marker}")}, 2)[:-1]
    entries[entry] = head + pickle.BINUNICODE + b"\x0a\0\0\0state_dict" + state_dict + pickle.SETITEM + pickle.STOP
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    assert load_checkpoint(path, history_length=50).model.config.n_items == 5
    assert not marker.exists()


def test_other_objects_may_stand_beside_the_weights(tmp_path: Path) -> None:
    """Custom classes load as data, wherever their module is, even where it would run something."""
    marker, path = tmp_path / "marker", tmp_path / "model.pth"
    torch.save({"state_dict": weights(), "x": Custom(marker), "y": [Call(Custom, marker)]}, path)
    assert load_checkpoint(path, history_length=50).model.config.n_items == 5
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()


class Custom:
    """Makes the file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __setstate__(self, state: Any) -> None:
        state["marker"].touch()


def opcodes(name: str, marker: Path) -> bytes:
    """Pickles that tamper with what they name instead of calling it."""
    system = b"cposix\nsystem\n"
    recbole = b"crecbole\nConfig\n"
    argument = pickle.MARK + b"Vtouch " + str(marker).encode() + b"\n" + pickle.TUPLE
    return {
        "a setstate of its own": recbole + b")R" + b"}V__setstate__\n" + system + b"sb" + argument + b"b.",
        "attributes of a class": recbole + b"(N}V__init__\n" + recbole + b"stb)R.",
        "attributes of torch's functions": b"ctorch._utils\n_rebuild_tensor_v2\n(N}V__defaults__\n(I1\ntstb.",
        "an instance of os": pickle.MARK + b"Vx\n" + b"iposix\nsystem\n.",
        "an object of os": pickle.MARK + system + b"Vx\no.",
        "extensions": b"\x82\x01.",
        "a persistent id": b"Vx\nQ.",
        "no end": recbole,
        "an empty stack": b".",
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "a setstate of its own",
        "attributes of a class",
        "attributes of torch's functions",
        "an instance of os",
        "an object of os",
        "extensions",
        "a persistent id",
        "no end",
        "an empty stack",
    ],
)
def test_tampering_opcodes_do_nothing(tmp_path: Path, name: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "model.pth"
    defaults = torch._utils._rebuild_tensor_v2.__defaults__
    as_torch_file(path, b"\x80\x02" + opcodes(name, marker))
    with pytest.raises(CheckpointError):
        load_checkpoint(path, history_length=50)
    assert not marker.exists()
    assert torch._utils._rebuild_tensor_v2.__defaults__ == defaults


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(10**9, (2,), (1,)), (0, (10**12,), (1,)), (-5, (2,), (1,)), (0, (-1,), (1,)), (0, (2, 2), (10**6, 1))],
)
def test_tensors_cannot_reach_beyond_their_bytes(
    tmp_path: Path, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    class Weight:
        def __reduce__(self) -> Any:
            storage = ("storage", torch.FloatStorage, "0", "cpu", 4)
            return torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, OrderedDict())

    lambda_ = "recurrent_layers.0.behavior_modeling.Lambda"
    content = pickled({"config": Named("recbole", "Config"), "state_dict": {lambda_: Weight()}})
    path = tmp_path / "model.pth"
    as_torch_file(path, content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", bytes(16))
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path, history_length=50)


@pytest.mark.parametrize(
    "pickled",
    [
        b"}" + b")" + b"\x85" * 200_000 + b"K\x01s.",  # a key of many tuples in each other
        b"\x8f(" + b")" + b"\x85" * 200_000 + b"\x90.",  # in a set
        b"(" + b")" + b"\x85" * 200_000 + b"\x91.",  # in a frozen set
        b"}(" + b")" + b"\x85" * 200_000 + b"K\x01u.",
        b"(" + b")" + b"\x85" * 200_000 + b"K\x01d.",
        b"}" + b")" + b"2\x86" * 100 + b"K\x01s.",  # 2 ** 100 leaves
        b"]" * 200_000 + b"a" * (200_000 - 1) + b".",  # lists in lists
        b"Nr\xff\xff\xff\xff.",  # place 2 ** 32 of the memo
        b"\x96" + (2**40).to_bytes(8, "little") + b".",  # a bytearray of a terabyte
        b"\x8e" + (2**40).to_bytes(8, "little") + b".",  # bytes
        b"\x95" + (2**40).to_bytes(8, "little") + b"N.",  # a frame
        b"\x8b\xff\xff\xff\x7f.",  # an integer of 2 ** 31 bytes
        b"\x80\x63N.",  # protocol 99
        b"]q\x00ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_parameter\nNh\x00NtRq\x01a0"
        b"}Vrecurrent_layers.0.behavior_modeling.Lambda\nh\x01s.",  # a tensor that wraps itself
    ],
)
def test_no_pickle_exhausts_anything(pickled: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    as_torch_file(path, pickled)
    with pytest.raises(CheckpointError):
        load_checkpoint(path, history_length=50)
    path.write_bytes(pickle.PROTO + b"\x02" + pickled)
    with pytest.raises(CheckpointError, match="is no model file"):
        load_checkpoint(path, history_length=50)


def rewritten(path: Path, changes: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Write a zip archive anew, with some entries changed; their names are without the folder."""
    with zipfile.ZipFile(path) as archive:
        entries = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in {**entries, **changes}.items():
            archive.writestr(f"archive/{name}", content)


def test_archives_of_other_kinds(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(weights(), path)
    wanted = load_checkpoint(path, history_length=50).fingerprint()
    rewritten(path, {}, zipfile.ZIP_DEFLATED)
    assert load_checkpoint(path, history_length=50).fingerprint() == wanted
    for compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        rewritten(path, {}, compression)
        with pytest.raises(CheckpointError, match="damaged"):
            load_checkpoint(path, history_length=50)
    rewritten(path, {"byteorder": b"big"})
    with pytest.raises(CheckpointError, match="big-endian machine"):
        load_checkpoint(path, history_length=50)
    rewritten(path, {"byteorder": b"little", "data/99": bytes(10**8)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="made to exhaust"):
        load_checkpoint(path, history_length=50)
    torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    with pytest.raises(CheckpointError, match="TorchScript"):
        load_checkpoint(path, history_length=50)


@pytest.mark.parametrize("compute_crc32", [True, False])
def test_checksums(compute_crc32: bool, tmp_path: Path) -> None:
    """They are checked where there are any."""
    path = tmp_path / "model.pth"
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(compute_crc32)
    torch.save(weights(), path)
    torch.serialization.set_crc32_options(before)
    assert load_checkpoint(path, history_length=50).model.config.n_items == 5
    content = bytearray(path.read_bytes())
    content[content.index(weights()["item_embedding.weight"].numpy().tobytes())] ^= 1
    path.write_bytes(content)
    if compute_crc32:
        with pytest.raises(CheckpointError, match="damaged"):
            load_checkpoint(path, history_length=50)
    else:
        assert load_checkpoint(path, history_length=50).model.config.n_items == 5


def test_weights_that_a_file_lacks(tmp_path: Path) -> None:
    """PyTorch's loader gives whatever the memory held."""
    path = tmp_path / "model.pth"
    torch.save(weights(), path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    start = content.rindex(b"\x80\x02]")  # the list of the storages
    end = content.index(b".", start) + 1
    path.write_bytes(content[:start] + pickle.dumps([], 2) + content[end:])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path, history_length=50)


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="is no regular file"):
        load_checkpoint(tmp_path / "pipe")


def saved(folder: Path, kind: str) -> Path:
    path = folder / "model.pth"
    content = {"state_dict": weights(), "hyper_parameters": types.SimpleNamespace(a={"b": (1, 2)}), "e": [{1, 2}]}
    if kind == "safetensors":
        safetensors.torch.save_file(dict(weights()), path)
    else:
        protocol = 4 if "4" in kind else 2
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization="zip" in kind)
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize(
    "kind", ["zip", "zip 4", "legacy", "legacy 4", "safetensors", "pickle in zip", "pickle in zip 4"]
)
def test_changed_bytes_give_a_model_or_a_refusal(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    """As the file's bytes are, or those of the pickle in the archive, where no checksum notices."""
    path = saved(tmp_path, kind)
    wanted = load_checkpoint(path, history_length=50).fingerprint()
    if kind.startswith("pickle"):
        with zipfile.ZipFile(path) as archive:
            content = bytearray(archive.read("model/data.pkl"))
    else:
        content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    if kind.startswith("pickle"):
        rewritten(path, {"data.pkl": bytes(content)})
    else:
        path.write_bytes(content)
    refusal = ""
    try:
        loaded = load_checkpoint(path, history_length=50)
    except CheckpointError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        assert len(refusal) - len(str(path)) < 600
        return
    assert all(weight.isfinite().all() for weight in loaded.model.state_dict().values())
    if kind.startswith("zip"):
        assert loaded.fingerprint() == wanted
