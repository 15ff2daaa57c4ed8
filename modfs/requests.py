"""Carry out the requests of the control file, each with the rights of whoever wrote it."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import platform
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loader.compression import XZ_MAGIC, ZSTD_MAGIC
from loader.errors import LoadError
from loader.image import MODULE_INIT_COMPRESSED_FILE
from loader.live import Caller, Live
from loader.tree import Probe as ProbedFile
from loader.tree import canonical, module_name, read_module
from modfs.control import (
    ControlError,
    DeleteModule,
    FinitModule,
    InitModule,
    Probe,
    Remove,
    Request,
    parse,
)

_RESULTS = 100  # latest requests that can be read
_SHOWN = 200  # characters of a request that are kept
_COMPRESSIONS: dict[str, str] = {".zst": "zstd", ".gz": "gzip", ".xz": "xz"}
_MAGICS: dict[bytes, str] = {ZSTD_MAGIC: ".zst", b"\x1f\x8b": ".gz", XZ_MAGIC: ".xz"}
_MAGIC_MAX = max(map(len, _MAGICS))
_SYS_SETGROUPS = {"x86_64": 116, "aarch64": 159}.get(platform.machine())

_libc = ctypes.CDLL(None, use_errno=True)


class Client:
    """The process that writes: its identity, and its view of the files."""

    def __init__(self, uid: int, gid: int, tid: int) -> None:
        self.uid, self.gid, self.tid = uid, gid, tid
        self._root: str | None = None
        try:
            status = Path(f"/proc/{tid}/status").read_bytes().decode("utf-8", "replace")
        except OSError:  # gone already
            status = f"Name:\t?\nTgid:\t{tid}\n"
        self._status = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    @property
    def command(self) -> str:
        """Its name, as ps shows it; "?" once it is gone."""
        return self._status["Name"]

    @property
    def pid(self) -> int:
        """Its process; FUSE tells the thread."""
        return int(self._status["Tgid"])

    def path(self, path: str) -> str:
        """``path`` as this process would find the file, seen from here."""
        if not path.startswith("/"):
            return f"/proc/{self.tid}/cwd/{path}"
        if path.startswith("/proc/self/"):
            return f"/proc/{self.pid}/{path.removeprefix('/proc/self/')}"
        if self._root is None:
            try:
                root = os.readlink(f"/proc/{self.tid}/root")
            except OSError:
                root = "/"
            self._root = "" if root == "/" else f"/proc/{self.tid}/root"
        return self._root + path

    def open(self, path: str) -> int:
        """Open a file for reading with this process's rights. OSError: as open(2)."""
        return self.open_here(self.path(path))

    def open_here(self, path: str) -> int:
        """The same for a path as it is seen from here. OSError: as open(2)."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        if self.uid == os.geteuid():
            return os.open(path, flags)
        if os.geteuid() != 0:
            raise LoadError(errno.EACCES)  # whether they may read it cannot be known
        with self._rights():
            return os.open(path, flags)

    @contextmanager
    def _rights(self) -> Iterator[None]:
        """This thread has the client's user, groups and no capability over files meanwhile."""
        groups = os.getgroups()
        try:
            _setgroups([int(group) for group in self._status.get("Groups", "").split()])
            _libc.setfsgid(self.gid)
            _libc.setfsuid(self.uid)
            yield
        finally:
            _libc.setfsuid(0)
            _libc.setfsgid(os.getegid())
            _setgroups(groups)


def _setgroups(groups: list[int]) -> None:
    """setgroups(2) for this thread alone: the C library's would change every thread's."""
    if _SYS_SETGROUPS is None:
        raise LoadError(errno.ENOSYS)
    array = (ctypes.c_uint32 * len(groups))(*groups)
    if _libc.syscall(_SYS_SETGROUPS, len(groups), array):
        raise LoadError(ctypes.get_errno())


def _suffix(fd: int) -> str | None:
    """What a file's name would end in for the compression that its first bytes tell."""
    try:
        start = os.pread(fd, _MAGIC_MAX, 0)
    except OSError:  # a folder, a pipe: the kernel will say so
        return None
    return next((suffix for magic, suffix in _MAGICS.items() if start.startswith(magic)), None)


@dataclass(frozen=True, slots=True)
class Result:
    """One request as it is shown: who asked what, and how it ended."""

    number: int
    pid: int
    command: str
    line: str
    outcome: str

    def __str__(self) -> str:
        return f"{self.number} {self.command}[{self.pid}] {self.line}: {self.outcome}\n"


class Results:
    """The latest results."""

    def __init__(self) -> None:
        self._latest: deque[Result] = deque(maxlen=_RESULTS)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, client_pid: int, command: str, line: str, outcome: str) -> None:
        """Keep one result; the oldest is forgotten."""
        with self._lock:
            shown = line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
            shown = shown.encode("utf-8", "backslashreplace").decode()
            self._latest.append(Result(next(self._numbers), client_pid, command, shown, outcome))

    def text(self) -> str:
        """All that are kept, oldest first."""
        with self._lock:
            return "".join(map(str, self._latest))


class Requests:
    """Runs lines of the control file on an engine."""

    def __init__(self, live: Live, interrupted: Callable[[], bool]) -> None:
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
        elif isinstance(request, Probe):
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
        suffix = _suffix(fd) if unpack else None
        if suffix is not None:
            if _COMPRESSIONS[suffix] != self.live.config.compression:
                image = read_module(Path(f"/proc/self/fd/{fd}"), suffix)
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

    def _probe(self, request: Probe, client: Client) -> None:
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
        self, probe: ProbedFile, target: str, request: Probe, client: Client
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

    def _remove(self, request: Remove) -> None:
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
