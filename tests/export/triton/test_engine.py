"""Engines for Triton: built as TensorRT's would be, by TensorRT-RTX, which needs no GPU for it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from recblr.checkpoint import Checkpoint
from recblr.config import LARGEST_TENSOR
from recblr.errors import ConfigError
from recblr.export import cli
from recblr.export.tensorrt import requirements as engine_requirements
from recblr.export.tensorrt.profile_shapes import check_tensor_sizes, input_shapes
from recblr.export.tensorrt.settings import EngineSettings
from recblr.export.triton.engine import engine_builder
from recblr.export.triton.graph import triton_graph
from recblr.export.triton.repository import write_repository
from recblr.plugins import find_library
from recblr.runtime.bundle.plan_section import PRECISIONS, Extent, Precision, Profile
from recblr.runtime.gpu import trt_module as tensorrt_library
from recblr.runtime.gpu.trt_module import load_tensorrt

needs_tensorrt_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None or find_library() is None,
    reason="TensorRT-RTX is not installed, or librecblr_plugins.so was not built",
)

_DTYPES = {"TYPE_INT32": "INT32", "TYPE_FP32": "FLOAT"}  # Triton's names and TensorRT's


def _settings(**settings: Any) -> EngineSettings:
    return EngineSettings(**{"target": "tensorrt-rtx", **settings})


@pytest.fixture
def profile_shapes(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[int, ...]]]:
    """Of the profile that TensorRT took: each input's smallest, best and largest shape, as TensorRT reports them."""
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt import builder as tensorrt_builder

    reported: dict[str, list[tuple[int, ...]]] = {}
    add_profile = tensorrt_builder._add_profile

    def add(builder: Any, config: Any, shapes: dict[str, Any]) -> None:
        class Builder:
            @staticmethod
            def create_optimization_profile() -> Any:
                Builder.profile = builder.create_optimization_profile()
                return Builder.profile

        add_profile(Builder, config, shapes)
        reported.update({name: [tuple(shape) for shape in Builder.profile.get_shape(name)] for name in shapes})

    monkeypatch.setattr(tensorrt_builder, "_add_profile", add)
    return reported


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, tuple[str, tuple[int, ...], bool]]]:
    """Of each network that TensorRT parsed: type, shape and whether it is an input, of every tensor by its name."""
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt import builder as tensorrt_builder

    reported = []
    prove = tensorrt_builder.prove_precision

    def report(network: Any, *arguments: Any) -> Any:
        kinds = (
            (network.num_inputs, network.get_input, True),
            (network.num_outputs, network.get_output, False),
        )
        tensors = [(get(index), is_input) for count, get, is_input in kinds for index in range(count)]
        reported.append({t.name: (t.dtype.name, tuple(t.shape), is_input) for t, is_input in tensors})
        return prove(network, *arguments)

    monkeypatch.setattr(tensorrt_builder, "prove_precision", report)
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


@needs_tensorrt_rtx
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
    write_repository(bundle, tmp_path / "models", engine_builder(settings))

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


@needs_tensorrt_rtx
def test_the_plugin_library_is_in_the_engine(bundle: Path) -> None:
    """Whatever `embed_plugin` says: Triton registers the plugins in no other way."""
    graph = triton_graph(onnx.load(bundle / "model.onnx"))
    library = find_library()
    assert library is not None
    load_tensorrt("tensorrt-rtx")
    from recblr.export.tensorrt.builder import build_engine

    bare = build_engine(onnx.load(bundle / "model.onnx"), _settings(), library)
    engine = engine_builder(_settings(embed_plugin=False))(graph, bundle / "model.onnx")
    assert len(bare.plan) < library.stat().st_size < len(engine.plan)
    assert engine.tensorrt_version == bare.version


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
        _settings(**{"max_rows": rows, "max_tokens": 2**15, "max_exclusions": 2**15, option: others}).triton_profile()
    assert option.replace("_", "-") in str(error.value)


def _profile(rows: int, tokens: int, exclusions: int) -> Profile:
    return Profile(Extent(1, 2, rows), Extent(1, 2, tokens), Extent(1, 2, exclusions))


def test_shapes_of_a_bundles_inputs(bundle: Path) -> None:
    shapes = input_shapes(onnx.load(bundle / "model.onnx"), _profile(3, 7, 9))
    size = len(np.load(bundle / "initial_state.npy"))
    assert shapes == {
        "items": ((1,), (2,), (7,)),
        "offsets": ((2,), (3,), (4,)),
        "state_in": ((1, size), (2, size), (3, size)),
        "exclude": ((1, 2), (2, 2), (9, 2)),
    }


def test_tensors_larger_than_tensorrt_counts(bundle: Path) -> None:
    """In the variant for Triton each row is two where the bundle's graph has one."""
    model = onnx.load(bundle / "model.onnx")
    size = len(np.load(bundle / "initial_state.npy"))
    most = LARGEST_TENSOR // size
    check_tensor_sizes(model, _profile(most, 2, 2))
    check_tensor_sizes(triton_graph(model), _profile(most // 2, 2, 2))
    with pytest.raises(ConfigError, match=f"max-rows is {most}: with {2 * size} numbers .* at most {most // 2}"):
        check_tensor_sizes(triton_graph(model), _profile(most, 2, 2))


class _Export:
    """recblr-export of a model into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *options: object) -> Result:
        arguments = [self.folder / "model.pt", "-o", self.folder / "bundle", *options]
        return CliRunner().invoke(cli.main, list(map(str, arguments)))


@pytest.fixture
def export(checkpoint: Checkpoint, tmp_path: Path) -> _Export:
    checkpoint.save(tmp_path / "model.pt")
    return _Export(tmp_path)


@pytest.fixture
def tensorrt_rtx_as_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT-RTX's module stands in for TensorRT's."""
    module = load_tensorrt("tensorrt-rtx")

    def loads(target: str) -> ModuleType:
        assert target == "tensorrt"
        return module

    monkeypatch.setattr(engine_requirements, "load_tensorrt", loads)


@needs_tensorrt_rtx
@pytest.mark.usefixtures("tensorrt_rtx_as_tensorrt")
def test_the_command_builds_it(export: _Export) -> None:
    limits = ["--max-rows", 8, "--max-tokens", 80, "--max-exclusions", 160]
    result = export("--target", "tensorrt", "--precision", "fp16", *limits, "--triton-repository", export.folder / "m")
    assert result.exit_code == 0, result.output
    assert "m: model repository for Triton" in result.stdout
    config = text_format.Parse((export.folder / "m/recblr/config.pbtxt").read_text(), ModelConfig())
    assert (config.backend, config.max_batch_size) == ("tensorrt", 8)
    assert (export.folder / "m/recblr/1/model.plan").stat().st_size > 10_000
    assert "at most 10 items and 20 exclusions per" in (export.folder / "m/README.md").read_text()


def _must_not_run(*_arguments: Any, **_named: Any) -> Any:
    raise AssertionError("something slow was begun")


@pytest.fixture
def nothing_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recblr.checkpoint.load_checkpoint", _must_not_run)
    monkeypatch.setattr(tensorrt_library, "load_tensorrt", _must_not_run)
    monkeypatch.setattr(engine_requirements, "load_tensorrt", _must_not_run)


@pytest.mark.usefixtures("nothing_slow")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            lambda at: ["--target", "tensorrt-rtx", "--triton-repository", at / "m"],
            "does not open engines of TensorRT-RTX",
        ),
        (lambda at: ["--triton-repository", at], "give folders of which neither lies in the other"),
        (lambda at: ["--triton-repository", at / "bundle"], "give folders of which neither lies in the other"),
        (lambda at: ["--triton-repository", at / "bundle/m"], "give folders of which neither lies in the other"),
        (lambda at: ["--triton-repository", at / "model.pt"], "is not a model repository of recblr-export"),
        (lambda at: ["--triton-repository", at / "other"], "is not a model repository of recblr-export"),
        (
            lambda at: ["--target", "tensorrt", "--max-tokens", 31, "--triton-repository", at / "m"],
            "max-tokens is 31: Triton sends at least one per row",
        ),
    ],
    ids=["TensorRT-RTX", "around the bundle", "the bundle", "in the bundle", "a file", "another folder", "limits"],
)
def test_what_the_command_refuses_at_once(
    export: _Export, options: Callable[[Path], list[object]], message: str
) -> None:
    (export.folder / "other").mkdir()
    (export.folder / "other" / "notes.txt").write_text("keep")
    result = export(*options(export.folder))
    assert result.exit_code == 1, result.output
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert sorted(path.name for path in export.folder.iterdir()) == ["model.pt", "other"]
    assert [path.name for path in (export.folder / "other").iterdir()] == ["notes.txt"]
