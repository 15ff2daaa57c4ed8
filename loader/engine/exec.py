"""fs/exec.c: the start of a helper, which may be in a format that the kernel has to ask for."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

from loader.engine.kmod import Kmod, Sleep, request_module
from loader.engine.umh import ExecFormatError, Usermodehelper

_PRINTABLE = frozenset((*b"\t\n", *range(0x20, 0x7F)))


class Execve(NamedTuple):
    """Start the helper. Answered with what runs then; OSError: as execve(2)."""

    helper: Usermodehelper


def execve(
    kmod: Kmod, helper: Usermodehelper
) -> Generator[Execve | Sleep | Usermodehelper, Any, Any]:
    """bprm_execve, of a kernel thread that becomes the helper. OSError.

    Up to 6.13 a file of unknown format, whose first bytes are no text, has the kernel ask for
    ``binfmt-XXXX`` and try once more; unless that request could not be made.
    """
    again = not kmod.kernel.release.no_binfmt_autoload
    while True:
        try:
            return (yield Execve(helper))
        except ExecFormatError as error:
            string = binfmt_string(error.head) if again else None
            if string is None:
                raise
            if (yield from request_module(kmod, string, function="bprm_execve")) < 0:
                raise
            again = False


def binfmt_string(head: bytes) -> str | None:
    """What is asked for when nobody knows a file with these first bytes; None for a text."""
    head = head[:4].ljust(4, b"\0")
    if all(byte in _PRINTABLE for byte in head):
        return None
    return f"binfmt-{int.from_bytes(head[2:], 'little'):04x}"
