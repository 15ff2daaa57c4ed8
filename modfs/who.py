"""Who a task is, by /proc, at the time that it calls."""

from __future__ import annotations

import os
from pathlib import Path

from loader.calls import Task

_MOST = 4096  # bytes of a command line that are kept


class Who:
    """Asks /proc. ``clock``: the trace's; where it is one that /proc has, too, another process that
    has got the number since is not taken for the one that called."""

    def __init__(self, clock: str = "") -> None:
        self._has_times = clock == "boot"
        self._ticks = os.sysconf("SC_CLK_TCK")

    def __call__(self, task: Task, at: float) -> Task:
        """``task``, which called at ``at`` seconds, with what /proc says of it now, its name too if
        it is empty; unchanged where it has gone."""
        folder = Path("/proc", str(task.tid))
        try:
            with (folder / "cmdline").open("rb") as file:
                words = file.read(_MOST).rstrip(b"\0").split(b"\0")
            status = (folder / "status").read_text(errors="backslashreplace")
            if self._has_times and self._began(folder) > at:
                return task
        except (OSError, ValueError, IndexError):
            return task
        fields = dict(line.partition(":\t")[::2] for line in status.splitlines())
        command = " ".join(_text(word) for word in words)
        return task._replace(
            name=task.name or fields.get("Name", "?"),
            parent=_number(fields.get("PPid")) if task.parent is None else task.parent,
            command=command or None,
            exe=_exe(folder) or task.exe,
            uid=_number(fields.get("Uid", "").partition("\t")[0]),
            unit=_unit(folder),
        )

    def _began(self, folder: Path) -> float:
        """Seconds after the machine's start, in whole ticks (proc_pid_stat(5), field 22)."""
        words = (folder / "stat").read_text(errors="backslashreplace").rpartition(")")[2].split()
        return int(words[19]) / self._ticks


def comm(tid: int) -> str:
    """The name of a task; "?" where it has gone."""
    try:
        return Path("/proc", str(tid), "comm").read_bytes().decode(errors="replace").rstrip("\n")
    except OSError:
        return "?"


def describe(task: Task) -> Task:
    """``task``, which waits for an answer of ours, with what /proc says of it now."""
    return _NOW(task, 0.0)


_NOW = Who()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _exe(folder: Path) -> str | None:
    try:
        return _text(os.readlink(os.fsencode(folder / "exe")))
    except OSError:
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _unit(folder: Path) -> str | None:
    """The innermost unit of systemd's that it is in, else its control group (cgroups(7))."""
    try:
        lines = (folder / "cgroup").read_text(errors="backslashreplace").splitlines()
    except OSError:
        return None
    paths = [line.split(":", 2)[2] for line in lines if line.startswith(("0::", "1:name=systemd:"))]
    for path in paths:
        for part in reversed(path.split("/")):
            if part.endswith((".service", ".scope", ".socket", ".mount")):
                return part
        if path != "/":
            return path
    return None
