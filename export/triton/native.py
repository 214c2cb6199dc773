"""A model repository for Triton Inference Server with recblr's own backend, from a bundle.

DIR/
  README.md                how to serve and ask it
  recblr/config.pbtxt      without inputs and outputs, which the backend completes
  recblr/1/                the bundle
  recblr/warmup/item_ids   a raw input of the warm-up requests
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from recblr.export.triton.repository import MARK, MODEL_NAME, REPOSITORY_KIND, filled, is_repository, template
from recblr.files import check_not_input, replacing_directory, write_text
from recblr.runtime import load
from recblr.runtime.bundle.manifest import MANIFEST_FILE
from recblr.runtime.bundle.opening import Bundle, open_bundle

_WARMUP_ITEMS = 16
_WARMUP_REQUESTS = 64  # as many as the backend merges into one run


def write_native_repository(bundle_path: str | Path, directory: str | Path) -> None:
    """Write a model repository, whole or not at all.

    Args:
        bundle_path: the model.
        directory: to make; a repository that recblr-export wrote is replaced, anything else is left alone.

    Raises:
        BundleError: `bundle_path` is not a bundle.
        ConfigError: it is one that recblr's own kernels cannot run.
        OutputError: `directory` holds something else, the bundle included, or cannot be written.
    """
    bundle = open_bundle(bundle_path)
    load(bundle.path, threads=1, backend="native").close()
    directory = Path(directory).resolve()
    check_not_input(directory, [bundle.path])
    with replacing_directory(directory, is_repository, REPOSITORY_KIND) as root:
        folder = root / MODEL_NAME
        for name in ("1", "warmup"):
            (folder / name).mkdir(parents=True)
        for name in (MANIFEST_FILE, *bundle.manifest.files):
            shutil.copyfile(bundle.path / name, folder / "1" / name)
        (folder / "warmup" / "item_ids").write_bytes(_warmup_ids(bundle))
        values = _values(bundle)
        write_text(folder / "config.pbtxt", filled("native_config.pbtxt", values))
        write_text(root / "README.md", filled("native_README.md", values))


def _warmup_ids(bundle: Bundle) -> bytes:
    """A history as raw tensor: integers of 64 bits, or strings each behind its length."""
    ids = bundle.item_ids()
    history = [ids[j % len(ids)] for j in range(_WARMUP_ITEMS)]
    if bundle.id_type == "integer":
        return np.array(history, "<i8").tobytes()
    texts = [str(item_id).encode() for item_id in history]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def _values(bundle: Bundle) -> dict[str, object]:
    """The values of the templates' placeholders."""
    datatype, config_type = ("INT64", "TYPE_INT64") if bundle.id_type == "integer" else ("BYTES", "TYPE_STRING")
    values: dict[str, object] = {
        "mark": MARK,
        "name": MODEL_NAME,
        "fingerprint": bundle.manifest.fingerprint,
        "datatype": datatype,
        "config_type": config_type,
        "state_size": bundle.manifest.state_size,
        "n_items": f"{bundle.manifest.n_items:,}",
        "warmup_items": _WARMUP_ITEMS,
        "warmup_requests": _WARMUP_REQUESTS,
    }
    values["client"] = template("native_client.py").replace('"DATATYPE"', f'"{datatype}"').rstrip()
    return values
