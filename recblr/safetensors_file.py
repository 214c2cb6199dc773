"""Reading .safetensors files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recblr.errors import CheckpointError, MissingExtraError, short_reason


def is_safetensors(path: Path) -> bool:
    """Whether a file is named as one, or begins with a JSON object after the 8 bytes of its length."""
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def read_safetensors(path: Path) -> dict[str, Any]:
    """All tensors of a file, on the CPU.

    Returns:
        {"state_dict": tensors by name, and what its metadata say, numbers as such}.

    Raises:
        MissingExtraError: the safetensors package is not installed.
        CheckpointError: unreadable or damaged.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtraError(f"safetensors cannot be imported ({error}): pip install 'recblr[train]'") from error
    try:
        with safe_open(path, framework="pt") as file:
            metadata = {name: int(v) if v.isdecimal() else v for name, v in (file.metadata() or {}).items()}
            # Copies, as the file is mapped: it may change later, and be open only for reading.
            return {**metadata, "state_dict": {name: file.get_tensor(name).clone() for name in file.keys()}}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no safetensors file, or a damaged one ({short_reason(error)}): save or copy it again"
        ) from error
