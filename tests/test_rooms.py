"""Which module may import which: the rooms of the project, and the layers of the runtime.

Every import counts, those within functions and under TYPE_CHECKING, too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Room: what its modules must not import.
ROOMS = {
    "plugins": ("torch", "onnx", "onnxruntime", "recblr", "recblr.export", "recblr.runtime"),
    "recblr": ("recblr.export", "recblr.runtime"),
    "runtime": ("torch", "onnx", "recblr.export"),
}

# The runtime's layers, the lowest first. A module imports from lower layers, and from its own folder. The modules of
# `core` have no folder of their own.
LAYERS = [
    ["arguments", "limits", "fork_guard", "ranking"],
    ["_core"],
    ["bundle"],
    ["backends", "gpu", "batching"],
    ["core"],
    ["users"],
    ["api"],
    ["benchmark", "ray_requests"],
    ["ray_app"],
    ["cli", "__main__"],
]
CORE = {"allow_list", "engine", "event_loops", "inputs", "leasing", "loading"}


def _path(module: str) -> Path | None:
    """The file of a module of recblr; None where there is none."""
    room, _, rest = module.removeprefix("recblr").removeprefix(".").partition(".")
    folder = ROOT / room if room in ("plugins", "export", "runtime") else ROOT / "recblr" / room
    path = folder / rest.replace(".", "/") if rest else folder
    files = [path.with_suffix(".py"), path.with_suffix(".pyi"), path / "__init__.py"]
    return next((file for file in files if file.is_file()), None)


def _imports(path: Path) -> Iterator[str]:
    """The modules that a file imports; of `from package import name`, the name's module where it is one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ["recblr", *(part for part in path.relative_to(ROOT).parent.parts if part != "recblr")]
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                yield inner if _is_within(module, "recblr") and _path(inner) is not None else module


def _modules(room: str) -> dict[str, Path]:
    """Dotted name below the room, and file, of each module in it."""
    folder = ROOT / room
    files = [file for file in folder.rglob("*.py") if not any(part.is_symlink() for part in file.parents)]
    names = {".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__"): file for file in files}
    assert len(names) > 2
    return names


def _is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _group(module: str) -> str:
    """The folder, or the module, of the runtime that `LAYERS` names."""
    first = module.partition(".")[0]
    return "core" if first in CORE else first


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_nothing_of_another(room: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in _modules(room).values()
        for module in _imports(file)
        for forbidden in ROOMS[room]
        if _is_within(module, forbidden) and not (room == "plugins" and _is_within(module, "recblr.plugins"))
    ]
    assert wrong == []


def test_no_module_of_the_runtime_imports_one_of_a_higher_layer() -> None:
    heights = {group: height for height, layer in enumerate(LAYERS) for group in layer}
    wrong = []
    for name, file in _modules("runtime").items():
        if name == "__init__":
            continue  # the public names, of any layer
        for module in _imports(file):
            if not _is_within(module, "recblr.runtime"):
                continue
            other = module.removeprefix("recblr.runtime").removeprefix(".") or "api"
            here, there = _group(name), _group(other)
            if here != there and heights[there] >= heights[here]:
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_the_runtime_has_no_cycle_of_imports() -> None:
    modules = _modules("runtime")
    graph = {
        name: {module.removeprefix("recblr.runtime").removeprefix(".") for module in _imports(file)} & modules.keys()
        for name, file in modules.items()
    }
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle
    assert set(order) == modules.keys()
