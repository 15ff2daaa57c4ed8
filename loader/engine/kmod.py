"""Kernel module auto-loading

Code in the kernel that misses something, such as a file system, a protocol family or the driver of
a device number, asks userspace for it by a string: ``request_module("fs-xfs")``. The kernel runs
the program that /proc/sys/kernel/modprobe names, with the string as its last argument and as root,
and tells whoever asked how that program ended. Which modules the string means, and whether they
load, is the program's matter. The kernel never looks: who asked has to look again for what it
missed.

request_module - waits until the program has ended

- 0: it exited with 0. That need not mean that any module was loaded.
- more than 0: its wait status, which is 256 times its exit status (modprobe that finds nothing:
  256), or the signal that ended it, and 128 more if it left a core.
- less than 0: a negative errno; the program did not run to its end. ENOENT: no program, or
  auto-loading is switched off by an empty path. ENAMETOOLONG: the string has more than 55 bytes.
  ETIME: no room, see below. ERESTARTSYS: a fatal signal reached who waited; the program goes on.
  Otherwise execve(2)'s, such as EACCES and ENOEXEC.

request_module_nowait - waits only until the program was executed; what it does then is lost

get_fs_type - a file system by its name; if it is missing, ``fs-NAME`` is requested once

No more than 50 requests have a helper at one time (MAX_KMOD_CONCURRENT). Others wait in the order
in which they came, five seconds at most, and no signal ends that wait; then they fail with ETIME
and a line in the log, of which there are ten in five seconds at most. That ends loops: a helper
whose own start makes the kernel ask for something fills the 50 places with itself, the next one
finds no room for five seconds, and all of them come back.

A kernel may be built to find requests for one string among each other (loader.engine.dups). That
modules are disabled (/proc/sys/kernel/modules_disabled) changes nothing here: the helper runs, and
its system calls fail.

None of this is seen in the statistics (loader.engine.stats). They tell what the helpers' system
calls came to: many requests at one moment for one string are as many modprobes, and those that find
its modules not yet live are its duplicates.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Generator, Hashable, Iterable
from typing import Any, NamedTuple

from loader.calls import NOBODY, Task
from loader.config import MODULE_NAME_LEN
from loader.engine.dups import DupRequest, Dups
from loader.engine.ratelimit import RateLimit
from loader.engine.semaphore import Semaphore, Waiter
from loader.engine.state import Kernel
from loader.engine.umh import Usermodehelper
from loader.errors import LoadError
from loader.words import canonical

MODPROBE_PATH = "/sbin/modprobe"  # CONFIG_MODPROBE_PATH
ERESTARTSYS = 512  # include/linux/errno.h: never seen outside the kernel
MAX_KMOD_CONCURRENT = 50
_BUSY_TIMEOUT = 5  # seconds: MAX_KMOD_ALL_BUSY_TIMEOUT
_STRING_MAX = MODULE_NAME_LEN - 1  # bytes

# What every kernel has built in (those that mount(8) can name).
_CORE_FILESYSTEMS = frozenset(
    (
        *("sysfs", "tmpfs", "bdev", "proc", "cgroup", "cgroup2", "devtmpfs", "debugfs", "tracefs"),
        *("securityfs", "sockfs", "bpf", "pipefs", "ramfs", "devpts", "mqueue"),
    )
)
_HAS_SUBTYPE = ("fuse", "fuseblk")  # file_system_type.fs_flags: FS_HAS_SUBTYPE


class Sleep(NamedTuple):
    """Wait until ``done()``, which is called with the kernel's lock held after each wakeup(key).

    ``killable``: a fatal signal ends the wait, and the driver throws LoadError(EINTR); no other
    does, and none if it is not killable. ``timeout`` in seconds: at its end the driver resumes.
    """

    key: Hashable
    done: Callable[[], bool]
    killable: bool
    timeout: float | None = None


Request = Generator[Sleep | Usermodehelper, Any, int]


class ModuleRequest(NamedTuple):
    """One request that has ended.

    ``at``: when it was made, on the driver's clock; ``slot_wait`` and ``took``: how long it waited
    for room, and took in all; in seconds. ``function``: who in the kernel asked. ``result``: what
    it got, see the module's text.
    """

    at: float
    string: str
    function: str
    wait: bool
    result: int
    slot_wait: float
    took: float


class Requested(NamedTuple):
    """A request that has ended, its number among what was counted, and who asked."""

    n: int
    task: Task
    request: ModuleRequest


class Kmod:
    """What the kernel knows of requests, guarded by the kernel's lock.

    ``listener`` is told of each request at its end, without the lock. ``filesystem(name)``: the
    modules that register the file system, any of which will do.
    """

    def __init__(
        self, kernel: Kernel, now: Callable[[], float], wakeup: Callable[[Hashable], None]
    ) -> None:
        """``now``: the driver's clock, in seconds; ``wakeup(key)`` wakes who sleeps there."""
        config = kernel.config
        self.kernel = kernel
        self.now = now
        self.wakeup = wakeup
        self.modprobe_path = MODPROBE_PATH
        self.concurrent = Semaphore(MAX_KMOD_CONCURRENT, wakeup)
        self.dups = Dups(kernel.log, now, wakeup) if config.autoload_dups else None
        self.listener: Callable[[ModuleRequest], None] | None = None
        self.filesystem: Callable[[str], Iterable[str]] = lambda name: ()
        self._busy = RateLimit(kernel.log, "__request_module", now)
        self._told_of_no_fs = False

    def busy(self, string: str) -> None:
        """Log that there was no room for a request."""
        with self.kernel.lock:
            self._busy.write(
                f"request_module: modprobe {string} cannot be processed, kmod busy with"
                f" {MAX_KMOD_CONCURRENT} threads for more than {_BUSY_TIMEOUT} seconds now"
            )

    def has_filesystem(self, name: str) -> bool:
        """Is it registered (__get_fs_type)?"""
        if name in _CORE_FILESYSTEMS:
            return True
        modules = self.filesystem(name)
        with self.kernel.lock:
            return any(self.kernel.is_live(canonical(module)) for module in modules)

    def still_no_fs(self, string: str) -> None:
        """Log, once, that a helper succeeded in vain."""
        with self.kernel.lock:
            if not self._told_of_no_fs:
                self._told_of_no_fs = True
                self.kernel.log.write(f"request_module {string} succeeded, but still no fs?")


def request_module(
    kmod: Kmod,
    string: str,
    wait: bool = True,
    function: str = "request_module",
    task: Task = NOBODY.task,
) -> Request:
    """__request_module; not ``wait``: request_module_nowait. Returns what the module's text says.

    ``string`` ends at a null character. ``function`` is who asks, for people, and ``task`` for
    whom.
    """
    if "\0" in string:
        string = string.partition("\0")[0]
    at, n = kmod.now(), kmod.kernel.next_n()
    refused = _refused(kmod, string)
    got = at
    if not refused:
        with kmod.kernel.lock:
            waiter = kmod.concurrent.down()
        if waiter is not None:
            refused = yield from _down(kmod, waiter, string)
            got = kmod.now()
    result = -refused
    if not refused:
        try:
            result = yield from _with_slot(kmod, string, wait)
        finally:
            with kmod.kernel.lock:
                kmod.concurrent.up()
    took = kmod.now() - at
    request = ModuleRequest(at, string, function, wait, result, got - at, took)
    if kmod.listener is not None:
        kmod.listener(request)
    if kmod.kernel.listener is not None:
        kmod.kernel.listener(Requested(n, task, request))
    return result


def _refused(kmod: Kmod, string: str) -> int:
    """The errno with which a request fails before all else, or 0."""
    if not kmod.modprobe_path:
        return errno.ENOENT
    # Bytes are looked at where there may be more of them than characters.
    long = len(string) > _STRING_MAX or (
        not string.isascii() and len(os.fsencode(string)) > _STRING_MAX
    )
    return errno.ENAMETOOLONG if long else 0


def _down(kmod: Kmod, waiter: Waiter, string: str) -> Request:
    """Wait for a place among the 50: 0, or ETIME (down_timeout)."""
    try:
        yield Sleep(waiter, lambda: waiter.up, False, _BUSY_TIMEOUT)
    except BaseException:
        with kmod.kernel.lock:
            kmod.concurrent.leave(waiter)
            if waiter.up:
                kmod.concurrent.up()
        raise
    with kmod.kernel.lock:
        kmod.concurrent.leave(waiter)
    if waiter.up:
        return 0
    kmod.busy(string)
    return errno.ETIME


def _with_slot(kmod: Kmod, string: str, wait: bool) -> Request:
    dups = kmod.dups
    helper = Usermodehelper(kmod.modprobe_path, ("-q", "--", string), wait)
    if dups is None:
        return (yield from _killable(helper))
    with kmod.kernel.lock:
        anchor = dups.exists(string, wait)
    if anchor is not None:
        return (yield from _as_anchor(anchor)) if wait else 0
    result = -errno.ENOMEM
    try:
        result = yield from _killable(helper)
    finally:
        with kmod.kernel.lock:
            dups.announce(string, result)
    return result


def _as_anchor(anchor: DupRequest) -> Request:
    """What the request came to that this one is a duplicate of."""
    killed = yield from _killable(Sleep(anchor, lambda: anchor.done, True))
    return killed or anchor.result


def _killable(step: Sleep | Usermodehelper) -> Request:
    """The answer to ``step``; -ERESTARTSYS if a fatal signal ended it."""
    try:
        return (yield step) or 0
    except LoadError as error:
        if error.errno != errno.EINTR:
            raise
        return -ERESTARTSYS


def get_fs_type(
    kmod: Kmod, name: str, task: Task = NOBODY.task
) -> Generator[Sleep | Usermodehelper, Any, bool]:
    """Is there a file system ``name``, now or after a request (fs/filesystems.c)?

    What follows the first dot is a subtype, which only FUSE's have.
    """
    kind, dot, _ = name.partition("\0")[0].partition(".")
    found = kmod.has_filesystem(kind)
    if not found:
        string = f"fs-{kind}"
        if (yield from request_module(kmod, string, function="get_fs_type", task=task)) == 0:
            found = kmod.has_filesystem(kind)
            if not found:
                kmod.still_no_fs(string)
    return found and (not dot or kind in _HAS_SUBTYPE)


# -- what can be told of a result -----------------------------------------------------------------


def as_errno(result: int) -> int:
    """What a system call can tell of a request's result: 0, or an errno.

    A wait status is none, and no kernel ever returns one to userspace: it is EREMOTEIO here, which
    nothing else is. A fatal signal is EINTR.
    """
    if result > 0:
        return errno.EREMOTEIO
    return errno.EINTR if result == -ERESTARTSYS else -result


def as_text(result: int) -> str:
    """A result for people: ``ok``, the errno's name, or the number with what it means."""
    if result <= 0:
        number = as_errno(result)
        return errno.errorcode.get(number, str(number)) if number else "ok"
    signal, status = result & 0x7F, result >> 8
    return f"{result} (signal {signal})" if signal else f"{result} (exit status {status})"
