"""The mount that is soaked, and what its server takes of the machine."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.mounts import unmount_below
from tests.soak.clients import counters
from tests.soak.requests import DECOMPRESS, ENVIRONMENT, FAILED, KREAD, LOADED

MODFS = str(Path(sys.executable).with_name("modfs"))
_LOG_SIZE = "256k"  # of the file system that the server's log is in


class Use(NamedTuple):
    """What a process holds: bytes of memory, descriptors, threads."""

    resident: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Use:
        """ProcessLookupError: it is gone."""
        try:
            rows = Path(f"/proc/{pid}/status").read_text().splitlines()
            status = dict(row.split(":\t", 1) for row in rows if ":\t" in row)
            resident = int(status["VmRSS"].split()[0]) * 1024
            return cls(resident, len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"]))
        except (OSError, KeyError):
            raise ProcessLookupError(f"the server ({pid}) is gone") from None


class Server(NamedTuple):
    """A mounted modfs."""

    mount: Path
    pid: int

    def counters(self) -> dict[str, int]:
        """Those of the soak (see requests), from ``stats``."""
        found = counters((self.mount / "stats").read_text())
        failed = found["Mods failed on becoming"] + found["Mods failed on load"]
        return {
            LOADED: found["Mods ever loaded"],
            KREAD: found["Mods failed on kread"],
            DECOMPRESS: found["Mods failed on decompress"],
            FAILED: failed,
        }

    def use(self) -> Use:
        return Use.of(self.pid)

    @contextlib.contextmanager
    def limited(self, kind: int, soft: int) -> Iterator[None]:
        """A resource limit for a while."""
        old = resource.prlimit(self.pid, kind)
        resource.prlimit(self.pid, kind, (soft, old[1]))
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(self.pid, kind, old)


def mount(folder: Path, *options: str | Path) -> Server:
    """Mount in ``folder``, as a user does."""
    folder.mkdir(exist_ok=True)
    command = [MODFS, "mount", *map(str, options), str(folder)]
    subprocess.run(command, check=True, timeout=60)
    return Server(folder, int((folder / ".control/server").read_text()))


def umount(server: Server) -> bool:
    """Unmount; is the server's process gone?"""
    subprocess.run([MODFS, "umount", str(server.mount)], check=True, timeout=60)
    return gone(server.pid)


def gone(pid: int) -> bool:
    """Whether a process ends within twenty seconds: the machine may have much else to do."""
    for _ in range(400):
        if not Path(f"/proc/{pid}").exists():
            return True
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def soaked(folder: Path, tree: Path) -> Iterator[Server]:
    """The mount, its log in a file system that is soon full; gone when the block ends."""
    log = folder / "log"
    log.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_LOG_SIZE}", "none", str(log)], check=True
    )
    environment = folder / "environment.json"
    environment.write_text(json.dumps(ENVIRONMENT))
    options = ("--environment", environment, "--modules", tree, "-v", "--log", log / "server")
    server = None
    try:
        server = mount(folder / "mount", *options)
        yield server
    finally:
        if server is not None:
            _end(server)
        unmount_below(folder)
        subprocess.run(["umount", "-l", str(log)], stderr=subprocess.DEVNULL)


def _end(server: Server) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(server.pid, signal.SIGCONT)
        subprocess.run([MODFS, "umount", str(server.mount)], timeout=60, stderr=subprocess.DEVNULL)
    if not gone(server.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGKILL)
