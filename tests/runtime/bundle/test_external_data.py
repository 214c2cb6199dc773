"""What an ONNX file may have read from beside it: its initializers, from verified files of the bundle alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recblr.errors import BundleError
from recblr.runtime import load
from recblr.runtime.bundle.manifest import file_entry

onnx = pytest.importorskip("onnx")

DATA = "weights.bin"


_OFFSET = 64


def put_aside(folder: Path, **told: object) -> None:
    """Move the embedding of the toy's graph to a file beside it; `told` replaces what is said of the place."""
    model = onnx.load(folder / "model.onnx")
    (tensor,) = [i for i in model.graph.initializer if list(i.dims) == [10, 4]]
    (folder / DATA).write_bytes(bytes(_OFFSET) + tensor.raw_data)
    _refer(tensor, **{"location": DATA, "offset": _OFFSET, "length": len(tensor.raw_data), **told})
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def _refer(tensor: Any, **told: object) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in told.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))


def rehash(folder: Path, rewrite_manifest: Callable[..., None], *names: str) -> None:
    """Tell the manifest of the new graph, and of its embedding in `DATA`, if that is among the names."""
    manifest = json.loads((folder / "manifest.json").read_text())
    if DATA in names:
        manifest["weights"]["embedding.weight"] |= {"file": DATA, "offset": _OFFSET}
    entries = {name: file_entry(folder / name) for name in ("model.onnx", *names)}
    rewrite_manifest(folder, files={**manifest["files"], **entries}, weights=manifest["weights"])


def test_weights_are_read_where_they_lie(new_toy: Any, rewrite_manifest: Callable[..., None]) -> None:
    put_aside(new_toy.path)
    rehash(new_toy.path, rewrite_manifest, DATA)
    ids, scores = new_toy.ranking([10, 20], 5, [10, 20])
    engine = load(new_toy.path)
    for only in (None, new_toy.ids):  # the graph ranks, and the core
        ranking = engine.recommend([[10, 20]], k=5, only=only)[0]
        assert (ranking.items, ranking.scores.tolist()) == (ids, scores)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"location": "/etc/passwd"}, "lies in '/etc/passwd', which is no plain file name"),
        ({"location": f"../bundle/{DATA}"}, "which is no plain file name"),
        ({"location": f"./{DATA}"}, "which is no plain file name"),
        ({"location": ".."}, "which is no plain file name"),
        ({"location": None}, "which is no plain file name"),
        ({"location": "a\0b"}, "which is no plain file name"),
        ({"location": "none.bin"}, r"none.bin cannot be read \(No such file"),
        ({"location": "folder"}, "folder is a link or no file"),
        ({"location": "link"}, "link is a link or no file"),
        ({"location": "unlisted"}, "has data in unlisted, which its manifest does not list"),
        ({"offset": 65}, "weights.bin has 224 bytes, a tensor's data ends at 225"),
        ({"length": 10**17}, "weights.bin has 224 bytes, a tensor's data ends at"),
        ({"offset": -1}, "has no offset and length"),
        ({"offset": "x"}, "has no offset and length"),
        ({"length": None}, "has no offset and length"),
    ],
    ids=str,
)
def test_nothing_else_is_read(
    new_toy: Any, rewrite_manifest: Callable[..., None], told: dict[str, object], reason: str
) -> None:
    """Though the hash is right."""
    folder = new_toy.path
    put_aside(folder, **told)
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(DATA)
    (folder / "unlisted").write_bytes((folder / DATA).read_bytes())
    rehash(folder, rewrite_manifest, DATA)
    with pytest.raises(BundleError, match=reason) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_place_told_twice(new_toy: Any, rewrite_manifest: Callable[..., None]) -> None:
    """Readers of ONNX files differ in which of the two they take."""
    put_aside(new_toy.path)
    model = onnx.load(new_toy.path / "model.onnx", load_external_data=False)
    (tensor,) = [i for i in model.graph.initializer if list(i.dims) == [10, 4]]
    tensor.external_data.add(key="location", value="/etc/passwd")
    (new_toy.path / "model.onnx").write_bytes(model.SerializeToString())
    rehash(new_toy.path, rewrite_manifest, DATA)
    with pytest.raises(BundleError, match="two values of b'location'"):
        load(new_toy.path)


def _constant(graph: Any, tensor: Any) -> None:
    graph.node.append(onnx.helper.make_node("Constant", [], ["c"], value=tensor))


def _subgraph(graph: Any, tensor: Any) -> None:
    inner = onnx.helper.make_graph([], "inner", [], [], [tensor])
    graph.node.append(onnx.helper.make_node("If", ["c"], ["d"], then_branch=inner, else_branch=inner))


def _sparse(graph: Any, tensor: Any) -> None:
    graph.sparse_initializer.add().values.CopyFrom(tensor)


def _initializer(graph: Any, tensor: Any) -> None:
    graph.initializer.append(tensor)


@pytest.mark.parametrize("place", [_constant, _subgraph, _sparse, _initializer])
@pytest.mark.parametrize("within", ["graph", "function"])
def test_wherever_in_the_file_it_is_said(
    new_toy: Any,
    rewrite_manifest: Callable[..., None],
    place: Callable[[Any, Any], None],
    within: str,
) -> None:
    model = onnx.load(new_toy.path / "model.onnx")
    tensor = onnx.TensorProto(name="t", data_type=1, dims=[1])
    _refer(tensor, location="/etc/passwd", offset=0, length=4)
    if within == "graph":
        place(model.graph, tensor)
    else:
        graph = onnx.GraphProto()
        place(graph, tensor)
        body = onnx.helper.make_node("If", ["c"], ["d"], then_branch=graph, else_branch=graph)
        model.functions.append(
            onnx.helper.make_function("d", "f", [], ["d"], [body], [onnx.helper.make_opsetid("", 18)])
        )
    (new_toy.path / "model.onnx").write_bytes(model.SerializeToString())
    rehash(new_toy.path, rewrite_manifest)
    with pytest.raises(BundleError, match="lies in '/etc/passwd', which is no plain file name"):
        load(new_toy.path)


def test_data_of_a_constant_is_refused_even_in_the_bundle(new_toy: Any, rewrite_manifest: Callable[..., None]) -> None:
    model = onnx.load(new_toy.path / "model.onnx")
    tensor = onnx.TensorProto(name="t", data_type=1, dims=[1])
    _refer(tensor, location="items.json", offset=0, length=4)
    _constant(model.graph, tensor)
    (new_toy.path / "model.onnx").write_bytes(model.SerializeToString())
    rehash(new_toy.path, rewrite_manifest)
    with pytest.raises(BundleError, match=r"items\.json has data of a tensor that is no initializer"):
        load(new_toy.path)
