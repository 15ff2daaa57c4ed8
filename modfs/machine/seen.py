"""What was seen of a machine, wherever it was looked at."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field

from loader.errors import UserError
from loader.release import OLDEST, has_statistics, release
from modfs.machine.devices import Device


@dataclass(frozen=True, slots=True)
class Pass:
    """One time that udev is told of all ``devices``, in this order."""

    name: str
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class Init:
    """How a module's init went: ``seconds``; ``fails``: the errno, 0 if it did not fail."""

    seconds: float | None = None
    fails: int = 0

    @property
    def errno_name(self) -> str:
        """Of ``fails``; "" for none, or for a number without a name."""
        return errno.errorcode.get(self.fails, "")


@dataclass(frozen=True, slots=True)
class Load:
    """What one load took, in bytes: ``size`` of the module without its signature, ``memory`` of
    all, ``text`` of these for code; None: not seen."""

    size: int
    memory: int
    text: int | None = None


@dataclass(slots=True)
class Seen:
    """``source``: what was looked at, for people. None, or empty: not seen; ``notes`` say so, and
    whatever else a reader of the machine file has to know. ``memory``: bytes. ``workers``: what
    udev's children_max was set to. ``core``: bytes of modules in memory without init; ``loads``:
    what recorded loads took. ``blacklist``: what was told to leave alone besides modprobe.d.
    ``speed``: of a processor, in billions of bytes a second that SHA-512 takes.
    ``host_processors``: of the host of a guest."""

    source: str
    processors: int | None = None
    memory: int | None = None
    release: str | None = None
    architecture: str | None = None
    workers: int | None = None
    passes: tuple[Pass, ...] = ()
    inits: Mapping[str, Init] = field(default_factory=dict)
    core: Mapping[str, int] = field(default_factory=dict)
    loads: Mapping[str, Load] = field(default_factory=dict)
    blacklist: tuple[str, ...] = ()
    speed: float | None = None
    host_processors: int | None = None
    notes: list[str] = field(default_factory=list)

    def kernel(self) -> tuple[str, tuple[str, ...]] | None:
        """The release that stands for its kernel, and what that has not; None: not known."""
        if self.release is None:
            return None
        try:
            if not has_statistics(self.release):
                return OLDEST, ("early-check",)
            release(self.release)
        except UserError:
            self.notes.append(f"kernel: {self.release!r} is no release that could be followed")
            return None
        return self.release, ()
