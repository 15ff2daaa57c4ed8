"""Which boots: each machine with each kernel, with each number of processors, for each seed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from loader.config import Config
from loader.errors import UserError
from loader.simulate.from_tree import TreeModules, from_tree
from loader.simulate.machine import PROCESSORS_MOST, Machine, check_names
from loader.words import shown

SEEDS_MOST = 1_000_000
"""Of one sweep."""
_SEEDS = re.compile(r"(-?\d{1,18})(?:-(\d{1,18}))?")


class Run(NamedTuple):
    """One boot to simulate, of any seed."""

    machine: Machine
    config: Config

    @property
    def kernel(self) -> str:
        """The kernel as people are told of it."""
        return self.config.release.title

    @property
    def baseline(self) -> int:
        """The simplest prediction of failed loads: of those who ask for a module, all but one
        fail; none where one load answers them all."""
        if self.config.release.idempotent:
            return 0
        return sum(count - 1 for count in self.machine.asked().values())


@dataclass(frozen=True)
class Point:
    """A run of the machine that people know as ``name``."""

    name: str
    run: Run

    @cached_property
    def digest(self) -> str:
        """The same for what is the same in every field, and for nothing else."""
        return hashlib.sha256(repr(self.run).encode()).hexdigest()[:16]


class Key(NamedTuple):
    """One boot, for good: the machine and kernel by Point.digest, and the seed."""

    digest: str
    seed: int


def configs(
    machine: Machine,
    kernels: Sequence[str | None],
    without: tuple[str, ...],
    compression: str | None,
) -> list[Config]:
    """The kernels to boot ``machine`` with; None: its own. UserError."""
    from loader.simulate.udev import config_for  # SimPy's, which not every package of modfs has

    return [config_for(machine, kernel, without, compression) for kernel in kernels]


def runs(
    machine: Machine,
    kernels: Sequence[Config],
    processors: Sequence[int | None],
    tree: Path | None,
) -> Iterator[Run]:
    """All sizes of the machine (None: its own), for each of the kernels. UserError, OSError: of the
    tree."""
    modules = TreeModules(tree) if tree else None
    for config in kernels:
        filled = from_tree(machine, modules, config) if modules else machine
        for count in processors:
            yield Run(filled.with_processors(count) if count else filled, config)


def check(file: Path, machines: Sequence[Run]) -> None:
    """UserError: a machine asks for modules that nobody describes."""
    try:
        for run in machines[:1]:  # the others differ in no module
            check_names(run.machine)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def read_processors(text: str) -> list[int]:
    """What --cpus says. UserError."""
    try:
        wanted = [int(part) for part in text.split(",")]
    except ValueError:
        wanted = [0]
    if min(wanted) < 1:
        raise UserError(f"--cpus: numbers such as 8,64,255 are needed, not {shown(text)}")
    if max(wanted) > PROCESSORS_MOST:
        most = PROCESSORS_MOST
        raise UserError(f"--cpus: Linux has at most {most} processors, not {max(wanted)}")
    return wanted


def read_seeds(text: str) -> list[int]:
    """What --seeds says: "50", that many from 1 on; or "1-50", "7,9", "1-10,100-200", each once.
    UserError."""
    count = re.fullmatch(r"\s*([1-9]\d{0,17})\s*", text)
    found: dict[int, None] = {}
    for part in (f"1-{count[1]}" if count else text).split(","):
        match = _SEEDS.fullmatch(part.strip())
        if match is None:
            raise UserError(f"--seeds: seeds such as 50 or 1-50,99 are needed, not {shown(text)}")
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if not first <= last < first + SEEDS_MOST or len(found) > SEEDS_MOST:
            raise UserError(
                f"--seeds: {shown(part)}: from less to more, at most {SEEDS_MOST} of them"
            )
        found.update(dict.fromkeys(range(first, last + 1)))
    return list(found)
