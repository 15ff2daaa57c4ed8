"""python -m tools.boots record|table|spans|modules: see README.md."""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from loader.errors import UserError
from tools.boots.plan import PLAN
from tools.boots.reading import FOLDER
from tools.boots.record import record
from tools.boots.table import aligned, by_module, spans, summary


def main() -> int:
    """The exit status: 1 not all was recorded, 2 nothing can be."""
    options = _options()
    try:
        if options.verb == "record":
            names = " ".join(options.names).split() or ["*"]
            chosen = [
                spec for spec in PLAN if any(fnmatch.fnmatch(spec.name, name) for name in names)
            ]
            return 1 if record(chosen, options.folder) else 0
        print(aligned(list(_TABLES[options.verb](options))), end="")
    except (UserError, RuntimeError, OSError) as error:
        print(f"make boots: {error}", file=sys.stderr)
        return 2
    return 0


_TABLES: dict[str, Callable[[argparse.Namespace], Iterable[Sequence[str]]]] = {
    "table": lambda options: summary(options.folder),
    "spans": lambda options: spans(options.folder),
    "modules": lambda options: by_module(
        options.folder / f"{options.name}.txt.zst", options.folder
    ),
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools.boots", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of recordings")
    verbs = parser.add_subparsers(dest="verb", required=True)
    recording = verbs.add_parser("record", help="make the recordings that are not there")
    recording.add_argument("names", nargs="*", help="only these; * stands for any words")
    verbs.add_parser("table", help="all recordings, one row each")
    verbs.add_parser("spans", help="all recordings: how long the steps took, medians")
    modules = verbs.add_parser("modules", help="one recording, by module")
    modules.add_argument("name", help="such as 6.1-8-1")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
