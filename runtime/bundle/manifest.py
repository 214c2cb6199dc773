"""A bundle's manifest.json: what the bundle says of itself, and the size and hash of every other file in it."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from recblr.errors import BundleError, ConfigError
from recblr.files import write_text
from recblr.runtime.bundle.plan_section import PlanSection
from recblr.runtime.bundle.weights import EMBEDDING, check_weights

FORMAT = "recblr-bundle"
FORMAT_VERSION = 2
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
        model: the model's settings; `dim` is D, `norm_epsilon` that of all layer norms.
        precision: of the weights, such as "fp32".
        state_size: S.
        n_items: V.
        max_k: the most results per row that the graph gives.
        weights: where each parameter is, by its name in PyTorch; see `recblr.runtime.bundle.weights`.
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
    weights: dict[str, dict[str, Any]]
    onnx: dict[str, Any]
    versions: dict[str, Any]
    files: dict[str, dict[str, Any]]
    parity: dict[str, Any]
    metrics: dict[str, Any]
    data: dict[str, Any]
    plan: dict[str, Any] | None = None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Manifest:
        """From the fields of a manifest.json that was checked."""
        values: dict[str, Any] = {field.name: content.get(field.name) for field in fields(cls)}
        return cls(**values)

    @property
    def dim(self) -> int:
        """D: the last D entries of a state are the row's query vector."""
        dim: int = self.model["dim"]
        return dim

    @property
    def norm_epsilon(self) -> float:
        """What all layer norms add to the variance."""
        epsilon: float = self.model["norm_epsilon"]
        return epsilon


def file_entry(path: Path) -> dict[str, Any]:
    """A file's entry in the manifest: {"sha256": hex, "bytes": size}.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return {"sha256": digest.hexdigest(), "bytes": file.tell()}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `folder`'s manifest.json, with format, version and checksum.

    Raises:
        BundleError: a field that no reader would accept.
        OutputError: it cannot be written.
    """
    try:  # through JSON, so that what is checked is what a reader will see
        content = json.loads(json.dumps(vars(manifest), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BundleError(f"the manifest holds what JSON cannot ({error}): leave it out") from error
    content = {"format": FORMAT, "format_version": FORMAT_VERSION, **content}
    _check_manifest(content, folder / MANIFEST_FILE)
    write_content(folder, content)


def write_content(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `folder`'s manifest.json as JSON of these fields, unchecked, with its checksum.

    Raises:
        OutputError: it cannot be written.
    """
    others = {name: value for name, value in content.items() if name != "checksum"}
    text = json.dumps({**others, "checksum": ""}, indent=2, ensure_ascii=False, allow_nan=False)
    body = text[: text.rindex('"checksum"')]
    write_text(folder / MANIFEST_FILE, body + _checksum_line(body.encode()).decode())


def _checksum_line(body: bytes) -> bytes:
    """How a manifest ends: the sha256 of all bytes before this, and the end of the JSON object.

    Over the bytes, so that no reader has to write JSON as another does.
    """
    return b'"checksum": "%s"\n}\n' % hashlib.sha256(body).hexdigest().encode()


def _check_manifest(content: Mapping[str, Any], path: Path) -> None:
    values = {field.name: content.get(field.name) for field in fields(Manifest)}
    for name, value in values.items():
        if name in _OPTIONAL and value is None:
            continue
        is_valid = _is_count(value) if name in _COUNTS else isinstance(value, str if name in _TEXTS else dict)
        if not is_valid:
            raise BundleError(f"{path}: {name} is missing or malformed ({value!r:.60}): {COPY_AGAIN}")
    _check_fields(Manifest.from_json(content), path)


def check_plan(manifest: Manifest, path: Path) -> None:
    """Check what a manifest says of a TensorRT plan, which the core does not look at.

    Raises:
        BundleError: it is malformed, or the plan's files are not listed.
    """
    if manifest.plan is None:
        return
    try:
        plan = PlanSection.from_dict(manifest.plan)
    except ConfigError as error:
        raise BundleError(f"{path}: {error}: {COPY_AGAIN}") from error
    missing = {plan.file, plan.plugin_library} - manifest.files.keys()
    if missing:
        raise BundleError(f"{path} does not list {', '.join(sorted(missing))}: {COPY_AGAIN}")


def _is_count(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_fields(manifest: Manifest, path: Path) -> None:
    dim = manifest.model.get("dim")
    if not _is_count(dim) or manifest.dim > manifest.state_size:
        raise BundleError(f"{path}: model dim is {dim!r} with state_size {manifest.state_size}: {COPY_AGAIN}")
    epsilon = manifest.model.get("norm_epsilon")
    if not isinstance(epsilon, float) or not 0 < epsilon < math.inf:
        raise BundleError(f"{path}: model norm_epsilon is missing or malformed ({epsilon!r:.60}): {COPY_AGAIN}")
    needed = {MODEL_FILE, ITEMS_FILE, INITIAL_STATE_FILE}
    missing = needed - manifest.files.keys()
    if missing:
        raise BundleError(f"{path} does not list {', '.join(sorted(missing))}: {COPY_AGAIN}")
    check_plan(manifest, path)
    for name, entry in manifest.files.items():
        if not _FILE_NAME.fullmatch(name):
            raise BundleError(f"{path}: {name!r} is not a plain file name: {COPY_AGAIN}")
        digest, size = (entry.get("sha256"), entry.get("bytes")) if isinstance(entry, dict) else (None, None)
        if not (isinstance(digest, str) and _SHA256.fullmatch(digest) and _is_count(size, 0)):
            raise BundleError(f"{path}: no sha256 and size of {name}: {COPY_AGAIN}")
    try:
        check_weights(manifest.weights, {name: entry["bytes"] for name, entry in manifest.files.items()})
    except ValueError as error:
        raise BundleError(f"{path}: {error}: {COPY_AGAIN}") from error
    shape = manifest.weights.get(EMBEDDING, {}).get("shape")
    if shape != [manifest.n_items + 1, manifest.dim]:
        raise BundleError(
            f"{path}: {EMBEDDING} has shape {shape}, not that of {manifest.n_items} items x {manifest.dim}: "
            f"{COPY_AGAIN}"
        )
