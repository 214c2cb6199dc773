"""Installation: a wheel in an environment of its own, an editable install, a machine without a compiler."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("recblr/model.py", "recblr/runtime/engine.py", "recblr/export/cli.py", "recblr/plugins/_library.py")
LIBRARY = "recblr/plugins/librecblr_plugins.so"
TEMPLATES = [f"recblr/export/triton/templates/{path.name}" for path in (ROOT / "export/triton/templates").iterdir()]
ARCHITECTURES = (
    "import ctypes, recblr.plugins as p; f = p.load_library().handle.recblr_cuda_architectures; "
    "f.restype = ctypes.c_char_p; architectures = f().decode()"
)

pytestmark = pytest.mark.slow


def pip(*arguments: object, **variables: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def build_wheel(folder: Path, *options: str, **variables: str) -> Path:
    build = ["--config-settings", f"build-dir={folder / 'build'}"]
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", folder, *build, *options, ROOT, **variables)
    return next(folder.glob("recblr-*.whl"))


def environment_python(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def run(python: Path, code: str, cwd: Path) -> str:
    result = subprocess.run([str(python), "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With CUDA kernels for one GPU only: all take minutes."""
    return build_wheel(tmp_path_factory.mktemp("wheel"), RECBLR_CUDA_ARCHITECTURES="90-real")


def test_the_wheel_holds_the_four_rooms_and_no_sources_of_the_library(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {*ROOMS, LIBRARY, "recblr/py.typed", *TEMPLATES} <= set(names)
    assert [name for name in names if name.endswith((".cpp", ".cu", "CMakeLists.txt"))] == []
    assert {name.split("/")[0] for name in names} == {"recblr", re.sub(r"-cp.*|-py.*", ".dist-info", wheel.name)}


def test_the_base_install_needs_no_torch_and_the_extras_are_complete(wheel):
    archive = zipfile.ZipFile(wheel)
    metadata = Parser().parsestr(archive.read(next(n for n in archive.namelist() if n.endswith("METADATA"))).decode())
    requirements = metadata.get_all("Requires-Dist") or []
    base = [requirement for requirement in requirements if "extra ==" not in requirement]
    assert any(requirement.startswith("onnxruntime-gpu") for requirement in base)
    assert not any(requirement.startswith(("torch", "onnx>", "pyarrow", "recblr")) for requirement in base)
    extras = {"train", "export", "serve", "bench", "redis", "tensorrt", "tensorrt-rtx", "pycuda", "all", "dev"}
    assert set(metadata.get_all("Provides-Extra") or []) == extras


def test_the_library_needs_neither_cuda_nor_tensorrt_to_load(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        library = archive.extract(LIBRARY, tmp_path)
    needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"\(NEEDED\).*\[(.*?)\]", needed)
    assert "libc.so.6" in names
    assert [name for name in names if re.match(r"lib(cuda|nv|onnx|torch)", name)] == []
    command = ["nm", "-D", "--defined-only", library]
    exported = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.search(r" T recblr_gated_scan_forward_cuda$", exported, re.MULTILINE)
    assert re.findall(r" T cu\w+", exported) == []  # the CUDA runtime within is for no one else


def test_nvidias_compiler_comes_from_wheels_of_one_release_where_there_is_none(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "tools")
    backend = pytest.importorskip("build_backend", reason="scikit-build-core is installed in build environments only")
    for name in ("CUDACXX", "CUDA_HOME", "CUDA_PATH", "RECBLR_CUDA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "g++").touch(mode=0o755)
    requirements = backend.get_requires_for_build_wheel()
    compiler = [requirement for requirement in requirements if requirement.startswith("nvidia-")]
    assert "nvidia-cuda-nvcc" in {requirement.partition("==")[0] for requirement in compiler}
    assert len({requirement.partition("==")[2] for requirement in compiler}) == 1
    monkeypatch.setenv("RECBLR_CUDA", "OFF")
    assert set(requirements) - set(backend.get_requires_for_build_wheel()) == set(compiler)
    monkeypatch.delenv("RECBLR_CUDA")
    (tmp_path / "nvcc").touch(mode=0o755)
    assert set(requirements) - set(backend.get_requires_for_build_editable()) == set(compiler)


def test_a_wheel_install_serves_without_torch(wheel, tmp_path):
    python = environment_python(tmp_path / "venv")
    pip("--python", python, "install", "--quiet", wheel)
    code = "import importlib.util as u, recblr.runtime as r; print(r.__file__, u.find_spec('torch') is None)"
    where, no_torch = run(python, code, tmp_path).split()
    assert Path(where).is_relative_to(tmp_path)
    assert no_torch == "True"
    assert run(python, "import recblr.plugins as p; print(p.load_library().version)", tmp_path) == "0.1.0"
    assert run(python, f"{ARCHITECTURES}; print(architectures)", tmp_path) == "90-real"
    bin_folder = python.parent
    trained = subprocess.run(
        [bin_folder / "recblr-train", "x.csv", "-o", "m.pt"], capture_output=True, text=True, check=False
    )
    assert trained.returncode == 1
    assert trained.stderr.count("\n") == 1
    assert "pip install 'recblr[train]'" in trained.stderr
    shown = subprocess.run([bin_folder / "recblr-recommend", "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0


def test_the_sdist_holds_each_file_once(tmp_path):
    build = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        members = archive.getmembers()
    names = [member.name.partition("/")[2] for member in members]
    files = {"recblr/model.py", "runtime/engine.py", "export/cli.py", "plugins/_library.py"}
    assert {*files, *(template.removeprefix("recblr/") for template in TEMPLATES)} <= set(names)
    assert [name for name in names if name.startswith(("recblr/plugins", "recblr/runtime", "recblr/export"))] == []
    assert len(names) == len(set(names))


def test_a_checkout_works_without_installation(tmp_path):
    """NumPy and click are there, from this environment; recblr itself is not installed."""
    python = environment_python(tmp_path / "venv")
    site = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    for package in ("numpy", "numpy.libs", "click", "jaxtyping", "wadler_lindig", "typing_extensions.py"):
        source = Path(numpy.__file__).parents[1] / package
        if source.exists():
            (site / package).symlink_to(source)
    code = "import recblr, recblr.runtime as r; print(r.__file__, recblr.__version__)"
    assert run(python, code, ROOT).split() == [str(ROOT / "recblr" / "runtime" / "__init__.py"), "0.1.0"]


def test_an_editable_install_uses_the_source_folders(tmp_path):
    python = environment_python(tmp_path / "venv")
    pip(
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--config-settings",
        f"build-dir={tmp_path / 'build'}",
        "-e",
        ROOT,
        RECBLR_CUDA="OFF",
    )
    code = "import recblr.plugins as p, importlib.util as u; print(p.__file__); print(p.load_library().path)"
    source, library = run(python, code, tmp_path).splitlines()
    assert Path(source) == ROOT / "plugins" / "__init__.py"
    assert Path(library).is_relative_to(tmp_path)
    assert run(python, f"{ARCHITECTURES}; print(architectures == '')", tmp_path) == "True"
    rooms = "import importlib.util as u\nfor room in ('runtime', 'export'): print(u.find_spec(f'recblr.{room}').origin)"
    assert run(python, rooms, tmp_path).splitlines() == [str(ROOT / r / "__init__.py") for r in ("runtime", "export")]


def test_without_a_compiler_the_wheel_is_built_without_the_library(tmp_path):
    # NOTFOUND is what CMake's search leaves behind on a machine without a compiler.
    wheel = build_wheel(tmp_path, "--config-settings", "cmake.define.CMAKE_CXX_COMPILER=NOTFOUND")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert set(ROOMS) <= names
    assert LIBRARY not in names
    python = environment_python(tmp_path / "venv")
    pip("--python", python, "install", "--quiet", "--no-deps", wheel)
    assert run(python, "import recblr.plugins as p; print(p.find_library())", tmp_path) == "None"


def test_torch_is_pinned_for_the_set_up_and_a_range_for_users():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "torch>=2.9" in project["optional-dependencies"]["train"]
    assert re.search(r"^torch==[\d.]+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
