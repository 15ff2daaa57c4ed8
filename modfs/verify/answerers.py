"""Who can answer the steps of a transcript."""

from __future__ import annotations

import errno
import mmap
import re
from pathlib import Path
from typing import Protocol

from loader.calls import SystemCalls
from loader.engine.threads import LiveKernel
from loader.keyring import Keyring, Signature, SignatureError
from modfs import texts
from modfs.control.remote import RemoteKernel

_ADDRESS = re.compile(r"\b0x[0-9a-f]+\b")


class AssumedKeyring(Keyring):
    """Stands in for the kernel's keys where none is given: believes what was recorded.

    The engine then goes on as the kernel did; the step itself counts as not compared. Whoever
    expects may be another process than the one whose engine asks, if that was forked off.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shared = mmap.mmap(-1, 2)  # does it reject? was it asked?

    def expect(self, *, rejected: bool) -> None:
        """What the recorded kernel said of the signatures that come next."""
        self._shared[:] = bytes((rejected, False))

    def rejected(self) -> bool:
        """Was a signature rejected since, as was expected?"""
        return self._shared[:] == b"\1\1"

    def verify(self, module: bytes, signatures: tuple[Signature, ...]) -> None:
        self._shared[1] = True
        if self._shared[0]:
            raise SignatureError(errno.EKEYREJECTED)


class Answerer(Protocol):
    """Who answers the steps: calls, and the texts of files."""

    @property
    def kernel(self) -> SystemCalls: ...

    def cat(self, path: str) -> str | None:
        """The text of one file; None if there is no such file."""

    def shows(self, path: str) -> bool:
        """Could anybody read it there? Else it is asked of the engine behind."""

    def sizes(self) -> tuple[int, int]:
        """total_mod_size and total_text_size."""


class Direct:
    """The engine itself."""

    def __init__(self, live: LiveKernel) -> None:
        self.kernel = live

    def cat(self, path: str) -> str | None:
        """The text of one file; None if there is no such file."""
        snapshot = self.kernel.snapshot()
        if path in texts.FILES:
            return texts.FILES[path].text(snapshot)
        if path == "/proc/modules":
            return _ADDRESS.sub("0x0", texts.proc_modules(snapshot))
        if path.startswith("/sys/module/"):
            name, _, file = path.removeprefix("/sys/module/").partition("/")
            return texts.sys_module(snapshot).get(name, {}).get(file)
        return None

    def shows(self, path: str) -> bool:
        """Whatever it has."""
        return True

    def sizes(self) -> tuple[int, int]:
        """total_mod_size and total_text_size."""
        found = self.kernel.statistics()
        return found.total_mod_size, found.total_text_size


class Mounted:
    """The files of a mount."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.kernel = RemoteKernel(folder)

    def cat(self, path: str) -> str | None:
        """The text of a file; None if there is no such file."""
        if path == "/proc/modules":
            return _ADDRESS.sub("0x0", self.kernel.proc_modules())
        if path.startswith("/sys/module/"):
            name, _, file = path.removeprefix("/sys/module/").partition("/")
            return self.kernel.module_files(name).get(file)
        try:
            return (self._folder / path).read_text()
        except FileNotFoundError:
            return None

    def shows(self, path: str) -> bool:
        """/proc and /sys it tells only to programs of ours."""
        return not path.startswith("/")

    def sizes(self) -> tuple[int, int]:
        """total_mod_size and total_text_size."""
        return int(self.kernel.read("total_mod_size")), int(self.kernel.read("total_text_size"))
