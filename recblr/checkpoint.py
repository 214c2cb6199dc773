"""Trained models as files: settings, weights, item vocabulary, and where they came from.

A file holds tensors and plain values only. Others' files are read, too; all of them as data: no code in them ever runs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import recblr
from recblr.authors import import_weights
from recblr.config import RecBLRConfig
from recblr.errors import CheckpointError, short_reason
from recblr.files import replacing
from recblr.interrupts import deferred_interrupts
from recblr.model import RecBLR
from recblr.safetensors_file import is_safetensors, read_safetensors
from recblr.state_dicts import find_history_length, find_weights, shown_name, weights_of
from recblr.torch_file import check_expansion, read_torch_file
from recblr.vocabulary import ItemVocabulary
from recblr.weight_names import AUTHORS, OURS
from recblr.weights_model import build_model, check_config, config_of, float32_values

FORMAT = "recblr-model"
FORMAT_VERSION = 1


def _versions() -> dict[str, str]:
    return {"recblr": recblr.__version__, "torch": str(torch.__version__), "numpy": np.__version__}


@dataclass
class Checkpoint:
    """A model with what is needed to use it and to know where it came from.

    Attributes:
        model: on the CPU.
        vocabulary: the user's item ids in order of the model's indices, with their popularity.
        data: how the training data was read, filtered and split, and its fingerprint; empty for imported models.
        training: settings of the run, the best epoch.
        metrics: {"validation": {...}, "test": {...}}, as far as measured.
        versions: of the software that wrote the file.
    """

    model: RecBLR
    vocabulary: ItemVocabulary
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=_versions)

    def fingerprint(self) -> str:
        """Names this model: "sha256:" over settings, weights and item ids. States belong to one fingerprint."""
        digest = hashlib.sha256()
        digest.update(json.dumps(self.model.config.to_dict(), sort_keys=True).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().reshape(-1))
        digest.update(json.dumps(list(self.vocabulary.ids)).encode())
        return f"sha256:{digest.hexdigest()}"

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "config": self.model.config.to_dict(),
            "state_dict": {name: tensor.detach().cpu() for name, tensor in self.model.state_dict().items()},
            "items": self.vocabulary.to_json(),
            "data": self.data,
            "training": self.training,
            "metrics": self.metrics,
            "versions": self.versions,
        }
        save_tensors(content, path)


def save_tensors(content: dict[str, Any], path: Path) -> None:
    """`torch.save` to `path`, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with deferred_interrupts(), replacing(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # PyTorch's zip writer fails once more, over what the system said
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_tensors(path: Path) -> Any:
    """What a file of `torch.save` or a .safetensors file holds, read as data: no code in it runs.

    Returns:
        Plain values, tensors on the CPU, and stand-ins for objects of other classes.

    Raises:
        CheckpointError: missing, unreadable, truncated, or it names code that has no place in a checkpoint.
    """
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path} is no regular file: give a model file")
        is_safe = is_safetensors(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist: check the path") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}): check the path") from error
    return read_safetensors(path) if is_safe else read_torch_file(path)


def load_checkpoint(
    path: Path, *, history_length: int | None = None, item_ids: list[int] | list[str] | None = None
) -> Checkpoint:
    """Read a model: one of recblr-train, or weights of the authors' implementation or of this package's `RecBLR`.

    Weights may be a state_dict, a pickled module, or one of them in a dict as RecBole, Lightning and training scripts
    save it; all names may have one prefix, as from DataParallel or torch.compile.

    Args:
        path: a file of `torch.save`, or .safetensors.
        history_length: the authors' MAX_ITEM_LIST_LENGTH, where the file's settings do not tell it.
        item_ids: for a checkpoint without a vocabulary, the user's ids of embedding rows 1, 2, ...; without it item
            ids are the row numbers.

    Raises:
        CheckpointError: no readable model, several that differ, or what it cannot tell was not given.
        MissingExtraError: a .safetensors file, and that package is not installed.
    """
    content = load_tensors(path)
    file_format = content.get("format") if isinstance(content, dict) else None
    if isinstance(file_format, str) and file_format == FORMAT:
        if history_length is not None or item_ids is not None:
            raise CheckpointError(
                f"{path} is a recblr model, which holds its settings and item ids: leave those options out"
            )
        return _from_content(path, content)
    if isinstance(file_format, str) and file_format.startswith("recblr-"):
        raise CheckpointError(f"{path} is a {shown_name(file_format)} file, no model: give a model.pt of recblr-train")
    weights = find_weights(content, str(path))
    check_expansion(sum(tensor.numel() * 4 for tensor in weights.tensors.values()), path)
    if weights.naming is AUTHORS:
        model = import_weights(weights, _history_length(path, content, history_length), str(path))
    elif history_length is not None:
        raise CheckpointError(f"{path} holds recblr's own model, which has no history length: leave the option out")
    else:
        config = config_of(weights, str(path))
        model = build_model(config, float32_values(weights, str(path)))
    n_items = model.config.n_items
    if item_ids is not None and len(item_ids) != n_items:
        raise CheckpointError(
            f"{len(item_ids)} item ids for the {n_items} items of {path}: give one per embedding row from row 1"
        )
    ids = item_ids if item_ids is not None else list(range(1, n_items + 1))
    return Checkpoint(
        model=model,
        vocabulary=ItemVocabulary(ids, np.zeros(n_items, dtype=np.int64)),
        training={"imported": "authors' implementation" if weights.naming is AUTHORS else "weights alone"},
    )


def _history_length(path: Path, content: object, given: int | None) -> int | None:
    known = find_history_length(content)
    if None not in (known, given) and known != given:
        raise CheckpointError(f"{path} was trained with a history length of {known}, not {given}: leave the option out")
    return known if given is None else given


def _from_content(path: Path, content: dict[str, Any]) -> Checkpoint:
    version = content.get("format_version")
    if not isinstance(version, int) or version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {shown_name(version)}, this recblr reads {FORMAT_VERSION}: upgrade recblr"
        )
    try:
        config = RecBLRConfig.from_dict(content["config"])
        weights = weights_of(content["state_dict"], OURS, [""], str(path))
        check_config(weights, config, str(path))
        check_expansion(sum(tensor.numel() * 4 for tensor in weights.tensors.values()), path)
        vocabulary = ItemVocabulary.from_json(content["items"])
        checkpoint = Checkpoint(
            model=build_model(config, float32_values(weights, str(path))),
            vocabulary=vocabulary,
            **{key: _dict(content[key]) for key in ("data", "training", "metrics", "versions")},
        )
    except (KeyError, RuntimeError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({short_reason(error)}): train or copy it again") from error
    if vocabulary.n_items != config.n_items:
        raise CheckpointError(
            f"{path} is damaged: {vocabulary.n_items} item ids for {config.n_items} items; train or copy it again"
        )
    return checkpoint


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"a {type(value).__name__} instead of a dict")
    return value
