"""What is built on the TensorRT that was loaded: its messages, its registry of plugins, checks of plain numbers.

Opening and running a plan needs a GPU, and is not done here: these are the checks that come before it.
"""

from __future__ import annotations

import _ctypes
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recblr.errors import BundleError, RequestError
from recblr.plugins import find_library
from recblr.runtime.bundle.plan_section import NOT_RUN, Extent, PlanSection, Profile
from recblr.runtime.gpu.trt_module import load_tensorrt

# Looked for, not imported: imported before recblr, TensorRT-RTX lacks the name of its library.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx_bindings") is None,
    reason="TensorRT-RTX is not installed: pip install 'recblr[tensorrt-rtx]'",
)


@pytest.fixture(scope="module")
def trt() -> Any:
    return load_tensorrt("tensorrt-rtx")


@pytest.fixture(scope="module")
def library() -> Path:
    found = find_library()
    if found is None:
        pytest.skip("librecblr_plugins.so was not built: no C++ compiler at installation")
    return found


class TestMessageLog:
    def test_what_is_kept(self, trt: Any) -> None:
        from recblr.runtime.gpu.trt_plugins import MessageLog

        log = MessageLog()
        assert log.reason() == "TensorRT gave no reason"
        severities = trt.ILogger.Severity
        for severity, message in (
            (severities.VERBOSE, "a detail"),
            (severities.INFO, "Total Weights Memory: 12 bytes"),
            (severities.WARNING, "a doubt"),
            (severities.ERROR, "first\nof two lines"),
            (severities.INTERNAL_ERROR, "second"),
        ):
            log.log(severity, message)
        assert log.infos == ["Total Weights Memory: 12 bytes"]
        assert log.problems == ["first\nof two lines", "second"]
        assert log.reason() == "first of two lines"
        log.clear()
        assert (log.problems, log.reason()) == ([], "TensorRT gave no reason")
        assert log.infos

    @pytest.mark.parametrize(
        ("message", "expected"),
        [
            ("Error Code 1: Cuda Runtime (In allocate at gpu.cpp:1 (cudaError 2: out of memory))", True),
            ("[resizingAllocator.cpp::allocate::74] Error Code 1: Cuda Runtime (out of memory)", True),
            ("Requested amount of GPU memory could not be allocated: OutOfMemory", True),
            ("std::bad_alloc", True),
            ("Error Code 1: Cuda Runtime (cudaError 35: CUDA driver version is insufficient)", False),
            ("cudaError 209: no kernel image is available", False),
        ],
    )
    def test_out_of_memory(self, trt: Any, message: str, expected: bool) -> None:
        from recblr.runtime.gpu.trt_plugins import MessageLog

        log = MessageLog()
        assert not log.out_of_memory
        log.log(trt.ILogger.Severity.ERROR, message)
        assert log.out_of_memory is expected


class TestRegisterPlugins:
    """Each in a process of its own, as TensorRT keeps what is registered."""

    @staticmethod
    def run(program: str, *arguments: object) -> list[str]:
        head = """
import sys
from pathlib import Path
from recblr.errors import BundleError
from recblr.runtime.gpu.trt_module import load_tensorrt
trt = load_tensorrt("tensorrt-rtx")
from recblr.runtime.gpu.trt_plugins import MessageLog, missing_plugins, register_plugins

def register(path):
    try:
        register_plugins(Path(path), MessageLog())
    except BundleError as error:
        print(error)
    else:
        print("registered")
"""
        command = [sys.executable, "-c", head + program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    def test_once_and_again(self, library: Path, tmp_path: Path) -> None:
        """Also from a copy: the library in the bundle, when the installed one is registered already."""
        copy = shutil.copy(library, tmp_path / "copy.so")
        program = "print(missing_plugins()); [register(path) for path in sys.argv[1:]]; print(missing_plugins())"
        missing, *outcomes, left = self.run(program, library, library, copy, "nowhere.so")
        assert missing == "['recblr::CausalConv1d', 'recblr::GatedScan']"
        assert outcomes == ["registered"] * 4
        assert left == "[]"

    def test_what_is_no_plugin_library(self, library: Path, tmp_path: Path) -> None:
        """It is said, and a right one can be registered after that."""
        (tmp_path / "text.so").write_text("no library")
        paths = [tmp_path / "nowhere.so", tmp_path / "text.so", tmp_path, _ctypes.__file__]
        nowhere, text, folder, other, last = self.run("[register(p) for p in sys.argv[1:]]", *paths, library)
        reinstall = "does not exist: reinstall recblr, or export the bundle again"
        assert nowhere == f"the plugin library {tmp_path / 'nowhere.so'} {reinstall}"
        assert folder == f"the plugin library {tmp_path} {reinstall}"
        for path, message in ((paths[1], text), (paths[3], other)):
            assert message.startswith(f"{path} does not give TensorRT recblr::CausalConv1d, recblr::GatedScan (")
            assert message.endswith(
                ": is it librecblr_plugins.so of this recblr, built for this machine? Reinstall recblr"
            )
        assert last == "registered"

    def test_another_library_has_registered_one_of_the_names(self, library: Path) -> None:
        program = """
class Creator(trt.IPluginCreatorV3One):
    def __init__(self):
        trt.IPluginCreatorV3One.__init__(self)
        self.name, self.plugin_namespace, self.plugin_version = "GatedScan", "recblr", "1"
        self.field_names = trt.PluginFieldCollection([])

creator = Creator()
assert trt.get_plugin_registry().register_creator(creator, "recblr")
register(sys.argv[1])
assert trt.get_plugin_registry().deregister_creator(creator)
register(sys.argv[1])
"""
        refused, registered = self.run(program, library)
        assert refused == (
            f"{library} cannot be loaded: another library of this process has registered recblr::GatedScan, and not "
            "recblr::CausalConv1d; use a process without that library"
        )
        assert registered == "registered"


class TestBeforeAnEngineRuns:
    """The checks of plain data. That TensorRT itself refuses other plans takes a GPU to see."""

    SECTION = PlanSection(
        file="model.plan",
        target="tensorrt-rtx",
        version="1.7.1.116",
        precision="fp32",
        profile=Profile(Extent(1, 2, 8), Extent(0, 10, 500), Extent(0, 5, 70)),
        max_k=10,
        compute_capabilities=[],
        gpu=None,
        build_seconds=1.0,
        memory_bytes=None,
        weight_bytes=None,
        plugin_library="librecblr_plugins.so",
        plugin_embedded=False,
        proof={},
        status=NOT_RUN,
        verification={},
        evaluation={},
    )

    @pytest.fixture(autouse=True)
    def _loaded(self, trt: Any) -> None:
        pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")

    def test_a_plan_of_another_version(self) -> None:
        from recblr.runtime.gpu.trt_plan import check_version

        check_version(self.SECTION, "1.7.1.116")
        with pytest.raises(BundleError) as caught:
            check_version(self.SECTION, "1.8.0.2")
        assert str(caught.value) == (
            "the plan was built by TensorRT-RTX 1.7.1.116, and 1.8.0.2 is installed: install that version, or "
            "export the bundle again"
        )

    def test_a_request_beyond_the_profile(self) -> None:
        from recblr.runtime.gpu.backend import check_sizes

        limits = self.SECTION.profile.limits
        assert (limits.rows, limits.tokens, limits.exclusions) == (8, 500, 70)
        check_sizes(limits.tokens, 500, "tokens", "--max-tokens")
        with pytest.raises(RequestError) as caught:
            check_sizes(limits.tokens, 1501, "tokens", "--max-tokens")
        assert str(caught.value) == (
            "the request has 1,501 tokens, the plan takes 500: send fewer at once, or export with --max-tokens 1501"
        )
