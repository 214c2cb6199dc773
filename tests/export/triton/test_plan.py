"""Plans for Triton: built as TensorRT's would be, by TensorRT-RTX, which needs no GPU for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from recblr.errors import ConfigError
from recblr.export.tensorrt.plan_builder import PlanBuilder
from recblr.export.tensorrt.settings import PlanSettings
from recblr.export.triton.graph import triton_graph
from recblr.export.triton.plan import triton_plan_builder, triton_profile
from recblr.export.triton.repository import write_repository
from recblr.runtime.bundle.plan_section import PRECISIONS, Precision
from recblr.runtime.gpu.trt_module import load_tensorrt

_DTYPES = {"TYPE_INT32": "INT32", "TYPE_FP32": "FLOAT"}  # Triton's names and TensorRT's


def _settings(**settings: Any) -> PlanSettings:
    return PlanSettings(**{"target": "tensorrt-rtx", **settings})


@pytest.fixture
def profile_shapes(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[int, ...]]]:
    """Of the profile that TensorRT took: each input's smallest, best and largest shape, as TensorRT reports them."""
    trt: Any = load_tensorrt("tensorrt-rtx")
    reported: dict[str, list[tuple[int, ...]]] = {}
    create, build = trt.Builder.create_optimization_profile, trt.Builder.build_serialized_network
    profiles = []

    def created(builder: Any) -> Any:
        profiles.append(create(builder))
        return profiles[-1]

    def built(builder: Any, network: Any, config: Any) -> Any:
        (profile,) = profiles
        names = [network.get_input(index).name for index in range(network.num_inputs)]
        reported.update({name: [tuple(shape) for shape in profile.get_shape(name)] for name in names})
        return build(builder, network, config)

    monkeypatch.setattr(trt.Builder, "create_optimization_profile", created)
    monkeypatch.setattr(trt.Builder, "build_serialized_network", built)
    return reported


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, tuple[str, tuple[int, ...], bool]]]:
    """Of each network that TensorRT parsed: type, shape and whether it is an input, of every tensor by its name."""
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt import build

    reported = []
    prove = build.prove_precision

    def report(network: Any, *arguments: Any) -> Any:
        kinds = (
            (network.num_inputs, network.get_input, True),
            (network.num_outputs, network.get_output, False),
        )
        tensors = [(get(index), is_input) for count, get, is_input in kinds for index in range(count)]
        reported.append({t.name: (t.dtype.name, tuple(t.shape), is_input) for t, is_input in tensors})
        return prove(network, *arguments)

    monkeypatch.setattr(build, "prove_precision", report)
    return reported


def _config_tensors(config: ModelConfig) -> dict[str, tuple[str, tuple[int, ...], bool]]:
    """What a configuration says that the backend binds, as `networks` has it."""
    types = {number: _DTYPES[name] for name, number in _data_types().items() if name in _DTYPES}
    tensors = {}
    for kind, is_input in ((config.input, True), (config.output, False)):
        for tensor in kind:
            shape = (-1,) if is_input and tensor.allow_ragged_batch else (-1, *tensor.dims)
            tensors[tensor.name] = (types[tensor.data_type], shape, is_input)
    for tensor in config.batch_input:
        (name,) = tensor.target_name
        tensors[name] = (types[tensor.data_type], (-1,), True)
    return tensors


def _data_types() -> dict[str, int]:
    names = ModelConfig.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_name
    return {name: value.number for name, value in names.items()}


@pytest.mark.usefixtures("plugin_library")
@pytest.mark.parametrize(("precision", "conv_width"), [*((precision, 4) for precision in PRECISIONS), ("fp32", 1)])
def test_the_configuration_fits_what_tensorrt_reports(
    bundle_of: Callable[[int], Path],
    tmp_path: Path,
    networks: list[dict[str, tuple[str, tuple[int, ...], bool]]],
    profile_shapes: dict[str, list[tuple[int, ...]]],
    precision: Precision,
    conv_width: int,
) -> None:
    bundle = bundle_of(conv_width)
    settings = _settings(precision=precision, max_rows=32, max_tokens=320, max_exclusions=640)
    write_repository(bundle, tmp_path / "models", triton_plan_builder(PlanBuilder(settings)))

    config = text_format.Parse((tmp_path / "models/recblr/config.pbtxt").read_text(), ModelConfig())
    (network,) = networks
    assert _config_tensors(config) == network
    assert (config.backend, config.max_batch_size) == ("tensorrt", 32)
    state_size = len(np.load(bundle / "initial_state.npy"))
    assert profile_shapes == {
        "items": [(1,), (320,), (320,)],
        "item_counts": [(1,), (16,), (32,)],
        "exclude_items": [(1,), (640,), (640,)],
        "exclude_counts": [(1,), (16,), (32,)],
        "state_in": [(1, state_size), (16, state_size), (32, state_size)],
    }
    assert len((tmp_path / "models/recblr/1/model.plan").read_bytes()) > 10_000


def test_the_plugin_library_is_in_the_plan(bundle: Path, plugin_library: Path) -> None:
    """Whatever `embed_plugin` says: Triton registers the plugins in no other way."""
    path = bundle / "model.onnx"
    builder = PlanBuilder(_settings(embed_plugin=False))
    bare = builder.build(onnx.load(path), path)
    plan = triton_plan_builder(builder)(triton_graph(onnx.load(path)), path)
    library = plugin_library.read_bytes()
    assert library in plan.plan
    assert library not in bare.plan
    assert plan.tensorrt_version == bare.version


@pytest.mark.parametrize("option", ["max_tokens", "max_exclusions"])
@pytest.mark.parametrize(
    ("rows", "others", "message"),
    [
        (32, 31, "is 31: Triton sends at least one per row, and max-rows is 32"),
        (2**15, 2**16, "max-rows is 32768 and .* 65536: .* for each pair of them"),
    ],
)
def test_limits_that_triton_cannot_batch_for(option: str, rows: int, others: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        triton_profile(_settings(**{"max_rows": rows, "max_tokens": 2**15, "max_exclusions": 2**15, option: others}))
    assert option.replace("_", "-") in str(error.value)
