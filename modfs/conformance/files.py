"""All files that the scenarios name, made for one kernel, in kinds."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from modfs.conformance.abi import Abi
from modfs.conformance.damaged import damaged, mutated
from modfs.conformance.packed import packed
from modfs.conformance.tiny import TINY, build_tiny

_COPIES = {"slow_b": 4, "slow_fail": 6}
_WASTE = {"empty.ko": b"", "one.ko": b"\x7f", "garbage.ko": bytes(range(256)) * 4}
_MUTATED = 40


@dataclass(slots=True)
class Files:
    """``contents`` by name; ``kinds``: names as transcripts have them, such as files/ok_a.ko;
    ``init``: what init routines do (environment.json)."""

    contents: dict[str, bytes] = field(default_factory=dict)
    kinds: dict[str, list[str]] = field(default_factory=dict)
    init: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, kind: str, name: str, data: bytes) -> None:
        self.contents[name] = data
        self.kinds.setdefault(kind, []).append(f"files/{name}")


def make_files(abi: Abi, seed: int = 0) -> Files:
    """For that kernel; ``seed`` decides how the mutated ones are."""
    files = Files()
    for tiny in TINY:
        data = build_tiny(tiny, abi)
        files.add("slow" if tiny.seconds else "quick", f"{tiny.name}.ko", data)
        for number in range(_COPIES.get(tiny.name, 0)):
            files.add("copies", f"{tiny.name}.{number}.ko", data)
        if told := tiny.environment:
            files.init[tiny.name.replace("-", "_")] = told
    good, other = files.contents["ok_a.ko"], files.contents["exporter.ko"]
    for name, data in damaged(good):
        files.add("damaged", f"{name}.ko", data)
    for name, data in packed("ok_b", files.contents["ok_b.ko"]):
        files.add("packed", name, data)
    for name, data in _WASTE.items():
        files.add("waste", name, data)
    dice = random.Random(seed)
    for number in range(_MUTATED):
        files.add("mutated", f"mutated_{number}.ko", mutated(dice.choice((good, other)), dice))
    return files
