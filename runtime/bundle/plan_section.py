"""What a bundle's manifest says of its TensorRT plan: of the model as TensorRT compiled it.

In manifest.json, "plan" is null or missing in a bundle without one, and otherwise an object with the fields of
`PlanSection`. The plan and the plugin library that it needs are files of the bundle, with size and hash as all files.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

from recblr.errors import ConfigError
from recblr.runtime.limits import Limits

Target: TypeAlias = Literal["tensorrt", "tensorrt-rtx"]
TARGETS: tuple[Target, ...] = ("tensorrt", "tensorrt-rtx")

Precision: TypeAlias = Literal["fp32", "fp16", "bf16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "bf16")
_TENSORRT_TYPES: dict[Precision, str] = {"fp32": "FLOAT", "fp16": "HALF", "bf16": "BF16"}

PLAN_FILE = "model.plan"
NOT_RUN = "built, not run"
VERIFIED = "verified"


def tensorrt_type(precision: Precision) -> str:
    """TensorRT's name of the type that tensors of a precision have."""
    return _TENSORRT_TYPES[precision]


@dataclass(frozen=True)
class Extent:
    """Sizes of one kind that a plan takes: the smallest, the one it is optimised for, the largest."""

    minimum: int
    optimum: int
    maximum: int


@dataclass(frozen=True)
class Profile:
    """Sizes that a plan takes.

    Attributes:
        rows: B.
        tokens: N.
        exclusions: M.
    """

    rows: Extent
    tokens: Extent
    exclusions: Extent

    @property
    def limits(self) -> Limits:
        """The largest sizes."""
        return Limits(rows=self.rows.maximum, tokens=self.tokens.maximum, exclusions=self.exclusions.maximum)


@dataclass(frozen=True, kw_only=True)
class PlanSection:
    """A plan's entry in the manifest.

    Attributes:
        file: its name in the bundle.
        target: "tensorrt" or "tensorrt-rtx".
        version: of TensorRT, with which it was built and without which it is not opened.
        precision: "fp32", "fp16" or "bf16", of the dense products and the sequence operations.
        profile: sizes that it takes.
        max_k: results per row.
        compute_capabilities: that it was built for, such as "8.9"; none: the builder's choice.
        gpu: the name of the GPU it was built on, or None.
        build_seconds: what TensorRT took.
        memory_bytes: of the GPU, for activations at the largest sizes, by the builder's account; None if it gave none.
        weight_bytes: of the GPU, for weights, by the builder's account; None if it gave none.
        plugin_library: file of the bundle with the plugins.
        plugin_embedded: the plan holds the library, too; opening it then needs `engine_host_code_allowed`.
        proof: that the precision is as asked: "network" counts of layers by type, "inspector" what TensorRT says of
            the opened plan, or None where there was no GPU to open it.
        status: "built, not run", or "verified".
        verification: how far the plan's results were from PyTorch's at export; empty if it was not run.
        evaluation: ranking quality against fp32, where evaluation data were given.
    """

    file: str
    target: Target
    version: str
    precision: Precision
    profile: Profile
    max_k: int
    compute_capabilities: list[str]
    gpu: str | None
    build_seconds: float
    memory_bytes: int | None
    weight_bytes: int | None
    plugin_library: str
    plugin_embedded: bool
    proof: dict[str, Any]
    status: str
    verification: dict[str, Any]
    evaluation: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As a dict that JSON can hold."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Read what `to_dict` gave; fields that this version does not know are left out.

        Raises:
            ConfigError: names the field that is missing or malformed.
        """
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            value = content.get(field.name)
            if not _IS_VALID[field.name](value):
                raise ConfigError(f"plan.{field.name} is missing or malformed ({value!r:.60})")
            values[field.name] = value
        profile = {name: Extent(**sizes) for name, sizes in values["profile"].items()}
        return cls(**{**values, "profile": Profile(**profile)})


def _is_count(value: object, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_extent(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != {"minimum", "optimum", "maximum"}:
        return False
    sizes = [value["minimum"], value["optimum"], value["maximum"]]
    return all(map(_is_count, sizes)) and sizes == sorted(sizes)


def _is_profile(value: object) -> bool:
    fields = {field.name for field in dataclasses.fields(Profile)}
    return isinstance(value, dict) and value.keys() == fields and all(map(_is_extent, value.values()))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


_IS_VALID = {
    "file": _is_text,
    "target": lambda value: value in TARGETS,
    "version": _is_text,
    "precision": lambda value: value in PRECISIONS,
    "profile": _is_profile,
    "max_k": lambda value: _is_count(value, 1),
    "compute_capabilities": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "gpu": lambda value: value is None or _is_text(value),
    "build_seconds": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "memory_bytes": lambda value: value is None or _is_count(value),
    "weight_bytes": lambda value: value is None or _is_count(value),
    "plugin_library": _is_text,
    "plugin_embedded": lambda value: isinstance(value, bool),
    "proof": _is_object,
    "status": _is_text,
    "verification": _is_object,
    "evaluation": _is_object,
}
