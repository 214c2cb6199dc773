"""The C++ code of docs/cpp.md compiles, one block after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

HEADERS = Path(__file__).parents[2] / "runtime" / "include"


def test_the_guide_compiles(
    read_blocks: Callable[[str], list[Any]], compile_cpp: Callable[..., None], tmp_path: Path
) -> None:
    code = "".join(block.text for block in read_blocks("docs/cpp.md") if block.language == "cpp")
    assert "recblr::Recommender" in code
    lines = ["#include <iostream>", *code.splitlines()]
    includes = [line for line in lines if line.startswith("#include")]
    body = [line for line in lines if not line.startswith("#include")]
    source = tmp_path / "guide.cpp"
    source.write_text("\n".join([*includes, "int main() {", *body, "}", ""]))
    compile_cpp(source, tmp_path / "guide.o", "-c", f"-I{HEADERS}")
    assert (tmp_path / "guide.o").stat().st_size > 0
