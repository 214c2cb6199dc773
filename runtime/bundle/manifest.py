"""A bundle's manifest.json: what the bundle says of itself, and the size and hash of every other file in it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from recblr.errors import BundleError, ConfigError
from recblr.files import write_json
from recblr.runtime.bundle.plan_section import PlanSection

FORMAT = "recblr-bundle"
FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
MODEL_DATA_FILE = "model.onnx.data"
ITEMS_FILE = "items.json"
INITIAL_STATE_FILE = "initial_state.npy"

_COUNTS = {"state_size", "n_items", "max_k"}
_TEXTS = {"created", "fingerprint", "precision"}
_OPTIONAL = {"plan"}

COPY_AGAIN = "copy the bundle again, or export it again"
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
        plan: of the TensorRT plan, as `PlanSection.to_dict` gives it; None in a bundle without one.
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
    plan: dict[str, Any] | None = None

    @property
    def dim(self) -> int:
        """D: the last D entries of a state are the row's query vector."""
        dim: int = self.model["dim"]
        return dim


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


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the bundle in a folder, its checksum verified.

    Raises:
        BundleError: there is none, or one of another format version, altered or malformed.
    """
    return _parse_manifest(read_json(folder / MANIFEST_FILE), folder)


def read_json(path: Path) -> Any:
    """What a JSON file of a bundle holds.

    Raises:
        BundleError: it is missing, cannot be read, or holds no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        if path.name == MANIFEST_FILE:
            advice = "give the folder that recblr-export wrote"
            raise BundleError(f"{path.parent} is no bundle, it holds no {path.name}: {advice}") from error
        raise BundleError(f"{path} is missing: {COPY_AGAIN}") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is damaged, it holds no JSON: {COPY_AGAIN}") from error


def _parse_manifest(content: Any, folder: Path) -> Manifest:
    path = folder / MANIFEST_FILE
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise BundleError(f"{path} is not a bundle's manifest: give the folder that recblr-export wrote")
    version = content.get("format_version")
    if not isinstance(version, int):
        raise BundleError(f"{path}: format_version is {version!r:.60}, not a number: {COPY_AGAIN}")
    if version != FORMAT_VERSION:  # before the checksum, which another version may compute otherwise
        advice = "upgrade recblr" if version > FORMAT_VERSION else "export it again"
        raise BundleError(f"{path} has format version {version}, this recblr reads {FORMAT_VERSION}: {advice}")
    if content.get("checksum") != manifest_checksum(content):
        raise BundleError(f"{path} was altered, its checksum does not match: {COPY_AGAIN}")
    values: dict[str, Any] = {field.name: content.get(field.name) for field in fields(Manifest)}
    for name, value in values.items():
        if name in _OPTIONAL and value is None:
            continue
        is_valid = _is_count(value) if name in _COUNTS else isinstance(value, str if name in _TEXTS else dict)
        if not is_valid:
            raise BundleError(f"{path}: {name} is missing or malformed ({value!r:.60}): {COPY_AGAIN}")
    manifest = Manifest(**values)
    _check_manifest(manifest, path)
    return manifest


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check_manifest(manifest: Manifest, path: Path) -> None:
    dim = manifest.model.get("dim")
    if not _is_count(dim) or manifest.dim > manifest.state_size:
        raise BundleError(f"{path}: model dim is {dim!r} with state_size {manifest.state_size}: {COPY_AGAIN}")
    needed = {MODEL_FILE, ITEMS_FILE, INITIAL_STATE_FILE}
    if manifest.plan is not None:
        try:
            plan = PlanSection.from_dict(manifest.plan)
        except ConfigError as error:
            raise BundleError(f"{path}: {error}: {COPY_AGAIN}") from error
        needed |= {plan.file, plan.plugin_library}
    missing = needed - manifest.files.keys()
    if missing:
        raise BundleError(f"{path} does not list {', '.join(sorted(missing))}: {COPY_AGAIN}")
    for name, entry in manifest.files.items():
        if not _FILE_NAME.fullmatch(name):
            raise BundleError(f"{path}: {name!r} is not a plain file name: {COPY_AGAIN}")
        digest, size = (entry.get("sha256"), entry.get("bytes")) if isinstance(entry, dict) else (None, None)
        if not (isinstance(digest, str) and _SHA256.fullmatch(digest) and isinstance(size, int)):
            raise BundleError(f"{path}: no sha256 and size of {name}: {COPY_AGAIN}")
