"""The engine behind ``modfs run``: one of its own, or that of a mount which it joins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from loader.engine.settings import Setting, log_settings, settings
from loader.engine.state import Kernel
from loader.engine.syslog import Syslog
from loader.engine.threads import LiveKernel
from modfs import texts
from modfs.control.remote import RemoteKernel
from modfs.fuse.server import Server
from modfs.mount.directory import ModulesDirectory
from modfs.run import sandbox
from modfs.run.autoload import Requests
from modfs.run.intercept import Answerer
from modfs.run.kmsg_view import DeviceView, ProcKmsgFile, Readers
from modfs.run.misc_view import MiscView
from modfs.run.module_view import Parameters
from modfs.run.own_views import OwnViews
from modfs.run.syslog_call import SyslogCall
from modfs.run.views import DebugView, Opened, View

# Where programs look for what the kernel runs to load modules, and whether it may.
_SYSCTLS = ("modprobe", "modules_disabled")


class Engine(Protocol):
    """What answers calls, and the texts that programs find.

    ``folder``: where the files of /sys/kernel/debug/modules are. ``tree``: the module tree that is
    to be put in the place of the host's, if any.
    """

    @property
    def kernel(self) -> Requests: ...

    folder: Path
    compression: str
    tree: Path | None

    def answerers(self) -> dict[str, Answerer]:
        """Of calls that are not about modules, by name."""

    def views(self, server: Server, own: OwnViews) -> dict[str, View]:
        """The views that only this engine can serve, by name."""

    def private_files(self) -> dict[str, Callable[[], Opened]]:
        """Files below /proc that only root opens; once it has served views."""

    def sysctls(self) -> dict[str, Setting]:
        """Files below /proc that can be written, by their paths there."""

    def proc_files(self) -> dict[str, Callable[[], str]]:
        """Other files below /proc that can only be read."""

    def proc_modules(self) -> str:
        """/proc/modules."""

    def module_names(self) -> Iterable[str]:
        """Names in /sys/module, and of modules that are about to be there."""

    def module_files(self, name: str) -> dict[str, str]:
        """/sys/module/NAME: texts by file; empty if it is not there."""

    def parameters(self) -> Parameters | None:
        """Of its modules; None where they cannot be set."""

    def stats(self) -> str:
        """The report."""

    def note(self, pid: int, command: str, line: str, outcome: str) -> None:
        """Show a request of a program's call where others are shown."""

    def shutdown(self) -> None:
        """No program is left: end what still waits."""


class _LiveParameters:
    """Those of a kernel of our own (modfs.run.module_view.Parameters)."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.set = kernel.set_parameter

    def mode(self, module: str, parameter: str) -> int:
        """Its permissions; 0o444 once it is gone."""
        found = self._kernel.loaded(module)
        modes = {name: mode for name, _, mode in found.parameters} if found else {}
        return modes.get(parameter, 0o444)


class OwnEngine:
    """One that lives in the server's process."""

    def __init__(self, live: LiveKernel, tree: Path | None) -> None:
        self.kernel = live
        self._directory: ModulesDirectory | None = None
        self.tree = tree
        self.folder = sandbox.VIEWS / "debug"
        self.compression = live.config.compression
        self._syslog = Syslog(live.kernel)
        self._readers: Readers | None = None

    def answerers(self) -> dict[str, Answerer]:
        return {"syslog": SyslogCall(self.kernel, self._syslog)}

    def views(self, server: Server, own: OwnViews) -> dict[str, View]:
        directory = ModulesDirectory(self.kernel, server, instead=own.instead)
        self._directory = directory
        readers = Readers(self.kernel, self._syslog, server, directory.reader)
        self._readers = readers
        views: dict[str, View] = {"debug": DebugView(directory), "dev": DeviceView(readers)}
        if sandbox.MISC.is_dir():
            views["misc"] = MiscView(self.kernel, sandbox.REAL_MISC, sandbox.MISC)
        return views

    def sysctls(self) -> dict[str, Setting]:
        """What of the engine can be set, by its path below /proc."""
        proc = "/proc/"
        found = (settings(self.kernel.kmod) | log_settings(self._syslog)).items()
        return {path.removeprefix(proc): one for path, one in found if path.startswith(proc)}

    def proc_files(self) -> dict[str, Callable[[], str]]:
        return {"sys/kernel/tainted": lambda: f"{self.kernel.kernel.tainted()}\n"}

    def private_files(self) -> dict[str, Callable[[], Opened]]:
        readers = self._readers
        return {} if readers is None else {"kmsg": lambda: ProcKmsgFile(readers)}

    def proc_modules(self) -> str:
        return texts.proc_modules(self.kernel.snapshot())

    def module_names(self) -> Iterable[str]:
        return self.kernel.kernel.names()

    def module_files(self, name: str) -> dict[str, str]:
        module = self.kernel.kernel.loaded(name)
        return texts.module_files(module) if module and module.in_sysfs else {}

    def parameters(self) -> Parameters:
        return _LiveParameters(self.kernel.kernel)

    def stats(self) -> str:
        return texts.stats(self.kernel.statistics())

    def note(self, pid: int, command: str, line: str, outcome: str) -> None:
        if self._directory is not None:
            self._directory.note(pid, command, line, outcome)

    def shutdown(self) -> None:
        self.kernel.shutdown()


class JoinedEngine:
    """That of a mount, which others serve and use as well."""

    def __init__(self, mount: Path, tree: Path | None) -> None:
        """``tree``: another one than the mount's. OSError: nothing answers there."""
        self.folder = mount
        self.kernel = RemoteKernel(mount)
        self.compression = self.kernel.compression
        self.tree = tree or self.kernel.tree()
        self.proc_modules = self.kernel.proc_modules
        self.module_names = self.kernel.module_names
        self.module_files = self.kernel.module_files
        self.stats = self.kernel.stats

    def answerers(self) -> dict[str, Answerer]:
        return {}

    def views(self, server: Server, own: OwnViews) -> dict[str, View]:
        return {}

    def private_files(self) -> dict[str, Callable[[], Opened]]:
        return {}

    def sysctls(self) -> dict[str, Setting]:
        return {f"sys/kernel/{name}": self._setting(f"autoload/{name}") for name in _SYSCTLS}

    def proc_files(self) -> dict[str, Callable[[], str]]:
        return {}

    def parameters(self) -> None:
        """The mount has no files for them."""

    def _setting(self, name: str) -> Setting:
        return Setting(lambda: self.kernel.read(name), lambda data, _: self.kernel.set(name, data))

    def note(self, pid: int, command: str, line: str, outcome: str) -> None: ...  # it does itself

    def shutdown(self) -> None: ...
