"""Names of tasks: records have but their numbers.

They are told by those events that have names: who forks, who takes another name, who ends. Of a
task of which none was seen, /proc tells, or the kernel's own list of the latest (saved_cmdlines).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modfs.tracing.records import Raw

_UNKNOWN = "<...>"  # as the kernel writes it
_MOST = 200_000  # names, where tasks' ends do not come


class Names:
    """Learns from all events in their order. ``ask``: the name of a task that no event told."""

    def __init__(self, ask: Callable[[int], str | None]) -> None:
        self._ask = ask
        self._names: dict[int, str] = {}

    def of(self, event: Raw) -> str:
        """The name of the task that did this."""
        learn = _LEARN.get(event.kind)
        if learn is not None:
            learn(self, event)
        name = self._names.get(event.tid)
        if name is None:
            name = self._ask(event.tid) or _UNKNOWN
            self._learn(event.tid, name)
        if event.kind == "sched_process_exit":
            self._names.pop(event.tid, None)
        return name

    def _learn(self, tid: object, name: object) -> None:
        if isinstance(tid, int) and isinstance(name, str):
            if len(self._names) >= _MOST:
                self._names.clear()
            self._names[tid] = name

    def _forked(self, event: Raw) -> None:
        self._learn(event.tid, event.fields.get("comm"))
        self._learn(event.fields.get("child_pid"), event.fields.get("child_comm"))

    def _renamed(self, event: Raw) -> None:
        self._learn(event.fields.get("pid"), event.fields.get("newcomm"))

    def _ended(self, event: Raw) -> None:
        self._learn(event.tid, event.fields.get("comm"))


_LEARN: dict[str, Callable[[Names, Raw], None]] = {
    "sched_process_fork": Names._forked,
    "sched_process_exit": Names._ended,
    "task_rename": Names._renamed,
}


class Asked:
    """Names by /proc, or by the kernel's list at ``saved``."""

    def __init__(self, saved: Path) -> None:
        self._saved = saved

    def __call__(self, tid: int) -> str | None:
        """The task's name, None if nobody knows."""
        try:
            raw = Path(f"/proc/{tid}/comm").read_bytes()
        except OSError:
            return self._listed(f"{tid} ".encode())
        return raw.rstrip(b"\n").decode("utf-8", "backslashreplace")

    def _listed(self, head: bytes) -> str | None:
        try:
            lines = self._saved.read_bytes().split(b"\n")
        except OSError:
            return None
        found = next((line for line in lines if line.startswith(head)), None)
        return None if found is None else found[len(head) :].decode("utf-8", "backslashreplace")
