"""The precisions that an engine can have. Apart from the graph's rewriting, so that naming them needs no ONNX."""

from __future__ import annotations

from typing import Literal, TypeAlias

Precision: TypeAlias = Literal["fp32", "fp16", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16")

_TENSORRT_NAMES: dict[Precision, str] = {"fp32": "FLOAT", "fp16": "HALF", "bf16": "BF16"}


def tensorrt_type(precision: Precision) -> str:
    """TensorRT's name of the type that tensors of a precision have."""
    return _TENSORRT_NAMES[precision]
