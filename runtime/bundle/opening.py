"""Bundles: the folder that export writes and every engine opens, verified before anything in it is used.

bundle/
  manifest.json      what the model is, its limits, where it came from; a size and a hash for every other file
  model.onnx         the graph; `recblr.runtime.Backend` describes its inputs and outputs
  model.onnx.data    the items' embedding, only where it is too large for model.onnx: its external data
  items.json         the item vocabulary with popularity
  initial_state.npy  float32 [S], the state of a user of whom nothing is known
  model.engine       only where a TensorRT engine was built; `recblr.runtime.bundle.plan_section` describes its entry
  librecblr_plugins.so  the plugins that the engine needs, with it
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float32

from recblr.errors import BundleError, ConfigError
from recblr.files import write_json
from recblr.runtime.bundle.external_data import external_files
from recblr.runtime.bundle.plan_section import EngineSection
from recblr.vocabulary import ItemVocabulary

FORMAT = "recblr-bundle"
FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
MODEL_DATA_FILE = "model.onnx.data"
ITEMS_FILE = "items.json"
INITIAL_STATE_FILE = "initial_state.npy"

_COUNTS = {"state_size", "n_items", "max_k"}
_TEXTS = {"created", "fingerprint", "precision"}
_OPTIONAL = {"engine"}

StateArray: TypeAlias = Float32[np.ndarray, "S"]

_AGAIN = "copy the bundle again, or export it again"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[\w-][\w.-]*")  # no path: a manifest must not reach outside its folder


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle says of itself; the fields are those of manifest.json.

    Attributes:
        created: ISO 8601, UTC.
        fingerprint: "sha256:<hex>" names the model; states belong to one fingerprint.
        model: the model's settings; `dim` is D.
        precision: of the weights, such as "fp32".
        state_size: S.
        n_items: V.
        max_k: the most results per row that the graph gives.
        onnx: {"opset": ...}.
        versions: of the software that wrote the bundle.
        files: name -> {"sha256": hex, "bytes": size}, all files but the manifest.
        parity: how far ONNX Runtime was from PyTorch at export.
        metrics: of the model's evaluation.
        data: where the training data came from.
        engine: of the TensorRT engine, as `EngineSection.to_dict` gives it; None in a bundle without one.
    """

    created: str
    fingerprint: str
    model: dict[str, Any]
    precision: str
    state_size: int
    n_items: int
    max_k: int
    onnx: dict[str, Any]
    versions: dict[str, Any]
    files: dict[str, dict[str, Any]]
    parity: dict[str, Any]
    metrics: dict[str, Any]
    data: dict[str, Any]
    engine: dict[str, Any] | None = None

    @property
    def dim(self) -> int:
        """D: the last D entries of a state are the row's query vector."""
        dim: int = self.model["dim"]
        return dim


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle.

    Attributes:
        path: its folder.
        manifest: what it says of itself.
        vocabulary: item ids and popularity.
        initial_state: [S], read-only.
    """

    path: Path
    manifest: Manifest
    vocabulary: ItemVocabulary
    initial_state: StateArray

    @property
    def model_path(self) -> Path:
        """The ONNX file."""
        return self.path / MODEL_FILE

    @property
    def engine(self) -> EngineSection | None:
        """What the manifest says of the TensorRT engine; None in a bundle without one."""
        return None if self.manifest.engine is None else EngineSection.from_dict(self.manifest.engine)


def is_bundle(path: Path) -> bool:
    """Whether `path` is a folder with a bundle's manifest, be it intact or not."""
    try:
        manifest = json.loads((path / MANIFEST_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def file_entry(path: Path) -> dict[str, Any]:
    """A file's entry in the manifest: {"sha256": hex, "bytes": size}.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return {"sha256": digest.hexdigest(), "bytes": file.tell()}


def manifest_checksum(manifest: Mapping[str, Any]) -> str:
    """sha256 hex of the manifest's canonical JSON, its own "checksum" left out."""
    content = {key: value for key, value in manifest.items() if key != "checksum"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `folder`'s manifest.json, with format, version and checksum.

    Raises:
        BundleError: a field that no reader would accept.
        OutputError: it cannot be written.
    """
    try:  # through JSON, so that the checksum is over what a reader will see
        content = json.loads(json.dumps(vars(manifest), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BundleError(f"the manifest holds what JSON cannot ({error}): leave it out") from error
    content = {"format": FORMAT, "format_version": FORMAT_VERSION, **content}
    content["checksum"] = manifest_checksum(content)
    _parse_manifest(content, folder)
    write_json(folder / MANIFEST_FILE, content)


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
    manifest = _parse_manifest(_read_json(folder / MANIFEST_FILE), folder)
    if path != folder and path.name not in {MANIFEST_FILE, *manifest.files}:
        raise BundleError(f"{path} is not one of the files of the bundle beside it: give its folder, {folder}")
    for name, entry in manifest.files.items():
        _verify_file(folder / name, entry)
    _verify_external_data(folder / MODEL_FILE, manifest)
    return Bundle(folder, manifest, _read_vocabulary(folder, manifest), _read_initial_state(folder, manifest))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.name == MANIFEST_FILE:
            advice = "give the folder that recblr-export wrote"
            raise BundleError(f"{path.parent} is no bundle, it holds no {path.name}: {advice}") from error
        raise BundleError(f"{path} is missing: {_AGAIN}") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is damaged, it holds no JSON: {_AGAIN}") from error


def _parse_manifest(content: Any, folder: Path) -> Manifest:
    path = folder / MANIFEST_FILE
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise BundleError(f"{path} is not a bundle's manifest: give the folder that recblr-export wrote")
    version = content.get("format_version")
    if not isinstance(version, int):
        raise BundleError(f"{path}: format_version is {version!r:.60}, not a number: {_AGAIN}")
    if version != FORMAT_VERSION:  # before the checksum, which another version may compute otherwise
        advice = "upgrade recblr" if version > FORMAT_VERSION else "export it again"
        raise BundleError(f"{path} has format version {version}, this recblr reads {FORMAT_VERSION}: {advice}")
    if content.get("checksum") != manifest_checksum(content):
        raise BundleError(f"{path} was altered, its checksum does not match: {_AGAIN}")
    values: dict[str, Any] = {field.name: content.get(field.name) for field in fields(Manifest)}
    for name, value in values.items():
        if name in _OPTIONAL and value is None:
            continue
        fits = _is_count(value) if name in _COUNTS else isinstance(value, str if name in _TEXTS else dict)
        if not fits:
            raise BundleError(f"{path}: {name} is missing or malformed ({value!r:.60}): {_AGAIN}")
    manifest = Manifest(**values)
    _check_manifest(manifest, path)
    return manifest


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check_manifest(manifest: Manifest, path: Path) -> None:
    dim = manifest.model.get("dim")
    if not _is_count(dim) or manifest.dim > manifest.state_size:
        raise BundleError(f"{path}: model dim is {dim!r} with state_size {manifest.state_size}: {_AGAIN}")
    needed = {MODEL_FILE, ITEMS_FILE, INITIAL_STATE_FILE}
    if manifest.engine is not None:
        try:
            engine = EngineSection.from_dict(manifest.engine)
        except ConfigError as error:
            raise BundleError(f"{path}: {error}: {_AGAIN}") from error
        needed |= {engine.file, engine.plugin_library}
    missing = needed - manifest.files.keys()
    if missing:
        raise BundleError(f"{path} does not list {', '.join(sorted(missing))}: {_AGAIN}")
    for name, entry in manifest.files.items():
        if not _FILE_NAME.fullmatch(name):
            raise BundleError(f"{path}: {name!r} is not a plain file name: {_AGAIN}")
        digest, size = (entry.get("sha256"), entry.get("bytes")) if isinstance(entry, dict) else (None, None)
        if not (isinstance(digest, str) and _SHA256.fullmatch(digest) and isinstance(size, int)):
            raise BundleError(f"{path}: no sha256 and size of {name}: {_AGAIN}")


def _verify_file(path: Path, entry: dict[str, Any]) -> None:
    try:
        size = path.stat().st_size
        if size != entry["bytes"]:
            raise BundleError(f"{path} has {size:,} bytes, its manifest says {entry['bytes']:,}: {_AGAIN}")
        digest = file_entry(path)["sha256"]
    except FileNotFoundError as error:
        raise BundleError(f"{path} is missing: {_AGAIN}") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    if digest != entry["sha256"]:
        raise BundleError(
            f"{path} was altered, its sha256 is {digest[:12]}... and its manifest says "
            f"{entry['sha256'][:12]}...: {_AGAIN}"
        )


def _verify_external_data(path: Path, manifest: Manifest) -> None:
    """Whatever the graph's file has a tensor read from must be the bundle's own, and verified."""
    try:
        unlisted = external_files(path) - manifest.files.keys()
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BundleError(f"{path} is damaged, {error}: {_AGAIN}") from error
    if unlisted:
        raise BundleError(f"{path} has data in {min(unlisted)}, which its manifest does not list: {_AGAIN}")


def _read_vocabulary(folder: Path, manifest: Manifest) -> ItemVocabulary:
    path = folder / ITEMS_FILE
    try:
        vocabulary = ItemVocabulary.from_json(_read_json(path))
    except ConfigError as error:
        raise BundleError(f"{path}: {error}; {_AGAIN}") from error
    if vocabulary.n_items != manifest.n_items:
        raise BundleError(f"{path} holds {vocabulary.n_items} items, its manifest says {manifest.n_items}: {_AGAIN}")
    return vocabulary


def _read_initial_state(folder: Path, manifest: Manifest) -> StateArray:
    path = folder / INITIAL_STATE_FILE
    try:
        state = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(f"{path} is no NumPy array: {_AGAIN}") from error
    if not isinstance(state, np.ndarray) or state.dtype != np.float32 or state.shape != (manifest.state_size,):
        what = f"{state.dtype} {state.shape}" if isinstance(state, np.ndarray) else "an archive"
        raise BundleError(f"{path} is {what}, not float32 ({manifest.state_size},): {_AGAIN}")
    if not np.isfinite(state).all():
        raise BundleError(f"{path} holds values that are not finite: {_AGAIN}")
    if state[-manifest.dim :].any():
        raise BundleError(f"{path} ends in a query vector that is not zero, as a new user's is: export it again")
    state.flags.writeable = False
    return state
