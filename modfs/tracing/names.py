"""Names of tasks: records have but their numbers.

They are told by those events that have names: who forks, who takes another name, who ends; of a
task of which none was seen, /proc tells. The kernel could keep a list of its own (saved_cmdlines),
but for that it would have to look at every switch of tasks.
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


def by_proc(tid: int) -> str | None:
    """The name of a task that is there, None of one that has gone."""
    try:
        raw = Path(f"/proc/{tid}/comm").read_bytes()
    except OSError:
        return None
    return raw.rstrip(b"\n").decode("utf-8", "backslashreplace")
