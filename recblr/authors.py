"""Import of weights of the authors' implementation of RecBLR.

That code left-pads the sequence to a power of two with zeros, and its convolution has a bias: on the padding the
recurrence already moves. The state it reaches there is the same for every user, so it becomes the model's initial
state here, and results are equal.
"""

from __future__ import annotations

import re

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recblr.config import RecBLRConfig
from recblr.errors import CheckpointError, short_reason
from recblr.model import RecBLR
from recblr.ops.reference import SQRT_EPSILON

# The authors' names on the left; those of blocks have their number cut off.
_GLOBAL_NAMES = {"item_embedding.weight": "embedding.weight", "layer_norm": "norm"}
_BLOCK_NAMES = {
    "behavior_modeling.Lambda": "recurrent.decay",
    "behavior_modeling.input.weight": "recurrent.in_proj.weight",
    "behavior_modeling.conv1d.weight": "recurrent.conv_weight",
    "behavior_modeling.conv1d.bias": "recurrent.conv_bias",
    "behavior_modeling.gates": "recurrent.gates",
    "behavior_modeling.output.weight": "recurrent.out_proj.weight",
    "layer_norm": "recurrent_norm",
    "ffn.w_1": "feed_forward.up",
    "ffn.w_2": "feed_forward.down",
    "ffn.layer_norm": "feed_forward_norm",
}
_MARK = "recurrent_layers.0.behavior_modeling.Lambda"


def is_authors_state_dict(content: object) -> bool:
    """Whether this is a state_dict of the authors' model."""
    return isinstance(content, dict) and _MARK in content


def import_state_dict(state_dict: dict[str, Tensor], history_length: int | None) -> RecBLR:
    """Build the model that computes what the authors' code computes with these weights.

    Args:
        state_dict: of the authors' `RecBLR`.
        history_length: its MAX_ITEM_LIST_LENGTH. It decides the length of the padding.

    Raises:
        CheckpointError: `history_length` is missing, or the weights don't fit together.
    """
    if history_length is None:
        raise CheckpointError(
            "a bare state_dict of the authors' model does not tell its MAX_ITEM_LIST_LENGTH, on which results depend: "
            "give it with --history-length (the paper uses 200 for ML-1M, 50 for the Amazon sets)"
        )
    if not isinstance(history_length, int) or history_length < 1:
        raise CheckpointError(
            f"history length {history_length!r} is not possible: give MAX_ITEM_LIST_LENGTH, 1 or more"
        )
    try:
        weights = {_rename(name): tensor.float() for name, tensor in state_dict.items()}
        weights = {name: w.squeeze(1) if name.endswith("conv_weight") else w for name, w in weights.items()}
        config = _config_of(weights)
        model = RecBLR(config).eval()
        weights["initial_h"] = torch.stack(
            [_padded_state(weights, f"blocks.{n}.recurrent.", history_length) for n in range(config.layers)]
        )
        model.load_state_dict(weights)
    except (KeyError, IndexError, RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"these are not weights of the authors' RecBLR ({short_reason(error)}): another model, or damaged"
        ) from error
    return model


def _rename(name: str) -> str:
    block = re.fullmatch(r"recurrent_layers\.(\d+)\.(.+)", name)
    prefix, rest, names = (f"blocks.{block[1]}.", block[2], _BLOCK_NAMES) if block else ("", name, _GLOBAL_NAMES)
    if rest in names:
        return prefix + names[rest]
    module, _, parameter = rest.rpartition(".")
    return f"{prefix}{names[module]}.{parameter}"


def _config_of(weights: dict[str, Tensor]) -> RecBLRConfig:
    rows, dim = weights["embedding.weight"].shape
    inner, conv_width = weights["blocks.0.recurrent.conv_weight"].shape
    layers = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
    expansion = inner / dim
    if int(expansion * dim) != inner:  # the quotient was rounded down
        expansion = float(np.nextafter(expansion, np.inf))
    return RecBLRConfig(
        n_items=rows - 1,
        dim=dim,
        layers=layers,
        expansion=expansion,
        conv_width=conv_width,
        dropout=0.0,
        initial_state=True,
    )


def _padded_state(weights: dict[str, Tensor], prefix: str, history_length: int) -> Tensor:
    """The state [H] after the zeros that pad `history_length` to a power of two.

    Each such step has the same a and b, so P of them give b (1 - a^P) / (1 - a), or b P where a is 1.
    """
    padding = (1 << (history_length - 1).bit_length()) - history_length
    x = F.silu(weights[f"{prefix}conv_bias"].double())
    gates = F.linear(x, weights[f"{prefix}gates.weight"].double(), weights[f"{prefix}gates.bias"].double())
    r, i = gates.sigmoid().chunk(2)
    log_a = -F.softplus(weights[f"{prefix}decay"].double()) * r
    b = torch.sqrt(-torch.expm1(2 * log_a) + SQRT_EPSILON) * i * x
    total = torch.where(log_a < 0, torch.expm1(padding * log_a) / torch.expm1(log_a), padding)
    return (b * total).float()
