"""What the C++ core is built with: how the tool gets it, how CMake finds it, and that it links into one library."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = Path(__file__).parent / "native_dependencies"
CORE = {
    "nlohmann-json3-dev": "nlohmann/json.hpp",
    "libssl-dev": "openssl/ssl.h",
    "libsqlite3-dev": "sqlite3.h",
    "libhiredis-dev": "hiredis/hiredis_ssl.h",
    "libgtest-dev": "gtest/gtest.h",
}
SERVER = {
    "libboost1.81-dev": "boost/url.hpp",
    "libcli11-dev": "CLI/CLI.hpp",
    "libtomlplusplus-dev": "toml++/toml.h",
    "zlib1g-dev": "zlib.h",
    "libgrpc++-dev": "grpcpp/grpcpp.h",
}
HEADERS = CORE | SERVER
PROGRAMS = ("protoc", "grpc_cpp_plugin")
PROMETHEUS = "src/prometheus-cpp/core/include/prometheus/registry.h"
GET = "run python3 tools/get_native_dependencies.py"
NO_APT = "nlohmann-json is missing and cannot be fetched (there is no apt here)"

# In place of apt-get: the release whose lists it has been given is part of a package's file name. Notes its calls.
APT_GET = """#!/bin/sh
echo "$@" >> "$CALLS"
release=$SYSTEM_LISTS
case "$*" in */own/lists*) release=own ;; */trixie/lists*) release=trixie ;; */sources/lists*) release=sources ;; esac
case "$*" in
  *indextargets*COMPONENT*) echo "$MIRROR bookworm main"; echo "$MIRROR bookworm-updates main"; exit ;;
  *indextargets*) echo "$MIRROR"; exit ;;
  *update*) [ $release != own ] || exit ${UPDATE_STATUS:-0}; exit ;;
esac
while [ "$1" != download ] && [ "$1" != --download-only ]; do shift; done
command=$1
shift
for package; do
  case " $NOT_TO_BE_HAD " in *" $package "*) release=none ;; esac
  [ $release != none ] || { echo "E: Unable to locate package $package" >&2; exit 100; }
  if [ $command = download ]; then
    touch $package-$release.deb
  else
    mkdir -p $package-1/core/include/prometheus
    echo $package-$release > $package-1/core/include/prometheus/registry.h
    tar -cf ${package}_1.orig.tar.gz $package-1
  fi
done
"""
APT_CACHE = """#!/bin/sh
echo "$@" >> "$CALLS"
for package; do :; done
printf '%s\\n' $package '  Depends: libc6' '  Depends: libprotoc32' '  Depends: libgrpc29' '  Suggests: libproto'
"""
# In place of dpkg-deb: packages of headers and libraries, static and shared. Only trixie's hiredis has TLS.
DPKG_DEB = """#!/bin/sh
include=$3/usr/include lib=$3/usr/lib/x86_64-linux-gnu
mkdir -p $include $lib $3/usr/bin
add() { mkdir -p $(dirname $include/$1); echo $2 > $include/$1; }
shared() { touch $lib/$1.0; ln -s $1.0 $lib/$1; }
name=$(basename $2 .deb)
case $name in
  nlohmann*) add nlohmann/json.hpp $name ;;
  libssl*) add openssl/ssl.h $name; add openssl/sha.h $name; add x86_64-linux-gnu/openssl/configuration.h $name
           touch $lib/libcrypto.a $lib/libssl.a; ln -s libssl.so.3 $lib/libssl.so ;;
  libsqlite3*) add sqlite3.h $name; add sqlite3ext.h $name; touch $lib/libsqlite3.a ;;
  libhiredis-dev-trixie) add hiredis/hiredis.h $name; add hiredis/hiredis_ssl.h $name
           touch $lib/libhiredis.a $lib/libhiredis_ssl.a ;;
  libhiredis*) add hiredis/hiredis.h $name; touch $lib/libhiredis.a ;;
  libboost*) add boost/url.hpp $name; add boost/asio/io.hpp $name; add boost/phoenix/phoenix.hpp $name ;;
  libcli11*) add CLI/CLI.hpp $name ;;
  libtomlplusplus*) add toml++/toml.h $name ;;
  zlib1g*) add zlib.h $name; touch $lib/libz.a; ln -s libz.so.1 $lib/libz.so ;;
  libgrpc++*) add grpcpp/grpcpp.h $name; touch $lib/libgrpc++.a ;;
  libgrpc29*) shared libgrpc.so.29 ;;
  libprotoc32*) shared libprotoc.so.32 ;;
  protobuf-compiler-grpc*) touch $3/usr/bin/grpc_cpp_plugin $3/usr/bin/grpc_cpp_other ;;
  protobuf-compiler*) touch $3/usr/bin/protoc ;;
  libgtest*) add gtest/gtest.h $name; touch $lib/libgtest.a $lib/libgtest_main.a ;;
esac
"""


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "tools")
    import get_native_dependencies

    return get_native_dependencies


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tool: ModuleType) -> Path:
    """The file that holds apt-get's calls; the PATH leads to the stand-ins, the mirror is a Debian's."""
    import debian_packages

    (tmp_path / "bin").mkdir()
    for name in ("sh", "touch", "mkdir", "dirname", "basename", "ln", "tar"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or name)
    for name, content in (("apt-get", APT_GET), ("apt-cache", APT_CACHE), ("dpkg-deb", DPKG_DEB)):
        (tmp_path / "bin" / name).write_text(content)
        (tmp_path / "bin" / name).chmod(0o755)
    variables = {"PATH": tmp_path / "bin", "CALLS": tmp_path / "calls", "MIRROR": "file:/mirror/debian"}
    for name, value in {**variables, "SYSTEM_LISTS": "system"}.items():
        monkeypatch.setenv(name, str(value))
    (tmp_path / "keyring").touch()
    monkeypatch.setattr(debian_packages, "KEYRING", tmp_path / "keyring")
    return tmp_path / "calls"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() or path.is_symlink()}


class TestTool:
    """tools/get_native_dependencies.py, with stand-ins for apt-get and dpkg-deb."""

    def run(self, tool: ModuleType, folder: Path, *options: str) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["get_native_dependencies.py", str(folder), *options])
            return int(tool.main())

    def test_all_of_it(self, tool: ModuleType, calls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = tmp_path / "dependencies"
        assert self.run(tool, folder, "--all") == 0
        more = {"openssl/sha.h", "openssl/configuration.h", "sqlite3ext.h", "hiredis/hiredis.h", "boost/asio/io.hpp"}
        libraries = ("crypto", "ssl", "sqlite3", "hiredis", "hiredis_ssl", "z", "grpc++", "gtest", "gtest_main")
        assert files(folder) == {
            *(f"include/{header}" for header in (*HEADERS.values(), *more)),
            *(f"lib/lib{name}.a" for name in libraries),
            *(f"bin/{name}" for name in (*PROGRAMS, "libgrpc.so.29", "libprotoc.so.32")),
            PROMETHEUS,
        }
        assert not any(path.is_symlink() for path in folder.rglob("*"))
        assert (folder / PROMETHEUS).read_text() == "prometheus-cpp-sources\n"
        origins = {package: (folder / "include" / header).read_text().strip() for package, header in HEADERS.items()}
        own = {package: f"{package}-system" for package in HEADERS}
        assert origins == own | {"libhiredis-dev": "libhiredis-dev-trixie"}
        done = calls.read_text()
        assert self.run(tool, folder, "--all") == 0
        assert calls.read_text() == done  # the second time there was nothing to do
        assert capsys.readouterr() == ("", "")

    def test_a_system_whose_lists_are_missing(
        self, tool: ModuleType, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As in a container's image: the release's own lists are fetched, once, to a folder of the tool's."""
        monkeypatch.setenv("SYSTEM_LISTS", "none")
        assert self.run(tool, tmp_path / "dependencies", "--all") == 0
        assert (tmp_path / "dependencies/include/sqlite3.h").read_text() == "libsqlite3-dev-own\n"
        assert sum("own/lists" in line and line.endswith("update") for line in calls.read_text().splitlines()) == 1

    def test_what_the_system_has_is_not_fetched(
        self, tool: ModuleType, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for header in HEADERS.values():
            (tmp_path / "prefix/include" / header).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "prefix/include" / header).touch()
        monkeypatch.setenv("CMAKE_PREFIX_PATH", str(tmp_path / "prefix"))
        for name in PROGRAMS:
            (tmp_path / "bin" / name).touch(mode=0o755)
        assert self.run(tool, tmp_path / "dependencies") == 0
        assert files(tmp_path / "dependencies") == {PROMETHEUS}  # of which the system has no static library
        assert "download " not in calls.read_text()

    def test_headers_without_the_programs_that_go_with_them(
        self, tool: ModuleType, calls: Path, tmp_path: Path
    ) -> None:
        """gRPC's headers are of no use without its compiler."""
        folder = tmp_path / "dependencies"
        assert self.run(tool, folder, "--all") == 0
        (folder / "bin" / "protoc").unlink()
        calls.unlink()
        assert self.run(tool, folder, "--all") == 0
        assert (folder / "bin" / "protoc").is_file()
        downloads = [line.partition("download ")[2] for line in calls.read_text().splitlines() if "download " in line]
        assert len(downloads) == 1
        assert "libgrpc++-dev" in downloads[0]
        assert downloads[0].endswith("protobuf-compiler protobuf-compiler-grpc libprotoc32 libgrpc29")

    def test_a_newer_release_has_another_boost(
        self, tool: ModuleType, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NOT_TO_BE_HAD", "libboost1.81-dev")
        assert self.run(tool, tmp_path / "dependencies", "--all") == 0
        boost = tmp_path / "dependencies/include/boost/url.hpp"
        assert boost.read_text() == "libboost1.83-dev-own\n"

    @pytest.mark.parametrize(
        ("variables", "status", "message", "left_out"),
        [
            (
                {"NOT_TO_BE_HAD": "libssl-dev"},
                1,
                "OpenSSL is missing and cannot be fetched (apt-get: E: Unable to locate package libssl-dev): install "
                "its development files, on Debian and Ubuntu libssl-dev, or unpack them elsewhere and name that in "
                "CMAKE_PREFIX_PATH",
                {*HEADERS} - {"nlohmann-json3-dev"},  # it stops there
            ),
            (
                {"NOT_TO_BE_HAD": "libhiredis-dev"},
                0,
                "no hiredis (apt-get: E: Unable to locate package libhiredis-dev): the core is built without "
                "histories in Redis",
                {"libhiredis-dev"},
            ),
            (
                {"NOT_TO_BE_HAD": "libboost1.81-dev libboost1.83-dev"},
                0,
                "no Boost (apt-get: E: Unable to locate package libboost1.83-dev): recblr-serve is not built",
                {"libboost1.81-dev"},
            ),
            (
                {"NOT_TO_BE_HAD": "libgrpc29"},
                0,
                "no gRPC (apt-get: E: Unable to locate package libgrpc29): recblr-serve is built without gRPC",
                {"libgrpc++-dev"},
            ),
            (
                {"NOT_TO_BE_HAD": "prometheus-cpp"},
                0,
                "no prometheus-cpp (apt-get: E: Unable to locate package prometheus-cpp): recblr-serve is not built",
                set(),
            ),
            (
                {"MIRROR": "file:/mirror/ubuntu"},
                0,
                "no hiredis (this system's release has no libhiredis-dev that will do, and it is not Debian): the "
                "core is built without histories in Redis",
                {"libhiredis-dev"},
            ),
        ],
    )
    @pytest.mark.usefixtures("calls")
    def test_one_is_not_to_be_had(
        self,
        tool: ModuleType,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        variables: dict[str, str],
        status: int,
        message: str,
        left_out: set[str],
    ) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert self.run(tool, tmp_path / "dependencies", "--all") == status
        assert capsys.readouterr() == (("", f"{message}\n") if status else (f"{message}\n", ""))
        present = files(tmp_path / "dependencies")
        assert {package for package, header in HEADERS.items() if f"include/{header}" not in present} == left_out

    def test_without_apt(
        self, tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert self.run(tool, tmp_path / "dependencies", "--all") == 1
        assert capsys.readouterr().err.startswith(
            "nlohmann-json is missing and cannot be fetched (there is no apt here)"
        )
        assert not (tmp_path / "dependencies").exists()

    def test_a_build_that_cannot_have_them_ends_with_the_tools_line(
        self, tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backend = pytest.importorskip(
            "build_backend", reason="scikit-build-core is installed in build environments only"
        )
        monkeypatch.setattr(backend, "system_folders", list)
        monkeypatch.setattr(backend, "DEFAULT_FOLDER", tmp_path / "dependencies")
        monkeypatch.setenv("PATH", str(tmp_path))
        (tmp_path / "g++").touch(mode=0o755)
        with pytest.raises(
            SystemExit, match=r"nlohmann-json is missing and cannot be fetched \(there is no apt here\)"
        ):
            backend.build_wheel(str(tmp_path))


def configure(build: Path, *definitions: str) -> subprocess.CompletedProcess[str]:
    command = ["cmake", "-S", str(PROJECT), "-B", str(build), *(f"-D{definition}" for definition in definitions)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all: the compiler is tried once. CMake finds nothing in the system, but its compiler."""
    folder = tmp_path_factory.mktemp("finder")
    places = ("CMAKE_SYSTEM_PATH", "SYSTEM_ENVIRONMENT_PATH", "CMAKE_ENVIRONMENT_PATH")
    (folder / "no_system.cmake").write_text("".join(f"set(CMAKE_FIND_USE_{place} OFF)\n" for place in places))
    return folder


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    places = (ROOT / "build/dependencies/include", Path("/usr/include"), Path("/usr/local/include"))
    for header in CORE.values():
        if not any((place / header).is_file() for place in places):
            pytest.skip(f"{header} is missing here: run python tools/get_native_dependencies.py")
    build = tmp_path_factory.mktemp("library")
    done = configure(build, "RECBLR_SQLITE=ON", "RECBLR_REDIS=ON", "RECBLR_BUILD_TESTS=ON")
    assert done.returncode == 0, done.stderr
    done = subprocess.run(["cmake", "--build", str(build)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return build / "libsmoke.so"


needs_cmake = pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which("c++") is None, reason="no CMake or no C++ compiler here"
)


@needs_cmake
class TestFinder:
    """cmake/native_dependencies.cmake, where the system has nothing."""

    def find(self, build: Path, folder: Path, left_out: str, *options: str) -> subprocess.CompletedProcess[str]:
        headers = ("openssl/sha.h", "google/protobuf/message.h", "grpc/grpc.h", *HEADERS.values())
        libraries = ("crypto", "ssl", "sqlite3", "hiredis", "hiredis_ssl", "z", "protobuf", "grpc++", "grpc", "gpr")
        libraries = (*libraries, "address_sorting", "upb", "re2", "cares", "absl_base")
        paths = (
            *(f"include/{header}" for header in headers),
            *(f"lib/lib{name}.a" for name in libraries),
            *(f"bin/{program}" for program in PROGRAMS),
            PROMETHEUS,
            "src/prometheus-cpp/core/src/registry.cc",
        )
        for name in (folder / path for path in paths if left_out not in path):
            name.parent.mkdir(parents=True, exist_ok=True)
            name.touch(mode=0o755)
        places = (f"RECBLR_DEPENDENCIES={folder}", f"CMAKE_PROJECT_INCLUDE={build / 'no_system.cmake'}")
        names = ("SQLITE", "REDIS", "SERVER", "GRPC")
        return configure(build, *places, *(f"RECBLR_{name}=AUTO" for name in names), *options)

    @pytest.mark.parametrize(
        ("left_out", "options", "lines"),
        [
            ("?", [], ["histories in SQLite: built", "histories in Redis: built"]),
            ("?", [], ["recblr-serve: built", "gRPC in recblr-serve: built"]),
            ("sqlite3.h", [], [f"histories in SQLite: not built; {GET}", "histories in Redis: built"]),
            ("hiredis_ssl.h", [], ["histories in SQLite: built", f"histories in Redis: not built; {GET}"]),
            ("?", ["RECBLR_SQLITE=OFF"], ["histories in SQLite: not built, RECBLR_SQLITE is OFF"]),
            ("?", ["RECBLR_REDIS=OFF"], ["histories in Redis: not built, RECBLR_REDIS is OFF"]),
            ("?", ["RECBLR_SERVER=OFF"], ["recblr-serve: not built, RECBLR_SERVER is OFF"]),
            ("?", ["RECBLR_GRPC=OFF"], ["recblr-serve: built", "gRPC in recblr-serve: not built, RECBLR_GRPC is OFF"]),
            *(
                (left_out, [], [f"recblr-serve: not built; {GET}", "histories in SQLite: built"])
                for left_out in ("boost/url.hpp", "CLI.hpp", "toml.h", "libz.a", "registry.h", "openssl/ssl.h")
            ),
            *(
                (left_out, [], ["recblr-serve: built", f"gRPC in recblr-serve: not built; {GET}"])
                for left_out in ("grpcpp.h", "libgpr.a", "libprotobuf.a", "bin/protoc", "grpc_cpp_plugin")
            ),
        ],
    )
    def test_optional_parts(
        self, build: Path, tmp_path: Path, left_out: str, options: list[str], lines: list[str]
    ) -> None:
        done = self.find(build, tmp_path, left_out, *options)
        assert done.returncode == 0, done.stderr
        assert f"recblr::crypto: {tmp_path}/include {tmp_path}/lib/libcrypto.a\n" in done.stdout
        for line in lines:
            assert f"-- {line}\n" in done.stdout

    @pytest.mark.parametrize(
        ("left_out", "options", "message"),
        [
            ("json.hpp", [], "nlohmann-json or OpenSSL is missing: run python3 tools/get_native_dependencies.py"),
            ("sha.h", [], "nlohmann-json or OpenSSL is missing: run python3 tools/get_native_dependencies.py"),
            ("hiredis_ssl.h", ["RECBLR_REDIS=ON"], "RECBLR_REDIS is ON, but the development files are missing: run"),
            ("url.hpp", ["RECBLR_SERVER=ON"], "RECBLR_SERVER is ON, but the development files are missing: run"),
            ("grpcpp.h", ["RECBLR_GRPC=ON"], "RECBLR_GRPC is ON, but the development files are missing: run"),
        ],
    )
    def test_what_is_missing_is_an_error(
        self, build: Path, tmp_path: Path, left_out: str, options: list[str], message: str
    ) -> None:
        done = self.find(build, tmp_path, left_out, *options)
        assert done.returncode != 0
        assert message in " ".join(done.stderr.split())


@needs_cmake
class TestLibrary:
    """All dependencies in one shared library."""

    @pytest.mark.slow
    def test_a_python_module(self, path: Path) -> None:
        if importlib.util.find_spec("nanobind") is None:
            pytest.skip("nanobind is not installed")
        build = path.parent
        done = configure(build, "SMOKE_MODULE=ON", f"Python_EXECUTABLE={sys.executable}")
        assert done.returncode == 0, done.stderr
        subprocess.run(["cmake", "--build", str(build)], capture_output=True, check=True)
        code = "import smoke_module; print(smoke_module.successor(41))"
        done = subprocess.run([sys.executable, "-c", code], cwd=build, capture_output=True, text=True, check=False)
        assert done.stdout == "42\n", done.stderr

    def test_a_python_without_nanobind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
        python = tmp_path / "bin" / "python"
        done = configure(tmp_path / "build", "SMOKE_MODULE=ON", f"Python_EXECUTABLE={python}")
        assert done.returncode != 0
        assert f"{python} has no nanobind: run {python} -m pip install nanobind" in " ".join(done.stderr.split())

    @pytest.fixture
    def library(self, path: Path) -> ctypes.CDLL:
        return ctypes.CDLL(str(path))

    def call(self, library: ctypes.CDLL, name: str, *arguments: object) -> object:
        function = library[name]
        function.restype = ctypes.c_char_p
        return json.loads(function(*arguments))

    def test_only_its_own_symbols_are_visible(self, path: Path) -> None:
        command = ["nm", "-D", "--defined-only", "--format=posix", str(path)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        names = {line.split()[0] for line in lines}
        assert names == {"smoke_sha256", "smoke_sqlite", "smoke_redis", "smoke_redis_tls"}

    def test_it_brings_no_other_library(self, path: Path) -> None:
        needed = subprocess.run(["readelf", "-d", str(path)], capture_output=True, text=True, check=True).stdout
        assert "libc.so.6" in needed
        assert [name for name in ("crypto", "ssl", "sqlite", "hiredis") if f"lib{name}" in needed] == []

    def test_sha256(self, library: ctypes.CDLL) -> None:
        assert self.call(library, "smoke_sha256", b"abc") == list(hashlib.sha256(b"abc").digest())

    def test_sqlite(self, library: ctypes.CDLL) -> None:
        assert self.call(library, "smoke_sqlite") == 42

    def test_redis(self, library: ctypes.CDLL) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        assert self.call(library, "smoke_redis", port) == "Connection refused"

    def test_redis_with_tls(self, library: ctypes.CDLL, tmp_path: Path) -> None:
        missing = os.fsencode(tmp_path / "none.pem")
        assert self.call(library, "smoke_redis_tls", missing) == "Failed to load CA Certificate or CA Path"

    def test_googletest(self, path: Path) -> None:
        done = subprocess.run([str(path.with_name("smoke_test"))], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert "[  PASSED  ] 1 test." in done.stdout
