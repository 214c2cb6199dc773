"""Building a model of found weights, whose shapes tell its settings."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
import torch
from torch import Tensor

from recblr.config import RecBLRConfig
from recblr.errors import CheckpointError, ConfigError
from recblr.model import RecBLR
from recblr.state_dicts import Weights, shown_name


def config_of(weights: Weights, source: str) -> RecBLRConfig:
    """The settings that the shapes tell, each by majority, so that one wrong shape is the one that is named.

    The dropout, which they don't tell, is 0.

    Raises:
        CheckpointError: a weight has another shape than the others imply.
    """
    votes: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for name, tensor in weights.tensors.items():
        symbols = weights.naming.symbolic_shape(name)
        for symbol, size in zip(symbols, tensor.shape, strict=False) if len(symbols) == tensor.ndim else ():
            factor, letter = _factor_and_letter(symbol)
            if letter and size % factor == 0:
                votes[letter][size // factor] += 1
    sizes = {letter: counter.most_common(1)[0][0] for letter, counter in votes.items()}
    _check_shapes(weights, {**sizes, "L": weights.layers}, source)
    if 0 in sizes.values():
        raise CheckpointError(f"{source} holds weights without elements: another model, or damaged")
    expansion = sizes["H"] / sizes["D"]
    if int(expansion * sizes["D"]) != sizes["H"]:  # the quotient was rounded down
        expansion = float(np.nextafter(expansion, np.inf))
    try:
        return RecBLRConfig(
            n_items=sizes["V+1"] - 1,
            dim=sizes["D"],
            layers=weights.layers,
            expansion=expansion,
            conv_width=sizes["K"],
            dropout=0.0,
            initial_state="initial_h" in weights.tensors,
        )
    except ConfigError as error:
        raise CheckpointError(f"{source} holds weights of no possible model: {error}") from error


def check_config(weights: Weights, config: RecBLRConfig, source: str) -> None:
    """Check shapes against known settings, before memory is taken for these.

    Raises:
        CheckpointError: a weight has another shape, or there are more layers or fewer.
    """
    if (weights.layers, "initial_h" in weights.tensors) != (config.layers, config.initial_state):
        raise CheckpointError(f"{source} has weights of {weights.layers} layers for settings of {config.layers}")
    sizes = {
        "V+1": config.n_items + 1,
        "D": config.dim,
        "H": config.inner_dim,
        "K": config.conv_width,
        "L": config.layers,
    }
    _check_shapes(weights, sizes, source)


def float32_values(weights: Weights, source: str) -> dict[str, Tensor]:
    """The weights by this package's names, in its shapes, as float32.

    Raises:
        CheckpointError: one has values that are not finite.
    """
    values = {}
    for name, tensor in weights.tensors.items():
        value = tensor.detach().to(device="cpu", dtype=torch.float32)
        if not value.isfinite().all():
            raise CheckpointError(
                f"{source} has values in {shown_name(weights.keys[name])} that are not finite in float32: training "
                "diverged, or the file is damaged"
            )
        without_ones = [symbol != "1" for symbol in weights.naming.symbolic_shape(name)]
        values[name] = value.reshape([n for n, keep in zip(value.shape, without_ones, strict=True) if keep])
    return values


def build_model(config: RecBLRConfig, values: dict[str, Tensor]) -> RecBLR:
    """The model with these weights, on the CPU, ready for inference."""
    model = RecBLR(config).eval()
    model.load_state_dict(values)
    return model


def _check_shapes(weights: Weights, sizes: dict[str, int], source: str) -> None:
    for name, tensor in weights.tensors.items():
        parts = [(symbol, *_factor_and_letter(symbol)) for symbol in weights.naming.symbolic_shape(name)]
        known = {"": 1, **sizes}
        expected = [factor * known[letter] if letter in known else symbol for symbol, factor, letter in parts]
        if list(tensor.shape) != expected:
            raise CheckpointError(
                f"{source} has {shown_name(weights.keys[name])} of shape {list(tensor.shape)}, expected "
                f"[{', '.join(map(str, expected))}]: another model, or damaged"
            )


def _factor_and_letter(symbol: str) -> tuple[int, str]:
    """("2H") to 2 and H; a number alone has the letter ""."""
    match = re.fullmatch(r"(\d*)(.*)", symbol)
    assert match is not None
    return int(match[1] or 1), match[2]
