"""Linux's own numbers, structures and calls that Python has no name for, each once, as it is called
in the kernel's headers."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable
from ctypes import c_char_p, c_int, c_long, c_ulong
from pathlib import Path

MACHINE = platform.machine()

# -- system calls ----------------------------------------------------------------------------------

# arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
_NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "setgroups": 116,
        "capget": 125,
        "process_vm_readv": 310,
        "seccomp": 317,
        "pidfd_getfd": 438,
    },
    "aarch64": {
        "capget": 90,
        "setgroups": 159,
        "process_vm_readv": 270,
        "seccomp": 277,
        "pidfd_getfd": 438,
    },
}
X32_SYSCALL_BIT = 0x40000000  # __X32_SYSCALL_BIT
AUDIT_ARCH_X86_64, AUDIT_ARCH_I386 = 0xC000003E, 0x40000003
AUDIT_ARCH_AARCH64, AUDIT_ARCH_ARM = 0xC00000B7, 0x40000028


def _module_calls(finit_module: int, init_module: int, delete_module: int) -> dict[int, str]:
    return {
        finit_module: "finit_module",
        init_module: "init_module",
        delete_module: "delete_module",
    }


MODULE_CALLS: dict[str, dict[int, dict[int, str]]] = {
    "x86_64": {
        AUDIT_ARCH_X86_64: _module_calls(313, 175, 176)
        | _module_calls(*(number | X32_SYSCALL_BIT for number in (313, 175, 176))),
        AUDIT_ARCH_I386: _module_calls(350, 128, 129),
    },
    "aarch64": {
        AUDIT_ARCH_AARCH64: _module_calls(273, 105, 106),
        AUDIT_ARCH_ARM: _module_calls(379, 128, 129),
    },
}
"""machine -> AUDIT_ARCH_* of the programs that it runs -> number -> call."""

libc = ctypes.CDLL(None, use_errno=True)
libc.mount.argtypes = (c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
libc.unshare.argtypes = (c_int,)
libc.setns.argtypes = (c_int, c_int)
libc.setfsuid.argtypes = libc.setfsgid.argtypes = (ctypes.c_uint32,)
libc.prctl.argtypes = (c_int, c_ulong, c_ulong, c_ulong, c_ulong)


def failure() -> OSError:
    """The error of the C function that has just failed."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def syscall(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> int:
    """syscall(2), each number in a full register. OSError: its errno; ENOSYS on other machines."""
    number = _NUMBERS.get(MACHINE, {}).get(name, -1)
    words = [c_long(word) if isinstance(word, int) else word for word in arguments]
    result: int = libc.syscall(c_long(number), *words)
    if result < 0:
        raise failure()
    return result


# -- mounts and namespaces (include/uapi/linux/mount.h, sched.h) -----------------------------------

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000

# -- prctl, seccomp (include/uapi/linux/prctl.h, seccomp.h, bpf_common.h) --------------------------

PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 1 << 5  # 5.19: taken up, only a fatal signal ends a call
SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF = 0x7FFF0000, 0x7FC00000
SECCOMP_IOCTL_NOTIF_RECV = 0xC0502100
SECCOMP_IOCTL_NOTIF_SEND = 0xC0182101
SECCOMP_IOCTL_NOTIF_ID_VALID = 0x40082102
SECCOMP_DATA_NR, SECCOMP_DATA_ARCH = 0, 4  # bytes: offsets in struct seccomp_data
SECCOMP_NOTIF = struct.Struct("<QIIiIQ6Q")  # struct seccomp_notif
SECCOMP_NOTIF_RESP = struct.Struct("<QqiI")  # struct seccomp_notif_resp
SOCK_FILTER = struct.Struct("<HBBI")  # struct sock_filter
SOCK_FPROG = struct.Struct("<H6xQ")  # struct sock_fprog
BPF_LD_W_ABS, BPF_JMP_JEQ_K, BPF_RET_K = 0x20, 0x15, 0x06
IOVEC = struct.Struct("<QQ")

# -- capabilities (include/uapi/linux/capability.h) ------------------------------------------------

CAP_SYS_MODULE, CAP_SYSLOG = 16, 34
_LINUX_CAPABILITY_VERSION_3 = 0x20080522


def effective_capabilities(tid: int) -> int:
    """A thread's effective set. OSError: ESRCH."""
    data = ctypes.create_string_buffer(24)
    syscall("capget", struct.pack("<Ii", _LINUX_CAPABILITY_VERSION_3, tid), data)
    low, high = (struct.unpack_from("<I", data.raw, offset)[0] for offset in (0, 12))
    return int(low | high << 32)


def setgroups_of_thread(groups: list[int]) -> None:
    """setgroups(2) for this thread alone: the C library's would change every thread's. OSError."""
    array = struct.pack(f"<{len(groups)}I", *groups)
    syscall("setgroups", len(groups), array)


# -- other threads ---------------------------------------------------------------------------------

PIDFD_THREAD = os.O_EXCL  # 6.9


def pidfd_of_thread(tid: int) -> int:
    """A descriptor for a thread; for its process on kernels before 6.9. OSError: ESRCH."""
    try:
        return os.pidfd_open(tid, PIDFD_THREAD)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    status = Path(f"/proc/{tid}/status").read_text()
    return os.pidfd_open(next(int(x.split()[1]) for x in status.splitlines() if x[:5] == "Tgid:"))


def descriptor_of_thread(tid: int, fd: int, still_there: Callable[[], bool] = lambda: True) -> int:
    """A thread's descriptor, as one of ours. OSError: EBADF, ESRCH, EPERM.

    ``still_there`` is asked once the thread is held: is its number still that of whom we mean?
    """
    pidfd = pidfd_of_thread(tid)
    try:
        if not still_there():
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        return syscall("pidfd_getfd", pidfd, fd, 0)
    finally:
        os.close(pidfd)


def memory_of_thread(tid: int, address: int, size: int) -> bytes | None:
    """``size`` bytes of another process's memory; None where not all of it is mapped."""
    buffer = bytearray(size)
    local = IOVEC.pack(ctypes.addressof(ctypes.c_char.from_buffer(buffer)), size)
    try:
        done = syscall("process_vm_readv", tid, local, 1, IOVEC.pack(address, size), 1, 0)
    except OSError:
        return None
    return bytes(buffer) if done == size else None
