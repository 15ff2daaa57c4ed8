"""make fuzz: every fuzzer in turn, until the time is over. Findings are files, with a command."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

from modfs.cli.table import aligned
from tests.fuzz.findings import FINDINGS, Finding, replay, saved
from tests.fuzz.guard import guarded, limit_memory
from tests.fuzz.targets import TARGETS

_SLICE = 5.0  # seconds that one fuzzer runs before the next has its turn
_MOST_FINDINGS = 5  # of one fuzzer in one slice


@dataclass(slots=True)
class Slice:
    """What one worker did with one fuzzer: outcomes, the next input's number, findings."""

    outcomes: Counter[str] = field(default_factory=Counter)
    next: int = 0
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, 0)  # seconds, and the input's number
    findings: list[Finding] = field(default_factory=list)


def work(name: str, seed: int, start: int, step: int, seconds: float) -> Slice:
    """Inputs ``start``, ``start + step``, … of one fuzzer."""
    target, done, begin = TARGETS[name], Slice(next=start), time.monotonic()
    while (now := time.monotonic()) - begin < seconds and len(done.findings) < _MOST_FINDINGS:
        given = target.input(seed, done.next)
        try:
            done.outcomes[guarded(target.check, given)] += 1
        except BaseException as error:
            done.outcomes["FINDING"] += 1
            done.findings.append(saved(target, given, error, f"SEED={seed}, input {done.next}"))
        done.slowest = max(done.slowest, (time.monotonic() - now, done.next))
        done.next += step
    done.seconds = time.monotonic() - begin
    return done


# -- all of them ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Total:
    """What all workers did with one fuzzer."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, 0)

    def add(self, done: Slice) -> None:
        self.outcomes += done.outcomes
        self.seconds += done.seconds
        self.slowest = max(self.slowest, done.slowest)


def fuzz(names: list[str], seed: int, minutes: float, jobs: int) -> tuple[dict[str, Total], int]:
    """Run them round robin; what each did, and how many findings there were."""
    totals = {name: Total() for name in names}
    numbers = {name: list(range(jobs)) for name in names}
    end = time.monotonic() + 60 * minutes
    seconds = min(_SLICE, 60 * minutes / len(names))
    found: set[str] = set()
    while time.monotonic() < end:
        for name in names:
            if time.monotonic() >= end:
                break
            for number, done in enumerate(_slices(name, seed, numbers[name], seconds)):
                totals[name].add(done)
                numbers[name][number] = done.next
                for finding in done.findings:
                    if finding.kind not in found:
                        print(finding.text, flush=True)
                    found.add(finding.kind)
    return totals, len(found)


def _slices(name: str, seed: int, starts: list[int], seconds: float) -> list[Slice]:
    """One slice of each worker. A worker that dies is a finding as well."""
    jobs = len(starts)
    with ProcessPoolExecutor(jobs, initializer=limit_memory) as pool:
        running = [pool.submit(work, name, seed, start, jobs, seconds) for start in starts]
        try:
            return [one.result() for one in running]
        except BrokenProcessPool:
            text = f"{name}: a worker died at SEED={seed}, at or after the inputs {starts}"
            skipped = [Slice(next=start + 1000 * jobs) for start in starts]
            skipped[0].findings.append(Finding(f"{name} died {starts[0]}", text))
            return skipped


def table(totals: dict[str, Total], jobs: int) -> list[str]:
    """What was tried and how it was answered."""
    cells = [["FUZZER", "INPUTS", "A SECOND", "SLOWEST", "ANSWERS"]]
    for name, total in totals.items():
        count = total.outcomes.total()
        rate = count * jobs / total.seconds if total.seconds else 0.0
        answers = ", ".join(f"{what} {part}" for what, part in total.outcomes.most_common(8))
        slowest = f"{total.slowest[0]:.2f} s ({total.slowest[1]})"
        cells.append([name, str(count), f"{rate:.0f}", slowest, answers])
    return list(aligned(cells, left=(0, 4)))


def main() -> int:
    """Exit status 1: something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("names", nargs="*", metavar="FUZZER", help=", ".join(TARGETS))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", metavar="FILE", help=f"check one input from {FINDINGS} again")
    given = parser.parse_args()
    if given.replay:
        print(replay(given.replay))
        return 0
    if unknown := set(given.names) - set(TARGETS):
        parser.error(f"no such fuzzer: {', '.join(sorted(unknown))}")
    print(f"SEED={given.seed}, {given.jobs} workers", flush=True)
    totals, found = fuzz(given.names or list(TARGETS), given.seed, given.minutes, given.jobs)
    print(*table(totals, given.jobs), f"{found} findings", sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
