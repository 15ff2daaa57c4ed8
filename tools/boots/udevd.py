"""udevd and its workers, gathered from the events of a trace.

What hands an event to an idle worker does not say to which, nor which event: it is matched by the
order in which udevd goes through its queue, and by which workers it knew to be idle.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from loader.observe.events import Event
from tools.boots.facts import Look

_WORKER = "(udev-worker)"
_STATES = ("live", "coming", "going", "unformed")  # enum module_state


@dataclass(slots=True)
class Handled:
    """One event under way in a worker; see tools.boots.facts.Uevent."""

    seqnum: int
    action: str
    devpath: str
    worker: int
    begin: float
    forked: bool = False
    sent: float | None = None
    handed: float | None = None
    ruled: float | None = None
    done: float | None = None
    free: float | None = None
    looks: list[Look] = field(default_factory=list)

    def looked_for(self, at: float) -> str:
        """The last module that kmod looked for before."""
        return next((look.module for look in reversed(self.looks) if look.at <= at), "")


class Udevd:
    """Takes events in order. ``seqnum``: the last of the kernel's events before them."""

    def __init__(self, seqnum: int) -> None:
        self._seqnum = seqnum
        self._now: dict[int, Handled] = {}  # by worker
        self._parents: dict[int, int] = {}
        self._sent: list[tuple[int | None, float]] = []
        self._passed_on: dict[int, list[float]] = defaultdict(list)  # by task
        self.handled: list[Handled] = []
        self.forks: dict[int, float] = {}
        self.begun: dict[int, float] = {}
        self.ended: dict[int, float] = {}
        self.searches: dict[int, list[float]] = defaultdict(list)

    def see(self, event: Event) -> None:
        """The next one."""
        handler = _HANDLERS.get(event.kind)
        if handler is not None:
            handler(self, event)

    def event_at(self, worker: int, at: float) -> Handled | None:
        """What ``worker`` was about then."""
        before = [one for one in self.handled if one.worker == worker and one.begin <= at]
        if not before or (before[-1].free is not None and before[-1].free < at):
            return None
        return before[-1]

    def match(self) -> None:
        """Tell when events were sent and handed out, now that all have been seen."""
        self._match_sent()
        self._match_forked()
        self._match_handed()

    def _match_sent(self) -> None:
        """The kernel's events are sent in the order of their numbers. If that cannot be, one of
        them was not seen, and nothing is told."""
        sockets = Counter(socket for socket, _ in self._sent)
        own = sockets.most_common(1)[0][0] if sockets else None
        times = [at for socket, at in self._sent if socket == own]
        found = {self._seqnum + 1 + place: at for place, at in enumerate(times)}
        if all(found.get(one.seqnum, one.begin + 1) <= one.begin for one in self.handled):
            for one in self.handled:
                one.sent = found[one.seqnum]

    def _match_forked(self) -> None:
        first: dict[int, Handled] = {}
        for one in self.handled:
            first.setdefault(one.worker, one)
        for worker, one in first.items():
            if worker in self.forks:
                one.forked, one.handed = True, self.forks[worker]

    def _match_handed(self) -> None:
        """Of the events whose worker was idle then and began later, the one that began first: so
        most of them find a time (the earliest deadline first)."""
        udevd = Counter(self._parents[worker] for worker in self.begun if worker in self._parents)
        if not udevd:
            return
        idle_since: dict[int, float] = {}  # by seqnum: when its worker had ended the one before
        last: dict[int, float] = {}
        for one in self.handled:
            idle_since[one.seqnum] = last.get(one.worker, 0.0)
            last[one.worker] = one.free if one.free is not None else float("inf")
        left = [one for one in self.handled if not one.forked]
        for at in self._passed_on[udevd.most_common(1)[0][0]]:
            for one in left:
                if max(idle_since[one.seqnum], one.sent or 0.0) <= at <= one.begin:
                    one.handed = at
                    left.remove(one)
                    break

    # -- events -----------------------------------------------------------------------------------

    def _forked(self, event: Event) -> None:
        child = event.number("child_pid")
        if child is not None and event.task == "systemd-udevd":
            self.forks[child] = event.at
            self._parents[child] = event.tid

    def _renamed(self, event: Event) -> None:
        tid = event.number("pid")
        if tid is not None and event.text("newcomm") == _WORKER:
            self.begun[tid] = event.at

    def _exited(self, event: Event) -> None:
        self.ended[event.tid] = event.at

    def _marked(self, event: Event) -> None:
        words = (event.text("text") or "").split(None, 4)
        if words[:2] == ["uevent", "begin"] and len(words) == 5:
            one = Handled(int(words[2]), words[3], words[4], event.tid, event.at)
            self._now[event.tid] = one
            self.handled.append(one)
        elif words[:2] == ["uevent", "ruled"] and event.tid in self._now:
            self._now[event.tid].ruled = event.at

    def _broadcast(self, event: Event) -> None:
        self._sent.append((event.number("sk"), event.at))

    def _passed(self, event: Event) -> None:
        self._passed_on[event.tid].append(event.at)
        if event.tid in self._now:
            self._now[event.tid].done = event.at

    def _answered(self, event: Event) -> None:
        one = self._now.pop(event.tid, None)
        if one is not None:
            one.free = event.at

    def _looked(self, event: Event) -> None:
        path = (event.text("path") or "").split("/")
        if event.tid in self._now and len(path) > 3:
            self._now[event.tid].looks.append(Look(event.at, path[3], None))

    def _showed(self, event: Event) -> None:
        one, state = self._now.get(event.tid), event.number("state")
        if one is not None and one.looks and state is not None and state < len(_STATES):
            one.looks[-1] = one.looks[-1]._replace(state=_STATES[state])

    def _searched(self, event: Event) -> None:
        self.searches[event.tid].append(event.at)


_HANDLERS = {
    "sched_process_fork": Udevd._forked,
    "task_rename": Udevd._renamed,
    "sched_process_exit": Udevd._exited,
    "tracing_mark_write": Udevd._marked,
    "netlink_broadcast": Udevd._broadcast,
    "netlink_sendmsg": Udevd._passed,
    "unix_dgram_sendmsg": Udevd._answered,
    "do_sys_openat2": Udevd._looked,
    "show_initstate": Udevd._showed,
    "find_module_all": Udevd._searched,
}
