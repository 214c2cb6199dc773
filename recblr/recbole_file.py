"""Reading checkpoints as RecBole saves them: without RecBole, and without running anything in them.

Such a file is a zip archive of a pickle and the tensors' bytes. RecBole pickles its own `Config` object, in a pickle
protocol that PyTorch's weights-only loader does not read. Here every class and function that the pickle names becomes
a stand-in that keeps what it is given and does nothing; the tensors are then made from the archive's bytes.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recblr.errors import CheckpointError

_DTYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
}
_EXPECTED_PACKAGES = {"recbole", "yaml", "torch", "numpy", "_codecs"}
_EXPECTED_BUILTINS = {"set", "frozenset", "getattr"}  # getattr: how some Python versions pickle an enum's value


class _StandIn:
    """In place of an object that the file describes."""

    name = ""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class _InertUnpickler(pickle.Unpickler):
    """Gives plain values, dicts and stand-ins; imports nothing, and calls nothing of the file's choice."""

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for whatever is named; a name that RecBole has no use for is refused.

        Refusing adds no safety, as a stand-in does nothing; it tells the user what the file is.
        """
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        expected = (
            module.split(".")[0] in _EXPECTED_PACKAGES
            or (module in ("builtins", "__builtin__") and name in _EXPECTED_BUILTINS)
            or name.split(".")[-1] == "RecBLR"  # the model's class, of whatever module it was in
        )
        if not expected:
            raise _RefusedError(f"{module}.{name}")
        # A class of this file's own, as a pickle may set attributes of what it names.
        return type("_StandIn", (_StandIn,), {"name": f"{module}.{name}"})

    def persistent_load(self, reference: object) -> object:
        """PyTorch's reference to a tensor's bytes, kept as it is."""
        return reference


class _RefusedError(Exception):
    pass


def read_recbole_file(path: Path) -> dict[str, Any]:
    """Read a RecBole checkpoint.

    Returns:
        {"state_dict": tensors by name, "history_length": MAX_ITEM_LIST_LENGTH, None where its settings don't say}.

    Raises:
        CheckpointError: unreadable, no such checkpoint, or it names code that has no place in one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (entry,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            content = _InertUnpickler(io.BytesIO(archive.read(entry))).load()
            if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
                raise CheckpointError(f"{path} holds no state_dict: give a checkpoint of the authors' implementation")
            folder = entry.removesuffix("data.pkl") + "data/"
            state_dict = {name: _tensor(archive, folder, value) for name, value in content["state_dict"].items()}
    except CheckpointError:
        raise
    except _RefusedError as error:
        raise CheckpointError(
            f"{path} wants to run {error}, which no RecBLR checkpoint needs: refused, and nothing in it was run; "
            "if you trust its origin, save torch.save(model.state_dict(), ...) there and give that"
        ) from None
    except Exception as error:  # whatever a damaged archive provokes
        raise CheckpointError(
            f"{path} is no model file, or a damaged one: give a model.pt of recblr-train or a checkpoint of the "
            "authors' implementation"
        ) from error
    settings = getattr(content.get("config"), "final_config_dict", None)
    length = settings.get("MAX_ITEM_LIST_LENGTH") if isinstance(settings, dict) else None
    return {"state_dict": state_dict, "history_length": length}


def _tensor(archive: zipfile.ZipFile, folder: str, value: object) -> Tensor:
    """The tensor that a stand-in for `torch._utils._rebuild_tensor_v2(...)` describes."""
    if not isinstance(value, _StandIn) or value.name != "torch._utils._rebuild_tensor_v2":
        raise ValueError("its state_dict holds other things than tensors")
    (_, storage, key, *_), offset, size, stride, *_ = value.arguments
    content = bytearray(archive.read(f"{folder}{key}"))
    return torch.frombuffer(content, dtype=_DTYPES[storage.name]).as_strided(size, stride, offset)
