"""Which calls are caught with ``--autoload``: those that may have the kernel request a module.
uname(2), with ``--kernel``; and syslog(2), where the log is ours.

Numbers as in arch/x86/entry/syscalls, arch/arm/tools/syscall.tbl and include/uapi/asm-generic. What
can be told apart by plain arguments is, so that other calls are not held up: the number of an
ioctl, an option, open(2)'s flags. A filter cannot read memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from modfs import linux


class Condition(NamedTuple):
    """Caught if ``argument``, the low 32 bits of it, has ``value`` in the bits of ``mask``."""

    argument: int
    mask: int
    value: int


Rules = dict[int, dict[int, tuple[Condition, ...]]]
"""AUDIT_ARCH_* -> number -> conditions, any of which will do; none: it is always caught."""

EXEC = frozenset(("execve", "execveat"))
_ALL = 0xFFFFFFFF
_PLACES = (
    linux.AUDIT_ARCH_X86_64,
    linux.AUDIT_ARCH_X86_64,  # x32: with __X32_SYSCALL_BIT
    linux.AUDIT_ARCH_I386,
    linux.AUDIT_ARCH_AARCH64,
    linux.AUDIT_ARCH_ARM,
)
_X32 = 1
_NUMBERS: dict[str, tuple[int | None, ...]] = {
    "mount": (165, 165, 21, 40, 21),
    "fsopen": (430, 430, 430, 430, 430),
    "socket": (41, 41, 359, 198, 281),
    "socketpair": (53, 53, 360, 199, 288),
    "socketcall": (None, None, 102, None, None),
    "bind": (49, 49, 361, 200, 282),
    "setsockopt": (54, 541, 366, 208, 294),
    "ioctl": (16, 514, 54, 29, 54),
    "open": (2, 2, 5, None, 5),
    "creat": (85, 85, 8, None, 8),
    "openat": (257, 257, 295, 56, 322),
    "openat2": (437, 437, 437, 437, 437),
    "execve": (59, 520, 11, 221, 11),
    "execveat": (322, 545, 358, 281, 387),
    "uname": (63, 63, 122, 160, 122),
    "syslog": (103, 103, 103, 116, 103),
}
UNAME, SYSLOG = frozenset(("uname",)), frozenset(("syslog",))
AUTOLOAD = frozenset(_NUMBERS) - UNAME - SYSLOG
"""All that may have the kernel request a module."""
TIOCSETD = 0x5423
SYS_SOCKET, SYS_BIND, SYS_SOCKETPAIR, SYS_SETSOCKOPT = 1, 2, 8, 14  # include/uapi/linux/net.h
TCP_CONGESTION, TCP_ULP = 13, 31
_O_PATH = 0o10000000
_O_DIRECTORY = {linux.AUDIT_ARCH_AARCH64: 0o40000, linux.AUDIT_ARCH_ARM: 0o40000}


def _conditions(call: str, audit: int) -> tuple[Condition, ...]:
    # Neither opens a device.
    opens_none = _O_PATH | _O_DIRECTORY.get(audit, 0o200000)
    return {
        "socketcall": tuple(
            Condition(0, _ALL, each) for each in (SYS_SOCKET, SYS_BIND, SYS_SOCKETPAIR,
                                                  SYS_SETSOCKOPT)
        ),
        "setsockopt": tuple(Condition(2, _ALL, each) for each in (TCP_CONGESTION, TCP_ULP)),
        # Of network interfaces, of wireless ones, and that of a line discipline.
        "ioctl": (
            Condition(1, 0xFFFFFF00, 0x8900),
            Condition(1, 0xFFFFFF00, 0x8B00),
            Condition(1, _ALL, TIOCSETD),
        ),
        "open": (Condition(1, opens_none, 0),),
        "openat": (Condition(2, opens_none, 0),),
    }.get(call, ())  # fmt: skip


def _numbered() -> Iterator[tuple[int, int, str]]:
    for call, numbers in _NUMBERS.items():
        for place, number in enumerate(numbers):
            if number is not None:
                bit = linux.X32_SYSCALL_BIT if place == _X32 else 0
                yield _PLACES[place], number | bit, call


def names() -> dict[int, dict[int, str]]:
    """AUDIT_ARCH_* -> number -> the call's name."""
    found: dict[int, dict[int, str]] = {}
    for audit, number, call in _numbered():
        found.setdefault(audit, {})[number] = call
    return found


def rules(without: Iterable[str] = (), calls: frozenset[str] = AUTOLOAD) -> Rules:
    """For a filter of these ``calls``; ``without``: those that are left alone."""
    found: Rules = {}
    wanted = calls.difference(without)
    for audit, number, call in _numbered():
        if call in wanted:
            found.setdefault(audit, {})[number] = _conditions(call, audit)
    return found
