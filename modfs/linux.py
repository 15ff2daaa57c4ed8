"""Linux's own numbers, structures and calls that Python has no name for, each once, as it is called
in the kernel's headers."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Callable
from ctypes import c_char_p, c_int, c_long, c_ulong
from pathlib import Path
from typing import Any, NamedTuple

MACHINE = os.uname().machine

# -- system calls ----------------------------------------------------------------------------------

# arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
_NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "setgroups": 116,
        "capget": 125,
        "capset": 126,
        "init_module": 175,
        "delete_module": 176,
        "process_vm_readv": 310,
        "finit_module": 313,
        "seccomp": 317,
        "statx": 332,
        "openat2": 437,
        "pidfd_getfd": 438,
    },
    "aarch64": {
        "capget": 90,
        "capset": 91,
        "init_module": 105,
        "delete_module": 106,
        "setgroups": 159,
        "process_vm_readv": 270,
        "finit_module": 273,
        "seccomp": 277,
        "statx": 291,
        "openat2": 437,
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
_libc = ctypes.PyDLL(None, use_errno=True)
libc.mount.argtypes = (c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
libc.umount2.argtypes = (c_char_p, c_int)
libc.unshare.argtypes = (c_int,)
libc.setns.argtypes = (c_int, c_int)
libc.setfsuid.argtypes = libc.setfsgid.argtypes = (ctypes.c_uint32,)
libc.prctl.argtypes = (c_int, c_ulong, c_ulong, c_ulong, c_ulong)


def as_int(argument: int) -> int:
    """An int argument of a system call, as C sees it."""
    number = argument & 0xFFFFFFFF
    return number - ((number & 1 << 31) << 1)


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


def _prototype(name: str, *arguments: Any, waits: bool = True) -> tuple[Any, int]:
    """syscall(2) for one call that is made often, and that one's number, which comes first. What
    never waits keeps Python's lock."""
    function = (libc if waits else _libc)["syscall"]
    function.argtypes, function.restype = (c_long, *arguments), c_long
    return function, _NUMBERS.get(MACHINE, {}).get(name, -1)


# -- files (include/uapi/linux/openat2.h, stat.h, magic.h, poll.h) ---------------------------------

AT_FDCWD = -100
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT, RESOLVE_CACHED = 0x01, 0x02, 0x10, 0x20
PROC_SUPER_MAGIC = 0x9FA0
_NAMES = sys.getfilesystemencoding()
_OPEN_HOW = struct.Struct("<3Q")
_how: dict[tuple[int, int], bytes] = {}  # by flags and resolve, of which there are few
_AT_EMPTY_PATH, _AT_STATX_DONT_SYNC = 0x1000, 0x4000
_STATX_INO, _STATX_MNT_ID = 0x100, 0x1000  # 5.8
_STATX_BUFFER = ctypes.c_char * 256
_STATX_DEVICE = struct.Struct("<128x8x2I")  # stx_dev_major, stx_dev_minor
_STATX_PLACE = struct.Struct("<32xQ96x2IQ")  # stx_ino, stx_dev_major, stx_dev_minor, stx_mnt_id
_STATFS_BYTES = 256  # more than there are
_POLLIN = 1

_openat2, _OPENAT2 = _prototype("openat2", c_long, c_char_p, c_char_p, c_long)
_statx, _STATX = _prototype("statx", c_long, c_char_p, c_long, c_long, c_char_p)


def openat2(folder: int, path: str, flags: int, resolve: int) -> int:
    """A descriptor, closed by exec. OSError: as openat2(2)."""
    how = _how.get((flags, resolve))
    if how is None:
        how = _how[flags, resolve] = _OPEN_HOW.pack(flags | os.O_CLOEXEC, 0, resolve)
    name = path.encode(_NAMES, "surrogateescape")  # os.fsencode, in a third of the time
    found: int = _openat2(_OPENAT2, folder, name, how, _OPEN_HOW.size)
    if found < 0:
        raise failure()
    return found


class Place(NamedTuple):
    """A folder, not to be mistaken for another: its inode and device; the number of its mount, the
    first in mountinfo(5), which no mount in another namespace has."""

    inode: int
    major: int
    minor: int
    mount: int


def place(path: str, folder: int = AT_FDCWD) -> Place:
    """Of what is at ``path``, "" for ``folder`` itself; no server of a file system is asked.

    OSError: as statx(2).
    """
    buffer = _STATX_BUFFER()
    flags = _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC
    mask = _STATX_INO | _STATX_MNT_ID
    if _statx(_STATX, folder, path.encode(), flags, mask, buffer):
        raise failure()
    return Place(*_STATX_PLACE.unpack_from(buffer))


def device_unasked(fd: int) -> tuple[int, int]:
    """MAJOR, MINOR of the file system of an open file; no server of it is asked. OSError."""
    buffer = _STATX_BUFFER()
    if _statx(_STATX, fd, b"", _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC, 0, buffer):
        raise failure()
    major, minor = _STATX_DEVICE.unpack_from(buffer)
    return major, minor


def file_system_type(fd: int) -> int:
    """Such as PROC_SUPER_MAGIC. OSError: as fstatfs(2)."""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if libc.fstatfs(c_int(fd), buffer):
        raise failure()
    return int(c_long.from_buffer(buffer).value)


def wait_readable(fd: int, milliseconds: int = -1) -> bool:
    """Wait until there is something to read, or the end; -1: as long as it takes. False: it took
    longer. InterruptedError: a signal came."""
    pollfd = ctypes.create_string_buffer(struct.pack("<ihh", fd, _POLLIN, 0), 8)
    found: int = libc.poll(pollfd, c_ulong(1), c_int(milliseconds))
    if found < 0:
        raise failure()
    return found > 0


# -- mounts and namespaces (include/uapi/linux/mount.h, sched.h) -----------------------------------

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_SYNCHRONOUS, MS_REMOUNT, MS_DIRSYNC = 1, 2, 4, 16, 32, 128
MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 4096, 16384, 1 << 18, 1 << 19
MNT_FORCE, MNT_DETACH, UMOUNT_NOFOLLOW = 1, 2, 8
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
NS_GET_PARENT, NS_GET_OWNER_UID = 0xB702, 0xB704  # include/uapi/linux/nsfs.h

# -- netlink (include/uapi/linux/netlink.h) --------------------------------------------------------

NETLINK_KOBJECT_UEVENT = 15
NLM_F_REQUEST = 1
NLMSG_MIN_TYPE = 0x10
NLMSGHDR = struct.Struct("=IHHII")  # length, type, flags, sequence, port

# -- prctl, seccomp (include/uapi/linux/prctl.h, seccomp.h, bpf_common.h) --------------------------

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 1, 4, 8
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 1 << 5  # 5.19: taken up, only a fatal signal ends a call
SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF = 0x7FFF0000, 0x7FC00000
SECCOMP_IOCTL_NOTIF_RECV = 0xC0502100
SECCOMP_IOCTL_NOTIF_SEND = 0xC0182101
SECCOMP_IOCTL_NOTIF_ID_VALID = 0x40082102
SECCOMP_DATA_NR, SECCOMP_DATA_ARCH, SECCOMP_DATA_ARGS = 0, 4, 16  # bytes, in seccomp_data
SECCOMP_NOTIF = struct.Struct("<QIIiIQ6Q")  # struct seccomp_notif
SECCOMP_NOTIF_RESP = struct.Struct("<QqiI")  # struct seccomp_notif_resp
SOCK_FILTER = struct.Struct("<HBBI")  # struct sock_filter
SOCK_FPROG = struct.Struct("<H6xQ")  # struct sock_fprog
BPF_LD_W_ABS, BPF_JMP_JEQ_K, BPF_ALU_AND_K, BPF_RET_K = 0x20, 0x15, 0x54, 0x06
IOVEC = struct.Struct("<QQ")

# -- capabilities (include/uapi/linux/capability.h) ------------------------------------------------

CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_NET_ADMIN = 1, 2, 12
CAP_SYS_MODULE, CAP_SYS_ADMIN, CAP_SYSLOG = 16, 21, 34
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_CAP_HEADER = struct.Struct("<Ii")  # struct __user_cap_header_struct
_CAP_DATA = struct.Struct("<6I")  # two of struct __user_cap_data_struct
_CAP_BUFFER = ctypes.c_char * _CAP_DATA.size
_capget, _CAPGET = _prototype("capget", c_char_p, c_char_p, waits=False)


def effective_capabilities(tid: int) -> int:
    """A thread's effective set. OSError: ESRCH."""
    low, _, _, high, _, _ = _CAP_DATA.unpack(capability_sets(tid))
    return int(low | high << 32)


def capability_sets(tid: int) -> bytes:
    """A thread's effective, permitted and inheritable sets, to be compared. OSError: ESRCH."""
    data = _CAP_BUFFER()
    if _capget(_CAPGET, _CAP_HEADER.pack(_LINUX_CAPABILITY_VERSION_3, tid), data):
        raise failure()
    return bytes(data)


def permitted_capabilities() -> int:
    """This thread's."""
    _, low, _, _, high, _ = _CAP_DATA.unpack(capability_sets(0))
    return int(low | high << 32)


def set_capabilities(permitted: int) -> None:
    """This thread has these, effective, and none to inherit. OSError: EPERM."""
    low, high = permitted & 0xFFFFFFFF, permitted >> 32
    header = _CAP_HEADER.pack(_LINUX_CAPABILITY_VERSION_3, 0)
    syscall("capset", header, _CAP_DATA.pack(low, low, 0, high, high, 0))


def setgroups_of_thread(groups: list[int]) -> None:
    """setgroups(2) for this thread alone: the C library's would change every thread's. OSError."""
    array = struct.pack(f"<{len(groups)}I", *groups)
    syscall("setgroups", len(groups), array)


# -- other threads ---------------------------------------------------------------------------------

PIDFD_THREAD = os.O_EXCL  # 6.9
_pidfd_getfd, _PIDFD_GETFD = _prototype("pidfd_getfd", c_long, c_long, c_long)
_process_vm_readv, _PROCESS_VM_READV = _prototype(
    "process_vm_readv", c_long, c_char_p, c_long, c_char_p, c_long, c_long
)


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
        found: int = _pidfd_getfd(_PIDFD_GETFD, pidfd, fd, 0)
        if found < 0:
            raise failure()
        return found
    finally:
        os.close(pidfd)


def memory_of_thread(tid: int, address: int, size: int) -> bytes | None:
    """``size`` bytes of another process's memory; None where not all of it is mapped."""
    buffer = bytearray(size)
    local = IOVEC.pack(ctypes.addressof(ctypes.c_char.from_buffer(buffer)), size)
    remote = IOVEC.pack(address, size)
    done = _process_vm_readv(_PROCESS_VM_READV, tid, local, 1, remote, 1, 0)
    return bytes(buffer) if done == size else None
