"""Finding the weights of a RecBLR model in what people save: wrapped, prefixed, and among other things."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recblr.errors import CheckpointError
from recblr.inert_pickle import StandIn, elements, fields
from recblr.torch_file import UnreadableTensor
from recblr.weight_names import Naming, find_name, required_names, split_block

_HISTORY_LENGTH_NAMES = ("history_length", "MAX_ITEM_LIST_LENGTH", "max_seq_length")


@dataclass(frozen=True)
class Weights:
    """All weights of one model.

    Attributes:
        naming: whose names and shapes they have.
        tensors: by this package's names; dense, of any floating-point type.
        keys: what each is called where it was found, for messages.
    """

    naming: Naming
    tensors: dict[str, Tensor]
    keys: dict[str, str]

    @property
    def layers(self) -> int:
        """L, the number of layers."""
        return _count_layers(self.tensors)


@dataclass(frozen=True)
class _Candidate:
    place: object  # the key of the dict that it is in; None if it is at the top
    state_dict: Mapping[Any, Any]
    naming: Naming
    prefix: str

    def __str__(self) -> str:
        if self.place is None:
            return shown_name(self.prefix or f"{self.naming.blocks}.")
        return f"{shown_name(self.prefix)} in {shown_name(self.place)}" if self.prefix else shown_name(self.place)

    def equals(self, other: _Candidate) -> bool:
        mine, theirs = (_named(c.state_dict, c.naming, c.prefix) for c in (self, other))
        return mine.keys() == theirs.keys() and all(
            isinstance(a := self.state_dict[key], Tensor)
            and isinstance(b := other.state_dict[theirs[name]], Tensor)
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and torch.equal(a, b)
            for name, key in mine.items()
        )


def find_weights(content: object, source: str) -> Weights:
    """Find the model in a state_dict, in a dict that has one, or in a pickled module.

    Args:
        content: as `torch_file` reads it.
        source: what messages begin with.

    Raises:
        CheckpointError: there is none, several that differ, or not all of one.
    """
    candidates = list(_candidates(None, content))
    if not candidates:
        candidates = [c for key, value in fields(content).items() for c in _candidates(key, value)]
    if not candidates:
        raise CheckpointError(
            f"{source} holds no RecBLR model{_description(content)}: give a model.pt of recblr-train or a checkpoint "
            "of the authors' implementation"
        )
    first, *others = candidates
    if not all(first.equals(other) for other in others):
        raise CheckpointError(
            f"{source} holds several models ({_listed(map(str, candidates))}): save the state_dict of the one you want "
            "alone, and give that"
        )
    prefixes = [c.prefix for c in candidates if c.place == first.place]
    return weights_of(first.state_dict, first.naming, prefixes, source)


def weights_of(state_dict: Mapping[Any, Any], naming: Naming, prefixes: list[str], source: str) -> Weights:
    """All weights of one model under one of these prefixes, the first; what has the others is passed over.

    Raises:
        CheckpointError: a weight is missing, no dense tensor of floating-point numbers, or none of RecBLR.
    """
    prefix = prefixes[0]
    keys = _named(state_dict, naming, prefix)
    required = list(required_names(_count_layers(keys)))
    missing = [prefix + naming.name(name) for name in required if name not in keys]
    known = {key for other in prefixes for key in _named(state_dict, naming, other).values()}
    unexpected = [key for key, value in state_dict.items() if key not in known and not _is_harmless(value)]
    unexpected += [keys[name] for name in keys.keys() - {*required, "initial_h"}]
    if missing or unexpected:
        problems = [
            *([f"lacks {_listed(map(shown_name, missing))}"] if missing else []),
            *([f"has {_listed(map(shown_name, unexpected))}, which RecBLR does not"] if unexpected else []),
        ]
        raise CheckpointError(f"{source} {' and '.join(problems)}: another model, or damaged")
    for key in keys.values():
        problem = _problem(state_dict[key])
        if problem:
            raise CheckpointError(
                f"{source} has {shown_name(key)} as {problem}: save all weights as dense tensors of float32 or the like"
            )
    return Weights(naming, {name: state_dict[key] for name, key in keys.items()}, keys)


def find_history_length(content: object) -> int | None:
    """The history length that a checkpoint's settings tell: RecBole's, Lightning's, or an entry of the checkpoint."""
    modules = (state for part in (content, *fields(content).values()) for _, state in _modules(part))
    for settings in (content, *fields(content).values(), *modules):
        known = fields(settings)
        for entries in (known, fields(known.get("final_config_dict"))):
            for name in _HISTORY_LENGTH_NAMES:
                value = entries.get(name)
                if isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31:
                    return value
    return None


def _candidates(place: object, value: object) -> Iterator[_Candidate]:
    """The models in one state_dict or pickled module: one for each prefix."""
    state_dict = _module_state_dict(value) or fields(value)
    seen = set()
    for key, weight in state_dict.items():
        found = find_name(key) if isinstance(key, str) and isinstance(weight, Tensor | UnreadableTensor) else None
        if found is not None:
            naming, prefix, name = found
            if split_block(name)[0] is not None and (naming.blocks, prefix) not in seen:
                seen.add((naming.blocks, prefix))
                yield _Candidate(place, state_dict, naming, prefix)


def _named(state_dict: Mapping[Any, Any], naming: Naming, prefix: str) -> dict[str, str]:
    """Keys of the weights under a prefix, by this package's names."""
    found = ((key, find_name(key)) for key in state_dict if isinstance(key, str))
    return {f[2]: key for key, f in found if f is not None and f[:2] == (naming, prefix)}


def _count_layers(names: Iterable[str]) -> int:
    return len({split_block(name)[0] for name in names} - {None})


def _modules(root: object) -> Iterator[tuple[str, dict[Any, Any]]]:
    """A pickled module and those in it: what comes before their weights' names, and their attributes."""
    pending = [("", root)]
    seen: set[int] = set()
    while pending:
        prefix, module = pending.pop()
        state = fields(module)
        if not isinstance(module, StandIn) or "_parameters" not in state or id(module) in seen or len(prefix) > 300:
            continue
        seen.add(id(module))
        yield prefix, state
        pending += [(f"{prefix}{_name(key)}.", part) for key, part in fields(state.get("_modules")).items()]


def _module_state_dict(root: object) -> dict[str, Any]:
    """What `state_dict()` of a pickled module would give."""
    state_dict = {}
    for prefix, state in _modules(root):
        buffers = fields(state.get("_buffers"))
        passing = {name for name in elements(state.get("_non_persistent_buffers_set")) if isinstance(name, str)}
        kept = {key: value for key, value in buffers.items() if key not in passing}
        for key, value in {**fields(state["_parameters"]), **kept}.items():
            if value is not None:
                state_dict[f"{prefix}{_name(key)}"] = value
    return state_dict


def _name(key: object) -> str:
    return key if isinstance(key, str) else "?"


def _is_harmless(value: object) -> bool:
    """Whether results cannot depend on a value: counters such as `num_batches_tracked`, and what is no tensor."""
    if isinstance(value, Tensor):
        return value.numel() <= 1 and not value.is_floating_point() and not value.is_complex()
    return not isinstance(value, UnreadableTensor)


def _problem(value: object) -> str:
    """What is wrong with a weight; empty if nothing is."""
    if isinstance(value, UnreadableTensor):
        return value.reason
    if isinstance(value, StandIn):
        return f"an object of {shown_name(value.name)}"
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    if value.is_quantized:
        return "a quantised tensor"
    if value.layout != torch.strided:
        return "a sparse tensor"
    if value.is_meta:
        return "a tensor of the meta device, without values"
    return "" if value.is_floating_point() else f"a tensor of {value.dtype}"


def _description(content: object) -> str:
    """What is there instead of a model, for a message."""
    if isinstance(content, StandIn) and not content.entries:
        return f", but an object of {shown_name(content.name)}"
    known = fields(content)
    for key, entries in [(None, known), *((key, fields(value)) for key, value in known.items())]:
        names = [name for name, value in entries.items() if isinstance(value, Tensor) and isinstance(name, str)]
        beginnings = dict.fromkeys(name[: name.find(".") + 1] or name for name in names)
        if beginnings:
            place = "its keys" if key is None else f"the keys of {shown_name(key)}"
            return f": {place} begin with {_listed(map(shown_name, beginnings))}"
    return f": it holds {_listed(map(shown_name, known))}" if known else ""


def shown_name(name: object) -> str:
    """A key as a message shows it: on one line of at most 100 characters, which prefixed names need."""
    if isinstance(name, str):
        shown = repr(name[:100])
        return shown if len(name) <= 100 and len(shown) <= 100 else f"{shown[:80]}...'"
    return repr(name) if isinstance(name, int) and abs(name) < 10**9 else f"a {type(name).__name__}"


def _listed(names: Iterable[str]) -> str:
    first, *others = names
    more = f" and {len(others) - 2:,} more" if len(others) > 2 else ""
    return ", ".join([first, *others[:2]]) + more
