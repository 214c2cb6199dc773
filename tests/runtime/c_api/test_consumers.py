"""Projects that use librecblr: from an install tree, a build folder, and with its sources; in C99 and C++17."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import recblr.runtime
from recblr import __version__

from .conftest import CONSUMERS, ROOT, Library, call, cmake

POPULAR = [30, 29, 28]  # indices: the fixture's counts rise


def expected_line(bundle: Path) -> str:
    manifest = recblr.runtime.load(bundle).fingerprint
    return f"{__version__} {manifest} {' '.join(map(str, POPULAR))}\n"


@pytest.mark.parametrize("kind", ["recblr", "recblr_static"])
def test_a_c99_program_finds_the_installed_package(kind, library: Library, bundle, tmp_path):
    build = cmake(CONSUMERS / "c", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={library.prefix}")
    assert call(build / f"consumer_{kind}", bundle) == expected_line(bundle)


def test_errors_are_one_line(library: Library, tmp_path):
    build = cmake(CONSUMERS / "c", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={library.prefix}")
    done = subprocess.run([build / "consumer_recblr", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"bundle: {tmp_path} is no bundle, it holds no manifest.json: give the folder that recblr-export wrote\n"
    )


def test_an_install_tree_can_be_moved(library: Library, bundle, tmp_path):
    moved = Path(shutil.copytree(library.prefix, tmp_path / "moved", symlinks=True))
    (package,) = moved.glob("lib*/cmake/recblr")
    build = cmake(CONSUMERS / "c", tmp_path / "build", f"-Drecblr_DIR={package}")
    linked = call("ldd", build / "consumer_recblr") if shutil.which("ldd") else str(moved)
    assert str(moved) in linked
    assert call(build / "consumer_recblr", bundle) == expected_line(bundle)


@pytest.mark.parametrize("static", [False, True])
def test_pkg_config_knows_the_flags(static, library: Library, bundle, tmp_path):
    if shutil.which("pkg-config") is None:
        pytest.skip("no pkg-config here")
    (folder,) = library.prefix.glob("lib*/pkgconfig")
    environment = {**os.environ, "PKG_CONFIG_PATH": str(folder)}
    version = call("pkg-config", "--modversion", "recblr", env=environment)
    assert version.strip() == __version__
    flags = shlex.split(
        call("pkg-config", "--cflags", "--libs", *(["--static"] if static else []), "recblr", env=environment)
    )
    if static:
        flags = ["-l:librecblr.a" if flag == "-lrecblr" else flag for flag in flags]
    program = tmp_path / "consumer"
    call("cc", "-std=c99", "-pedantic", "-Werror", CONSUMERS / "c" / "main.c", "-o", program, *flags)
    environment["LD_LIBRARY_PATH"] = str(library.shared.parent)
    assert call(program, bundle, env=environment) == expected_line(bundle)


@pytest.mark.slow
def test_the_sources_can_be_a_part_of_a_build(bundle, tmp_path):
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("no cmake or no C++ compiler here")
    build = cmake(CONSUMERS / "subdirectory", tmp_path / "build", "-DRECBLR_CUDA=OFF")
    assert call(build / "consumer", bundle) == expected_line(bundle)


def test_python_says_where_the_library_is(library: Library, bundle, tmp_path):
    """In a checkout: the fixture has built the library."""

    def said(option: str) -> str:
        return call(sys.executable, "-m", "recblr.runtime", option).strip()

    build = cmake(CONSUMERS / "c", tmp_path / "build", f"-Drecblr_DIR={said('--cmakedir')}")
    assert call(build / "consumer_recblr", bundle) == expected_line(bundle)
    program = tmp_path / "consumer"
    flags = [*shlex.split(said("--includes")), *shlex.split(said("--libs"))]
    call("cc", "-std=c99", CONSUMERS / "c" / "main.c", "-o", program, *flags)
    assert call(program, bundle) == expected_line(bundle)


def test_python_says_where_the_library_is_in_one_way_at_a_time():
    done = subprocess.run([sys.executable, "-m", "recblr.runtime"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--cmakedir" in done.stderr


def test_the_example_in_cpp_answers_as_python_does(library: Library, bundle, tmp_path):
    build = cmake(ROOT / "examples" / "cpp", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={library.prefix}")
    histories = [[100, 105, 129], [], [128] * 70, [7, 103], [7]] + [[100 + n % 30] for n in range(100)]
    text = "".join(f"{' '.join(map(str, row))}\n" for row in histories)
    engine = recblr.runtime.load(bundle, backend="native")
    expected = []
    for ranking in engine.recommend(histories, k=5):
        pairs = (f"{item}:{score:.9g}" for item, score in zip(ranking.items, ranking.scores.tolist(), strict=True))
        expected.append(" ".join(["popular"] * ranking.popular + list(pairs)))
    assert call(build / "recommend", bundle, 5, text=text).splitlines() == expected
    done = subprocess.run(
        [build / "recommend", bundle, "31"], input="100\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "k is 31, but the catalogue has 30 items: ask for at most those"
