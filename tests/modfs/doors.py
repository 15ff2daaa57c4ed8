"""The files of a mount without a mount: what libfuse would ask of them, asked here."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from loader.engine.threads import LiveKernel
from modfs.mount.directory import ModulesDirectory


class Asked:
    """Who asks for an operation: this thread, unless told otherwise."""

    def __init__(self) -> None:
        self.tid: int | None = None
        self.ids = os.geteuid(), os.getegid()
        self.signal = False

    def client(self) -> tuple[int, int, int]:
        return *self.ids, self.tid or threading.get_native_id()

    def interrupted(self) -> bool:
        return self.signal


class Door:
    """A ModulesDirectory, and what programs do with its files."""

    def __init__(self, live: LiveKernel | None = None) -> None:
        self.live = live or LiveKernel()
        self.asked = Asked()
        self.files = ModulesDirectory(self.live, self.asked)

    def name(self) -> bytes:
        """A control node that nobody else has been told."""
        return b"/" + self.files.readlink(b"/control")

    @contextmanager
    def opened(self, name: bytes | None = None, flags: int = os.O_WRONLY) -> Iterator[int]:
        """A handle; at the end it is closed as close(2) does."""
        handle = self.files.open(name or self.name(), flags)
        try:
            yield handle
            self.files.flush(handle)
        finally:
            self.files.release(handle)

    def write(self, handle: int, data: bytes) -> int:
        """The errno, 0 for success: then all was taken."""
        try:
            taken = self.files.write(handle, data)
        except OSError as error:
            return error.errno or -1
        assert taken == len(data)
        return 0

    def ask(self, *lines: str) -> int:
        """Write requests at once; the errno that write(2) gives."""
        with self.opened() as handle:
            text = "".join(f"{line}\n" for line in lines)
            return self.write(handle, text.encode("utf-8", "surrogateescape"))

    def read(self, name: str) -> str:
        """A file's text, read by pages."""
        path = self.name() if name == "control" else f"/{name}".encode()
        text = b""
        with self.opened(path, os.O_RDONLY) as handle:
            while part := self.files.read(handle, 4096, len(text)):
                text += part
        return text.decode("utf-8", "surrogateescape")

    def results(self) -> list[str]:
        """What `control` shows of the latest requests: each without who asked."""
        rows = [row for row in self.read("control").splitlines() if not row.startswith("#")]
        return [row.partition("] ")[2] for row in rows]

    def loaded(self) -> list[str]:
        """The modules that are there, oldest first."""
        return [module.name for module in reversed(self.live.snapshot().modules)]
