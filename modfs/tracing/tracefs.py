"""tracefs: where it is, an instance of our own in it, and what a killed one left.

The definitions of probes are shared by all who trace: ours stand in a group of our own. Instance
and group have the same name, which says whose they are: modfs_PID_START, the process and when it
began (field 22 of /proc/PID/stat), so that nobody is taken for another with the same number.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loader.errors import UserError, in_words
from modfs import linux

_PLACES = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
_OURS = re.compile(r"modfs_(\d+)_(\d+)")
BOOT = "modfs_boot"
"""The instance and the group that a hook in the initramfs has made, see hook."""
_ADOPTED = Path("/run/modfs_boot")  # holds the name of who has picked it up
BEFORE = Path("/run/modfs_boot.modules")
"""What /proc/modules said when the hook began."""
_LOCKDOWN = Path("/sys/kernel/security/lockdown")


def check() -> None:
    """What can be said before anything is tried. UserError: not root, or no tracing."""
    if os.geteuid() != 0:
        raise UserError("needs root: only root may trace the kernel")
    if not any(map(os.path.isdir, _PLACES)):
        raise UserError("this kernel has no event tracing (CONFIG_TRACING): nothing can be seen")


@contextmanager
def tracefs() -> Iterator[Path]:
    """Where tracefs is; mounted at its own place meanwhile if it is nowhere. UserError."""
    check()
    for place in map(Path, _PLACES):
        if (place / "instances").is_dir():
            yield place
            return
    place = Path(_PLACES[0])
    if linux.libc.mount(b"nodev", os.fsencode(place), b"tracefs", 0, None):
        raise UserError(f"{place}: tracefs cannot be mounted: {in_words(linux.failure())}")
    try:
        yield place
    finally:
        linux.libc.umount(os.fsencode(place))  # unless others use it by now


def refused(error: OSError, what: str) -> UserError:
    """Why tracefs does not take something, in one line."""
    if error.errno == errno.EPERM and "[none]" not in _text(_LOCKDOWN, "[none]"):
        return UserError(f"{what}: kernel lockdown forbids tracing; see kernel_lockdown(7)")
    return UserError(f"{what}: {in_words(error)}")


def _text(path: Path, otherwise: str = "") -> str:
    try:
        return path.read_text(errors="backslashreplace")
    except OSError:
        return otherwise


def write(path: Path, text: str) -> None:
    """One write(2), as tracefs wants it. OSError."""
    descriptor = os.open(path, os.O_WRONLY | (os.O_APPEND if path.name == "dynamic_events" else 0))
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def started(pid: int) -> str | None:
    """When a process began, in clock ticks since boot; None: there is none of that number."""
    text = _text(Path(f"/proc/{pid}/stat"))
    words = text.rpartition(")")[2].split()
    return words[19] if len(words) > 19 else None


def own_name() -> str:
    """Of this process's instance and group."""
    return f"modfs_{os.getpid()}_{started(os.getpid())}"


def is_left(name: str) -> bool:
    """Is it an instance or a group of ours whose process has gone?"""
    match = _OURS.fullmatch(name)
    return match is not None and started(int(match[1])) != match[2]


def adopt(root: Path) -> bool:
    """Pick up what the hook began: from now on it is this process's. False: it is not there, or
    somebody else's; one that was killed has read part of it, so that it is of no more use."""
    if not (root / "instances" / BOOT).is_dir():
        return False
    owner = _text(_ADOPTED).strip()
    if owner and is_left(owner):
        clear(root, BOOT)
        _forget()
        return False
    try:
        with _ADOPTED.open("x") as file:
            file.write(own_name())
    except OSError:
        return False
    return True


def _forget() -> None:
    """Nobody picks it up any more."""
    for path in (_ADOPTED, BEFORE):
        path.unlink(missing_ok=True)


def groups(root: Path) -> dict[str, list[str]]:
    """Dynamic events by their groups."""
    found: dict[str, list[str]] = {}
    for line in _text(root / "dynamic_events").splitlines():
        match = re.match(r"\w+:([\w.-]+)/(\w+)\s", line)
        if match:
            found.setdefault(match[1], []).append(match[2])
    return found


def definitions(root: Path, group: str) -> list[str]:
    """The definitions of a group, as the kernel shows them."""
    lines = _text(root / "dynamic_events").splitlines()
    return [line for line in lines if f":{group}/" in line]


def clear(root: Path, name: str) -> None:
    """Remove the instance and the group of that name, as far as they are there."""
    instance = root / "instances" / name
    if instance.is_dir():
        with suppress(OSError):
            write(instance / "events/enable", "0")
        with suppress(OSError):
            instance.rmdir()
    if name in groups(root):
        with suppress(OSError):  # all of the group at once: each alone waits for all processors
            write(root / "dynamic_events", f"-:{name}/")
    for event in groups(root).get(name, ()):
        with suppress(OSError):
            write(root / "dynamic_events", f"-:{name}/{event}")


def clear_left(root: Path) -> list[str]:
    """Remove what processes of ours left when they were killed: its names."""
    names = {entry.name for entry in (root / "instances").iterdir()} | set(groups(root))
    left = sorted(filter(is_left, names))
    for name in left:
        clear(root, name)
    return left


@contextmanager
def instance(root: Path, name: str) -> Iterator[Path]:
    """An instance of that name; at the end it and its group are removed. UserError."""
    place = root / "instances" / name
    try:
        place.mkdir(exist_ok=name == BOOT)
    except OSError as error:
        raise refused(error, str(place)) from None
    try:
        yield place
    finally:
        clear(root, name)
        if name == BOOT:
            _forget()
