"""Which folder of the C++ core may include which: each layer only those below it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "runtime" / "src"

# The lowest first; `cpu` are the sources that the plugin library has, too.
LAYERS = [
    "cpu",
    "base",
    "bundle",
    "backends/ranking",
    "backends/model",
    "backends",
    "batching",
    "engine",
    "users",
    "api",
]
# Headers of `backends` that its inner folders build on.
CONTRACTS = {"backends/backend.h", "backends/scratch.h"}
# Faces of the library: they include what is installed, and no layer. Some share `serving`.
FACES = {"python", "server", "serving", "triton"}


def _layer(path: str) -> str:
    """The layer of a file, given from `SOURCES` on."""
    folder = path.rpartition("/")[0]
    return max((layer for layer in LAYERS if f"{folder}/".startswith(f"{layer}/")), key=len, default=folder)


def test_every_folder_is_a_layer():
    assert {path.name for path in SOURCES.iterdir()} <= {layer.partition("/")[0] for layer in LAYERS} | FACES


@pytest.mark.parametrize("face", sorted(FACES))
def test_a_face_includes_what_is_installed(face: str) -> None:
    if not (SOURCES / face).is_dir():
        pytest.skip(f"{face} is not there")
    files = [path for path in (SOURCES / face).rglob("*") if path.suffix in {".h", ".cpp"}]
    assert files
    wrong = [
        f"{path.name}: {included}"
        for path in files
        for included in re.findall(r'^#include "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE)
        if not included.startswith((f"{face}/", "recblr/", "serving/")) and not included.endswith(".pb.h")  # protoc's
    ]
    assert wrong == []


@pytest.mark.parametrize("layer", LAYERS[1:])
def test_a_layer_includes_those_below_it(layer):
    if not (SOURCES / layer).is_dir():
        pytest.skip(f"{layer} is not there")
    files = [path for path in (SOURCES / layer).glob("*") if path.suffix in {".h", ".cpp"}]
    assert files
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    wrong = [
        f"{path.name}: {included}"
        for path in files
        for included in re.findall(r'^#include "([^"]+/[^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE)
        if not included.startswith("recblr/") and included not in CONTRACTS and _layer(included) not in allowed
    ]
    assert wrong == []
