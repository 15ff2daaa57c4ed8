"""Numbers as the machine's own headers have them, by a C program that prints them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def numbers(headers: str, *expressions: str) -> dict[str, int]:
    """Each expression's value, of what ``headers`` (names with blanks between) define.

    A macro that these headers do not know yet is left out; without a C compiler or one of the
    headers the test is skipped.
    """
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing")
    wanted = ("stddef.h", "stdio.h", "sys/ioctl.h", *headers.split())
    missing = "#if !__has_include(<{0}>)\n#error there is no {0}\n#endif\n"
    includes = "".join(map(missing.format, wanted))
    includes += "".join(f"#include <{header}>\n" for header in wanted)
    lines = "".join(map(_line, expressions))
    program = f"{includes}int main(void)\n{{\n{lines}return 0;\n}}\n"
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder, "numbers")
        command = ["gcc", "-w", "-x", "c", "-", "-o", str(binary)]
        done = subprocess.run(command, input=program, capture_output=True, text=True)
        if "there is no" in done.stderr:
            pytest.skip(done.stderr)
        assert not done.returncode, done.stderr
        printed = subprocess.run([binary], capture_output=True, text=True, check=True).stdout
    rows = (line.split("\t") for line in printed.splitlines())
    return {name: int(value) for name, value in rows}


def _line(expression: str) -> str:
    line = f'printf("%s\\t%lld\\n", "{expression}", (long long)({expression}));\n'
    return f"#ifdef {expression}\n{line}#endif\n" if expression.isidentifier() else line
