"""Installation: the wheel in an environment of its own, an editable install, a machine without a compiler."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import numpy
import pytest

import recblr.runtime
from recblr import plugins
from recblr.checkpoint import Checkpoint
from recblr.config import RecBLRConfig
from recblr.export.bundle import export_bundle
from recblr.model import RecBLR
from recblr.vocabulary import ItemVocabulary

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("recblr/model.py", "recblr/runtime/engine.py", "recblr/export/cli.py", "recblr/plugins/_library.py")
LIBRARY = "recblr/plugins/librecblr_plugins.so"
CMAKE_FOLDER = ROOT / "build" / "wheel" / "cmake"  # of `make wheel`
TEMPLATES = [f"recblr/export/triton/templates/{path.name}" for path in (ROOT / "export/triton/templates").iterdir()]

pytestmark = pytest.mark.slow


def call(*command: object, **variables: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    words = [str(word) for word in command]
    result = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def pip(*arguments: object, **variables: str) -> None:
    call(sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, **variables)


def environment_python(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def run(python: Path, code: str, cwd: Path, **variables: str) -> str:
    """What a Python program prints; where it starts, `import` looks first."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    command = [str(python), "-c", code]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make wheel` builds it, but without GPU code: that takes minutes."""
    if shutil.which("make") is None or (shutil.which("c++") is None and shutil.which("g++") is None):
        pytest.skip("no make or no C++ compiler here")
    folder = tmp_path_factory.mktemp("wheel")
    variables = {"BIN": Path(sys.executable).parent, "DIST": folder}
    settings = [f"{name}={value}" for name, value in variables.items()]
    call("make", "--old-file=.venv/.set-up", "wheel", *settings, RECBLR_CUDA="OFF")
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel and what it requires."""
    python = environment_python(tmp_path_factory.mktemp("installed") / "venv")
    pip("--python", python, "install", "--quiet", wheel)
    return python


def test_the_wheel_holds_the_four_rooms_and_no_sources_of_the_library(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {*ROOMS, LIBRARY, "recblr/py.typed", *TEMPLATES} <= set(names)
    assert [name for name in names if name.endswith((".cpp", ".cu", ".in", "CMakeLists.txt"))] == []
    headers = [path.name for path in (ROOT / "runtime" / "include" / "recblr").iterdir()]
    beside = {
        "librecblr.so.0",
        "triton/recblr/libtriton_recblr.so",
        "cmake/recblr",
        *(f"include/recblr/{header}" for header in headers),
    }
    assert {f"recblr/runtime/{name}" for name in beside} <= {*names, *(str(Path(name).parent) for name in names)}
    assert any(re.fullmatch(r"recblr/runtime/_core\.\S+\.so", name) for name in names)
    information = re.sub(r"-cp.*|-py.*", ".dist-info", wheel.name)
    data = information.replace(".dist-info", ".data")
    assert {name.split("/")[0] for name in names} == {"recblr", information, data}
    in_data = [name for name in names if name.startswith(data) and not name.endswith("/")]
    assert in_data == [f"{data}/scripts/recblr-serve"]
    assert {f"{information}/licenses/{name}" for name in ("LICENSE", "licenses/THIRD_PARTY.md")} <= set(names)


def test_the_base_install_needs_no_torch_and_the_extras_are_complete(wheel):
    archive = zipfile.ZipFile(wheel)
    metadata = Parser().parsestr(archive.read(next(n for n in archive.namelist() if n.endswith("METADATA"))).decode())
    requirements = metadata.get_all("Requires-Dist") or []
    base = [requirement for requirement in requirements if "extra ==" not in requirement]
    assert any(requirement.startswith("onnxruntime-gpu") for requirement in base)
    assert not any(requirement.startswith(("torch", "onnx>", "pyarrow", "recblr")) for requirement in base)
    extras = {"train", "export", "bench", "ray", "tensorrt", "tensorrt-rtx", "pycuda", "all", "dev"}
    assert set(metadata.get_all("Provides-Extra") or []) == extras


def test_the_wheel_is_for_any_linux_of_this_age(wheel):
    assert re.fullmatch(r"recblr-[\d.]+-(cp311-cp311|cp312-abi3)-manylinux_2_\d+_\w+\.whl", wheel.name)


@pytest.mark.parametrize("where", ["in the wheel", "with GPU code, in this environment"])
def test_the_library_needs_neither_cuda_nor_tensorrt_to_load(request, tmp_path, where):
    if where == "in the wheel":
        with zipfile.ZipFile(request.getfixturevalue("wheel")) as archive:
            library = archive.extract(LIBRARY, tmp_path)
    else:
        if plugins.find_library() is None or not plugins.load_library().cuda_architectures:
            pytest.skip("the library of this environment was built without CUDA")
        library = plugins.load_library().path
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


def test_the_library_says_what_gpus_it_has_code_for():
    if plugins.find_library() is None or not plugins.load_library().cuda_architectures:
        pytest.skip("the library of this environment was built without CUDA")
    for architecture in plugins.load_library().cuda_architectures.split():
        assert re.fullmatch(r"\d+(-real|-virtual)?", architecture)


def test_a_wheel_install_serves_without_torch(installed, tmp_path):
    code = "import importlib.util as u, recblr.runtime as r; print(r.__file__, u.find_spec('torch') is None)"
    where, no_torch = run(installed, code, tmp_path).split()
    assert Path(where).is_relative_to(installed.parents[1])
    assert no_torch == "True"
    bin_folder = installed.parent
    trained = subprocess.run(
        [bin_folder / "recblr-train", "x.csv", "-o", "m.pt"], capture_output=True, text=True, check=False
    )
    assert trained.returncode == 1
    assert trained.stderr.count("\n") == 1
    assert "pip install 'recblr[train]'" in trained.stderr
    shown = subprocess.run([bin_folder / "recblr-recommend", "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0


def test_recblr_serve_is_one_file_that_needs_the_c_library_alone(installed, tmp_path):
    program = installed.with_name("recblr-serve")
    if program.read_bytes()[:2] == b"#!":
        pytest.skip("what recblr-serve is built with is not here: run python tools/get_native_dependencies.py")
    needed = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"\(NEEDED\).*\[(.*?)\]", needed)
    assert {name.partition(".so")[0] for name in libraries if not name.startswith("ld-linux")} == {"libc", "libm"}
    assert "PATH" not in needed  # it looks for libraries nowhere else
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, env={}, cwd=tmp_path, check=False)
    assert (shown.returncode, shown.stdout) == (0, "recblr, version 0.1.0\n")


def test_a_wheel_install_needs_no_compiler(installed, tmp_path):
    """Nothing is on the PATH; the library in the wheel computes the answer."""
    config = RecBLRConfig(n_items=30, dim=8)
    export_bundle(Checkpoint(RecBLR(config), ItemVocabulary(list(range(100, 130)), [1] * 30)), tmp_path / "bundle")
    (tmp_path / "empty").mkdir()
    code = """
import recblr.plugins, recblr.runtime
library = recblr.plugins.load_library()
print(library.path, library.version, f"{library.cuda_architectures!r}")
engine = recblr.runtime.load("bundle", threads=1, backend="native")
print(engine.recommend([[103, 120, 111]], k=5)[0].items)
"""
    library, answer = run(installed, code, tmp_path, PATH=str(tmp_path / "empty")).splitlines()
    path, version, architectures = library.split()
    assert Path(path).is_relative_to(installed.parents[1])
    assert (version, architectures) == ("0.1.0", "''")
    expected = recblr.runtime.load(tmp_path / "bundle", threads=1).recommend([[103, 120, 111]], k=5)[0]
    assert answer == str(expected.items)


def test_a_program_in_c_is_built_against_the_wheel(installed, tmp_path):
    """`python -m recblr.runtime` leads CMake, and a compiler, to what the wheel holds."""
    export_bundle(
        Checkpoint(RecBLR(RecBLRConfig(n_items=30, dim=8)), ItemVocabulary(list(range(30)), list(range(30)))),
        tmp_path / "bundle",
    )

    def said(option: str) -> str:
        command = [str(installed), "-m", "recblr.runtime", option]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert str(installed.parents[1]) in done.stdout
        return done.stdout.strip()

    source = ROOT / "tests/runtime/native/consumers/c"
    call("cmake", "-S", source, "-B", tmp_path / "build", f"-Drecblr_DIR={said('--cmakedir')}")
    call("cmake", "--build", tmp_path / "build")
    call("cc", source / "main.c", "-o", tmp_path / "program", *f"{said('--includes')} {said('--libs')}".split())
    for program in ("build/consumer_recblr", "program"):
        shown = subprocess.run([tmp_path / program, tmp_path / "bundle"], capture_output=True, text=True, check=True)
        assert shown.stdout.split()[2:] == ["30", "29", "28"]


def test_a_wheel_install_works_where_python_starts_in_a_checkout(installed):
    """There `import recblr` finds the checkout's folder before the installed one."""
    code = "import recblr.runtime, recblr.plugins, recblr.export as e; print(recblr.runtime.__file__, e.__file__)"
    folders = [str(ROOT / "recblr" / room / "__init__.py") for room in ("runtime", "export")]
    assert run(installed, code, ROOT).split() == folders


def test_the_sdist_holds_each_file_once(tmp_path):
    options = ["--no-isolation", "--skip-dependency-check"]  # an sdist is made without nanobind
    build = [sys.executable, "-m", "build", "--sdist", *options, "--outdir", str(tmp_path), str(ROOT)]
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


def test_an_editable_install_uses_the_source_folders(wheel, tmp_path):
    # Built after the wheel and in its folder, where all is compiled.
    python = environment_python(tmp_path / "venv")
    options = ["--quiet", "--no-deps", "--config-settings", f"build-dir={CMAKE_FOLDER}"]
    pip("--python", python, "install", *options, "-e", ROOT, RECBLR_CUDA="OFF")
    code = "import recblr.plugins as p, importlib.util as u; print(p.__file__); print(p.load_library().path)"
    source, library = run(python, code, tmp_path).splitlines()
    assert Path(source) == ROOT / "plugins" / "__init__.py"
    assert Path(library).is_relative_to(tmp_path)
    rooms = "import importlib.util as u\nfor room in ('runtime', 'export'): print(u.find_spec(f'recblr.{room}').origin)"
    assert run(python, rooms, tmp_path).splitlines() == [str(ROOT / r / "__init__.py") for r in ("runtime", "export")]


def test_without_a_compiler_the_wheel_is_built_without_the_library(tmp_path):
    # NOTFOUND is what CMake's search leaves behind on a machine without a compiler.
    settings = {"build-dir": tmp_path / "build", "cmake.define.CMAKE_CXX_COMPILER": "NOTFOUND"}
    options = [word for name, value in settings.items() for word in ("--config-settings", f"{name}={value}")]
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, *options, ROOT, RECBLR_CUDA="OFF")
    wheel = next(tmp_path.glob("recblr-*.whl"))
    names = set(zipfile.ZipFile(wheel).namelist())
    assert set(ROOMS) <= names
    assert LIBRARY not in names
    python = environment_python(tmp_path / "venv")
    pip("--python", python, "install", "--quiet", "--no-deps", wheel)
    assert run(python, "import recblr.plugins as p; print(p.find_library())", tmp_path) == "None"
    served = subprocess.run(
        [python.with_name("recblr-serve"), "--engine", "bundle"], capture_output=True, text=True, check=False
    )
    assert (served.returncode, served.stdout) == (1, "")
    assert served.stderr == (
        "Error: recblr was installed without recblr-serve, since there was no C++ compiler: install one, and install "
        "recblr again, or install a wheel of it\n"
    )


def test_torch_is_pinned_for_the_set_up_and_a_range_for_users():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "torch>=2.9" in project["optional-dependencies"]["train"]
    assert re.search(r"^torch==[\d.]+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
