"""System calls of other programs, caught and answered here (seccomp user notification, 5.0 on).

A filter that a program installs for itself and all it starts sends the three module calls to a
listener; each caller sleeps until its call is answered. See seccomp_unotify(2).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from loader.errors import UserError
from modfs import linux
from modfs.linux import libc, syscall
from modfs.run import caught
from modfs.run.caught import Condition, Rules

_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE


def calls() -> dict[int, dict[int, str]]:
    """AUDIT_ARCH_* -> number -> the call's name, of all programs that run here. UserError."""
    found = linux.MODULE_CALLS.get(linux.MACHINE)
    if found is None:
        raise UserError(f"system calls cannot be caught on {linux.MACHINE}")
    return found


_Instruction = tuple[int, int, int, int]


def _program(more: Rules | None = None) -> bytes:
    """Allow everything but the module calls, and what ``more`` says."""
    instructions: list[_Instruction] = []
    for audit, numbers in calls().items():
        block = [*_block(dict.fromkeys(numbers, ()) | (more or {}).get(audit, {}))]
        instructions += [
            (linux.BPF_LD_W_ABS, 0, 0, linux.SECCOMP_DATA_ARCH),
            (linux.BPF_JMP_JEQ_K, 0, len(block), audit),  # else past this block
            *block,
        ]
    instructions.append((linux.BPF_RET_K, 0, 0, linux.SECCOMP_RET_ALLOW))
    return b"".join(linux.SOCK_FILTER.pack(*instruction) for instruction in instructions)


def _block(rules: Mapping[int, tuple[Condition, ...]]) -> Iterator[_Instruction]:
    """The verdict on the calls of one architecture."""
    yield (linux.BPF_LD_W_ABS, 0, 0, linux.SECCOMP_DATA_NR)
    for number, conditions in rules.items():
        found = [*_verdict(conditions)]
        yield (linux.BPF_JMP_JEQ_K, 0, len(found), number)
        yield from found
    yield (linux.BPF_RET_K, 0, 0, linux.SECCOMP_RET_ALLOW)


def _verdict(conditions: tuple[Condition, ...]) -> Iterator[_Instruction]:
    """The verdict on a call."""
    notify = (linux.BPF_RET_K, 0, 0, linux.SECCOMP_RET_USER_NOTIF)
    if not conditions:
        yield notify
        return
    for argument, mask, value in conditions:
        yield (linux.BPF_LD_W_ABS, 0, 0, linux.SECCOMP_DATA_ARGS + 8 * argument)
        yield (linux.BPF_ALU_AND_K, 0, 0, mask)
        yield (linux.BPF_JMP_JEQ_K, 0, 1, value)
        yield notify
    yield (linux.BPF_RET_K, 0, 0, linux.SECCOMP_RET_ALLOW)


def install(more: Rules | None = None) -> int:
    """Catch the calls of this process and all that it starts; the listener's descriptor.

    ``more``: calls beside those about modules.

    OSError: EACCES where it may not, EBUSY where somebody listens already.
    """
    program = _program(more)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = linux.SOCK_FPROG.pack(len(program) // 8, ctypes.addressof(buffer))
    listener = _install(header)
    os.set_inheritable(listener, False)
    return listener


def _install(program: bytes) -> int:
    """The filter with the best flags and rights that there are. OSError."""
    flags = linux.SECCOMP_FILTER_FLAG_NEW_LISTENER | linux.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    without_rights = False
    while True:
        try:
            return syscall("seccomp", linux.SECCOMP_SET_MODE_FILTER, flags, program)
        except OSError as error:
            if error.errno == errno.EACCES and not without_rights:
                without_rights = True
                libc.prctl(linux.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            elif error.errno == errno.EINVAL and flags != linux.SECCOMP_FILTER_FLAG_NEW_LISTENER:
                flags = linux.SECCOMP_FILTER_FLAG_NEW_LISTENER  # a kernel before 5.19
            else:
                raise


class Notification(NamedTuple):
    """One caught call: who makes it, its name, its arguments as unsigned numbers, AUDIT_ARCH_*."""

    id: int
    tid: int
    call: str
    arguments: tuple[int, ...]
    audit: int = 0


class Reply(NamedTuple):
    """What a call returns: ``value``; or it fails with ``errno``."""

    errno: int = 0
    value: int = 0


def receive(listener: int) -> Notification:
    """Wait for the next call. OSError: ENOENT its caller is gone already, or all are."""
    buffer = bytearray(linux.SECCOMP_NOTIF.size)
    fcntl.ioctl(listener, linux.SECCOMP_IOCTL_NOTIF_RECV, buffer, True)
    number, tid, _, nr, arch, _, *arguments = linux.SECCOMP_NOTIF.unpack(buffer)
    return Notification(number, tid, _names()[arch][nr], tuple(arguments), arch)


@functools.cache
def _names() -> dict[int, dict[int, str]]:
    """AUDIT_ARCH_* -> number -> name, of all calls that may be caught."""
    more = caught.names()
    return {audit: more.get(audit, {}) | numbers for audit, numbers in calls().items()}


def go_on(listener: int, notification: Notification) -> None:
    """Let the kernel carry the call out (5.5 on). A caller who is gone is no error."""
    _send(listener, notification.id, 0, _CONTINUE)


def answer(listener: int, notification: Notification, reply: Reply) -> None:
    """Let the call return. A caller who is gone is no error."""
    _send(listener, notification.id, -reply.errno, 0, reply.value)


def _send(listener: int, id: int, error: int, flags: int, value: int = 0) -> None:
    response = linux.SECCOMP_NOTIF_RESP.pack(id, value, error, flags)
    try:
        fcntl.ioctl(listener, linux.SECCOMP_IOCTL_NOTIF_SEND, response)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def is_valid(listener: int, notification: Notification) -> bool:
    """Is the caller still there, so that what was read of it is its own?"""
    try:
        fcntl.ioctl(
            listener, linux.SECCOMP_IOCTL_NOTIF_ID_VALID, notification.id.to_bytes(8, "little")
        )
    except OSError:
        return False
    return True


# -- the caller's memory and rights ---------------------------------------------------------------


def write_memory(tid: int, address: int, data: bytes, still_there: Callable[[], bool]) -> bool:
    """Write all of ``data`` into a caller's memory. False: it is not mapped, or may not be written
    to, or the caller is gone.

    ``still_there``: is it the caller whose memory was opened (seccomp_unotify(2))?
    """
    try:
        memory = os.open(f"/proc/{tid}/mem", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return still_there() and os.pwrite(memory, data, address) == len(data)
    except (OSError, OverflowError):
        return False
    finally:
        os.close(memory)


_PAGE = 4096


def read_string(tid: int, address: int, limit: int) -> bytes | None:
    """A string of at most ``limit`` bytes without its NUL; None where it is not mapped."""
    found = b""
    while len(found) < limit:
        size = min(_PAGE - address % _PAGE, limit - len(found))
        part = linux.memory_of_thread(tid, address, size)
        if part is None:
            return None
        end = part.find(b"\0")
        if end >= 0:
            return found + part[:end]
        found += part
        address += size
    return found


def user_namespace(tid: int | str = "self") -> str:
    """Which one a thread is in. OSError: it is gone, or may not be looked at."""
    return os.readlink(f"/proc/{tid}/ns/user")


def capable(tid: int, capability: int, namespace: str) -> bool:
    """Has it a right over our kernel, whose own user namespace that is (ns_capable)?

    Root of another one has none, and whoever cannot be looked at is taken to be in another.
    """
    try:
        has = linux.effective_capabilities(tid) >> capability & 1
        return bool(has) and user_namespace(tid) == namespace
    except OSError:
        return False
