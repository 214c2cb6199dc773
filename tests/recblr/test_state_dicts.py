"""Weights as people save them: wrapped, prefixed, among other things - or refused by name."""

from __future__ import annotations

import argparse
import datetime
import enum
import functools
import io
import pickle
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from recblr.authors import import_state_dict
from recblr.checkpoint import Checkpoint, load_checkpoint
from recblr.config import RecBLRConfig
from recblr.errors import CheckpointError
from recblr.model import RecBLR as OurModel
from recblr.vocabulary import ItemVocabulary
from recblr.weight_names import AUTHORS, OURS

LAMBDA = "recurrent_layers.0.behavior_modeling.Lambda"
GATES = "recurrent_layers.1.behavior_modeling.gates.weight"


def authors_weights(layers: int = 2, dim: int = 4, inner: int = 6) -> dict[str, Tensor]:
    """Random weights under the authors' names."""
    draw = torch.Generator().manual_seed(0)
    model = OurModel(RecBLRConfig(n_items=5, dim=dim, layers=layers, expansion=(inner + 0.5) / dim))
    weights = {name: torch.randn(w.shape, generator=draw) * 0.3 for name, w in model.state_dict().items()}
    return {AUTHORS.name(n): w[:, None] if n.endswith("conv_weight") else w for n, w in weights.items()}


class RecBLR(nn.Module):
    """Has such weights, and computes nothing."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.max_seq_length = 50
        self.loss_fct = nn.CrossEntropyLoss()
        self.register_buffer("positions", torch.arange(50), persistent=False)
        for name, weight in weights.items():
            *path, last = name.split(".")
            module: nn.Module = self
            for part in path:
                if not hasattr(module, part):
                    module.add_module(part, nn.Module())
                module = getattr(module, part)
            module.register_parameter(last, nn.Parameter(weight))


class Wrapper(nn.Module):
    """As Lightning modules have the model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.network = model


class Color(enum.Enum):
    """A setting."""

    RED = 1


class Settings(dict[str, Any]):
    """As Lightning's AttributeDict."""

    def __init__(self, **values: Any) -> None:
        super().__init__(values)
        self.frozen = True


class Numbers(list[int]):
    """A list of a class of its own."""


class Slots:
    """An object without a dict."""

    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = 1


class Keywords:
    """Made anew with keyword arguments."""

    def __new__(cls, *, a: int = 0) -> Keywords:
        return super().__new__(cls)

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]:
        return (), {"a": 1}


def settings(history_length: int = 50) -> dict[str, Any]:
    """Objects of every kind that checkpoints hold beside the weights."""
    return {
        "MAX_ITEM_LIST_LENGTH": history_length,
        "namespace": argparse.Namespace(lr=0.1),
        "partial": functools.partial(max, 1, default=2),
        "path": Path("/data"),
        "when": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        "color": {Color.RED: Color.RED},
        "numpy": [np.float64(0.5), np.int64(3), np.arange(3)],
        "ours": Settings(a=Settings(b=2)),
        "numbers": Numbers([1, 2]),
        "slots": Slots(),
        "keywords": Keywords(),
        "groups": {(1, 2): {3, "a"}, "f": frozenset([(1, 2)]), "d": defaultdict(list, a=[1])},
        "raw": [b"bytes" * 100, bytearray(b"bytes"), 2**80, -1.5, 1j, "ü\ud800", None, True],
        "torch": [torch.float32, torch.device("cuda", 1), torch.Size([2]), torch.nn.functional.relu, nn.Linear],
    }


def prefixed(weights: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": weight for name, weight in weights.items()}


def loaded(content: Any, path: Path, history_length: int | None = 50, **options: Any) -> Checkpoint:
    torch.save(content, path, **options)
    return load_checkpoint(path, history_length=history_length)


def assert_same(found: Checkpoint, weights: dict[str, Tensor]) -> None:
    expected = import_state_dict(weights, 50).state_dict()
    state_dict = found.model.state_dict()
    assert state_dict.keys() == expected.keys()
    for name, tensor in state_dict.items():
        assert torch.equal(tensor, expected[name]), name
    assert not found.model.training


def refusal(content: Any, path: Path, history_length: int | None = 50) -> str:
    with pytest.raises(CheckpointError) as raised:
        loaded(content, path, history_length)
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) - len(str(path)) < 600
    assert ": " in message
    return message


def test_the_names_are_the_models() -> None:
    model = OurModel(RecBLRConfig(n_items=5, dim=4, layers=2, initial_state=True)).state_dict()
    sizes = {"V+1": 6, "D": 4, "H": 8, "2H": 16, "4D": 16, "K": 4, "L": 2, "1": 1}
    for name, weight in model.items():
        assert OURS.parse(name) == name == OURS.name(name)
        assert [sizes[symbol] for symbol in OURS.symbolic_shape(name)] == list(weight.shape)
        if name != "initial_h":
            assert AUTHORS.parse(AUTHORS.name(name)) == name
    assert AUTHORS.symbolic_shape("blocks.1.recurrent.conv_weight") == ("H", "1", "K")


PREFIXES = [
    "",
    "module.",
    "_orig_mod.",
    "module._orig_mod.",
    "_orig_mod.module.",
    "model.",
    "net.",
    "_forward_module.model.",
    "my_wrapper.of.any.name.",
    "recurrent_layers.",
    "blocks.0.",
]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("ours", [False, True])
def test_a_common_prefix(prefix: str, ours: bool, tmp_path: Path) -> None:
    weights = authors_weights()
    expected = import_state_dict(weights, 50)
    saved = expected.state_dict() if ours else weights
    found = loaded(prefixed(saved, prefix), tmp_path / "m.pt", None if ours else 50)
    assert_same(found, weights)


def test_wrappers_of_parts(tmp_path: Path) -> None:
    weights = authors_weights()
    inside = {
        f"model.{name}".replace("layers.1.", "layers.1._orig_mod._fsdp_wrapped_module."): weight
        for name, weight in weights.items()
    }
    assert_same(loaded(inside, tmp_path / "m.pt"), weights)
    inside[f"model.{GATES}"] = inside[f"model.{GATES.replace('1.', '1._orig_mod._fsdp_wrapped_module.')}"]
    assert repr(f"model.{GATES.replace('1.', '1._orig_mod._fsdp_wrapped_module.')}") in refusal(inside, tmp_path / "m")


CONTAINERS = {
    "state_dict": lambda w: {"state_dict": w},
    "an ordered dict": lambda w: OrderedDict(w),
    "model_state_dict": lambda w: {"epoch": 3, "model_state_dict": w, "optimizer_state_dict": {"state": {0: {}}}},
    "model": lambda w: {"model": w, "args": argparse.Namespace(lr=0.1)},
    "weights": lambda w: {"weights": w, "step": torch.tensor(3)},
    "net": lambda w: {"net": w, "loss": np.float32(0.5)},
    "any name": lambda w: {"abc": w, 7: None},
    "a number": lambda w: {0: w},
    "a dict of a class of its own": lambda w: {"state_dict": Settings(**w)},
    "a default dict": lambda w: defaultdict(dict, model=w),
    "settings beside the weights": lambda w: {**w, "epoch": 3, "history_length": 50, "optimizer": {"state": {}}},
    "Lightning": lambda w: {
        "epoch": 3,
        "global_step": 10,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": OrderedDict(prefixed(w, "model.")),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 3}}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.1)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"params": [0]}]}],
        "lr_schedulers": [],
        "hparams_name": "config",
        "hyper_parameters": Settings(**settings()),
    },
    "everything beside": lambda w: {"state_dict": w, "hparams": settings()},
    "counters": lambda w: {**prefixed(w, "module."), "n_averaged": torch.tensor(5), "metric.steps": torch.tensor([3])},
    "a moving average": lambda w: AveragedModel(RecBLR(w)).state_dict(),
    "a module": lambda w: RecBLR(w),
    "a module in a dict": lambda w: {"epoch": 1, "model": RecBLR(w), "hparams": settings()},
    "a module in modules": lambda w: Wrapper(nn.Sequential(nn.Dropout(), RecBLR(w))),
    "parameters": lambda w: dict(RecBLR(w).named_parameters()),
    "parameters with attributes": lambda w: {name: with_attribute(weight) for name, weight in w.items()},
    "the same twice": lambda w: {"state_dict": w, "model": {name: weight.clone() for name, weight in w.items()}},
    "the same twice in one": lambda w: {**prefixed(w, "model."), **prefixed(w, "net.")},
}


def with_attribute(weight: Tensor) -> nn.Parameter:
    parameter = nn.Parameter(weight)
    parameter.no_decay = True  # type: ignore[attr-defined]
    return parameter


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_containers(protocol: int, legacy: bool, tmp_path: Path) -> None:
    weights = authors_weights()
    for name, container in CONTAINERS.items():
        found = loaded(
            container(weights),
            tmp_path / "m.pt",
            pickle_protocol=protocol,
            _use_new_zipfile_serialization=not legacy,
        )
        try:
            assert_same(found, weights)
        except AssertionError as error:
            raise AssertionError(name) from error


@pytest.mark.parametrize(
    "container",
    [
        lambda w: {"state_dict": w, "hyper_parameters": settings(50)},
        lambda w: {"state_dict": w, "hyper_parameters": argparse.Namespace(MAX_ITEM_LIST_LENGTH=50)},
        lambda w: {"state_dict": w, "hyper_parameters": Settings(history_length=50)},
        lambda w: {"model": w, "history_length": 50},
        lambda w: {**w, "MAX_ITEM_LIST_LENGTH": 50},
        lambda w: RecBLR(w),
        lambda w: {"model": Wrapper(RecBLR(w))},
    ],
)
def test_history_lengths_in_settings(container: Any, tmp_path: Path) -> None:
    assert_same(loaded(container(authors_weights()), tmp_path / "m.pt", None), authors_weights())
    assert "history length of 50, not 64" in refusal(container(authors_weights()), tmp_path / "m.pt", 64)


@pytest.mark.parametrize("length", [True, "50", 0, -1, 2**40, 2**20000, None, [50], torch.tensor(50), 50.0], ids=type)
def test_useless_history_lengths_are_asked_for(length: Any, tmp_path: Path) -> None:
    content = {"state_dict": authors_weights(), "hyper_parameters": {"MAX_ITEM_LIST_LENGTH": length}}
    assert "--history-length" in refusal(content, tmp_path / "m.pt", None)
    assert_same(loaded(content, tmp_path / "m.pt", 50), authors_weights())


@pytest.mark.parametrize("initial_state", [False, True])
def test_our_own_weights_alone(initial_state: bool, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = RecBLRConfig(7, dim=5, layers=3, expansion=1.5, conv_width=3, dropout=0.0, initial_state=initial_state)
    model = OurModel(config)
    if initial_state:
        nn.init.normal_(model.initial_h)
    for content in (model.state_dict(), {"model": prefixed(model.state_dict(), "module.")}, model):
        found = loaded(content, tmp_path / "m.pt", None)
        assert (found.model.config.inner_dim, found.model.config.conv_width) == (7, 3)
        assert found.model.state_dict().keys() == model.state_dict().keys()
        for name, weight in model.state_dict().items():
            assert torch.equal(found.model.state_dict()[name], weight)
        assert found.vocabulary.ids == list(range(1, 8))
        assert load_checkpoint(tmp_path / "m.pt", item_ids=list("abcdefg")).vocabulary.ids == list("abcdefg")
        assert "has no history length: leave the option out" in refusal(content, tmp_path / "m.pt", 50)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("legacy", [False, True])
def test_our_own_files_saved_again(protocol: int, legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    checkpoint = Checkpoint(
        OurModel(RecBLRConfig(5, dim=4)), ItemVocabulary(["a", "b", "c", "d", "ü"], np.arange(5)), {"x": {"y": [1.5]}}
    )
    checkpoint.save(path)
    content = torch.load(path, weights_only=True)
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    found = load_checkpoint(path)
    assert found.fingerprint() == checkpoint.fingerprint()
    assert (found.data, found.vocabulary.ids) == (checkpoint.data, checkpoint.vocabulary.ids)


def test_memory_in_any_order(tmp_path: Path) -> None:
    weights = authors_weights(dim=6, inner=6)
    shared = weights["item_embedding.weight"]  # of 6 rows and 6 columns, as a layer's output projection
    weights["recurrent_layers.0.behavior_modeling.output.weight"] = shared
    weights["recurrent_layers.1.behavior_modeling.output.weight"] = shared.T
    weights[GATES] = torch.arange(6 * 24.0).reshape(6, 24)[:, ::2].T / 100
    weights["layer_norm.bias"] = torch.ones(1).expand(6)
    weights["layer_norm.weight"] = torch.arange(100.0)[90:96]
    for legacy in (False, True):
        found = loaded(weights, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
        assert_same(found, {name: weight.clone() for name, weight in weights.items()})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_other_floating_point_types(dtype: torch.dtype, tmp_path: Path) -> None:
    weights = {name: weight.to(dtype) for name, weight in authors_weights().items()}
    found = loaded(weights, tmp_path / "m.pt")
    assert_same(found, {name: weight.float() for name, weight in weights.items()})


def test_tensors_of_a_gpu(tmp_path: Path) -> None:
    """As a GPU's machine saves them: the device stands in the pickle only."""
    file = io.BytesIO()
    torch.save(authors_weights(), file, _use_new_zipfile_serialization=False)
    assert file.getvalue().count(b"X\x03\x00\x00\x00cpu") == 1  # once, then from the memo
    content = file.getvalue().replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:7")
    (tmp_path / "m.pt").write_bytes(content)
    assert_same(load_checkpoint(tmp_path / "m.pt", history_length=50), authors_weights())


def with_value(value: float, name: str = GATES) -> dict[str, Tensor]:
    weights = authors_weights()
    weights[name][-1, -1] = value
    return weights


def without(*names: str) -> dict[str, Tensor]:
    return {name: weight for name, weight in authors_weights().items() if name not in names}


LONG = "x" * 5000
REFUSED: dict[str, tuple[Any, list[str]]] = {
    "another model": (nn.Linear(2, 2).state_dict(), ["holds no RecBLR model: its keys begin with 'weight', 'bias'"]),
    "another in a dict": ({"model": {"encoder.a": torch.ones(1)}}, ["the keys of 'model' begin with 'encoder.'"]),
    "many keys": ({f"k{n}.a": torch.ones(1) for n in range(9)}, ["begin with 'k0.', 'k1.', 'k2.' and 6 more"]),
    "long keys": ({f"{LONG}{n}": torch.ones(1) for n in range(9)}, ["xxx...' and 6 more"]),
    "a key of two lines": ({"a\nb": torch.ones(1)}, [r"'a\nb'"]),
    "keys of other types": ({(1, 2): torch.ones(1), 5: 1}, ["it holds a tuple, 5"]),
    "another module": (nn.Linear(2, 2), ["an object of 'torch.nn.modules.linear.Linear'"]),
    "nothing": ({}, ["holds no RecBLR model: give"]),
    "a list": ([authors_weights()], ["holds no RecBLR model: give"]),
    "two levels down": ({"a": {"b": authors_weights()}}, ["holds no RecBLR model: it holds 'a'"]),
    "two models": (
        {"model": authors_weights(), "ema": with_value(0.1), "epoch": 1},
        ["holds several models ('model', 'ema'): save the state_dict of the one you want alone"],
    ),
    "two models in one": (
        {"state_dict": {**prefixed(authors_weights(), "model."), **prefixed(with_value(0.1), "ema.")}},
        ["several models ('model.' in 'state_dict', 'ema.' in 'state_dict')"],
    ),
    "two of different sizes": ({"a": authors_weights(), "b": authors_weights(3)}, ["several models ('a', 'b')"]),
    "a resume file": (
        {"format": "recblr-run", "weights": authors_weights()},
        ["is a 'recblr-run' file, no model: give a model.pt"],
    ),
    "one missing": (without(GATES), [f"lacks {GATES!r}: another model, or damaged"]),
    "one missing under a prefix": (prefixed(without(GATES), "model."), [f"lacks 'model.{GATES}'"]),
    "many missing": ({LAMBDA: torch.ones(3)}, ["lacks 'item_embedding.weight', ", " and 14 more"]),
    "a layer missing": (
        {name.replace("layers.1.", "layers.5."): w for name, w in authors_weights().items()},
        ["lacks 'recurrent_layers.1.behavior_modeling.Lambda', ", "has 'recurrent_layers.5."],
    ),
    "a loss's weight": (
        {**authors_weights(), "loss_fct.weight": torch.ones(6)},
        ["has 'loss_fct.weight', which RecBLR does not: another model, or damaged"],
    ),
    "position embeddings": (
        {"state_dict": prefixed({**authors_weights(), "position_embedding.weight": torch.ones(5, 4)}, "model.")},
        ["has 'model.position_embedding.weight', which"],
    ),
    "an optimizer's": ({**authors_weights(), "exp_avg.0": torch.ones(5, 4)}, ["has 'exp_avg.0', which"]),
    "a scale": ({**authors_weights(), "scale": torch.tensor(2.0)}, ["has 'scale', which"]),
    "both names": (
        {**authors_weights(), "model.item_embedding.weight": torch.ones(6, 4)},
        ["has 'model.item_embedding.weight', which"],
    ),
    "a key that is a number": ({**authors_weights(), 7: torch.ones(1)}, ["has 7, which"]),
    "a wrong shape": (
        {**authors_weights(), GATES: torch.ones(3, 4)},
        [f"has {GATES!r} of shape [3, 4], expected [12, 6]"],
    ),
    "a wrong convolution": (
        {**authors_weights(), "recurrent_layers.0.behavior_modeling.conv1d.weight": torch.ones(6, 4)},
        ["conv1d.weight' of shape [6, 4], expected [6, 1, 4]"],
    ),
    "a wrong Lambda": ({**authors_weights(), LAMBDA: torch.ones(7)}, [f"has {LAMBDA!r} of shape [7], expected [6]"]),
    "a flat embedding": (
        {**authors_weights(), "item_embedding.weight": torch.ones(6)},
        ["'item_embedding.weight' of shape [6], expected [V+1, 4]"],
    ),
    "no items": ({**authors_weights(), "item_embedding.weight": torch.ones(1, 4)}, ["n_items is 0"]),
    "nothing in it": (
        {n: w[(slice(0, 0),) * w.ndim] for n, w in authors_weights().items()},
        ["of shape [0, 0, 0], exp"],
    ),
    "a number": ({**authors_weights(), GATES: 1.5}, [f"has {GATES!r} as a float"]),
    "an array": ({**authors_weights(), GATES: np.ones((12, 6))}, [f"{GATES!r} as an object of 'numpy."]),
    "integers": ({**authors_weights(), GATES: torch.ones(12, 6).int()}, [f"{GATES!r} as a tensor of torch.int32"]),
    "booleans": ({**authors_weights(), GATES: torch.ones(12, 6).bool()}, [f"{GATES!r} as a tensor of torch.bool"]),
    "complex": ({**authors_weights(), GATES: torch.ones(12, 6) + 1j}, [f"{GATES!r} as a tensor of torch.complex64"]),
    "sparse": ({**authors_weights(), GATES: torch.ones(12, 6).to_sparse()}, [f"{GATES!r} as a sparse tensor"]),
    "without values": (
        {**authors_weights(), GATES: torch.ones(12, 6, device="meta")},
        [f"{GATES!r} as a tensor of the meta device"],
    ),
    "expanded": (
        {**authors_weights(), "item_embedding.weight": torch.ones(1, 1).expand(10**12, 4)},
        ["would become 16,0", "damaged, or made to exhaust it"],
    ),
    "NaN": (with_value(torch.nan), [f"has values in {GATES!r} that are not finite"]),
    "infinite": (with_value(-torch.inf, "item_embedding.weight"), ["values in 'item_embedding.weight' that are not"]),
    "too large for float32": (
        {**authors_weights(), GATES: torch.full((12, 6), 1e300, dtype=torch.float64)},
        [f"has values in {GATES!r} that are not finite in float32"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_named(case: str, tmp_path: Path) -> None:
    content, said = REFUSED[case]
    message = refusal(content, tmp_path / "m.pt")
    assert message.startswith(f"{tmp_path}/m.pt ")
    for part in said:
        assert part in message


@pytest.mark.parametrize("case", ["sparse", "without values", "integers", "a wrong shape", "one missing"])
def test_weights_in_memory_are_refused_likewise(case: str) -> None:
    content, said = REFUSED[case]
    with pytest.raises(CheckpointError) as raised:
        import_state_dict(content, 50)
    assert all(part in str(raised.value) for part in said)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(
    ("convert", "said"),
    [
        (Tensor.to_sparse_csr, "a sparse tensor"),
        (lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8), "a quantised tensor"),
    ],
    ids=["compressed", "quantised"],
)
def test_special_tensors(convert: Any, said: str, tmp_path: Path) -> None:
    weights = {**authors_weights(), GATES: convert(torch.ones(12, 6))}
    assert f"has {GATES!r} as {said}: save all weights as dense" in refusal(weights, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=f"{GATES}' as {said}"):
        import_state_dict(weights, 50)


def test_our_weights_are_no_import() -> None:
    with pytest.raises(CheckpointError, match="recblr's own model"):
        import_state_dict(OurModel(RecBLRConfig(5)).state_dict(), 50)


def test_settings_of_a_file_of_ours_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    model = OurModel(RecBLRConfig(5, dim=4))
    Checkpoint(model, ItemVocabulary(list("abcde"), np.arange(5))).save(path)
    content = torch.load(path, weights_only=True)
    for changed in ({"n_items": 10**12}, {"layers": 10**9}, {"dim": 10**9}, {"conv_width": 10**12}):
        content["config"] = model.config.to_dict() | changed
        torch.save(content, path)
        with pytest.raises(CheckpointError, match="model.pt (has|is damaged)"):
            load_checkpoint(path)


def test_pickled_settings_really_are_of_many_classes() -> None:
    """Else the containers would prove little."""
    pickled = pickle.dumps(settings(), 2)
    for name in (b"argparse", b"functools", b"pathlib", b"datetime", b"Color", b"numpy", b"Settings", b"_codecs"):
        assert name in pickled
