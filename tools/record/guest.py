"""A guest that performs plans: a kernel under QEMU (TCG) with perform.c as its only process."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from loader.errors import UserError
from modfs.conformance.answers import Answer, Answered
from modfs.conformance.scenario import Step

_SOURCE = Path(__file__).with_name("perform.c")
_SECONDS = 3000  # for a boot and all steps, on a busy machine
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")
_SAME = -2  # instead of a size
_SHOWN = 2000  # characters of a console
_MEMORY = 1500  # MB, and more for what is carried into it
_PROCESSORS = 2
_ACCELERATORS = ("tcg", "tcg,thread=single")
BLACKLIST = ("black_one", "black-two")
_COMMON = f"loglevel=1 panic=-1 nokaslr mitigations=off module_blacklist={','.join(BLACKLIST)}"

# QEMU's program and machine, and its second line; kernel options; the compiler; that line's minor.
_MACHINES: dict[str, tuple[tuple[str, ...], tuple[str, ...], str, str, int]] = {
    "x86_64": (
        ("qemu-system-x86_64", "-cpu", "max"),
        ("-serial", "chardev:told"),
        "console=ttyS0 no_timer_check",
        "gcc",
        65,
    ),
    "aarch64": (  # the second line is a card: its ttyS0, while the console is ttyAMA0
        ("qemu-system-aarch64", "-machine", "virt,gic-version=3", "-cpu", "max,pauth-impdef=on"),
        ("-device", "pci-serial,chardev=told"),
        "console=ttyAMA0",
        "aarch64-linux-gnu-gcc",
        64,
    ),
}  # fmt: skip


class Guest:
    """``files`` and ``modules``: contents by name, found there as /files/X and /modules/X."""

    def __init__(
        self, image: Path, machine: str, folder: Path, contents: Mapping[str, Mapping[str, bytes]]
    ) -> None:
        if machine not in _MACHINES:
            raise UserError(f"make record boots {', '.join(_MACHINES)}, not {machine}")
        self.qemu, self.line, self.options, self.compiler, self.minor = _MACHINES[machine]
        self.image, self.folder = image, folder
        carried = sum(len(data) for files in contents.values() for data in files.values())
        self.memory = _MEMORY + 3 * (carried >> 20)  # packed, unpacked and loaded
        self.symbols = ""  # what /proc/kallsyms says of exports; known after the first boot
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
        """Boot and make all ``steps``; fewer are answered if the kernel did not get to their end.

        UserError: it did not get to the first one. A kernel that ends early is booted again, its
        processors emulated one after the other: with a thread for each, QEMU 7.2 now and then runs
        what the kernel is just patching (a panic by an int3 that nobody knows).
        """
        plan = [line(step) for step in steps] + ["symbols"] * (not self.symbols)
        (self.folder / "root/plan").write_text("\n".join(plan))
        for accelerator in _ACCELERATORS:
            answered = self._booted(name, steps, accelerator)
            if len(answered.steps) == len(steps):
                return answered
        if not answered.steps:
            end = self.console(name)
            raise UserError(f"{name}: the kernel ended before the first step:\n{end}")
        return answered

    def _booted(self, name: str, steps: Sequence[Step], accelerator: str) -> Answered:
        initrd = self.folder / "initrd"
        with initrd.open("wb") as file:
            packing = ["sh", "-c", "find . | cpio -o -H newc --quiet | gzip -1"]
            subprocess.run(packing, cwd=self.folder / "root", stdout=file, check=True)
        console, told = self.folder / f"{name}.console", self.folder / f"{name}.answers"
        command = [
            *("timeout", str(_SECONDS), *self.qemu, "-accel", accelerator),
            *("-m", str(self.memory), "-smp", str(_PROCESSORS)),
            *("-display", "none", "-no-reboot", "-net", "none"),
            *("-serial", f"file:{console}", "-chardev", f"file,id=told,path={told}"),
            *self.line,
            *("-kernel", str(self.image), "-initrd", str(initrd)),
            *("-append", f"{self.options} {_COMMON}"),
        ]
        subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
        return self._answered(name, steps, _Told(told.read_bytes()))

    def _answered(self, name: str, steps: Sequence[Step], told: _Told) -> Answered:
        answers, log = [], ""
        with suppress(EOFError):
            while told.line() != ["B"]:
                pass
            for step in steps:
                answers.append(_answer(told, step.get("cat") == "/proc/modules"))
            self._learn(told)
            log = _ESCAPED.sub(_character, told.text(int(told.line()[1])))
        return Answered(name, tuple(steps[: len(answers)]), tuple(answers), log)

    def _learn(self, told: _Told) -> None:
        """What is exported, if that was asked."""
        while not self.symbols.endswith("\n\n"):
            self.symbols += _answer(told).text or "\n"

    def console(self, name: str) -> str:
        """The end of what the kernel said there."""
        return _end(self.folder / f"{name}.console")


# -- the plan, as perform.c reads it --------------------------------------------------------------


def line(step: Step) -> str:
    """One step as a line of the plan."""
    return "\t".join(map(str, _words(step)))


def _words(step: Step) -> tuple[object, ...]:
    flags, parameters = step.get("flags", 0), step.get("params", "")
    if "write" in step:
        return "write", step["write"], step["text"]
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
        self.last: str | None = None  # the list of modules

    def line(self) -> list[str]:
        """The next line's words. EOFError."""
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise EOFError
        words = self.data[self.at : end].decode().split()
        self.at = end + 1
        return words

    def text(self, size: int) -> str:
        """The next ``size`` bytes. EOFError."""
        if self.at + size > len(self.data):
            raise EOFError
        self.at += size
        return self.data[self.at - size : self.at].decode("utf-8", "surrogateescape")


def _character(escaped: re.Match[str]) -> str:
    """One that /dev/kmsg does not show as it is."""
    return chr(int(escaped[1], 16))


def _end(console: Path) -> str:
    return console.read_text("utf-8", "replace")[-_SHOWN:]


def _answer(told: _Told, is_list: bool = False) -> Answer:
    """The next answer; ``is_list``: it is the list of modules, which may be the same as before."""
    kind, *rest = told.line()
    numbers = tuple(map(int, rest))
    if kind == "T":
        return Answer(numbers)
    if kind == "R":
        return Answer(numbers[:1], (numbers[1], numbers[2]) if numbers[1:] else None)
    size = numbers[0]
    text = told.last if size == _SAME else None if size < 0 else told.text(size)
    if is_list:
        told.last = text
    return Answer(text=text)
