"""The one program of a kernel that has no userspace: modprobe, on a module tree, in this process.

Where the kernel starts a program, this saves the program. It goes by the paths at which modprobe
usually is; there is no other program, and so ENOENT for any other path.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from functools import partial

from loader.calls import Caller, FinitModule, InitModule, Origin, Task
from loader.engine.state import Kernel
from loader.engine.umh import Usermodehelper, exited
from loader.errors import LoadError
from loader.tree.insert import insertion
from loader.tree.modprobe import EXIT_FAILURE, EXIT_SUCCESS, Insert, Modules, Run, modprobe
from loader.tree.modprobe_config import ModprobeConfig
from loader.tree.probe_list import Found, Probe

_PATHS = frozenset(f"{folder}/modprobe" for folder in ("/sbin", "/usr/sbin", "/bin", "/usr/bin"))
_KEPT = 4096  # strings


class _NoModules:
    """The tree of a kernel without one (loader.tree.modprobe.Modules)."""

    config = ModprobeConfig()

    def lookup(self, string: str) -> tuple[Found, ...]:
        return ()

    def probe_list(self, name: str) -> tuple[Probe, ...]:
        return ()

    def is_builtin(self, name: str) -> bool:
        return False


_NO_MODULES = _NoModules()


def is_modprobe(path: str) -> bool:
    """Is that where modprobe is?"""
    return path in _PATHS


def modprobe_of(kernel: Kernel, modules: Modules | None, helper: Usermodehelper) -> Run:
    """What the helper does, if it is modprobe. LoadError: ENOENT, it is another program."""
    if not is_modprobe(helper.path):
        raise LoadError(errno.ENOENT)

    def is_live(name: str) -> bool:
        with kernel.lock:
            return kernel.is_live(name)

    return modprobe(modules or _NO_MODULES, helper.arguments[-1], is_live)


class TreeModprobe:
    """That program for an engine on threads (loader.engine.umh.Programs)."""

    def __init__(
        self,
        kernel: Kernel,
        modules: Modules | None,
        call: Callable[[FinitModule | InitModule, Caller], None],
    ) -> None:
        """``call`` answers its system calls."""
        self._kernel = kernel
        self._modules = modules
        self._call = call
        self._found: dict[str, tuple[Found, ...]] = {}  # what strings mean: a tree is a picture

    def at_once(self, helper: Usermodehelper) -> int | None:
        """Its wait status, where it has nothing to insert."""
        if not is_modprobe(helper.path):
            return None
        string = helper.arguments[-1]
        found = self._found.get(string)
        if found is None:
            if len(self._found) >= _KEPT:
                self._found.clear()
            modules = self._modules
            found = self._found[string] = modules.lookup(string) if modules else ()
        with self._kernel.lock:
            is_live = self._kernel.is_live
            there = all(is_live(module.name) for module in found)
        return exited(EXIT_SUCCESS if found else EXIT_FAILURE) if there else None

    def execve(self, helper: Usermodehelper) -> Running:
        """OSError: ENOENT, it is another program."""
        caller = Caller(origin=partial(_origin, helper))
        insert = partial(self.insert, caller)
        return Running(modprobe_of(self._kernel, self._modules, helper), insert)

    def insert(self, caller: Caller, step: Insert) -> int:
        """0 or the errno."""
        try:
            fd = os.open(step.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                compression = self._kernel.config.compression
                self._call(insertion(fd, step.params, 0, compression), caller)
            finally:
                os.close(fd)
        except OSError as error:
            return error.errno or errno.EIO
        return 0


def _origin(helper: Usermodehelper) -> Origin:
    return helper_origin(helper, threading.get_native_id())


def helper_origin(helper: Usermodehelper, tid: int) -> Origin:
    """Where the calls come from of a helper that stands in the task ``tid``."""
    command = " ".join((helper.path, *helper.arguments))
    task = Task(os.path.basename(helper.path), tid, command=command, exe=helper.path, uid=0)
    return Origin(task, asked_by=helper.arguments[-1])


class Running:
    """A modprobe that was executed (loader.engine.umh.Program)."""

    def __init__(self, run: Run, insert: Callable[[Insert], int]) -> None:
        self._run = run
        self._insert = insert

    def wait(self) -> int:
        """Do its work; its wait status."""
        try:
            step = next(self._run)
            while True:
                step = self._run.send(self._insert(step))
        except StopIteration as end:
            return exited(end.value)
