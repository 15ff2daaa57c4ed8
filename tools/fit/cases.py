"""The machines that costs are fitted and tested on: what each is, and what failed there.

machines/NAME.json says what really failed, and where that is known from; machines/NAME.toml, or the
file that it names, describes the machine. Those of recorded boots are written by ``describe``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from loader.simulate.machine import Machine
from loader.simulate.machine_file import read_machine

_RECORDED = re.compile(r"[0-9.]+-[0-9]+(?=-)")  # kernel and processors, of tools.boots
CASES = Path(__file__).with_name("machines")


@dataclass(frozen=True, slots=True)
class Case:
    """One machine's boot. ``failed``: loads, by module. ``apart``: why nothing is fitted on it.
    ``calls``: of finit_module, 0 if nobody counted them."""

    name: str
    machine: Machine
    failed: Mapping[str, int]
    source: str
    apart: str = ""
    calls: int = 0

    @property
    def group(self) -> str:
        """Cases of one machine: its boots with other settings, again, or with another kernel of
        the same release."""
        recorded = _RECORDED.match(self.name)
        return recorded[0] if recorded else self.name.removesuffix("-kasan")

    @property
    def total(self) -> int:
        """Loads that failed."""
        return sum(self.failed.values())

    def baseline(self) -> dict[str, int]:
        """The simplest prediction: of those who ask for a module, all but one fail."""
        return {name: count - 1 for name, count in self.machine.asked().items()}


def read_cases(folder: Path = CASES) -> tuple[Case, ...]:
    """Those whose kernel lets loads fail: what can be fitted. OSError."""
    return tuple(case for case in _read(folder) if case.total)


def read_merged(folder: Path = CASES) -> tuple[Case, ...]:
    """Those in which nothing failed, for callers of one file share its load. OSError."""
    return tuple(case for case in _read(folder) if not case.total)


def _read(folder: Path) -> Iterator[Case]:
    for file in sorted(folder.glob("*.json")):
        told = json.loads(file.read_text())
        machine = folder / told["machine"] if "machine" in told else file.with_suffix(".toml")
        yield Case(
            file.stem,
            read_machine(machine),
            told["failed"],
            told["source"],
            told.get("apart", ""),
            told.get("calls", 0),
        )
