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
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from recblr.array_types import ItemId, ItemsArray, StateArray
from recblr.errors import ConfigError, RequestError, shown
from recblr.item_ids import IdType
from recblr.runtime import _core
from recblr.runtime.arguments import check_whole
from recblr.runtime.bundle.manifest import FORMAT, MANIFEST_FILE, MODEL_FILE, Manifest, check_plan
from recblr.runtime.bundle.plan_section import PlanSection


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle, as `open_bundle` gives it. What later happens to its files changes nothing of it.

    Attributes:
        core: the bundle in the library, with its vocabulary and weights.
        path: the bundle's folder.
        manifest: what the bundle says of itself.
        initial_state: float32 [S], the state of a user of whom nothing is known; read-only.
    """

    core: _core.Bundle
    path: Path
    manifest: Manifest
    initial_state: StateArray

    @property
    def n_items(self) -> int:
        """V, how many items there are."""
        return self.manifest.n_items

    @property
    def state_size(self) -> int:
        """S, the size of a state."""
        return self.manifest.state_size

    @property
    def id_type(self) -> IdType:
        """The type of the item ids, "integer" or "string"."""
        return self.core.id_type

    @property
    def model_path(self) -> Path:
        """The path of the ONNX file."""
        return self.path / MODEL_FILE

    @property
    def plan(self) -> PlanSection | None:
        """What the manifest says of the TensorRT plan; None in a bundle without one."""
        return None if self.manifest.plan is None else PlanSection.from_dict(self.manifest.plan)

    def indices(self, item_ids: Sequence[object]) -> ItemsArray:
        """int32 [n] the model's indices of the item ids that it knows, in order.

        Raises:
            RequestError: it knows none, and one can be no id of this model.
        """
        found: ItemsArray = self.core.encode([item_ids], "item_ids")[0]
        return found

    def item(self, index: int) -> ItemId:
        """The item id of one of the model's indices, 1..V.

        Raises:
            RequestError: `index` is none of these.
        """
        advice = f"a whole number from 1 to {self.n_items}"
        return self.core.item(check_whole(index, "index", advice, least=1, most=self.n_items, error=RequestError))

    def item_ids(self) -> list[ItemId]:
        """[V] all item ids, in order of the model's indices; made anew at each call."""
        return self.core.items()


def is_bundle(path: Path) -> bool:
    """Whether `path` is a folder with a bundle's manifest, be it intact or not."""
    try:
        manifest = json.loads((path / MANIFEST_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


def open_bundle(path: str | PathLike[str]) -> Bundle:
    """Verify and read a bundle.

    The manifest's checksum and the size and hash of every file are checked before anything else is used.

    Args:
        path: the folder, or a file in it, such as its model.onnx.

    Raises:
        BundleError: no bundle, or one of another format version, incomplete or altered; the message says
            what does not match.
        ConfigError: `path` is no path.
    """
    if not isinstance(path, str | PathLike):
        raise ConfigError(f"path is {shown(path)}: give the folder of a bundle")
    core = _core.Bundle(path)
    folder, manifest = Path(core.path), Manifest.from_json(json.loads(core.manifest))
    check_plan(manifest, folder / MANIFEST_FILE)
    initial_state = core.initial_state()
    initial_state.flags.writeable = False
    return Bundle(core, folder, manifest, initial_state)
