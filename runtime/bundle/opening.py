"""Opens bundles, the folders that export writes. All is verified before anything in a bundle is used.

bundle/
  manifest.json      what the model is, its limits, where it came from; a size and a hash for every other file
  model.onnx         the graph; `recblr.runtime.Backend` describes its inputs and outputs
  model.onnx.data    the items' embedding, only where it is too large for model.onnx: its external data
  items.json         the item vocabulary with popularity
  initial_state.npy  float32 [S], the state of a user of whom nothing is known
  model.plan         only where TensorRT compiled the model; `recblr.runtime.bundle.plan_section` describes its entry
  librecblr_plugins.so  the plugins that the plan needs, with it
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recblr.array_types import StateArray, WeightArray
from recblr.errors import BundleError, ConfigError
from recblr.runtime.bundle.external_data import external_files
from recblr.runtime.bundle.manifest import (
    COPY_AGAIN,
    FORMAT,
    INITIAL_STATE_FILE,
    ITEMS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    Manifest,
    file_entry,
    read_json,
    read_manifest,
)
from recblr.runtime.bundle.plan_section import PlanSection
from recblr.runtime.bundle.weights import read_weight
from recblr.vocabulary import ItemVocabulary


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle.

    Attributes:
        path: the bundle's folder.
        manifest: what the bundle says of itself.
        vocabulary: item ids and popularity.
        initial_state: float32 [S], the state of a user of whom nothing is known; read-only.
    """

    path: Path
    manifest: Manifest
    vocabulary: ItemVocabulary
    initial_state: StateArray

    @property
    def model_path(self) -> Path:
        """The path of the ONNX file."""
        return self.path / MODEL_FILE

    @property
    def plan(self) -> PlanSection | None:
        """What the manifest says of the TensorRT plan; None in a bundle without one."""
        return None if self.manifest.plan is None else PlanSection.from_dict(self.manifest.plan)

    def weight(self, name: str) -> WeightArray:
        """One of the model's parameters, by its name in PyTorch.

        Returns:
            float32 of its shape, read-only; it stays in its file, and processes share its memory.

        Raises:
            BundleError: the manifest has none of this name, or its file cannot be read any more.
        """
        place = self.manifest.weights.get(name)
        if place is None:
            raise BundleError(f"{self.path / MANIFEST_FILE} has no weight {name}: export the bundle again")
        try:
            return read_weight(self.path, place)
        except (OSError, ValueError) as error:
            raise BundleError(f"{self.path / place['file']} cannot be read ({error}): {COPY_AGAIN}") from error


def is_bundle(path: Path) -> bool:
    """Whether `path` is a folder with a bundle's manifest, be it intact or not."""
    try:
        manifest = json.loads((path / MANIFEST_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def open_bundle(path: str | Path) -> Bundle:
    """Verify and read a bundle.

    The manifest's checksum and the size and hash of every file are checked before anything else is used, and that the
    graph's file has no data in any other.

    Args:
        path: the folder, or a file in it, such as its model.onnx.

    Raises:
        BundleError: no bundle, or one of another format version, incomplete or altered; the message says
            what does not match.
    """
    path = Path(path)
    folder = path.parent if path.is_file() else path
    if not folder.is_dir():
        raise BundleError(f"{path} does not exist: give the folder that recblr-export wrote")
    if path != folder and not (folder / MANIFEST_FILE).exists():
        raise BundleError(f"{path} is no bundle, nor a file of one: give the folder that recblr-export wrote")
    manifest = read_manifest(folder)
    if path != folder and path.name not in {MANIFEST_FILE, *manifest.files}:
        raise BundleError(f"{path} is not one of the files of the bundle beside it: give its folder, {folder}")
    for name, entry in manifest.files.items():
        _verify_file(folder / name, entry)
    _verify_external_data(folder / MODEL_FILE, manifest)
    return Bundle(folder, manifest, _read_vocabulary(folder, manifest), _read_initial_state(folder, manifest))


def _verify_file(path: Path, entry: dict[str, Any]) -> None:
    try:
        size = path.stat().st_size
        if size != entry["bytes"]:
            raise BundleError(f"{path} has {size:,} bytes, its manifest says {entry['bytes']:,}: {COPY_AGAIN}")
        digest = file_entry(path)["sha256"]
    except FileNotFoundError as error:
        raise BundleError(f"{path} is missing: {COPY_AGAIN}") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    if digest != entry["sha256"]:
        raise BundleError(
            f"{path} was altered, its sha256 is {digest[:12]}... and its manifest says "
            f"{entry['sha256'][:12]}...: {COPY_AGAIN}"
        )


def _verify_external_data(path: Path, manifest: Manifest) -> None:
    """Whatever the graph's file has a tensor read from must be the bundle's own, and verified."""
    try:
        unlisted = external_files(path) - manifest.files.keys()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BundleError(f"{path} is damaged, {error}: {COPY_AGAIN}") from error
    if unlisted:
        raise BundleError(f"{path} has data in {min(unlisted)}, which its manifest does not list: {COPY_AGAIN}")


def _read_vocabulary(folder: Path, manifest: Manifest) -> ItemVocabulary:
    path = folder / ITEMS_FILE
    try:
        vocabulary = ItemVocabulary.from_json(read_json(path))
    except ConfigError as error:
        raise BundleError(f"{path}: {error}; {COPY_AGAIN}") from error
    if vocabulary.n_items != manifest.n_items:
        raise BundleError(
            f"{path} holds {vocabulary.n_items} items, its manifest says {manifest.n_items}: {COPY_AGAIN}"
        )
    return vocabulary


def _read_initial_state(folder: Path, manifest: Manifest) -> StateArray:
    path = folder / INITIAL_STATE_FILE
    try:
        state = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(f"{path} is no NumPy array: {COPY_AGAIN}") from error
    if not isinstance(state, np.ndarray) or state.dtype != np.float32 or state.shape != (manifest.state_size,):
        what = f"{state.dtype} {state.shape}" if isinstance(state, np.ndarray) else "an archive"
        raise BundleError(f"{path} is {what}, not float32 ({manifest.state_size},): {COPY_AGAIN}")
    if not np.isfinite(state).all():
        raise BundleError(f"{path} holds values that are not finite: {COPY_AGAIN}")
    if state[-manifest.dim :].any():
        raise BundleError(f"{path} ends in a query vector that is not zero, as a new user's is: export it again")
    state.flags.writeable = False
    return state
