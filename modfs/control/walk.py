"""Opening a path in a client's name, as the client itself would.

The kernel walks the path, in a process that has taken on the client's identity (modfs.control.
deputy). One thing it would get wrong: /proc/self and /proc/thread-self would be that process, and
/dev/stdin a descriptor of its. So it is told to follow no link into a process, and where there is
one the path is walked here, a name at a time. What is the client's own (its descriptors, folder and
root) is then left to be fetched by who may; other processes' links are the kernel's to allow.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from modfs.linux import (
    AT_FDCWD,
    PROC_SUPER_MAGIC,
    RESOLVE_NO_MAGICLINKS,
    file_system_type,
    openat2,
)

_MAXSYMLINKS = 40  # include/linux/namei.h
_PROC_ROOT_INO = 1  # include/linux/proc_fs.h
_ST_NOSYMFOLLOW = 0x2000  # include/linux/statfs.h
_PATH = os.O_PATH | os.O_NOFOLLOW


class Own(NamedTuple):
    """A path leads through what is the client's own: ``what`` is "cwd", "root" or "fd/N"; ``rest``
    goes on from there, "" if it ends there."""

    what: str
    rest: str


class Numbers(NamedTuple):
    """The client's process and thread as each pid namespace numbers them, from ours inwards."""

    pids: tuple[int, ...]
    tids: tuple[int, ...]


def open_path(path: str, flags: int, folder: int, client: Numbers) -> int | Own:
    """A descriptor, or what has to be fetched first. OSError: as open(2)."""
    failed: OSError | None = None
    try:
        fd = openat2(folder, path, flags, RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        failed = error
    else:
        if not _is_proc(fd):
            return fd
        os.close(fd)  # it may be about this process
    if failed is not None and failed.errno in (errno.ENAMETOOLONG, errno.EINVAL):
        raise failed
    walk = _Walk(flags, client)
    try:
        return walk.open(path, folder)
    finally:
        walk.close()


def _is_proc(fd: int) -> bool:
    return file_system_type(fd) == PROC_SUPER_MAGIC


class _Walk:
    """One walk. Where it is in a procfs is told by the names that led there: "" elsewhere."""

    def __init__(self, flags: int, client: Numbers) -> None:
        self._flags = flags
        self._client = client
        self._folder = self._proc = -1  # and the root of the procfs that it is in
        self._in_proc: list[str] = []  # names from the root of a procfs; empty: not below one
        self._proc_root = False
        self._links = 0

    def close(self) -> None:
        """It holds no folder any more."""
        for folder in (self._folder, self._proc):
            if folder >= 0:
                os.close(folder)
        self._folder = self._proc = -1

    # -- the walk ---------------------------------------------------------------------------------

    def open(self, path: str, folder: int) -> int | Own:
        """Its end. OSError."""
        if not path:
            raise _error(errno.ENOENT)
        self._begin(path, folder)
        names = _names(path)
        while names:
            name = names.pop(0)
            more = self._step(name, names)
            if isinstance(more, (int, Own)):
                return more
            names = more
        raise _error(errno.ENOENT)

    def _begin(self, path: str, folder: int) -> None:
        start, at = ("/", AT_FDCWD) if path.startswith("/") else (".", folder)
        self._go(openat2(at, start, os.O_PATH, 0), [])

    def _go(self, folder: int, in_proc: list[str]) -> None:
        if self._folder >= 0:
            os.close(self._folder)
        self._folder = folder
        proc = _is_proc(folder)
        self._proc_root = proc and os.fstat(folder).st_ino == _PROC_ROOT_INO
        if self._proc_root:
            if self._proc >= 0:
                os.close(self._proc)
            self._proc = os.dup(folder)
        self._in_proc = in_proc if proc and not self._proc_root else []

    def _step(self, name: str, rest: list[str]) -> int | Own | list[str]:
        """The end, or the names that are to follow."""
        if name == ".." and self._in_proc:  # a folder that only the client may search
            if not stat.S_ISDIR(os.fstat(self._folder).st_mode):
                raise _error(errno.ENOTDIR)
            up = "/".join(self._in_proc[:-1]) or "."
            found = openat2(self._proc, up, os.O_PATH if rest else self._flags, 0)
            if not rest:
                return found
            self._go(found, self._in_proc[:-1])
            return rest
        if name in (".", ".."):
            found = openat2(self._folder, name, os.O_PATH if rest else self._flags, 0)
            if not rest:
                return found
            self._go(found, self._in_proc)
            return rest
        own = self._own(name, rest)  # which the client may see, whoever else may not
        if own is not None:
            return own
        status = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            self._links += 1
            if self._links > _MAXSYMLINKS:
                raise _error(errno.ELOOP)
            proc = _is_proc(self._folder)
            return self._proc_link(name, rest) if proc else self._link(name, rest)
        if not rest:
            return openat2(self._folder, name, self._flags | os.O_NOFOLLOW, 0)
        below = [name] if self._proc_root else [*self._in_proc, name]
        self._go(openat2(self._folder, name, _PATH, 0), below if self._known else [])
        return rest

    @property
    def _known(self) -> bool:
        return self._proc_root or bool(self._in_proc)

    def _follow(self, target: str, rest: list[str]) -> list[str]:
        if not target:
            raise _error(errno.ENOENT)
        if target.startswith("/"):
            self._begin("/", AT_FDCWD)
        return [*_names(target), *rest]

    # -- links ------------------------------------------------------------------------------------

    def _link(self, name: str, rest: list[str]) -> int | list[str]:
        """One that holds a path. Whether it may be followed (fs.protected_symlinks, nosymfollow) is
        the kernel's to say."""
        if os.fstatvfs(self._folder).f_flag & _ST_NOSYMFOLLOW:
            raise _error(errno.ELOOP)
        flags = os.O_PATH if rest else self._flags
        try:
            found = openat2(self._folder, name, flags, RESOLVE_NO_MAGICLINKS)
        except OSError as error:
            if error.errno == errno.EACCES:
                raise
        else:
            if not _is_proc(found):
                if not rest:
                    return found
                self._go(found, [])
                return rest
            os.close(found)
        return self._follow(os.readlink(name, dir_fd=self._folder), rest)

    def _proc_link(self, name: str, rest: list[str]) -> int | list[str]:
        if self._proc_root and name in ("self", "thread-self"):
            return [*self._self(name == "thread-self"), *rest]
        if not self._in_process() and not self._magic(name):
            return self._follow(os.readlink(name, dir_fd=self._folder), rest)
        if not rest:
            return openat2(self._folder, name, self._flags, 0)
        self._go(openat2(self._folder, name, os.O_PATH, 0), [])
        return rest

    def _magic(self, name: str) -> bool:
        try:
            os.close(openat2(self._folder, name, os.O_PATH, RESOLVE_NO_MAGICLINKS))
        except OSError as error:
            return error.errno in (errno.ELOOP, errno.EACCES)
        return False

    def _in_process(self) -> bool:
        return bool(self._in_proc) and self._in_proc[0].isdigit()

    def _own(self, name: str, rest: list[str]) -> Own | None:
        """The link ``name``, if it is the client's own."""
        if not self._in_process():
            return None
        here = self._numbers()
        process, *below = self._in_proc
        if here is None or int(process) not in here:
            return None
        if below[:1] == ["task"]:
            below = below[2:]
        if below == [] and name in ("cwd", "root"):
            return Own(name, "/".join(rest))
        if below == ["fd"]:
            if not name.isdigit():
                raise _error(errno.ENOENT)
            return Own(f"fd/{name}", "/".join(rest))
        return None

    # -- the client's numbers ---------------------------------------------------------------------

    def _self(self, thread: bool) -> list[str]:
        here = self._numbers()
        if here is None:
            raise _error(errno.ENOENT)
        return [str(here[0]), "task", str(here[1])] if thread else [str(here[0])]

    def _numbers(self) -> tuple[int, int] | None:
        """(process, thread) in the procfs where the walk is; None where the client is not seen."""
        pids, tids = self._client
        for level, (pid, tid) in enumerate(zip(pids, tids, strict=True)):
            told = _told(self._proc, f"{pid}/task/{tid}/status")
            if told == (pids[level:], tids[level:]):
                return pid, tid
        return None


def _told(folder: int, path: str) -> tuple[tuple[int, ...], ...]:
    """The NStgid and NSpid that a procfs tells of a thread; () if it is not there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return ()
    with os.fdopen(fd, "rb") as file:
        rows = dict(line.split(b":\t", 1) for line in file.read().splitlines() if b":\t" in line)
    return tuple(tuple(map(int, rows.get(name, b"").split())) for name in (b"NStgid", b"NSpid"))


def _names(path: str) -> list[str]:
    """Its components; what ends with a slash must be a folder."""
    names = [name for name in path.split("/") if name]
    return [*names, "."] if path.endswith("/") or not names else names


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
