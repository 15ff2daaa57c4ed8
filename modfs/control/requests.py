"""Carry out the requests of the control file, each with the rights of whoever wrote it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from loader.calls import (
    Call,
    Caller,
    DeleteModule,
    FinitModule,
    InitModule,
    Origin,
    RequestModule,
)
from loader.engine.kmod import as_errno, as_text
from loader.engine.threads import LiveKernel
from loader.errors import LoadError, UserError
from loader.tree.insert import insertion
from loader.tree.probe_list import Probe
from loader.tree.tree import Tree
from loader.words import canonical, did_you_mean, module_name, shown
from modfs.control.client import Client
from modfs.control.grammar import (
    HELP,
    GetFsType,
    Insmod,
    Modprobe,
    ModprobeRemove,
    Request,
    parse,
)
from modfs.control.results import Results


class Requests:
    """Runs lines of the control file on an engine."""

    def __init__(self, live: LiveKernel, interrupted: Callable[[], bool]) -> None:
        self.live = live
        self.results = Results()
        self._interrupted = interrupted

    def text(self) -> str:
        """What there is to read: how to write requests, and how the latest ended."""
        return HELP + self.results.text()

    def run(self, line: str, client: Client, command: str) -> int:
        """Run one line; the errno of what failed first, 0 if nothing did."""
        try:
            if "\0" in line:
                raise UserError("a NUL byte")
            requests = parse(line)
        except UserError as error:
            self.results.add(client.pid, command, line, f"EINVAL ({error})")
            return errno.EINVAL
        if not requests:
            return 0
        tools = _Tools(self.live, client, self._interrupted)
        numbers = [tools.carry_out(request) for request in requests]
        number = next(filter(None, numbers), 0)
        outcome = tools.told or (errno.errorcode.get(number, str(number)) if number else "ok")
        why = tools.why if number == errno.ENOENT and not tools.told else None
        self.results.add(client.pid, command, line, outcome, why)
        return number


class _Tools:
    """What one client's requests do: system calls as they are, and kmod's tools."""

    def __init__(self, live: LiveKernel, client: Client, interrupted: Callable[[], bool]) -> None:
        self.live = live
        self.client = client
        self.interrupted = interrupted
        self.told = ""
        """What there is to tell instead of the errno."""
        self.why: Callable[[], str] | None = None
        """Tells what the first ENOENT is about, of which there are several kinds."""

    @property
    def caller(self) -> Caller:
        """The client itself."""
        return Caller(self.interrupted, open=self.client.open, origin=self.client.origin)

    def carry_out(self, request: Request) -> int:
        """0, or the errno with which it ended."""
        try:
            tool = _TOOLS.get(type(request))
            if tool is None:
                self.live.call(request, self.caller)  # type: ignore[arg-type]
            else:
                tool(self, request)
        except OSError as error:
            if error.errno == errno.ENOENT and self.why is None:
                self.why = partial(_about, request, self.live)
            return error.errno or errno.EIO
        return 0

    # -- requests of the kernel's -----------------------------------------------------------------

    def request_module(self, request: RequestModule) -> None:
        """OSError: as_errno of the result."""
        result = self.live.request_module(request.string, self.caller, request.wait)
        self.told = as_text(result)
        if result:
            raise LoadError(as_errno(result))

    def get_fs_type(self, request: GetFsType) -> None:
        """OSError: ENODEV, as of mount(2)."""
        if not self.live.get_fs_type(request.name, self.caller):
            raise LoadError(errno.ENODEV)

    # -- insmod -----------------------------------------------------------------------------------

    def insmod(self, request: Insmod) -> None:
        """One file. OSError."""
        try:
            fd = self.client.open_path(request.file)
        except OSError:
            self.why = partial("there is no file {}".format, shown(request.file))
            raise
        self._insert(fd, request.params, request.flags, file=request.file)

    def _insert(
        self, fd: int, params: str, flags: int, file: str, alias: str | None = None
    ) -> None:
        """What kmod does with a file. It is closed in the end."""
        try:
            call = insertion(fd, params, flags, self.live.config.compression)
            self._call(call, partial(self.client.origin, alias, file))
        finally:
            os.close(fd)

    def _call(self, call: Call, origin: Callable[[], Origin]) -> None:
        """A call on descriptors of this process."""
        self.live.call(call, Caller(self.interrupted, origin=origin))

    # -- modprobe ---------------------------------------------------------------------------------

    def modprobe(self, request: Modprobe) -> None:
        """A module or alias with its dependencies first; what is live already is left alone."""
        tree = self.live.tree
        names = tree.resolve(request.name) if tree else ()
        if tree is None or not names:
            self.why = partial(_unknown, tree, request.name)
            raise LoadError(errno.ENOENT)
        for name in names:
            if tree.path(name) is None:  # built in
                continue
            if self._is_live(name):
                if request.first_time:
                    raise LoadError(errno.EEXIST)
                continue
            for probe in tree.probe_list(name):
                self._insert_probed(probe, name, request)

    def _insert_probed(self, probe: Probe, target: str, request: Modprobe) -> None:
        name = module_name(probe.path)
        if self._is_live(name):
            return
        is_target = name == target
        params, flags = (request.params, request.flags) if is_target else ("", 0)
        try:
            path = str(probe.path)
            alias = request.name if canonical(request.name) != target else None
            fd = self._open_probed(probe, target)
            self._insert(fd, params, flags, path, alias)
        except OSError as error:
            was_there = error.errno == errno.EEXIST and not (is_target and request.first_time)
            if not was_there and probe.required:
                raise

    def _open_probed(self, probe: Probe, target: str) -> int:
        try:
            return self.client.open_ours(str(probe.path))
        except OSError:
            if probe.required:
                self.why = partial(_without_file, module_name(probe.path), target)
            raise

    def modprobe_remove(self, request: ModprobeRemove) -> None:
        """The module, then those it needed that nobody uses any more."""
        tree = self.live.tree
        names = (tree.resolve(request.name) if tree else ()) or (request.name,)
        for name in names:
            try:
                self._call(DeleteModule(canonical(name), request.flags), self.client.origin)
            except LoadError as error:
                if error.errno != errno.ENOENT or request.first_time:
                    raise
            for path in reversed(tree.dependencies(name) if tree else ()):
                try:
                    self._call(DeleteModule(module_name(path)), self.client.origin)
                except LoadError:
                    continue  # still used, or not loaded

    def _is_live(self, name: str) -> bool:
        with self.live.kernel.lock:
            return self.live.kernel.is_live(name)


def _about(request: Request, live: LiveKernel) -> str:
    """What ENOENT is about where the steps on the way have not said it."""
    if isinstance(request, DeleteModule | ModprobeRemove):
        near = did_you_mean(request.name or "", live.kernel.names())
        return f"{shown(request.name)} is not loaded{near}"
    if isinstance(request, FinitModule | InitModule):
        return ""
    return "a symbol that it uses is exported by nobody, see kmsg"


def _without_file(name: str, target: str) -> str:
    needed = "" if name == target else f", which {target} needs,"
    return f"the file of {name}{needed} is not there"


def _unknown(tree: Tree | None, name: str) -> str:
    """What is to be told of a name that means nothing in a tree."""
    if tree is None:
        return "there is no tree of modules: --modules gives one"
    near = "" if ":" in name else did_you_mean(name, tree.names())
    return f"no module or alias {shown(name)} in the tree{near}"


_TOOLS: dict[type, Callable[[_Tools, Any], None]] = {
    Insmod: _Tools.insmod,
    Modprobe: _Tools.modprobe,
    ModprobeRemove: _Tools.modprobe_remove,
    RequestModule: _Tools.request_module,
    GetFsType: _Tools.get_fs_type,
}
