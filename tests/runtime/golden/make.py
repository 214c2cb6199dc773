"""Makes the golden files with the code that is installed. From the checkout's root, with the extra `dev`:

    python -m tests.runtime.golden.make models   # data/*.npz
    python -m tests.runtime.golden.make answers  # data/answers.json

A golden file says what the runtime answered when it was made, and `test_golden.py` that it still does. So make one
anew only where answers are meant to change, and read the difference; a case that is added changes no other's answer.
The stores, data/histories.sqlite3 and data/redis.json, were written by Python of before the C++ core, with stamps that
are no chance, and stay as they are for as long as what they hold must be readable.

Written by hand are data/cases.json (an engine's), data/users.json (a Recommender's) and data/stored.json (of a store
that was written before), with arguments as `values.py` describes them. Made anew by the same code, all files are the
same; the machine must have AVX-512, for the answers of all instruction sets.

answers.json has for each case the answers by the instruction sets that gave them: {"baseline avx2 avx512": answer}, or
an answer for each where they differ in the last bits.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .instruction_sets import INSTRUCTION_SETS
from .models import DATA, MODELS, export_model, write_model

_INTEGERS = [
    *(
        *range(1, 4),
        *range(5, 9),
        *range(10, 20),
        *range(21, 31),
        0,
        -1,
        -2,
        -7,
        -25,
        -100,
        -(2**31),
        -(2**53),
        -(2**63),
    ),
    *(-(2**63) + 1, 50, 100, 101, 255, 256, 999, 1000, 4096, 65_535, 65_536, 10**9, 2**31 - 1, 2**31, 2**32, 2**32 + 1),
    *(2**53, 2**53 + 1, 2**62, 2**63 - 2, 2**63 - 1),
]
_STRINGS = [
    *("a", "b", "10", "007", "7", "25", "-3", "0", "-0", "+1", "1.0", "1", " 1", "1e3", "9223372036854775808", "A-1"),
    *("a,b", 'a"b', "it's", "back\\slash", "x\ty", "line\nbreak", "nul\0inside", "", " ", "{}", "[1]", "null", "None"),
    *("\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}", "stra\xdfe", "日本語", "\N{GUITAR}"),
    *(
        "\N{ARABIC-INDIC DIGIT THREE}",
        "\N{RIGHT-TO-LEFT OVERRIDE}rtl",
        "\N{LINE SEPARATOR}",
        "\xa0",
        "z" * 200,
        "é" * 70,
    ),
]


def make_models() -> None:
    """The weights and ids of the models."""
    shuffled = random.Random(0).sample(_INTEGERS, len(_INTEGERS))
    write_model(
        "integer",
        {"dim": 16, "layers": 2, "initial_state": True},
        20,
        np.array(shuffled, np.int64),
        [[3, 7, 11], [20, 41], [57, 55]],
    )
    write_model(
        "string",
        {"dim": 12, "layers": 3, "expansion": 1.5, "conv_width": 3},
        100,
        np.array(_STRINGS),
        [[1, 2], [10, 30, 40, 39]],
    )
    # Near enough to one another that they are looked up in a table; so many that an index ranks.
    spread = np.arange(-4_000, 5_000, dtype=np.int64) * 3
    write_model(
        "large",
        {"dim": 8, "layers": 1, "conv_width": 2},
        100,
        np.array(random.Random(1).sample(spread.tolist(), len(spread))),
        [[5, 4_000, 9_000], list(range(100, 150)), list(range(2_000, 2_300, 7))],
    )


def make_answers() -> None:
    """The answers of all instruction sets."""
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            export_model(model, Path(folder))
        command = [sys.executable, "-m", "tests.runtime.golden.answers", folder]
        found = {
            isa: json.loads(subprocess.check_output(command, env={**os.environ, "RECBLR_CPU_ISA": isa}))
            for isa in INSTRUCTION_SETS
        }
    merged = {
        part: {name: _by_instruction_sets({isa: found[isa][part][name] for isa in found}) for name in cases}
        for part, cases in found["baseline"].items()
    }
    parts = []
    for part, answers in merged.items():
        lines = [
            f"{json.dumps(name)}:{json.dumps(answer, ensure_ascii=False, separators=(',', ':'))}"
            for name, answer in answers.items()
        ]
        parts.append(f"{json.dumps(part)}:{{\n" + ",\n".join(lines) + "\n}")
    (DATA / "answers.json").write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _by_instruction_sets(answers: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for answer in answers.values():
        names = [isa for isa in answers if answers[isa] == answer]
        found[" ".join(names)] = answer
    return found


if __name__ == "__main__":
    makers: dict[str, Callable[[], None]] = {"models": make_models, "answers": make_answers}
    for wanted in sys.argv[1:]:
        makers[wanted]()
