"""System calls of other programs, caught and answered here (seccomp user notification, 5.0 on).

A filter that a program installs for itself and all it starts sends the three module calls to a
listener; each caller sleeps until its call is answered. See seccomp_unotify(2).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct
from typing import NamedTuple

from loader.errors import UserError

_libc = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> int:
    """syscall(2), each number in a full register; the result, or -1 with the errno set."""
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *words)
    return result


_X32 = 0x40000000  # __X32_SYSCALL_BIT
_INIT, _FINIT, _DELETE = "init_module", "finit_module", "delete_module"

# machine -> AUDIT_ARCH_* of the programs that it runs -> number -> call
_CALLS: dict[str, dict[int, dict[int, str]]] = {
    "x86_64": {
        0xC000003E: {
            **{175: _INIT, 313: _FINIT, 176: _DELETE},
            **{_X32 | 175: _INIT, _X32 | 313: _FINIT, _X32 | 176: _DELETE},
        },
        0x40000003: {128: _INIT, 350: _FINIT, 129: _DELETE},  # i386
    },
    "aarch64": {
        0xC00000B7: {105: _INIT, 273: _FINIT, 106: _DELETE},
        0x40000028: {128: _INIT, 379: _FINIT, 129: _DELETE},  # arm
    },
}

# system call numbers: seccomp, process_vm_readv, capget
_NUMBERS: dict[str, tuple[int, int, int]] = {
    "x86_64": (317, 310, 125),
    "aarch64": (277, 270, 90),
}

_SET_MODE_FILTER = 1
_FLAG_NEW_LISTENER = 1 << 3
_FLAG_WAIT_KILLABLE_RECV = 1 << 5  # 5.19: once taken up, only a fatal signal ends a call
_RET_ALLOW, _RET_USER_NOTIF = 0x7FFF0000, 0x7FC00000
_PR_SET_NO_NEW_PRIVS = 38

# BPF opcodes
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_OFFSET_NR, _OFFSET_ARCH = 0, 4  # bytes in struct seccomp_data
_RECV, _SEND, _ID_VALID = 0xC0502100, 0xC0182101, 0x40082102  # ioctl(2) requests
_NOTIFICATION = struct.Struct("<QIIiIQ6Q")  # struct seccomp_notif
_RESPONSE = struct.Struct("<QqiI")  # struct seccomp_notif_resp
_EMPTY = bytes(_NOTIFICATION.size)


class Unsupported(UserError):
    """This machine or kernel cannot catch system calls; the message says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=125)


def calls() -> dict[int, dict[int, str]]:
    """AUDIT_ARCH_* -> number -> the call's name, of all programs that run here. Unsupported."""
    found = _CALLS.get(platform.machine())
    if found is None:
        raise Unsupported(f"system calls cannot be caught on {platform.machine()}")
    return found


def _program() -> bytes:
    """Allow everything but the module calls."""
    instructions: list[tuple[int, int, int, int]] = []
    for audit, numbers in calls().items():
        count = len(numbers)
        instructions += [
            (_LOAD, 0, 0, _OFFSET_ARCH),
            (_JUMP_EQUAL, 0, count + 3, audit),  # else past this block
            (_LOAD, 0, 0, _OFFSET_NR),
            *((_JUMP_EQUAL, count - i, 0, nr) for i, nr in enumerate(numbers)),
            (_RETURN, 0, 0, _RET_ALLOW),
            (_RETURN, 0, 0, _RET_USER_NOTIF),
        ]
    instructions.append((_RETURN, 0, 0, _RET_ALLOW))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)


def install() -> int:
    """Catch the calls of this process and all that it starts; the listener's descriptor.

    OSError: EACCES where it may not, EBUSY where somebody listens already.
    """
    program = _program()
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("<H6xQ", len(program) // 8, ctypes.addressof(buffer))
    flags = _FLAG_NEW_LISTENER | _FLAG_WAIT_KILLABLE_RECV
    seccomp = _NUMBERS[platform.machine()][0]
    listener = syscall(seccomp, _SET_MODE_FILTER, flags, header)
    if listener < 0 and ctypes.get_errno() == errno.EACCES:
        _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        listener = syscall(seccomp, _SET_MODE_FILTER, flags, header)
    if listener < 0 and ctypes.get_errno() == errno.EINVAL:  # a kernel before 5.19
        listener = syscall(seccomp, _SET_MODE_FILTER, _FLAG_NEW_LISTENER, header)
    if listener < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.set_inheritable(listener, False)
    return listener


class Notification(NamedTuple):
    """One caught call: who makes it, its name, its arguments as unsigned numbers."""

    id: int
    tid: int
    call: str
    arguments: tuple[int, ...]


def receive(listener: int) -> Notification:
    """Wait for the next call. OSError: ENOENT its caller is gone already, or all are."""
    buffer = bytearray(_EMPTY)
    fcntl.ioctl(listener, _RECV, buffer, True)
    number, tid, _, nr, arch, _, *arguments = _NOTIFICATION.unpack(buffer)
    return Notification(number, tid, calls()[arch][nr], tuple(arguments))


def answer(listener: int, notification: Notification, number: int) -> None:
    """Let the call return: 0, or fail with errno ``number``. A caller who is gone is no error."""
    try:
        fcntl.ioctl(listener, _SEND, _RESPONSE.pack(notification.id, 0, -number, 0))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def is_valid(listener: int, notification: Notification) -> bool:
    """Is the caller still there, so that what was read of it is its own?"""
    try:
        fcntl.ioctl(listener, _ID_VALID, notification.id.to_bytes(8, "little"))
    except OSError:
        return False
    return True


# -- the caller's memory and rights ---------------------------------------------------------------

_PAGE = 4096
_CAP_SYS_MODULE = 16
_CAPABILITY_VERSION_3 = 0x20080522


def read_memory(tid: int, address: int, size: int) -> bytes | None:
    """``size`` bytes of another process's memory; None where not all of it is mapped."""
    buffer = bytearray(size)
    local = struct.pack("<QQ", ctypes.addressof(ctypes.c_char.from_buffer(buffer)), size)
    remote = struct.pack("<QQ", address, size)
    readv = _NUMBERS[platform.machine()][1]
    done = syscall(readv, tid, local, 1, remote, 1, 0)
    return bytes(buffer) if done == size else None


def read_string(tid: int, address: int, limit: int) -> bytes | None:
    """A string of at most ``limit`` bytes without its NUL; None where it is not mapped."""
    found = b""
    while len(found) < limit:
        size = min(_PAGE - address % _PAGE, limit - len(found))
        part = read_memory(tid, address, size)
        if part is None:
            return None
        end = part.find(b"\0")
        if end >= 0:
            return found + part[:end]
        found += part
        address += size
    return found


def has_cap_sys_module(tid: int) -> bool:
    """May it load modules? Root of a user namespace may: the kernel here is its own."""
    header = struct.pack("<Ii", _CAPABILITY_VERSION_3, tid)
    data = ctypes.create_string_buffer(24)
    if syscall(_NUMBERS[platform.machine()][2], header, data):
        return False
    return bool(struct.unpack_from("<I", data.raw)[0] >> _CAP_SYS_MODULE & 1)
