"""Trained models as files: settings, weights, item vocabulary, and where they came from.

A file holds tensors and plain values only, and is read with PyTorch's weights-only loader: no code in it ever runs.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import recblr
from recblr.authors import import_state_dict, is_authors_state_dict
from recblr.config import RecBLRConfig
from recblr.errors import CheckpointError, short_reason
from recblr.files import replacing
from recblr.model import RecBLR
from recblr.recbole_file import read_recbole_file
from recblr.vocabulary import ItemVocabulary

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
    with replacing(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # PyTorch's zip writer fails once more, over what the system said
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_tensors(path: Path) -> Any:
    """`torch.load` of tensors and plain values only; what it refuses must be a file of RecBole's.

    Raises:
        CheckpointError: missing, unreadable, truncated, or holding anything else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what makes it fail, which is handled below
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist: check the path") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}): check the path") from error
    except Exception:  # whatever a damaged or hostile file provokes
        return read_recbole_file(path)


def load_checkpoint(
    path: Path, *, history_length: int | None = None, item_ids: list[int] | list[str] | None = None
) -> Checkpoint:
    """Read a model: one of ours, or one of the authors' implementation (bare state_dict, or as RecBole saves it).

    Args:
        path: the file.
        history_length: the authors' MAX_ITEM_LIST_LENGTH, for a bare state_dict, which does not hold it.
        item_ids: for a checkpoint without a vocabulary, the user's ids of embedding rows 1, 2, ...; without it item
            ids are the row numbers.

    Raises:
        CheckpointError: no readable model, or what it cannot tell was not given.
    """
    content = load_tensors(path)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        if history_length is not None or item_ids is not None:
            raise CheckpointError(
                f"{path} is a recblr model, which holds its settings and item ids: leave those options out"
            )
        return _from_content(path, content)
    if is_authors_state_dict(content):
        content = {"state_dict": content}
    state_dict = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state_dict, dict) or not is_authors_state_dict(state_dict):
        raise CheckpointError(
            f"{path} holds no RecBLR model: give a model.pt of recblr-train or a checkpoint of the authors' "
            "implementation"
        )
    known_length = content.get("history_length")
    if None not in (known_length, history_length) and known_length != history_length:
        raise CheckpointError(
            f"{path} was trained with a history length of {known_length}, not {history_length}: leave the option out"
        )
    model = import_state_dict(state_dict, known_length if history_length is None else history_length)
    n_items = model.config.n_items
    if item_ids is not None and len(item_ids) != n_items:
        raise CheckpointError(
            f"{len(item_ids)} item ids for the {n_items} items of {path}: give one per embedding row from row 1"
        )
    ids = item_ids if item_ids is not None else list(range(1, n_items + 1))
    return Checkpoint(
        model=model,
        vocabulary=ItemVocabulary(ids, np.zeros(n_items, dtype=np.int64)),
        training={"imported": "authors' implementation"},
    )


def _from_content(path: Path, content: dict[str, Any]) -> Checkpoint:
    if content.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {content.get('format_version')!r}, this recblr reads {FORMAT_VERSION}: "
            "upgrade recblr"
        )
    try:
        model = RecBLR(RecBLRConfig.from_dict(content["config"]))
        model.load_state_dict(content["state_dict"])
        vocabulary = ItemVocabulary.from_json(content["items"])
        checkpoint = Checkpoint(
            model=model.eval(),
            vocabulary=vocabulary,
            **{key: content[key] for key in ("data", "training", "metrics", "versions")},
        )
    except (KeyError, RuntimeError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({short_reason(error)}): train or copy it again") from error
    if vocabulary.n_items != model.config.n_items:
        raise CheckpointError(
            f"{path} is damaged: {vocabulary.n_items} item ids for {model.config.n_items} items; train or copy it again"
        )
    return checkpoint
