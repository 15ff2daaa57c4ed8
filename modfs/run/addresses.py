"""Addresses of modules: where they would be, for those who may know it.

A reader without CAP_SYSLOG sees zeros (kallsyms_show_value). Nothing is at these addresses; they
are in the part of the address space that x86-64 keeps for modules, and always the same for a name.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

from modfs import linux
from modfs.fuse.files import Operation
from modfs.run import seccomp

_MODULES_VADDR, _ROOM = 0xFFFFFFFFC0000000, 0x3E000000  # bytes
_PAGE = 4096
_ROW = re.compile(r"^(\S+)( .*?) 0x0{16}", re.MULTILINE)


class Addresses:
    """What the client of the operation that a thread carries out may see."""

    def __init__(self, operation: Operation) -> None:
        self._operation = operation
        self._namespace = seccomp.user_namespace()

    def _shown(self) -> bool:
        _, _, tid = self._operation.client()
        return seccomp.capable(tid, linux.CAP_SYSLOG, self._namespace)

    def proc_modules(self, compose: Callable[[], str]) -> Callable[[], str]:
        """/proc/modules with the addresses that the reader may see."""

        def text() -> str:
            if not self._shown():
                return compose()
            return _ROW.sub(lambda row: f"{row[1]}{row[2]} {_hexadecimal(row[1])}", compose())

        return text

    def module_files(
        self, files: Callable[[str], dict[str, str]]
    ) -> Callable[[str], dict[str, str]]:
        """The files of /sys/module/NAME, with sections/.text."""

        def found(name: str) -> dict[str, str]:
            texts = files(name)
            if not texts:
                return texts
            address = _hexadecimal(name) if self._shown() else f"0x{0:016x}"
            return texts | {"sections/.text": f"{address}\n"}

        return found


def _hexadecimal(name: str) -> str:
    page = zlib.crc32(name.encode("utf-8", "surrogateescape")) % (_ROOM // _PAGE)
    return f"0x{_MODULES_VADDR + page * _PAGE:016x}"
