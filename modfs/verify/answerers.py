"""Who can answer the steps of a transcript."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from loader.engine.threads import LiveKernel
from loader.errors import LoadError
from loader.keyring import Keyring, Signature, SignatureError
from modfs import texts
from modfs.verify.transcript import Call

_ADDRESS = re.compile(r"\b0x[0-9a-f]+\b")


# -- signatures without a key ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AssumedKeyring(Keyring):
    """Stands in for the kernel's keys where none is given: believes what was recorded.

    The engine then goes on as the kernel did; the step itself counts as not compared.
    """

    asked: list[bool] = field(default_factory=list)
    rejects: list[bool] = field(default_factory=lambda: [False])

    def verify(self, module: bytes, signatures: tuple[Signature, ...]) -> None:
        self.asked.append(True)
        if self.rejects[0]:
            raise SignatureError(errno.EKEYREJECTED)


class Direct:
    """The engine itself."""

    def __init__(self, live: LiveKernel) -> None:
        self.live = live

    def call(self, call: Call, path: Path | None) -> str:
        """The result of one call: "OK" or an errno's name."""
        try:
            if call.op == "delete_module":
                self.live.delete_module(call.name, call.flags)
            elif call.op == "init_module":
                image = None if path is None else path.read_bytes()
                self.live.init_module(image, call.params, length=call.length)
            elif path is None:
                self.live.finit_module(-1 if call.fd is None else call.fd, call.params, call.flags)
            else:
                self._finit_module(call, path)
        except LoadError as error:
            return error.name
        return "OK"

    def _finit_module(self, call: Call, path: Path) -> None:
        fd = os.open(path, getattr(os, call.access) | os.O_CLOEXEC)
        try:
            self.live.finit_module(fd, call.params, call.flags)
        finally:
            os.close(fd)

    def cat(self, path: str) -> str | None:
        """The text of one file; None if there is no such file."""
        snapshot = self.live.snapshot()
        if path in texts.FILES:
            return texts.FILES[path].text(snapshot)
        if path == "/proc/modules":
            return _ADDRESS.sub("0x0", texts.proc_modules(snapshot))
        if path.startswith("/sys/module/"):
            name, _, file = path.removeprefix("/sys/module/").partition("/")
            return texts.sys_module(snapshot).get(name, {}).get(file)
        return None
