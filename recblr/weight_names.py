"""What the weights of a RecBLR model are called, and their shapes: in this package, and in the authors' code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# Dimensions: V items and one row for index 0, D, H, K, L as in `RecBLRConfig`; a number before them is a factor.
_SHAPES: dict[str, tuple[str, ...]] = {
    "embedding.weight": ("V+1", "D"),
    "norm.weight": ("D",),
    "norm.bias": ("D",),
    "initial_h": ("L", "H"),
}
_BLOCK_SHAPES: dict[str, tuple[str, ...]] = {
    "recurrent.decay": ("H",),
    "recurrent.in_proj.weight": ("2H", "D"),
    "recurrent.conv_weight": ("H", "K"),
    "recurrent.conv_bias": ("H",),
    "recurrent.gates.weight": ("2H", "H"),
    "recurrent.gates.bias": ("2H",),
    "recurrent.out_proj.weight": ("D", "H"),
    "recurrent_norm.weight": ("D",),
    "recurrent_norm.bias": ("D",),
    "feed_forward.up.weight": ("4D", "D"),
    "feed_forward.up.bias": ("4D",),
    "feed_forward.down.weight": ("D", "4D"),
    "feed_forward.down.bias": ("D",),
    "feed_forward_norm.weight": ("D",),
    "feed_forward_norm.bias": ("D",),
}
_AUTHORS_NAMES = {
    "embedding.weight": "item_embedding.weight",
    "norm.weight": "layer_norm.weight",
    "norm.bias": "layer_norm.bias",
    "recurrent.decay": "behavior_modeling.Lambda",
    "recurrent.in_proj.weight": "behavior_modeling.input.weight",
    "recurrent.conv_weight": "behavior_modeling.conv1d.weight",
    "recurrent.conv_bias": "behavior_modeling.conv1d.bias",
    "recurrent.gates.weight": "behavior_modeling.gates.weight",
    "recurrent.gates.bias": "behavior_modeling.gates.bias",
    "recurrent.out_proj.weight": "behavior_modeling.output.weight",
    "recurrent_norm.weight": "layer_norm.weight",
    "recurrent_norm.bias": "layer_norm.bias",
    "feed_forward.up.weight": "ffn.w_1.weight",
    "feed_forward.up.bias": "ffn.w_1.bias",
    "feed_forward.down.weight": "ffn.w_2.weight",
    "feed_forward.down.bias": "ffn.w_2.bias",
    "feed_forward_norm.weight": "ffn.layer_norm.weight",
    "feed_forward_norm.bias": "ffn.layer_norm.bias",
}


@dataclass(frozen=True)
class Naming:
    """How one code base names the weights.

    Attributes:
        blocks: what the names of a block's weights begin with, before its number.
        names: its names of the weights outside of blocks, by those of this package; likewise
        block_names: those of a block's weights, without the block.
        shapes: by this package's names without the block, where they differ from those here.
    """

    blocks: str
    names: dict[str, str]
    block_names: dict[str, str]
    shapes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def parse(self, name: str) -> str | None:
        """This package's name of a weight, None for what is no weight's name here."""
        block = re.fullmatch(rf"{self.blocks}\.(0|[1-9]\d{{0,8}})\.(.+)", name)
        prefix, rest, names = (f"blocks.{block[1]}.", block[2], self.block_names) if block else ("", name, self.names)
        return next((prefix + ours for ours, theirs in names.items() if theirs == rest), None)

    def name(self, ours: str) -> str:
        """Inverse of `parse`."""
        block, rest = split_block(ours)
        return self.names[ours] if block is None else f"{self.blocks}.{block}.{self.block_names[rest]}"

    def symbolic_shape(self, ours: str) -> tuple[str, ...]:
        """A weight's shape in letters."""
        block, rest = split_block(ours)
        return self.shapes.get(rest) or (_SHAPES if block is None else _BLOCK_SHAPES)[rest]


OURS = Naming("blocks", {name: name for name in _SHAPES}, {name: name for name in _BLOCK_SHAPES})
AUTHORS = Naming(
    "recurrent_layers",
    {ours: theirs for ours, theirs in _AUTHORS_NAMES.items() if ours in _SHAPES},
    {ours: theirs for ours, theirs in _AUTHORS_NAMES.items() if ours in _BLOCK_SHAPES},
    {"recurrent.conv_weight": ("H", "1", "K")},
)


def split_block(name: str) -> tuple[int | None, str]:
    """A weight's block, None outside of them, and its name without the block."""
    if not name.startswith("blocks."):
        return None, name
    _, number, rest = name.split(".", 2)
    return int(number), rest


def required_names(layers: int) -> Iterator[str]:
    """All weights of a model of so many blocks but `initial_h`, which not all have."""
    yield from (name for name in _SHAPES if name != "initial_h")
    for n in range(layers):
        yield from (f"blocks.{n}.{name}" for name in _BLOCK_SHAPES)


def find_name(key: str) -> tuple[Naming, str, str] | None:
    """Find a weight's name at the end of a key.

    What comes before is the prefix that some wrapper gave it: "module.", "_orig_mod.", "model." and the like. Wrappers
    of parts of a model, whose names begin with "_", are left out.

    Returns:
        The naming, the prefix, and this package's name; None if there is no such name.
    """
    if len(key) > 300:
        return None
    parts = key.split(".")
    for start, part in enumerate(parts):
        if part.startswith("_"):
            continue
        name = ".".join(part for part in parts[start:] if not part.startswith("_"))
        for naming in (AUTHORS, OURS):
            ours = naming.parse(name)
            if ours is not None:
                return naming, "".join(f"{part}." for part in parts[:start]), ours
    return None
