"""A guest that performs plans: a kernel under QEMU (TCG) with perform.c as its only process."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from loader.errors import UserError
from modfs.conformance.answers import Answer, Answered
from modfs.conformance.scenario import Step

_SOURCE = Path(__file__).with_name("perform.c")
_SECONDS = 3000  # for a boot and all steps, on a busy machine
_MEMORY = 1500  # MB
_PROCESSORS = 2
BLACKLIST = ("black_one", "black-two")
_COMMON = f"loglevel=1 panic=-1 nokaslr mitigations=off module_blacklist={','.join(BLACKLIST)}"

# QEMU's program, machine and kernel options; the compiler; the minor number of the second line.
_MACHINES: dict[str, tuple[tuple[str, ...], str, str, int]] = {
    "x86_64": (
        ("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max"),
        "console=ttyS0 no_timer_check",
        "gcc",
        65,
    ),
}


class Guest:
    """``files`` and ``modules``: contents by name, found there as /files/X and /modules/X."""

    def __init__(
        self, image: Path, machine: str, folder: Path, contents: Mapping[str, Mapping[str, bytes]]
    ) -> None:
        if machine not in _MACHINES:
            raise UserError(f"make record boots {', '.join(_MACHINES)}, not {machine}")
        self.qemu, self.options, self.compiler, self.minor = _MACHINES[machine]
        self.image, self.folder = image, folder
        shutil.rmtree(folder, ignore_errors=True)
        for kind, files in contents.items():
            place = folder / "root" / kind
            place.mkdir(parents=True)
            for name, data in files.items():
                (place / name).write_bytes(data)
        self._compile()
        for name in ("proc", "sys", "dev", "t"):
            (folder / "root" / name).mkdir()

    def _compile(self) -> None:
        command = [self.compiler, "-O2", "-Wall", "-static", "-pthread"]
        command += [
            f"-DLINE_MINOR={self.minor}",
            "-o",
            str(self.folder / "root/init"),
            str(_SOURCE),
        ]
        subprocess.run(command, check=True)

    def perform(self, name: str, steps: Sequence[Step]) -> Answered:
        """Boot and make all ``steps``. UserError: the kernel did not get to their end."""
        (self.folder / "root/plan").write_text("".join(f"{line(step)}\n" for step in steps))
        initrd = self.folder / "initrd"
        with initrd.open("wb") as file:
            packing = ["sh", "-c", "find . | cpio -o -H newc --quiet | gzip -1"]
            subprocess.run(packing, cwd=self.folder / "root", stdout=file, check=True)
        console, told = self.folder / f"{name}.console", self.folder / f"{name}.answers"
        command = [
            *("timeout", str(_SECONDS), *self.qemu, "-m", str(_MEMORY), "-smp", str(_PROCESSORS)),
            *("-display", "none", "-no-reboot", "-net", "none"),
            *("-serial", f"file:{console}", "-serial", f"file:{told}"),
            *("-kernel", str(self.image), "-initrd", str(initrd)),
            *("-append", f"{self.options} {_COMMON}"),
        ]
        subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
        return _answered(name, steps, told.read_bytes(), console)


# -- the plan, as perform.c reads it --------------------------------------------------------------


def line(step: Step) -> str:
    """One step as a line of the plan."""
    return "\t".join(map(str, _words(step)))


def _words(step: Step) -> tuple[object, ...]:
    flags, parameters = step.get("flags", 0), step.get("params", "")
    if "cat" in step:
        path = step["cat"]
        return "cat", path if path.startswith("/") else f"/sys/kernel/debug/modules/{path}"
    if step["op"] == "delete_module":
        return "delete", step["name"], "-", flags
    if step.get("threads"):
        return "threads", step["threads"], "-", flags, parameters, *map(_place, step["files"])
    length = step.get("len")
    if step["op"] == "init_module":
        file = _place(step["file"]) if step.get("file") else "-"
        return "init", file, -1 if length is None else length, "-", parameters
    if step.get("file") is None:
        return "fd", step["fd"], "-", flags, parameters
    access = getattr(os, step.get("open", "O_RDONLY"))
    return "finit", _place(step["file"]), access, flags, parameters


def _place(file: str) -> str:
    return file if file.startswith("/") else f"/{file}"


# -- what came back -------------------------------------------------------------------------------


class _Told:
    """What the second serial line carried."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def line(self) -> list[str]:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise EOFError
        words = self.data[self.at : end].decode().split()
        self.at = end + 1
        return words

    def text(self, size: int) -> str:
        if self.at + size > len(self.data):
            raise EOFError
        self.at += size
        return self.data[self.at - size : self.at].decode("utf-8", "surrogateescape")


def _answered(name: str, steps: Sequence[Step], data: bytes, console: Path) -> Answered:
    told, answers = _Told(data), []
    try:
        while told.line() != ["B"]:
            pass
        for _ in steps:
            answers.append(_answer(told))
        log = told.text(int(told.line()[1]))
    except EOFError:
        at = f"at step {len(answers) + 1}: {steps[len(answers)]}" if answers else "before any step"
        raise UserError(f"{name}: the kernel ended {at}; its console is {console}") from None
    return Answered(name, tuple(steps), tuple(answers), log)


def _answer(told: _Told) -> Answer:
    kind, *rest = told.line()
    numbers = tuple(map(int, rest))
    if kind == "T":
        return Answer(numbers)
    if kind == "R":
        return Answer(numbers[:1], (numbers[1], numbers[2]) if numbers[1:] else None)
    return Answer(text=None if numbers[0] < 0 else told.text(numbers[0]))
