"""request_module in virtual time, as the transcript of a booted 6.12 has it.

The names in brackets are those of its experiments (E1 to E13, F1 to F8).
"""

from __future__ import annotations

import errno

import pytest
import simpy

from loader.engine.clock import Events
from loader.engine.kmod import ModuleRequest
from loader.release import release
from tests.loader.engine.helpers import World

ETIME, ERESTARTSYS = -errno.ETIME, -512
BUSY = (
    "request_module: modprobe {} cannot be processed, kmod busy with 50 threads for more than"
    " 5 seconds now"
)
DUPLICATE = "module: module-autoload: duplicate request for module {}"

Ends = list[tuple[int, float]]


def ask(world: World, string: str, count: int = 1, at: float = 0.0, wait: bool = True) -> Ends:
    """Have ``count`` callers request ``string`` at once; filled when the world has run."""
    ends: Ends = [(-1, -1.0)] * count

    def caller(number: int) -> Events:
        yield world.env.timeout(at)
        result = yield from world.autoload.request_module(string, wait)
        ends[number] = result, round(world.env.now, 9)

    for number in range(count):
        world.env.process(caller(number))
    return ends


def asked(world: World, string: str, count: int = 1, wait: bool = True) -> list[int]:
    """The results of that, once the last is there."""
    ends = ask(world, string, count, 0.0, wait)
    world.env.run()
    return [result for result, _ in ends]


@pytest.mark.parametrize(
    "path, result",
    [
        ("/h/exit0", 0),
        ("/h/exit3", 768),
        ("/h/kill9", 9),
        ("/h/segv", 11),
        ("/nonexistent", -2),
        ("/h/noexec", -13),
        ("/h", -13),
        ("/h/badfmt", -8),
        ("/h/badbin", -8),
        ("/h/badinterp", -2),
        ("relative", -2),
        ("", -2),
        ("/h/exit3 -x", -2),
        ("/sbin/modprobe", 256),
    ],
)
def test_results_of_a_waiting_request(path: str, result: int) -> None:
    """[E1, E2]"""
    assert asked(World(path), "foo") == [result]


def test_the_helpers_arguments() -> None:
    """[E2 argv env]"""
    world = World("/h/exit0")
    assert asked(world, "we ird;$name") == [0]
    assert asked(world, "") == [0]
    assert asked(world, "fs-\0rest") == [0]
    assert [helper.path for helper in world.runs.started] == ["/h/exit0"] * 3
    words = [helper.arguments for helper in world.runs.started]
    assert words == [("-q", "--", "we ird;$name"), ("-q", "--", ""), ("-q", "--", "fs-")]


@pytest.mark.parametrize(
    "length, result", [(54, 0), (55, 0), (56, -36), (57, -36), (63, -36), (64, -36), (200, -36)]
)
def test_the_length_of_the_string(length: int, result: int) -> None:
    """[E4] In bytes; what is refused has no helper and no line in the log."""
    world = World()
    assert asked(world, "a" * length) == [result]
    assert len(world.runs.started) == (result == 0) and not world.log()
    assert asked(World(), "ä" * (length // 2) + "a" * (length % 2)) == [result]


def test_an_empty_path_takes_no_place() -> None:
    """[E2 EMPTY] No helper, no line; also while all places are taken."""
    world = World("/h/sleep7")
    ask(world, "slow", 50)
    world.env.run(1)
    world.autoload.kmod.modprobe_path = ""
    ends = ask(world, "foo", at=1)
    world.env.run()
    assert ends == [(-2, 2)]


def test_75_callers_of_a_helper_of_7_seconds() -> None:
    """[E5] 0 to 49 get theirs after 7 s, the others ETIME after 5; ten lines in the log."""
    world = World("/h/sleep7")
    ends = ask(world, "lim", 75)
    world.env.run()
    assert ends == [(0, 7)] * 50 + [(ETIME, 5)] * 25
    assert world.log() == (BUSY.format("lim"),) * 10
    assert len(world.runs.started) == 50


def test_what_was_kept_back_is_told_by_the_next_line() -> None:
    world = World("/h/sleep7")
    ask(world, "lim", 75)
    ask(world, "again", 60, at=20)
    world.env.run()
    assert world.log()[10] == "__request_module: 15 callbacks suppressed"
    assert world.log()[11:] == (BUSY.format("again"),) * 10


def test_75_callers_of_a_helper_of_3_seconds() -> None:
    """[E5b] Who comes when all places are taken gets the next that is free, in turn."""
    world = World("/h/sleep3")
    ends = ask(world, "lim", 75)
    world.env.run()
    assert ends == [(0, 3)] * 50 + [(0, 6)] * 25
    assert not world.log()


def test_1000_requesters() -> None:
    """Every 3 s 50 of them have had their turn; those that would have to wait longer are ETIME."""
    world = World("/h/sleep3")
    ends = ask(world, "many", 1000)
    world.env.run()
    assert ends == [(0, 3)] * 50 + [(0, 6)] * 50 + [(ETIME, 5)] * 900


def test_nowait_requests_hold_a_place_until_exec() -> None:
    """[E6] Any number of helpers may run; a helper that cannot be executed is told."""
    world = World("/h/sleep7")
    ends = ask(world, "lim", 75, wait=False)
    world.env.run()
    assert ends == [(0, 0)] * 75 and len(world.runs.ended) == 75
    assert asked(World("/nonexistent"), "nwbad", wait=False) == [-2]
    assert asked(World("/h/exit3"), "nwexit3", wait=False) == [0]


def test_recursion_by_the_helpers_format() -> None:
    """[F1] 1 + 49 requests take all places, the next waits 5 s, and the chain unwinds."""
    world = World("/h/badbin")
    told: list[ModuleRequest] = []
    world.autoload.kmod.listener = told.append
    ends = ask(world, "foo")
    world.env.run()
    assert ends == [(-8, 5)]
    assert world.log() == (BUSY.format("binfmt-0403"),)
    nested = [request for request in told if request.string == "binfmt-0403"]
    assert [request.result for request in nested] == [ETIME] + [-8] * 49
    assert {request.function for request in nested} == {"bprm_execve"}


def test_no_recursion_since_6_14() -> None:
    world = World("/h/badbin", release=release("6.14"))
    ends = ask(world, "foo")
    world.env.run()
    assert ends == [(-8, 0)] and not world.log()


def test_a_fatal_signal_ends_the_wait_and_not_the_helper() -> None:
    """[F2] The helper goes on, and its end is seen later."""
    world = World("/h/sleep7")
    killed = simpy.Event(world.env)
    ends: list[float] = []

    def caller() -> Events:
        ends.append((yield from world.autoload.request_module("sig1", killed=killed)))
        ends.append(world.env.now)

    world.env.process(caller())
    world.env.run(1.5)
    killed.succeed()
    world.env.run(2)
    assert ends == [ERESTARTSYS, 1.5]
    world.env.run()
    assert [at for _, at in world.runs.ended] == [7]


def test_no_signal_ends_the_wait_for_a_place() -> None:
    world = World("/h/sleep7")
    ask(world, "lim", 50)
    killed = simpy.Event(world.env)
    ends: list[float] = []

    def caller() -> Events:
        yield world.env.timeout(0.5)
        ends.append((yield from world.autoload.request_module("late", killed=killed)))
        ends.append(world.env.now)

    world.env.process(caller())
    world.env.run(1)
    killed.succeed()
    world.env.run()
    assert ends == [ETIME, 5.5]


def test_every_request_is_told() -> None:
    world = World("/h/sleep3")
    told: list[ModuleRequest] = []
    world.autoload.kmod.listener = told.append
    ask(world, "lim", 51)
    ask(world, "a" * 56, at=1)
    world.env.run()
    assert told[0] == ModuleRequest(1, "a" * 56, "request_module", True, -36, 0, 0)
    assert told[1] == ModuleRequest(0, "lim", "request_module", True, 0, 0, 3)
    assert told[-1] == ModuleRequest(0, "lim", "request_module", True, 0, 3, 6)


# -- file systems ---------------------------------------------------------------------------------


def get_fs_type(world: World, name: str) -> bool:
    found = []

    def caller() -> Events:
        found.append((yield from world.autoload.get_fs_type(name)))

    world.env.process(caller())
    world.env.run()
    return found[0]


def test_get_fs_type_asks_up_to_the_first_dot() -> None:
    """[E10]"""
    world = World("/h/exit3")
    assert not get_fs_type(world, "nofs")
    assert not get_fs_type(world, "a.b.c")
    assert [helper.arguments[-1] for helper in world.runs.started] == ["fs-nofs", "fs-a"]
    assert get_fs_type(world, "proc") and not get_fs_type(world, "proc.x")
    assert len(world.runs.started) == 2 and not world.log()


def test_a_helper_that_succeeds_in_vain_is_told_once() -> None:
    """[F3]"""
    world = World("/h/exit0")
    assert not get_fs_type(world, "nofs1")
    assert not get_fs_type(world, "nofs2")
    assert world.log() == ("request_module fs-nofs1 succeeded, but still no fs?",)


# -- duplicates -----------------------------------------------------------------------------------


def dups(path: str) -> World:
    return World(path, autoload_dups=True)


def test_five_at_once_are_one_helper() -> None:
    """[E11]"""
    world = dups("/h/sleep2")
    ends = ask(world, "dupmod", 5)
    world.env.run()
    assert ends == [(0, 2)] * 5
    assert len(world.runs.started) == 1
    assert world.log() == (DUPLICATE.format("dupmod"),) * 4
    again = ask(world, "dupmod", at=0.1)
    world.env.run()
    assert again == [(0, 2.1)] and len(world.runs.started) == 1
    assert len(world.log()) == 5


def test_two_spellings_are_two() -> None:
    """[E11 dup-mod]"""
    world = dups("/h/sleep2")
    ask(world, "dup-mod")
    ask(world, "dup_mod")
    world.env.run()
    assert len(world.runs.started) == 2 and not world.log()


def test_a_failure_sticks_for_a_minute() -> None:
    """[E11 failmod] Whatever became of the helper meanwhile; after 61 s a new one runs."""
    world = dups("/h/sleep2f")
    assert asked(world, "failmod", 3) == [256] * 3
    world.autoload.kmod.modprobe_path = "/h/exit0"
    assert asked(world, "failmod") == [256]
    assert asked(world, "failmod", wait=False) == [0]
    assert len(world.runs.started) == 1
    world.env.run(2 + 59.9)
    assert asked(world, "failmod") == [256]
    world.env.run(2 + 61)
    assert asked(world, "failmod") == [0]
    assert len(world.runs.started) == 2


def test_nowait_first_is_no_anchor() -> None:
    """[E11 nowait x3 first, F7]"""
    world = dups("/h/sleep2")
    assert asked(world, "nwmod", 3, wait=False) == [0] * 3
    assert len(world.runs.started) == 3 and not world.log()
    assert asked(world, "mixmod", wait=False) == [0]
    assert asked(world, "mixmod", 2) == [0, 0]
    assert len(world.runs.started) == 5
    assert world.log() == (DUPLICATE.format("mixmod"),)


def test_duplicates_hold_their_places() -> None:
    """[E12] 56 of one string: those that found no place get ETIME."""
    world = dups("/h/sleep7")
    ends = ask(world, "holdmod", 56)
    world.env.run()
    assert ends == [(0, 7)] * 50 + [(ETIME, 5)] * 6
    assert world.log()[49:] == (BUSY.format("holdmod"),) * 6
    assert len(world.runs.started) == 1


def test_a_killed_anchor_ends_all_that_wait_for_it() -> None:
    world = dups("/h/sleep7")
    killed = simpy.Event(world.env)

    def anchor() -> Events:
        yield from world.autoload.request_module("m", killed=killed)

    world.env.process(anchor())
    ends = ask(world, "m", 2, at=1)
    world.env.run(2)
    killed.succeed()
    world.env.run()
    assert ends == [(ERESTARTSYS, 2)] * 2
    assert asked(world, "m") == [ERESTARTSYS]


def test_a_killed_duplicate_leaves_the_others() -> None:
    world = dups("/h/sleep7")
    killed = simpy.Event(world.env)
    ends = ask(world, "m", 2)
    got = []

    def one() -> Events:
        yield world.env.timeout(1)
        got.append((yield from world.autoload.request_module("m", killed=killed)))

    world.env.process(one())
    world.env.run(2)
    killed.succeed()
    world.env.run()
    assert ends == [(0, 7)] * 2 and got == [ERESTARTSYS]


def test_a_helper_that_cannot_be_executed_is_a_result_too() -> None:
    world = dups("/nonexistent")
    assert asked(world, "m") == [-2]
    world.autoload.kmod.modprobe_path = "/h/exit0"
    assert asked(world, "m") == [-2] and len(world.log()) == 1


def test_enable_dups_trace() -> None:
    """[E11 enable_dups_trace] 0 while it is off changes nothing; once on it stays so."""
    world = dups("/h/exit0")
    found = world.autoload.kmod.dups
    assert found is not None
    found.set_enable_dups_trace(False)
    found.set_enable_dups_trace(True)
    with pytest.raises(OSError) as raised:
        found.set_enable_dups_trace(False)
    assert raised.value.errno == errno.EROFS and found.enable_dups_trace
    asked(world, "dupmod", 2)
    assert world.log()[:2] == (
        "------------[ cut here ]------------",
        "module-autoload: duplicate request for module dupmod",
    )
