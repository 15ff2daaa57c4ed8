"""Who holds a mount: what fuser(1) would tell, without a question to whoever serves it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from modfs.mount.mountinfo import Mount


class Holder(NamedTuple):
    """A process with something of the mount: an open ``file``, or its working directory."""

    number: int
    command: str
    file: str

    def __str__(self) -> str:
        return f"{self.command}[{self.number}] ({self.file})"


def holders(mount: Mount) -> list[Holder]:
    """Those that this process may look at, each once."""
    return [holder for name in os.listdir("/proc") if (holder := _holder(name, mount))]


def _holder(name: str, mount: Mount) -> Holder | None:
    if not name.isdigit() or int(name) == os.getpid():
        return None
    with suppress(OSError):  # it has ended, or is none of ours
        for file in _held(Path("/proc", name), mount):
            command = Path("/proc", name, "comm").read_text(errors="replace").rstrip("\n")
            return Holder(int(name), command, file)
    return None


def _held(process: Path, mount: Mount) -> Iterator[str]:
    """What it has there, by names that the kernel alone makes up."""
    for link, told in (("cwd", "working directory"), ("root", "root directory")):
        if _is_below(os.readlink(process / link), mount.place):
            yield told
    number = f"mnt_id:\t{mount.number}\n"
    for fd in os.listdir(process / "fd"):
        with suppress(OSError):
            if number in (process / "fdinfo" / fd).read_text():
                yield os.path.relpath(os.readlink(process / "fd" / fd), mount.place)


def _is_below(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")
