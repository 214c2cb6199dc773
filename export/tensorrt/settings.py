"""What a TensorRT plan is built for: target, precision, sizes. Checked here, before anything slow begins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from recblr.errors import ConfigError
from recblr.runtime.bundle.plan_section import PRECISIONS, TARGETS, Extent, Precision, Profile, Target
from recblr.runtime.limits import Limits

# What serving asks most: some users at once, with histories of dozens of items.
DEFAULT_OPT_ROWS = 16
DEFAULT_OPT_TOKENS = 1_024
_OPT_EXCLUSIONS = 1_024
LARGEST_SIZE = 2**31 - 2  # offsets, one more than rows, are counted in int32, too

_COMPUTE_CAPABILITY = re.compile(r"\d{1,2}\.\d")


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """How a plan is built.

    Attributes:
        target: "tensorrt" or "tensorrt-rtx".
        precision: "fp32", "fp16" or "bf16".
        max_rows: B; opt_rows what it is optimised for. An optimum beyond the maximum given is taken as the maximum.
        max_tokens, opt_tokens: N.
        max_exclusions: M.
        compute_capabilities: of the GPUs to build for, such as "8.9"; none: the builder's choice.
        timing_cache: file that is read if it exists, and written; TensorRT-RTX has none.
        embed_plugin: put the plugin library into the plan.
        workspace: MiB of GPU memory that a layer may use while it runs; None: all of it.

    Raises:
        ConfigError: a setting out of its range, or not of the target.
    """

    target: Target
    precision: Precision = "fp32"
    max_rows: int = Limits.rows
    opt_rows: int = DEFAULT_OPT_ROWS
    max_tokens: int = Limits.tokens
    opt_tokens: int = DEFAULT_OPT_TOKENS
    max_exclusions: int = Limits.exclusions
    compute_capabilities: tuple[str, ...] = ()
    timing_cache: Path | None = None
    embed_plugin: bool = False
    workspace: int | None = None

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise ConfigError(f"target is {self.target!r}: give one of {', '.join(TARGETS)}")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision is {self.precision!r}: give one of {', '.join(PRECISIONS)}")
        for name in ("max_rows", "opt_rows", "max_tokens", "opt_tokens", "max_exclusions", "workspace"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= LARGEST_SIZE:
                raise ConfigError(f"{name.replace('_', '-')} is {value}: give a number from 1 to {LARGEST_SIZE}")
        for capability in self.compute_capabilities:
            if not _COMPUTE_CAPABILITY.fullmatch(capability):
                raise ConfigError(f"compute-capability is {capability!r}: give it as in 8.9")
            if self.compute_capabilities.count(capability) > 1:
                raise ConfigError(f"compute-capability is {capability} twice: give it once")
        if self.compute_capabilities and self.target != "tensorrt-rtx":
            raise ConfigError(
                f"compute-capability is {', '.join(self.compute_capabilities)}, but TensorRT builds for this machine's "
                "GPU: leave it out, or use --target tensorrt-rtx"
            )
        if self.timing_cache is not None and self.target == "tensorrt-rtx":
            raise ConfigError(
                f"timing-cache is {self.timing_cache}, but TensorRT-RTX times nothing when it builds: leave it out"
            )

    @property
    def profile(self) -> Profile:
        """The sizes that the plan takes: from none, or one row, to the maxima."""

        def extent(minimum: int, optimum: int, maximum: int) -> Extent:
            return Extent(minimum, min(optimum, maximum), maximum)

        return Profile(
            rows=extent(1, self.opt_rows, self.max_rows),
            tokens=extent(0, self.opt_tokens, self.max_tokens),
            exclusions=extent(0, _OPT_EXCLUSIONS, self.max_exclusions),
        )


def compute_capability_kinds(trt: ModuleType, capabilities: tuple[str, ...]) -> list[Any]:
    """TensorRT-RTX's values for compute capabilities such as "8.9".

    Args:
        trt: the module of TensorRT-RTX; of TensorRT, which has no such values, where there are no capabilities.
        capabilities: of the GPUs to build for.

    Raises:
        ConfigError: it builds for others only.
    """
    if not capabilities:
        return []
    kinds = trt.ComputeCapability.__members__
    for capability in capabilities:
        if _kind_name(capability) not in kinds:
            known = ", ".join(f"{name[2:-1]}.{name[-1]}" for name in kinds if name.startswith("SM"))
            raise ConfigError(
                f"compute-capability is {capability}, TensorRT-RTX {trt.__version__} builds for {known}: give one of "
                "those, or use --target tensorrt on a machine with the GPU"
            )
    return [kinds[_kind_name(capability)] for capability in capabilities]


def _kind_name(capability: str) -> str:
    return f"SM{capability.replace('.', '')}"
