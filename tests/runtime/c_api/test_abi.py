"""What compiled programs rely on: the shared library's symbols, and the structures and constants of recblr.h.

abi.txt holds them as they are. What is in it stays within a major version; what is new is added to it, by running this
file with the library's path: `python tests/runtime/c_api/test_abi.py build/consumers/runtime/librecblr.so`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HEADER = Path(__file__).resolve().parents[3] / "runtime" / "include" / "recblr" / "recblr.h"
DUMP = Path(__file__).with_name("abi.txt")


def exported_symbols(library: Path) -> list[str]:
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", "--format=posix", str(library)], capture_output=True, text=True, check=True
    )
    return sorted(line.split()[0].partition("@")[0] for line in listed.stdout.splitlines() if line.split()[1] != "A")


def declared_functions() -> list[str]:
    return sorted(re.findall(r"^RECBLR_API [^(]*?\b(recblr_\w+)\(", _code(), re.MULTILINE))


def layouts() -> list[str]:
    """A line for each constant, structure and field: its value, its size, or its offset and size in bytes."""
    lines = [
        f'printf("#define {name} %d\\n", {name});'
        for name in re.findall(r"^#define (RECBLR_\w+) \d+", _code(), re.MULTILINE)
    ]
    for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\n\} \w+;", _code(), re.DOTALL):
        lines.append(f'printf("struct {name} %zu\\n", sizeof({name}));')
        for field in _fields(body):
            place = f"offsetof({name}, {field}), sizeof((({name}*)0)->{field})"
            lines.append(f'printf("{name}.{field} %zu %zu\\n", {place});')
    program = (
        "#include <recblr/recblr.h>\n#include <stdio.h>\nint main(void) {\n" + "\n".join(lines) + "\nreturn 0;\n}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "layout.c"), Path(folder, "layout")
        source.write_text(program)
        subprocess.run(["cc", "-std=c99", f"-I{HEADER.parents[1]}", str(source), "-o", str(binary)], check=True)
        return subprocess.run([str(binary)], capture_output=True, text=True, check=True).stdout.splitlines()


def dump(library: Path) -> list[str]:
    return [f"function {name}" for name in exported_symbols(library)] + layouts()


def _code() -> str:
    return re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)


def _fields(body: str) -> list[str]:
    names = []
    for declaration in filter(None, (part.strip() for part in body.split(";"))):
        pointer = re.search(r"\(\*(\w+)\)", declaration)
        names += [pointer[1]] if pointer else re.findall(r"(\w+)(?:\[\w+\])?(?=,|$)", declaration)
    return names


@pytest.fixture
def now(library) -> list[str]:
    if shutil.which("nm") is None or shutil.which("cc") is None:
        pytest.skip("no nm or no C compiler here")
    return dump(library.shared)


def test_nothing_that_programs_rely_on_has_changed(now):
    missing = [line for line in DUMP.read_text().splitlines() if line not in now and not _is_grown(line, now)]
    assert not missing, "what compiled programs rely on is gone or altered"


def test_the_dump_is_of_this_version(now):
    assert DUMP.read_text().splitlines() == now, "add what is new to abi.txt, see above"


def test_the_library_exports_what_the_header_declares_and_nothing_else(library):
    if shutil.which("nm") is None:
        pytest.skip("no nm here")
    assert exported_symbols(library.shared) == declared_functions()


def test_every_structure_of_options_can_grow():
    structures = re.findall(r"typedef struct (\w+) \{(.*?)\n\} \w+;", _code(), re.DOTALL)
    growing = {name for name, body in structures if _fields(body)[0] == "struct_size"}
    never = {"recblr_strangers", "recblr_ids", "recblr_ranking", "recblr_id", "recblr_event", "recblr_stored_event"}
    assert {name for name, _ in structures} - growing == never


def _is_grown(line: str, now: list[str]) -> bool:
    """Whether it is the size of a structure that begins with struct_size, and is larger now."""
    word, _, rest = line.partition(" ")
    if word != "struct":
        return False
    name, size = rest.split()
    larger = [int(new.split()[2]) for new in now if new.startswith(f"struct {name} ")]
    return f"{name}.struct_size 0 8" in now and bool(larger) and larger[0] > int(size)


if __name__ == "__main__":
    DUMP.write_text("\n".join(dump(Path(sys.argv[1]))) + "\n")
