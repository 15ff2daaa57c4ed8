"""Helpers of the recorded machine, for engines: what each does is what its script does there."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import Any

from loader.config import Config
from loader.engine.clock import Events, VirtualKernel
from loader.engine.umh import ExecFormatError, Usermodehelper


@dataclass(frozen=True)
class Script:
    """A program that takes ``seconds`` and ends with the wait status ``status``; or cannot be
    executed for the errno ``error``, of a file that begins with ``head``."""

    seconds: float = 0.0
    status: int = 0
    error: int = 0
    head: bytes = b""

    def check(self) -> None:
        """OSError: it cannot be executed."""
        if self.head:
            raise ExecFormatError(self.head)
        if self.error:
            raise OSError(self.error, os.strerror(self.error))


SCRIPTS = {
    "/h/exit0": Script(),
    "/h/exit3": Script(status=3 << 8),
    "/h/kill9": Script(status=9),
    "/h/segv": Script(status=11),
    "/h/noexec": Script(error=errno.EACCES),
    "/h": Script(error=errno.EACCES),
    "/h/badfmt": Script(head=b"echo"),
    "/h/badbin": Script(head=bytes((1, 2, 3, 4))),
    "/h/badinterp": Script(error=errno.ENOENT),
    "/h/sleep2": Script(2),
    "/h/sleep2f": Script(2, 1 << 8),
    "/h/sleep3": Script(3),
    "/h/sleep7": Script(7),
    "/sbin/modprobe": Script(0.1, 1 << 8),
}
"""By their paths. This modprobe finds nothing."""


@dataclass
class Runs:
    """The helpers that were executed, with their ends."""

    started: list[Usermodehelper] = field(default_factory=list)
    ended: list[tuple[Usermodehelper, float]] = field(default_factory=list)

    def script(self, helper: Usermodehelper) -> Script:
        """What runs. OSError."""
        script = SCRIPTS.get(helper.path, Script(error=errno.ENOENT))
        script.check()
        self.started.append(helper)
        return script


class World(VirtualKernel):
    """A kernel in virtual time, with those helpers."""

    def __init__(self, path: str = "/h/exit0", **config: Any) -> None:
        self.runs = Runs()
        super().__init__(Config(**config))
        self.autoload.kmod.modprobe_path = path

    def execve(self, helper: Usermodehelper) -> Events:
        script = self.runs.script(helper)

        def running() -> Events:
            yield self.env.timeout(script.seconds)
            self.runs.ended.append((helper, self.env.now))
            return script.status

        return running()

    def log(self) -> tuple[str, ...]:
        return self.kernel.log.lines()
