"""An ONNX file without its local functions, so that their nodes fall to the engine's operators."""

from __future__ import annotations

from recblr.runtime.bundle.protobuf import Encoded, fields

# ModelProto.functions, in ONNX's protocol buffers.
_FUNCTIONS = 25


def without_functions(model: Encoded) -> bytes:
    """The encoded model without its local functions; everything else is byte for byte as it was.

    Raises:
        ValueError: it is not a whole protocol buffer.
    """
    kept: list[bytes] = []
    start = 0
    for function in fields(model, 0, len(model), _FUNCTIONS):
        kept.append(model[start : function.begin])
        start = function.stop
    kept.append(model[start:])
    return b"".join(kept)
