"""modfs verify --through-mount: the steps asked of a real mount, as a program would ask them."""

from __future__ import annotations

import errno
import os
import shlex
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loader.engine.threads import LiveKernel
from modfs.fuse.server import Server
from modfs.mount.directory import ModulesDirectory
from modfs.mount.mountinfo import umount_lazily
from modfs.mount.options import mount_options
from modfs.verify.corpus import VerifyError
from modfs.verify.transcript import Call

_START_SECONDS = 10.0


class Mounted:
    """Answers steps by the files of a mount; None for what they cannot express."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def call(self, call: Call, path: Path | None) -> str | None:
        """One request written to the control file: "OK" or the errno's name of the write."""
        line = _line(call, path)
        if line is None:
            return None
        fd = os.open(self._folder / "control", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, line.encode("utf-8", "surrogateescape"))
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, str(error.errno))
        finally:
            os.close(fd)
        return "OK"

    def cat(self, path: str) -> str | None:
        """The text of a file; None for /proc and /sys, which the mount does not show."""
        if path.startswith("/"):
            return None
        try:
            return (self._folder / path).read_text()
        except FileNotFoundError:
            return None


def _line(call: Call, path: Path | None) -> str | None:
    """The request as a line of the control file."""
    words = [call.op]
    if call.op == "delete_module":
        words += [call.name, f"flags={call.flags}"]
    elif path is None or call.access != "O_RDONLY":
        return None
    elif call.op == "init_module":
        words.append(str(path))
        if call.length is not None:
            words.append(f"len={call.length}")
    else:
        words += [str(path), f"flags={call.flags}"]
    if call.params:
        words.append(call.params)
    return shlex.join(words) + "\n"


@contextmanager
def through_mount(live: LiveKernel) -> Iterator[Mounted]:
    """``live`` mounted in a temporary folder, served by a thread. VerifyError."""
    ready = threading.Event()
    with tempfile.TemporaryDirectory(prefix="modfs-verify-") as name:
        files = ModulesDirectory(live)
        files.when_mounted = ready.set
        server = Server(files, name, mount_options())
        files.serve(server.client, server.interrupted)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            if not ready.wait(_START_SECONDS):
                raise VerifyError("could not mount: see what libfuse says above")
            yield Mounted(Path(name))
        finally:
            live.shutdown()
            umount_lazily(name)
            thread.join()
