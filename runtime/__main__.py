"""Where librecblr is, for builds that link it, and Triton's backend: `python -m recblr.runtime --cmakedir`."""

from __future__ import annotations

import argparse
from pathlib import Path

import recblr.runtime
from recblr.errors import RecblrError

_CONFIG = Path("cmake", "recblr", "recblrConfig.cmake")  # beside the library
_HEADER = Path("include", "recblr", "recblr.h")
_LIBRARIES = "librecblr.so.*[0-9]"
_TRITON_BACKEND = Path("triton", "recblr", "libtriton_recblr.so")


class NoLibraryError(RecblrError):
    """librecblr, or a part of it, was not built."""


def library_folder() -> Path:
    """The folder of librecblr, with CMake's package beside it: installed, or the latest built in a checkout.

    Raises:
        NoLibraryError: there is none.
    """
    installed, built = _folders_with(_CONFIG)
    built = [folder for folder in built if any(folder.glob(_LIBRARIES))]
    if not installed + built:
        raise NoLibraryError("librecblr is not there: install recblr where there is a C++ compiler, or build it")
    return _latest(installed, built, _CONFIG)


def triton_backend_folder() -> Path:
    """What Triton Inference Server's --backend-directory is given: a folder with the backend `recblr`.

    Raises:
        NoLibraryError: there is none.
    """
    installed, built = _folders_with(_TRITON_BACKEND)
    if not installed + built:
        raise NoLibraryError(
            "libtriton_recblr.so is not there: install recblr where there is a C++ compiler, or build it with "
            "-DRECBLR_TRITON=ON"
        )
    return _latest(installed, built, _TRITON_BACKEND) / _TRITON_BACKEND.parts[0]


def _folders_with(file: Path) -> tuple[list[Path], list[Path]]:
    """Folders that `file` is in: of the package, and built in a checkout."""
    # An editable install has two folders here: the sources', and the one the library is installed to.
    folders = [Path(folder) for folder in recblr.runtime.__path__]
    up = len(file.parts) - 1
    built = [
        path.parents[up]
        for folder in folders
        for pattern in ("runtime", "*/runtime")
        for path in (folder.resolve().parent / "build").glob(f"{pattern}/{file}")
    ]
    return [folder for folder in folders if (folder / file).is_file()], built


def _latest(installed: list[Path], built: list[Path], file: Path) -> Path:
    return installed[0] if installed else max(built, key=lambda folder: (folder / file).stat().st_mtime)


def include_folder() -> Path:
    """The folder that compilers look for <recblr/recblr.h> in.

    Raises:
        NoLibraryError: there is none.
    """
    folders = [library_folder(), *map(Path, recblr.runtime.__path__)]
    for folder in folders:
        if (folder / _HEADER).is_file():
            return folder / "include"
    raise NoLibraryError(f"{_HEADER.name} is not in {', '.join(map(str, folders))}: install recblr again")


def link_flags() -> str:
    """What a linker is given to link the library, and to find it when a program starts."""
    folder = library_folder()
    library = min(folder.glob(_LIBRARIES), key=lambda path: len(path.name))  # the name that programs ask for
    return f"-L{folder} -l:{library.name} -Wl,-rpath,{folder}"


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m recblr.runtime",
        description="Where the C and C++ API is, for builds that link librecblr, and the backend for Triton.",
    )
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--cmakedir", action="store_true", help="recblr_DIR, for CMake's find_package(recblr CONFIG)")
    choice.add_argument("--includes", action="store_true", help="flags for the compiler")
    choice.add_argument("--libs", action="store_true", help="flags for the linker")
    choice.add_argument(
        "--triton-backend", action="store_true", help="what Triton Inference Server's --backend-directory is given"
    )
    asked = parser.parse_args()
    try:
        if asked.cmakedir:
            print((library_folder() / _CONFIG).parent)
        elif asked.includes:
            print(f"-I{include_folder()}")
        elif asked.triton_backend:
            print(triton_backend_folder())
        else:
            print(link_flags())
    except NoLibraryError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
