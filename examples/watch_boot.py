#!/usr/bin/env python3
"""Watch the module statistics while a machine boots, or while anything else loads modules.

    examples/watch_boot.py [STATS] [--every SECONDS] [--until-quiet SECONDS]

Prints a line whenever a number rose: the time since the start, then what was loaded, what failed
and what that wasted by then. STATS is the running kernel's report unless another is given. It ends
with Ctrl-C, or when nothing changed for --until-quiet seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

KERNEL = Path("/sys/kernel/debug/modules/stats")


def read(stats: Path) -> dict[str, int]:
    """The numbers at the head of the report, by their labels."""
    pairs = (line.split("\t") for line in stats.read_text().splitlines() if "\t" in line)
    return {pair[0].strip(): int(pair[1]) for pair in pairs if len(pair) == 2}


def watch(stats: Path, every: float, until_quiet: float) -> None:
    begin = changed = time.monotonic()
    before: dict[str, int] = {}
    print("  seconds  loaded  failed       wasted bytes")
    while time.monotonic() - changed < until_quiet:
        now = read(stats)
        if now != before:
            changed = time.monotonic()
            failed = sum(count for label, count in now.items() if label.startswith("Mods failed"))
            loaded, wasted = now["Mods ever loaded"], now["Virtual mem wasted bytes"]
            print(f"{changed - begin:9.1f}{loaded:8}{failed:8}{wasted:19,}", flush=True)
            before = now
        time.sleep(every)


def main() -> int:
    parser = argparse.ArgumentParser(description="Watch the module statistics change.")
    parser.add_argument("stats", nargs="?", type=Path, default=KERNEL)
    parser.add_argument("--every", type=float, default=0.5, metavar="SECONDS")
    parser.add_argument("--until-quiet", type=float, default=float("inf"), metavar="SECONDS")
    given = parser.parse_args()
    try:
        watch(given.stats, given.every, given.until_quiet)
    except KeyboardInterrupt:
        pass
    except (OSError, KeyError, ValueError) as problem:
        print(f"watch_boot: {given.stats}: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
