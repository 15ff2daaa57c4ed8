"""Carry out the requests of the control file, each with the rights of whoever wrote it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from loader.calls import MODULE_INIT_COMPRESSED_FILE, Caller
from loader.engine.threads import LiveKernel
from loader.errors import LoadError
from loader.packings import MAGIC_BYTES, Packing, by_magic, read_module
from loader.tree.probe_list import Probe as ProbedFile
from loader.words import canonical, module_name
from modfs.control.client import Client
from modfs.control.grammar import (
    ControlError,
    DeleteModule,
    FinitModule,
    InitModule,
    Modprobe,
    ModprobeRemove,
    Request,
    parse,
)
from modfs.control.results import Results


def _packing(fd: int) -> Packing | None:
    """How a file is packed, by its first bytes."""
    try:
        return by_magic(os.pread(fd, MAGIC_BYTES, 0))
    except OSError:  # a folder, a pipe: the kernel will say so
        return None


class Requests:
    """Runs lines of the control file on an engine."""

    def __init__(self, live: LiveKernel, interrupted: Callable[[], bool]) -> None:
        self.live = live
        self.results = Results()
        self._caller = Caller(signal_pending=interrupted)

    def run(self, line: str, client: Client, command: str) -> int:
        """Run one line; the errno of what failed first, 0 if nothing did."""
        outcome, number = "ok", 0
        try:
            if "\0" in line:
                raise ControlError("a NUL byte")
            requests = parse(line)
            if not requests:
                return 0
            for request in requests:
                try:
                    self._carry_out(request, client)
                except OSError as error:
                    if not number:
                        number = error.errno or errno.EIO
                        outcome = errno.errorcode.get(number, str(number))
        except ControlError as error:
            number, outcome = errno.EINVAL, f"EINVAL ({error})"
        self.results.add(client.pid, command, line, outcome)
        return number

    def _carry_out(self, request: Request, client: Client) -> None:
        if isinstance(request, FinitModule):
            self._finit_module(request, client)
        elif isinstance(request, DeleteModule):
            self.live.delete_module(request.name, request.flags, caller=self._caller)
        elif isinstance(request, InitModule):
            self._init_module(request, client)
        elif isinstance(request, Modprobe):
            self._probe(request, client)
        else:
            self._remove(request)

    def _finit_module(self, request: FinitModule, client: Client) -> None:
        fd = client.open(request.path)
        try:
            self._insert(fd, request.params, request.flags, request.unpack)
        finally:
            os.close(fd)

    def _insert(self, fd: int, params: str, flags: int, unpack: bool) -> None:
        """``unpack``: what kmod does with a compressed module, from release 31 on.

        It knows one by its first bytes, lets the kernel unpack the format that the kernel says it
        knows, and unpacks any other itself, for init_module.
        """
        packing = _packing(fd) if unpack else None
        if packing is not None:
            if packing.name != self.live.config.compression:
                image = read_module(f"/proc/self/fd/{fd}", packing)
                if not image:
                    raise LoadError(errno.EINVAL)
                self.live.init_module(image, params, caller=self._caller)
                return
            flags |= MODULE_INIT_COMPRESSED_FILE
        self.live.finit_module(fd, params, flags, caller=self._caller)

    def _init_module(self, request: InitModule, client: Client) -> None:
        with os.fdopen(client.open(request.path), "rb") as file:
            image = file.read()
        length = request.length
        self.live.init_module(image, request.params, length=length, caller=self._caller)

    # -- modprobe ---------------------------------------------------------------------------------

    def _probe(self, request: Modprobe, client: Client) -> None:
        """A module or alias with its dependencies first; what is live already is left alone."""
        tree = self.live.tree
        names = tree.resolve(request.name) if tree else ()
        if tree is None or not names:
            raise LoadError(errno.ENOENT)
        for name in names:
            if tree.path(name) is None:  # built in
                continue
            if self._is_live(name):
                if request.first_time:
                    raise LoadError(errno.EEXIST)
                continue
            for probe in tree.probe_list(name):
                self._insert_probed(probe, name, request, client)

    def _insert_probed(
        self, probe: ProbedFile, target: str, request: Modprobe, client: Client
    ) -> None:
        path, required = probe
        name = module_name(path)
        if self._is_live(name):
            return
        is_target = name == target
        params, flags = (request.params, request.flags) if is_target else ("", 0)
        try:
            fd = client.open_here(str(path))
            try:
                self._insert(fd, params, flags, unpack=True)
            finally:
                os.close(fd)
        except OSError as error:
            was_there = error.errno == errno.EEXIST and not (is_target and request.first_time)
            if not was_there and required:
                raise

    def _remove(self, request: ModprobeRemove) -> None:
        """The module, then those it needed that nobody uses any more."""
        tree = self.live.tree
        names = (tree.resolve(request.name) if tree else ()) or (request.name,)
        for name in names:
            try:
                self.live.delete_module(canonical(name), request.flags, caller=self._caller)
            except LoadError as error:
                if error.errno != errno.ENOENT or request.first_time:
                    raise
            for path in reversed(tree.dependencies(name) if tree else ()):
                try:
                    self.live.delete_module(module_name(path), caller=self._caller)
                except OSError:
                    continue  # still used, or not loaded

    def _is_live(self, name: str) -> bool:
        with self.live.kernel.lock:
            return self.live.kernel.is_live(name)
