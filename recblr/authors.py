"""Import of weights of the authors' implementation of RecBLR.

That code left-pads the sequence to a power of two with zeros, and its convolution has a bias: on the padding the
recurrence already moves. The state it reaches there is the same for every user, so it becomes the model's initial
state here, and results are equal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from recblr.errors import CheckpointError, shown
from recblr.model import RecBLR
from recblr.ops.reference import SQRT_EPSILON
from recblr.state_dicts import Weights, find_weights
from recblr.weight_names import AUTHORS
from recblr.weights_model import build_model, config_of, float32_values


def import_state_dict(state_dict: Mapping[str, Tensor], history_length: int | None) -> RecBLR:
    """Build the model that computes what the authors' code computes with these weights.

    Args:
        state_dict: of the authors' `RecBLR`; its names may have a prefix.
        history_length: its MAX_ITEM_LIST_LENGTH. It decides the length of the padding.

    Raises:
        CheckpointError: `history_length` is missing, or the weights don't fit together.
    """
    source = "the state_dict"
    weights = find_weights(dict(state_dict), source)
    if weights.naming is not AUTHORS:
        raise CheckpointError(f"{source} is of recblr's own model: load it into recblr.model.RecBLR")
    return import_weights(weights, history_length, source)


def import_weights(weights: Weights, history_length: int | None, source: str) -> RecBLR:
    """As `import_state_dict`, of weights already found; `source` is what messages begin with."""
    if history_length is None:
        raise CheckpointError(
            f"{source} does not tell the authors' MAX_ITEM_LIST_LENGTH, on which results depend: give it with "
            "--history-length (the paper uses 200 for ML-1M, 50 for the Amazon sets)"
        )
    if not isinstance(history_length, int) or not 1 <= history_length < 2**31:
        raise CheckpointError(
            f"history length {shown(history_length)} is not possible: give MAX_ITEM_LIST_LENGTH, 1 or more"
        )
    config = dataclasses.replace(config_of(weights, source), initial_state=True)
    values = float32_values(weights, source)
    values["initial_h"] = torch.stack(
        [_padded_state(values, f"blocks.{n}.recurrent.", history_length) for n in range(config.layers)]
    )
    return build_model(config, values)


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
