"""Clients that are somebody else, or somewhere else: processes of their own, changed step by step.

``outcome(nobody, chrooted(folder), lambda: ask(mount, "insmod /m.ko"))`` forks, does all of it in
order in the child, and is the errno of what failed, 0 if nothing did.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import struct
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modfs.linux import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MS_BIND,
    MS_PRIVATE,
    MS_REC,
    PR_SET_DUMPABLE,
    libc,
)
from modfs.linux import set_capabilities as only_capabilities

Step = Callable[[], object]

NOBODY = 65534
DAC_OVERRIDE, SETGID, SYS_PTRACE = 1 << 1, 1 << 6, 1 << 19
_CLONE_NEWPID = 0x20000000
_UNEXPECTED = 255


def outcome(*steps: Step) -> int:
    """Of all steps, done by a child."""
    return ended(started(*steps))


def started(*steps: Step) -> int:
    """The child's number; ``ended`` waits for it."""
    process = os.fork()
    if process:
        return process
    status = 0
    try:
        for step in steps:
            step()
    except OSError as error:
        status = error.errno or _UNEXPECTED
    except BaseException:
        traceback.print_exc()
        status = _UNEXPECTED
    finally:
        os._exit(status)


def ended(process: int) -> int:
    """Its outcome; 128 and more if a signal killed it."""
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(process)
        ready, _, _ = select.select([pidfd], [], [], 30)
        os.close(pidfd)
        if not ready:
            os.kill(process, signal.SIGKILL)
            raise TimeoutError(f"the client {process} does not end")
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return status if status >= 0 else 128 - status


def ask(mount: Path, line: str | bytes) -> None:
    """Open, write, close. OSError."""
    write(os.open(mount / "control", os.O_WRONLY), line)


def write(descriptor: int, line: str | bytes, end: bytes = b"\n") -> None:
    """A whole line."""
    os.write(descriptor, (line.encode() if isinstance(line, str) else line) + end)


def results(mount: Path) -> list[str]:
    """What ``control`` shows, without who asked."""
    rows = (mount / "control").read_text().splitlines()
    return [row.partition("] ")[2] for row in rows if not row.startswith("#")]


# -- somebody else --------------------------------------------------------------------------------


def user(uid: int, gid: int | None = None, groups: tuple[int, ...] = ()) -> Step:
    """As after login: no capability is left to anybody but root."""

    def become() -> None:
        os.setgroups(groups)
        os.setresgid(*[uid if gid is None else gid] * 3)
        os.setresuid(uid, uid, uid)
        libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)

    return become


nobody = user(NOBODY)


def unseen() -> None:
    """As a program that its own user may not look into, for it has had more rights, or may not be
    read."""
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def capabilities(kept: int) -> Step:
    """Those and no others."""
    return lambda: only_capabilities(kept)


def in_user_namespace() -> None:
    """Its own, in which it has every capability."""
    if libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare")


def acl(path: Path, users: dict[int, int]) -> None:
    """What some users may do with a file, beside its mode (acl(5), posix_acl_xattr.h)."""
    mode = path.stat().st_mode
    rows = [(0x01, mode >> 6 & 7, 2**32 - 1), *((0x02, may, uid) for uid, may in users.items())]
    rows += [(0x04, mode >> 3 & 7, 2**32 - 1), (0x10, 7, 2**32 - 1), (0x20, mode & 7, 2**32 - 1)]
    text = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)
    os.setxattr(path, "system.posix_acl_access", text)


# -- somewhere else -------------------------------------------------------------------------------


def inside(folder: Path) -> Step:
    """Its working directory."""
    return lambda: os.chdir(folder)


def chrooted(folder: Path) -> Step:
    """With ``folder`` as its root, and as its working directory."""

    def enter() -> None:
        os.chroot(folder)
        os.chdir("/")

    return enter


def _mount(source: str, target: Path, kind: str, flags: int) -> None:
    if libc.mount(source.encode(), bytes(target), kind.encode(), flags, None):
        raise OSError(ctypes.get_errno(), f"mount {target}")


def pivoted(root: Path, mount: Path) -> Step:
    """As a container's: a mount namespace of its own, whose root is ``root``, and nothing else in
    it; the file system at ``mount`` is at /mount there, and /proc is mounted."""

    def enter() -> None:
        if libc.unshare(CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "unshare")
        _mount("none", Path("/"), "", MS_REC | MS_PRIVATE)
        _mount(str(root), root, "", MS_BIND)
        for name in ("mount", "proc"):
            (root / name).mkdir(exist_ok=True)
        _mount(str(mount), root / "mount", "", MS_BIND)
        _mount("proc", root / "proc", "proc", 0)
        os.chdir(root)
        if libc.pivot_root(b".", b"."):
            raise OSError(ctypes.get_errno(), "pivot_root")
        if libc.umount2(b".", 2):  # MNT_DETACH
            raise OSError(ctypes.get_errno(), "umount2")
        os.chdir("/")

    return enter


def in_pid_namespace() -> None:
    """Go on as the first process of a new one."""
    if libc.unshare(_CLONE_NEWPID):
        raise OSError(ctypes.get_errno(), "unshare")
    process = os.fork()
    if process:
        os._exit(ended(process))


# -- processes that wait --------------------------------------------------------------------------


@contextmanager
def waiting(*steps: Step) -> Iterator[int]:
    """A process that has done ``steps`` and then does nothing until the block ends."""
    read_end, write_end = os.pipe()
    process = started(*steps, lambda: os.write(write_end, b"x"), signal.pause)
    try:
        os.close(write_end)
        assert os.read(read_end, 1) == b"x"
        yield process
    finally:
        os.close(read_end)
        os.kill(process, signal.SIGKILL)
        ended(process)


def family(server: int) -> list[int]:
    """The processes below a process."""
    told = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    parents = {int(pid): int(parent) for pid, parent in map(str.split, told.stdout.splitlines())}
    found = [server]
    for each in found:
        found += [pid for pid, parent in parents.items() if parent == each]
    return found[1:]
