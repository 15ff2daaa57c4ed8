"""What happens to the server and its clients meanwhile. Each undoes itself after a few seconds."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from tests.soak.clients import Writer, be_killed, fork
from tests.soak.records import Record
from tests.soak.requests import Place, write_files
from tests.soak.server import gone, mount, umount

if TYPE_CHECKING:
    from tests.soak.soak import Soak

_SECONDS = 3.0  # that a shortage lasts
_LARGE = 256 << 20  # bytes of a file that no server in need of memory can read


class SkippedError(Exception):
    """It cannot be done on this machine; the text says why."""


class Disturbance(NamedTuple):
    """``tolerated``: errnos that clients may be told meanwhile, besides those of a kernel."""

    name: str
    act: Callable[[Soak], None]
    tolerated: frozenset[int] = frozenset()


# -- clients --------------------------------------------------------------------------------------


def kill_clients(soak: Soak) -> None:
    """SIGKILL or SIGINT at a random moment, most of them within a write."""
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        victims = [_victim(soak, random.random() < 0.3) for _ in range(4)]
        for pid, number, record in victims:
            time.sleep(random.random() * 0.03)
            os.kill(pid, number)
            _, status = os.waitpid(pid, 0)
            if not os.WIFSIGNALED(status):
                assert os.waitstatus_to_exitcode(status) == 0, "a client failed"
            record.lose()
            soak.add(record)


def _victim(soak: Soak, interrupted: bool) -> tuple[int, int, Record]:
    """A client with files of its own: the next one's calls must not meet those it leaves behind."""
    record = Record()
    soak.victims += 1
    folder = soak.folder / f"victim{soak.victims}"
    write_files(folder)
    place = Place(-1, folder, random.Random())
    pid = fork(lambda: be_killed(Writer(soak.server.mount, record, place), interrupted))
    soak.count("victims")
    soak.rubbish.append(folder)
    return pid, signal.SIGINT if interrupted else signal.SIGKILL, record


def stop_clients(soak: Soak) -> None:
    """SIGSTOP for a while, also within a write."""
    for _ in range(10):
        pid = random.choice(soak.writers)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(random.random() * 0.2)
        os.kill(pid, signal.SIGCONT)


# -- the server -----------------------------------------------------------------------------------


def stop_server(soak: Soak) -> None:
    """SIGSTOP for a while, and clients that are killed while it lasts."""
    for _ in range(5):
        victims = [_victim(soak, False) for _ in range(2)]
        os.kill(soak.server.pid, signal.SIGSTOP)
        try:
            time.sleep(random.random() * 0.4)
            for pid, number, _ in victims:
                os.kill(pid, number)
        finally:
            os.kill(soak.server.pid, signal.SIGCONT)
        for pid, _, record in victims:
            os.waitpid(pid, 0)
            record.lose()
            soak.add(record)
        time.sleep(0.1)


def fill_disk(soak: Soak) -> None:
    """Its log cannot grow; then there is room again."""
    log = soak.folder / "log"
    filler = log / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    time.sleep(1)
    assert os.statvfs(log).f_bavail == 0, "the disk was not full"
    filler.unlink()
    os.truncate(log / "server", 0)
    time.sleep(1)


def exhaust_descriptors(soak: Soak) -> None:
    """RLIMIT_NOFILE: hardly a file can be opened."""
    limit = soak.server.use().descriptors + 2
    with soak.server.limited(resource.RLIMIT_NOFILE, limit):
        time.sleep(_SECONDS)


def exhaust_threads(soak: Soak) -> None:
    """No thread more than there are (pids.max of a cgroup), while clients want some."""
    with _cgroup(soak.server.pid) as folder:
        (folder / "pids.max").write_text(str(soak.server.use().threads))
        kill_clients(soak)
        (folder / "pids.max").write_text("max")


@contextmanager
def _cgroup(pid: int) -> Iterator[Path]:
    """A cgroup of the controller pids with that process in it. SkippedError."""
    roots = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))
    root = next((one for one in roots if (one / "cgroup.procs").exists()), None)
    if root is None:
        raise SkippedError("there are no cgroups here")
    folder, home = root / f"modfs-soak-{os.getpid()}", _home(root, pid)
    try:
        folder.mkdir()
    except OSError as error:
        raise SkippedError(f"{root} cannot be written: {error.strerror}") from None
    try:
        if not (folder / "pids.max").exists():
            raise SkippedError(f"{root} has no pids.max")
        (folder / "cgroup.procs").write_text(str(pid))
        yield folder
    finally:
        with suppress(OSError):
            (home / "cgroup.procs").write_text(str(pid))
        with suppress(OSError):
            folder.rmdir()


def _home(root: Path, pid: int) -> Path:
    """The cgroup that the process is in now."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "pids" or not controllers:
            return root / path.lstrip("/")
    return root


def exhaust_memory(soak: Soak) -> None:
    """RLIMIT_AS: a large file cannot be read. The kernel counts that as a failed read (2.4)."""
    large = soak.folder / "large.ko"
    large.write_bytes(build_module(ModuleSpec("large")))
    os.truncate(large, _LARGE)
    size = int(Path(f"/proc/{soak.server.pid}/statm").read_text().split()[0])
    with soak.server.limited(resource.RLIMIT_AS, size * resource.getpagesize() + (32 << 20)):
        for _ in range(5):
            soak.ask_large(large)
            time.sleep(_SECONDS / 5)


def mount_and_umount(soak: Soak) -> None:
    """Other mounts come and go: nothing of them stays."""
    for number in range(3):
        server = mount(soak.folder / "other")
        (server.mount / "stats").read_text()
        control = os.open(server.mount / "control", os.O_WRONLY)
        with suppress(OSError):
            os.write(control, b"rmmod nothing\n")
        os.close(control)
        if number == 2:  # a server that is killed, and its mount taken away
            os.kill(server.pid, signal.SIGKILL)
            if not gone(server.pid):
                soak.wrong("a server could not be killed")
            subprocess.run(["fusermount", "-uz", str(server.mount)], check=True)
        elif not umount(server):
            soak.wrong("a server stayed after umount")
        (soak.folder / "other").rmdir()


def change_clock(soak: Soak) -> None:
    """Never done: time namespaces have clocks of their own only for processes that begin in them,
    and have the machine's date; a jump would be one of the whole machine's."""
    raise SkippedError("a clock that jumps would be the machine's own")


_NO_FILE = frozenset({errno.EMFILE})
_NO_THREAD = frozenset({errno.EAGAIN})
_NO_MEMORY = frozenset({errno.ENOMEM, errno.EIO, errno.EAGAIN})  # for a thread, too

DISTURBANCES = (
    Disturbance("clients killed", kill_clients),
    Disturbance("clients stopped", stop_clients),
    Disturbance("server stopped", stop_server),
    Disturbance("disk full", fill_disk),
    Disturbance("no descriptors", exhaust_descriptors, _NO_FILE),
    Disturbance("no threads", exhaust_threads, _NO_THREAD),
    Disturbance("no memory", exhaust_memory, _NO_MEMORY),
    Disturbance("mount and umount", mount_and_umount),
    Disturbance("clock changed", change_clock),
)
