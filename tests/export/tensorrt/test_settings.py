"""Settings of plans that are out of range."""

from __future__ import annotations

from pathlib import Path

import pytest

from recblr.errors import ConfigError
from recblr.export.tensorrt.settings import PlanSettings


def _settings(**settings: object) -> PlanSettings:
    return PlanSettings(**{"target": "tensorrt-rtx", **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_rows": 0}, "max-rows is 0"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"compute_capabilities": ("sm_89",)}, "compute-capability is 'sm_89'"),
        ({"compute_capabilities": ("8.9", "8.9")}, "compute-capability is 8.9 twice"),
        ({"timing_cache": Path("cache")}, "TensorRT-RTX times nothing"),
        ({"target": "openvino"}, "target is 'openvino': give one of tensorrt, tensorrt-rtx"),
        ({"target": "tensorrt", "compute_capabilities": ("8.9",)}, "but TensorRT builds for this machine's GPU"),
    ],
)
def test_settings_out_of_range(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _settings(**settings)
