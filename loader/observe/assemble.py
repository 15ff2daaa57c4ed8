"""Events of all tasks, in their order, put together to calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from loader.calls import Task
from loader.observe.call import Item, ModuleRequest
from loader.observe.events import READING_MODULE, RETURN, SYSTEM_CALLS, Event, Lost, Moment
from loader.observe.judge import CUT, DIED, EXIT, Judge
from loader.observe.underway import Underway
from loader.release import Release

_MOST_UNDERWAY = 200_000  # calls at once: more than there can be tasks that load modules
_MOST_TASKS = 200_000  # whose parents and programs are remembered, where their ends do not come
_MARK = "moment "
_END_OF_TASK = "sched_process_exit"

# What module_request names as the one who asked while __request_module's return is probed.
_TRAMPOLINES = ("return_to_handler", "arch_rethook_trampoline", "ftrace_graph_caller")

# Events that belong to a load even where its system call's beginning was not seen.
_OF_A_LOAD = {
    "load_module",
    "load_module" + RETURN,
    "module_decompress" + RETURN,
    "layout_symtab",
    "do_init_module",
    "do_init_module" + RETURN,
}


class Assembler:
    """Takes events one by one; gives what they amount to as soon as that is known.

    ``release``: by whose rules failures are told apart. ``kinds``: of all events that may come.
    ``who`` adds to a task that begins a call, at that time, what else can be known of it: once for
    each task, where its end comes as well.
    """

    def __init__(
        self,
        release: Release,
        kinds: Iterable[str] = (),
        who: Callable[[Task, float], Task] = lambda task, at: task,
    ) -> None:
        self._who = who
        self._judge = Judge(release, kinds)
        self._underway: dict[int, Underway] = {}
        self._parents: dict[int, int] = {}  # of tasks that were seen to begin
        self._programs: dict[int, str] = {}  # that tasks were seen to run
        self._requests: dict[int, ModuleRequest] = {}  # by the task that waits
        self._asked_for: dict[int, str] = {}  # modprobe's task -> what the kernel asked it for
        self._described: dict[int, Task] = {}
        self._ends_come = _END_OF_TASK in self._judge.kinds
        self._has_system_calls = any(kind.startswith("sys_") for kind in self._judge.kinds)
        self.used = 0
        """How many of the events were about modules."""

    @property
    def underway(self) -> int:
        """Calls that have begun and not ended."""
        return len(self._underway)

    def feed(self, event: Event) -> Iterator[Item]:
        """What is known now that ``event`` has come, in order."""
        kind = event.kind
        special = _SPECIAL.get(kind)
        if special is not None:
            yield from special(self, event)
            return
        call = self._underway.get(event.tid)
        if call is None:
            if not self._begins_a_load(event):
                return
            call = self._begin(event, None)
        self.used += 1
        ended = call.load_n is not None
        call.see(event)
        if not self._has_system_calls and not ended and call.load_n is not None:
            yield from self._end(event.tid, EXIT, event.at)

    def finish(self) -> Iterator[Item]:
        """What was still under way when the events ended."""
        for tid in list(self._underway):
            yield from self._end(tid, CUT, None)
        yield from self._requests.values()
        self._requests.clear()

    def _begins_a_load(self, event: Event) -> bool:
        """Does it belong to a load whose system call was not seen?"""
        if event.kind == "kernel_read_file" + RETURN:
            return event.number("id") in READING_MODULE
        if event.kind == "kernel_read_file":
            return not self._has_system_calls  # it may turn out to be something else
        return event.kind in _OF_A_LOAD

    # -- calls ------------------------------------------------------------------------------------

    def _begin(self, event: Event, call: str | None) -> Underway:
        task = self._described_task(event) if call else self._task(event)
        made = self._underway[event.tid] = Underway(event, call, task)
        return made

    def _described_task(self, event: Event) -> Task:
        known = self._described.get(event.tid)
        if known is None or known.name != event.task:
            known = self._who(self._task(event), event.at)
            if self._ends_come:
                if len(self._described) >= _MOST_TASKS:
                    self._described.clear()
                self._described[event.tid] = known
        return known

    def _task(self, event: Event) -> Task:
        tid = event.tid
        return Task(event.task, tid, self._parents.get(tid), exe=self._programs.get(tid))

    def _end(self, tid: int, how: str, at: float | None) -> Iterator[Item]:
        call = self._underway.pop(tid)
        if call.call is None and not call.entered and call.read_n is None:
            return  # a file that was read, but no module's
        judged = self._judge.judge(call, how, at, self._underway.values())
        yield replace(judged, asked_by=self._asked_for.get(tid))

    def _entered(self, event: Event) -> Iterator[Item]:
        """A system call about modules begins."""
        self.used += 1
        self._has_system_calls = True
        if event.tid in self._underway:
            yield from self._end(event.tid, CUT, None)
        if len(self._underway) >= _MOST_UNDERWAY:
            yield from self._end(next(iter(self._underway)), CUT, None)
        call = self._begin(event, event.kind.removeprefix("sys_"))
        call.flags = event.number("flags")
        call.params = event.text("uargs")
        call.argument = event.number("len")
        if call.call == "delete_module":
            call.found = event.text("name_user")

    def _returned(self, event: Event) -> Iterator[Item]:
        self.used += 1
        self._has_system_calls = True
        name = event.kind.removeprefix("sys_").removesuffix(RETURN)
        call = self._underway.get(event.tid)
        if call is not None and call.call not in (None, name):
            yield from self._end(event.tid, CUT, None)
            call = None
        if call is None:
            call = self._begin(event, None)
        if call.call is None:
            call.call = name
        call.n = event.n
        call.result = event.number("ret")
        yield from self._end(event.tid, EXIT, event.at)

    def _task_ended(self, event: Event) -> Iterator[Item]:
        if event.tid in self._underway:
            yield from self._end(event.tid, DIED, event.at)
        for known in (self._asked_for, self._parents, self._programs, self._described):
            known.pop(event.tid, None)

    def _forked(self, event: Event) -> Iterator[Item]:
        child, parent = event.number("child_pid"), event.number("pid")
        if child is not None and parent is not None:
            if len(self._parents) >= _MOST_TASKS:
                self._parents.clear()
            self._parents[child] = parent
            if parent in self._programs:
                self._programs[child] = self._programs[parent]
        yield from ()

    # -- what else is told ------------------------------------------------------------------------

    def _marked(self, event: Event) -> Iterator[Item]:
        text = event.text("text") or ""
        if text.startswith(_MARK):
            yield Moment(event.n, event.at, text.removeprefix(_MARK).strip())

    def _requested(self, event: Event) -> Iterator[Item]:
        """module:module_request: the kernel asks for a module itself."""
        self.used += 1
        yield from self._request_over(event.tid)
        wait = event.number("wait")
        self._requests[event.tid] = ModuleRequest(
            event.n,
            event.at,
            self._task(event),
            event.text("name") or "",
            None if wait is None else bool(wait),
            event.text("call_site"),
        )
        if wait == 0:
            yield from self._request_over(event.tid)

    def _request_over(self, tid: int) -> Iterator[Item]:
        request = self._requests.pop(tid, None)
        if request is not None:
            yield request

    def _request_returned(self, event: Event) -> Iterator[Item]:
        request = self._requests.get(event.tid)
        if request is not None:
            function = request.function
            if function is None or function in _TRAMPOLINES:
                function = event.text("caller")
            request = request._replace(result=event.number("ret"), function=function)
            self._requests[event.tid] = request
            yield from self._request_over(event.tid)

    def _executed(self, event: Event) -> Iterator[Item]:
        """A program is run: where it is modprobe, the kernel may have asked for it."""
        program = event.text("filename") or ""
        if len(self._programs) >= _MOST_TASKS:
            self._programs.clear()
        self._programs[event.tid] = program
        self._described.pop(event.tid, None)
        if not program.endswith("modprobe") and event.task != "modprobe":
            return
        tied = set(self._asked_for.values())
        waiting = [r.module for r in self._requests.values() if r.module not in tied]
        if waiting:
            self._asked_for[event.tid] = waiting[0]
        yield from ()


_SPECIAL: dict[str, Callable[[Assembler, Event], Iterator[Item]]] = {
    **{f"sys_{name}": Assembler._entered for name in SYSTEM_CALLS},
    **{f"sys_{name}{RETURN}": Assembler._returned for name in SYSTEM_CALLS},
    _END_OF_TASK: Assembler._task_ended,
    "sched_process_exec": Assembler._executed,
    "sched_process_fork": Assembler._forked,
    "tracing_mark_write": Assembler._marked,
    "print": Assembler._marked,
    "module_request": Assembler._requested,
    "__request_module" + RETURN: Assembler._request_returned,
}


def assemble(
    events: Iterable[Event | Lost], release: Release, kinds: Iterable[str] = ()
) -> Iterator[Item]:
    """All that ``events`` amount to, in the order in which it ended."""
    assembler = Assembler(release, kinds)
    for event in events:
        if isinstance(event, Lost):
            yield event
        else:
            yield from assembler.feed(event)
    yield from assembler.finish()
