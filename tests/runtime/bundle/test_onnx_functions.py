"""Taking the local functions out of an ONNX file without the onnx package."""

from __future__ import annotations

import pytest

from recblr.runtime.bundle.onnx_file import without_functions

onnx = pytest.importorskip("onnx")

MODEL = """
<ir_version: 10, opset_import: ["" : 18, "local" : 1]>
graph (float[N] x) => (float[N] y) <float[3] weight = {1, 2, 3}> { t = Add (x, weight) y = local.Twice (t) }
<domain: "local", opset_import: ["" : 18]> Twice (x) => (y) { y = Add (x, x) }
<domain: "local", opset_import: ["" : 18]> Thrice (x) => (y) { t = Add (x, x) y = Add (t, x) }
"""


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    proto = onnx.parser.parse_model(MODEL)
    proto.doc_string = "a long text, " * 100  # a length of two bytes
    onnx.helper.set_model_props(proto, {"key": "value"})
    return proto


def test_the_functions_are_gone_and_all_else_is_as_it_was(model: onnx.ModelProto) -> None:
    assert len(model.functions) == 2
    expected = onnx.ModelProto()
    expected.CopyFrom(model)
    del expected.functions[:]
    encoded = without_functions(model.SerializeToString())
    assert onnx.ModelProto.FromString(encoded) == expected
    assert without_functions(encoded) == encoded


def test_functions_between_other_fields(model: onnx.ModelProto) -> None:
    """The order of fields is free: two encodings one after the other are one message."""
    encoded = model.SerializeToString()
    expected = onnx.ModelProto.FromString(encoded + encoded)
    del expected.functions[:]
    assert onnx.ModelProto.FromString(without_functions(encoded + encoded)) == expected


@pytest.mark.parametrize("size", [1, 3, 700, -1])
def test_a_file_that_ends_early(model: onnx.ModelProto, size: int) -> None:
    encoded = model.SerializeToString()
    with pytest.raises(ValueError, match="ends early"):
        without_functions(encoded[:size])


@pytest.mark.parametrize("content", [b"\x0f", b"\x0c", b"\x80" * 20, b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"])
def test_what_is_no_protocol_buffer(content: bytes) -> None:
    with pytest.raises(ValueError, match="protocol buffer"):
        without_functions(content)
