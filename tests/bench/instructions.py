"""How many machine instructions a piece of work takes: the same on a busy machine and a quiet one.

By the processor's counter where perf(1) may read it, which guests mostly may not; else by
valgrind(1), which runs everything fifty times slower. The work is done a few times and, in another
process, more often: what that took more, divided by how often more, leaves starting out.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from typing import NamedTuple

from tests.bench.harness import HERE

FEW, MANY = 10, 110  # times


class Counter(NamedTuple):
    """How a command is run so that it is counted, and where its standard error has the number."""

    name: str
    command: tuple[str, ...]
    pattern: re.Pattern[str]


_COUNTERS = (
    Counter(
        "perf",
        ("perf", "stat", "-x", ",", "-e", "instructions:u", "--"),
        re.compile(r"(?m)^([0-9]+),[^,]*,instructions"),
    ),
    Counter(
        "valgrind",
        ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"),
        re.compile(r"I +refs: +([0-9,]+)"),
    ),
)


class Uncounted(Exception):
    """This machine has no way to count instructions: the text says what was tried."""


@functools.cache
def counter() -> Counter:
    """The first that counts. Uncounted."""
    tried = []
    for each in _COUNTERS:
        if shutil.which(each.name) is None:
            tried.append(f"there is no {each.name}")
        elif _counted(each, "true") is None:
            tried.append(f"{each.name} may not count them")
        else:
            return each
    raise Uncounted(", ".join(tried))


def instructions(work: str, file: str) -> float:
    """Instructions of user space for one turn of ``work``, a function of counted_work.py.

    Uncounted; CalledProcessError: the work failed.
    """
    program = (sys.executable, "-m", "tests.bench.counted_work", work, file)
    few, many = (_counted(counter(), *program, str(times)) for times in (FEW, MANY))
    if few is None or many is None:
        raise Uncounted(f"{counter().name} has stopped counting")
    return (many - few) / (MANY - FEW)


def _counted(by: Counter, *program: str) -> int | None:
    done = subprocess.run(
        [*by.command, *program],
        cwd=HERE.parent.parent,
        env=os.environ | {"PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = by.pattern.search(done.stderr)
    return int(found[1].replace(",", "")) if found else None
