"""Tasks that end early, come again, or are asked about; their events are made by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from loader.calls import Task
from loader.observe.assemble import Assembler
from loader.observe.call import Item, ModuleRequest, ObservedCall
from loader.observe.events import RETURN, Event, Value
from loader.observe.replay import rules

KINDS = {
    *("sys_finit_module", "sys_finit_module" + RETURN, "load_module", "load_module" + RETURN),
    *("find_module_all", "layout_symtab"),
    *("kernel_read_file" + RETURN, "sched_process_exit", "sched_process_exec", "module_request"),
}


class Told:
    """Tells events to an assembler; who was asked about."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, float]] = []
        self.assembler = Assembler(rules("6.12"), KINDS, self._who)
        self._n = 0

    def _who(self, task: Task, at: float) -> Task:
        self.asked.append((task.tid, at))
        return task._replace(command=f"command of {len(self.asked)}")

    def event(self, kind: str, tid: int = 7, task: str = "a", **fields: Value) -> list[Item]:
        self._n += 1
        found: Mapping[str, Value] = fields
        event = Event(self._n, float(self._n), task, tid, kind, found)
        return list(self.assembler.feed(event))

    def load(self, tid: int = 7, task: str = "a") -> ObservedCall:
        """A duplicate."""
        return calls(self._load(tid, task))[0]

    def _load(self, tid: int, task: str) -> Iterator[Item]:
        yield from self.event("sys_finit_module", tid, task, fd=3, flags=0, uargs="")
        yield from self.event("kernel_read_file" + RETURN, tid, task, ret=100, id=2, file="x.ko")
        yield from self.event("load_module", tid, task, len=100, flags=0)
        yield from self.event("find_module_all", tid, task, name="x")
        yield from self.event("load_module" + RETURN, tid, task, ret=-17, len=90)
        yield from self.event("sys_finit_module" + RETURN, tid, task, ret=-17)


def calls(items: Iterator[Item] | list[Item]) -> list[ObservedCall]:
    return [item for item in items if isinstance(item, ObservedCall)]


def test_each_task_is_asked_about_once() -> None:
    told = Told()
    assert [told.load().task.command for _ in range(3)] == ["command of 1"] * 3
    assert told.load(tid=8).task.command == "command of 2"
    assert told.asked == [(7, 1.0), (8, 19.0)]


def test_it_is_asked_about_again_as_another_program() -> None:
    told = Told()
    told.load()
    told.event("sched_process_exec", filename="/bin/b", pid=7)
    assert told.load(task="b").task.command == "command of 2"
    assert told.load(task="c").task.command == "command of 3"  # it took another name


def test_a_number_that_another_task_has_now() -> None:
    told = Told()
    told.load()
    told.event("sched_process_exit", comm="a", pid=7)
    assert told.load().task.command == "command of 2"


def test_a_task_that_ends_in_the_middle_of_a_call() -> None:
    """What it had come to is told, and that its end is not known; the next is another's."""
    told = Told()
    told.event("sys_finit_module", fd=3, flags=0, uargs="")
    told.event("load_module", len=100, flags=0)
    (died,) = calls(told.event("sched_process_exit", comm="a", pid=7))
    assert "died" in died.gaps and died.result is None
    assert not told.load().gaps


def test_a_task_whose_end_was_not_seen() -> None:
    """A call begins where another was under way: that one is told of as it is."""
    told = Told()
    told.event("sys_finit_module", fd=3, flags=0, uargs="")
    (cut,) = calls(told.event("sys_finit_module", fd=4, flags=0, uargs=""))
    assert "end" in cut.gaps and told.assembler.underway == 1


def test_the_kernel_asks_and_modprobe_is_tied_to_it() -> None:
    told = Told()
    told.event("module_request", 5, "mount", name="fs-x", wait=1, call_site="get_fs_type")
    told.event("sched_process_exec", 9, "modprobe", filename="/sbin/modprobe", pid=9)
    assert told.load(tid=9, task="modprobe").asked_by == "fs-x"
    assert told.load(tid=10, task="modprobe").asked_by is None
    (request,) = (item for item in told.assembler.finish() if isinstance(item, ModuleRequest))
    assert (request.module, request.function, request.task.name) == ("fs-x", "get_fs_type", "mount")
