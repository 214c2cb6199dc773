"""Fixtures of all rooms."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import filelock
import hypothesis
import pytest

# A busy machine is no failure.
hypothesis.settings.register_profile("recblr", deadline=None)
hypothesis.settings.load_profile("recblr")

# Before PyTorch is imported: on models this small a second thread only waits, and on a busy machine it waits long.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def listen_to_ctrl_c() -> None:
    """Tests send it; what a shell starts in the background ignores it, and hands that down to its children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the checkout, which may not be part of it."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data sets in {folder}")
    return folder


@pytest.fixture(scope="session")
def reference_outputs() -> Path:
    """The folder of the reference implementation's outputs beside the checkout, which may not be part of it."""
    folder = Path(__file__).parents[2] / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip(f"no outputs of the reference implementation in {folder}")
    return folder


@pytest.fixture(scope="session")
def emulated_library() -> Path:
    """The native library with its CUDA kernels run on the CPU by an emulator; built anew only where sources changed."""
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("no cmake or no C++ compiler here")
    root = Path(__file__).parents[1]
    build = root / "build" / "emulated"
    build.parent.mkdir(exist_ok=True)
    with filelock.FileLock(build.with_suffix(".lock")):  # pytest-xdist runs several processes
        for command in (
            ["-S", str(root), "-B", str(build), "-DRECBLR_CUDA=EMULATED", "-DRECBLR_BUILD_TESTS=OFF"],
            ["--build", str(build), "--parallel", "2", "--target", "recblr_plugins"],
        ):
            done = subprocess.run(["cmake", *command], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    return build / "plugins" / "librecblr_plugins.so"


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@pytest.fixture
def bound_by_permissions() -> Iterator[None]:
    """Let file permissions count in this thread even for root, who otherwise reads and writes everything."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = _CapabilityHeader(version=0x20080522, pid=0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    held = (_Capabilities * 2)()
    assert libc.capget(ctypes.byref(header), held) == 0
    with_all = held[0].effective
    held[0].effective &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(ctypes.byref(header), held) == 0
    yield
    held[0].effective = with_all
    assert libc.capset(ctypes.byref(header), held) == 0
