"""The build backend: scikit-build-core, and what the native code is built with where the system lacks it.

The C++ core's dependencies are fetched as tools/get_native_dependencies.py does it, into build/dependencies.

The CUDA kernels need nvcc. A system's own is taken (`CUDACXX`, the search path, `CUDA_HOME`); elsewhere its wheels
become build requirements. `RECBLR_CUDA=OFF` builds without CUDA, `RECBLR_CUDA_ARCHITECTURES` names GPUs.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from get_native_dependencies import (
    DEFAULT_FOLDER,
    DEPENDENCIES,
    SOURCES,
    MissingDependencyError,
    get_native_dependencies,
    system_folders,
)
from scikit_build_core import build as backend
from scikit_build_core.build import build_sdist, get_requires_for_build_sdist

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
]

# All of one release: a newer nvvm writes code that an older ptxas does not read.
_RELEASE = "13.0.*"
_COMPILER = ("nvidia-cuda-nvcc", "nvidia-cuda-crt", "nvidia-nvvm", "nvidia-cuda-runtime", "nvidia-cuda-cccl")
_FOLDER = "cu13"  # the wheels' common folder, in the package nvidia

_Settings = dict[str, Any] | None


def get_requires_for_build_wheel(config_settings: _Settings = None) -> list[str]:
    """PEP 517."""
    return [*backend.get_requires_for_build_wheel(config_settings), *_compiler_requirements(config_settings)]


def get_requires_for_build_editable(config_settings: _Settings = None) -> list[str]:
    """PEP 660."""
    return [*backend.get_requires_for_build_editable(config_settings), *_compiler_requirements(config_settings)]


def build_wheel(folder: str, config_settings: _Settings = None, metadata_directory: str | None = None) -> str:
    """PEP 517."""
    _prepare(config_settings)
    return backend.build_wheel(folder, config_settings, metadata_directory)


def build_editable(folder: str, config_settings: _Settings = None, metadata_directory: str | None = None) -> str:
    """PEP 660."""
    _prepare(config_settings)
    return backend.build_editable(folder, config_settings, metadata_directory)


def _prepare(config_settings: _Settings) -> None:
    """Have ready what CMake looks for."""
    if _has_host_compiler():
        try:
            get_native_dependencies(DEFAULT_FOLDER, (*DEPENDENCIES, *SOURCES), system_folders())
        except MissingDependencyError as error:
            sys.exit(str(error))  # one line, where an exception would be shown with all frames
    _use_compiler_of_wheels(config_settings)


def _compiler_requirements(config_settings: _Settings) -> list[str]:
    return [f"{name}=={_RELEASE}" for name in _COMPILER] if _needs_compiler(config_settings) else []


def _needs_compiler(config_settings: _Settings) -> bool:
    supported = platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64")
    return supported and _has_host_compiler() and _wants_cuda(config_settings) and not _has_system_compiler()


def _has_host_compiler() -> bool:
    return bool(os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++"))


def _wants_cuda(config_settings: _Settings) -> bool:
    name = "RECBLR_CUDA"
    wanted = (config_settings or {}).get(f"cmake.define.{name}", os.environ.get(name) or "AUTO")
    return str(wanted).upper() not in ("OFF", "0", "NO", "FALSE")


def _has_system_compiler() -> bool:
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    in_home = any(shutil.which("nvcc", path=f"{home}/bin") for home in homes)
    return bool(os.environ.get("CUDACXX") or shutil.which("nvcc") or in_home)


def _use_compiler_of_wheels(config_settings: _Settings) -> None:
    """Point CMake at the wheels' nvcc, and the linker at their libraries: they are in lib, not in lib64."""
    if not _needs_compiler(config_settings):
        return
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        root = Path(folder) / _FOLDER
        if (root / "bin" / "nvcc").is_file():
            os.environ["CUDACXX"] = str(root / "bin" / "nvcc")
            paths = [str(root / "lib"), os.environ.get("LIBRARY_PATH", "")]
            os.environ["LIBRARY_PATH"] = os.pathsep.join(path for path in paths if path)
            return
