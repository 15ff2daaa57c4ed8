"""Performs steps on the kernel that runs here."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from modfs import linux
from modfs.conformance.answers import Answer, Answered
from modfs.conformance.scenario import Step

_UNMAPPED = -4096  # an address of no process's


class Here:
    """``root``: where files/X and /t are. ``ours``: names of modules; of others nothing is told."""

    def __init__(self, root: Path, ours: frozenset[str]) -> None:
        self.root, self.ours = root, ours

    def perform(self, name: str, steps: Sequence[Step]) -> Answered:
        """All ``steps``, one after the other."""
        return Answered(name, tuple(steps), tuple(map(self.answer, steps)))

    def answer(self, step: Step) -> Answer:
        """What came of one step."""
        if "cat" in step:
            return Answer(text=self._text(step["cat"]))
        if step.get("threads"):
            return Answer(tuple(self._together(step)))
        return Answer((_result(self._call(step, step.get("file"))),))

    def _text(self, path: str) -> str | None:
        try:
            text = Path(path).read_text("utf-8", "surrogateescape")
        except OSError:
            return None
        if path != "/proc/modules":
            return text
        lines = text.splitlines(keepends=True)
        return "".join(line for line in lines if line.split(" ")[0] in self.ours)

    def _call(self, step: Step, file: str | None) -> Callable[[], int]:
        """The system call of a step; OSError: its errno, or that of opening the file."""
        flags, parameters = step.get("flags", 0), step.get("params", "").encode()
        place = None if file is None else self.root / file.lstrip("/")
        if step["op"] == "delete_module":
            return lambda: linux.syscall("delete_module", step["name"].encode(), flags)
        if step["op"] == "init_module":
            return lambda: _init(place, step.get("len"), parameters)
        if place is None:
            return lambda: linux.syscall("finit_module", step["fd"], parameters, flags)
        access = getattr(os, step.get("open", "O_RDONLY"))
        return lambda: _finit(place, access, parameters, flags)

    def _together(self, step: Step) -> list[int]:
        files, count = step["files"], step["threads"]
        calls = [self._call(step, files[number % len(files)]) for number in range(count)]
        results: list[int] = []
        start = threading.Barrier(count)

        def run(call: Callable[[], int]) -> None:
            start.wait()
            results.append(_result(call))

        threads = [threading.Thread(target=run, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


def _result(call: Callable[[], int]) -> int:
    try:
        call()
    except OSError as error:
        return -(error.errno or 0)
    return 0


def _finit(place: Path, access: int, parameters: bytes, flags: int) -> int:
    fd = os.open(place, access | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return linux.syscall("finit_module", fd, parameters, flags)
    finally:
        os.close(fd)


def _init(place: Path | None, length: int | None, parameters: bytes) -> int:
    if place is None:
        return linux.syscall("init_module", _UNMAPPED, length or 0, parameters)
    data = place.read_bytes()
    return linux.syscall("init_module", data, len(data) if length is None else length, parameters)
