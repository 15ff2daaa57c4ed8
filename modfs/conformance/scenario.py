"""Scenarios: what a kernel is to be asked, as data.

JSON lines: a header, then steps as a transcript has them but without results. One with `each`
stands for a step a file of that kind.

    {"scenario": "basic", "about": "...", "harmless": true, "after": ["stats"]}
    {"op": "finit_module", "file": "files/ok_a.ko"}
    {"cat": "/proc/modules"}
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from typing import Any

Step = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scenario:
    """``after``: files that are read after each call. ``harmless``: nothing of it stays, and
    nothing damaged is loaded."""

    name: str
    about: str
    steps: tuple[Step, ...]
    harmless: bool = False
    after: tuple[str, ...] = ()


def scenarios() -> list[Scenario]:
    """Those that come with modfs, by name."""
    folder = resources("modfs.conformance") / "scenarios"
    found = sorted(folder.iterdir(), key=lambda path: path.name)
    return [_read(path.read_text("utf-8")) for path in found if path.name.endswith(".jsonl")]


def _read(text: str) -> Scenario:
    header, *steps = map(json.loads, text.splitlines())
    return Scenario(
        header["scenario"], header["about"], tuple(steps), header["harmless"], (*header["after"],)
    )


def expanded(
    scenario: Scenario, kinds: Mapping[str, Sequence[str]], statistics: bool
) -> Iterator[Step]:
    """Every single step. ``kinds``: file names that `each` stands for.

    Without ``statistics`` nothing of debugfs is read, and /proc/modules in its place.
    """
    after = [path for path in scenario.after if statistics] or ["/proc/modules"]
    for step in scenario.steps:
        if "cat" in step:
            if statistics or step["cat"].startswith("/"):
                yield dict(step)
            continue
        for single in _singles(step, kinds):
            yield single
            yield from ({"cat": path} for path in after)


def _singles(step: Step, kinds: Mapping[str, Sequence[str]]) -> Iterator[Step]:
    if "each" not in step:
        yield dict(step)
        return
    rest = {key: value for key, value in step.items() if key != "each"}
    for file in kinds[step["each"]]:
        yield {**rest, "file": file}


# -- by chance ------------------------------------------------------------------------------------

_STEPS = 120
_TOGETHER = (2, 3, 8)
_FLAGS = (0,) * 8 + (1, 2, 3, 4, 5, 8)
_DELETE_FLAGS = (2048,) * 6 + (0, 512, 2048 | 512)
_PARAMETERS = (
    "",
    "",
    "",
    "n=5",
    "b",
    "nosuch=1",
    "n=x",
    "arr=1,2",
    "s=a u=300",
    "ok_a.n=1",
    "text=x",
)
_CATS = (
    *("failed_becoming", "failed_load_modules", "invalid_becoming_bytes", "invalid_mod_bytes"),
    *("modcount", "total_mod_size", "total_text_size", "unloaded_tainted", "invalid_kread_bytes"),
)
_SYS = ("initstate", "refcnt", "coresize", "initsize", "taint")


class _Random:
    """Steps by chance: mostly of modules that load, so that there is something to be in the way."""

    def __init__(self, seed: int, kinds: Mapping[str, Sequence[str]]) -> None:
        self.dice = random.Random(seed)
        self.kinds = kinds
        whole, odd = list(kinds["quick"]), [*kinds["damaged"], *kinds["mutated"]]
        dice = self.dice
        self.few = dice.sample(whole, min(14, len(whole)))  # so that names come again
        self.odd = dice.sample(odd, min(25, len(odd)))
        self.packed = dice.sample(list(kinds["packed"]), 8)

    def steps(self, count: int) -> Iterator[Step]:
        makers = (self._finit, self._init, self._delete, self._cat, self._damaged, self._packed,
                  self._together)  # fmt: skip
        weights = (24, 10, 22, 12, 20, 7, 5)
        for _ in range(count):
            yield self.dice.choices(makers, weights)[0]()

    def _finit(self) -> Step:
        dice = self.dice
        file = dice.choice(self.few)
        parameters = dice.choice(_PARAMETERS) if dice.random() < 0.4 else ""
        return {"op": "finit_module", "file": file, "flags": dice.choice(_FLAGS),
                "params": parameters}  # fmt: skip

    def _init(self) -> Step:
        step: Step = {"op": "init_module", "file": self.dice.choice(self.few)}
        if self.dice.random() < 0.3:
            step["len"] = self.dice.choice((0, 1, 63, 64, 65, 500, 1500, 2500))
        return step

    def _delete(self) -> Step:
        name = self._module(self.dice.choice(self.few))
        return {"op": "delete_module", "name": name, "flags": self.dice.choice(_DELETE_FLAGS)}

    def _cat(self) -> Step:
        if self.dice.random() < 0.4:
            return {"cat": self.dice.choice(_CATS)}
        if self.dice.random() < 0.4:
            return {"cat": "/proc/modules"}
        name = self._module(self.dice.choice(self.few)).replace("-", "_")
        return {"cat": f"/sys/module/{name}/{self.dice.choice(_SYS)}"}

    def _damaged(self) -> Step:
        op = self.dice.choice(("finit_module", "finit_module", "init_module"))
        flags = {"flags": self.dice.choice(_FLAGS)} if op == "finit_module" else {}
        return {"op": op, "file": self.dice.choice(self.odd), **flags}

    def _packed(self) -> Step:
        flags = self.dice.choice((4, 4, 4, 4, 0, 5, 6))
        return {"op": "finit_module", "file": self.dice.choice(self.packed), "flags": flags}

    def _together(self) -> Step:
        """Several at once on one file: its init routine may be quick or slow."""
        file = self.dice.choice([*self.kinds["slow"]])
        return {"op": "finit_module", "threads": self.dice.choice(_TOGETHER), "files": [file]}

    def _module(self, file: str) -> str:
        return file.rpartition("/")[2].removesuffix(".ko")


def random_scenario(seed: int, kinds: Mapping[str, Sequence[str]], count: int = _STEPS) -> Scenario:
    """The same ``count`` steps for the same seed and files."""
    steps = tuple(_Random(seed, kinds).steps(count))
    return Scenario(f"random-{seed}", f"By chance, seed {seed}", steps, after=("stats",))
