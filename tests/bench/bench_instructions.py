"""Instructions of the hot paths: what a busy machine hides, these show."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from tests.bench.harness import Row, made_modules
from tests.bench.instructions import Uncounted, counter, instructions

# The work in counted_work.py, and what it is.
COUNTED = (
    ("duplicate", "one duplicate through the engine API by path"),
    ("control_line", "one duplicate by a control line"),
    ("caught_call", "one duplicate by a caught call"),
    ("inspected", "one small module inspected"),
)


def rows() -> Iterable[Row]:
    try:
        by = counter().name
    except Uncounted as why:
        print(f"instructions are not counted: {why}", file=sys.stderr)
        return
    with made_modules() as [module]:
        for work, what in COUNTED:
            count = instructions(work, str(module))
            yield Row(what, f"nothing, by {by}", count, None, unit="instructions", exact=True)
