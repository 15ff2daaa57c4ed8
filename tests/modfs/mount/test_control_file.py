"""The control file: lines however they are cut into writes, and its numbers."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from loader.engine.init_routines import InitRoutine, InitRoutines
from loader.engine.threads import LiveKernel
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from modfs.control.grammar import HELP
from modfs.mount.control_file import Nodes, TextFile
from tests.modfs.doors import Door

# -- texts ----------------------------------------------------------------------------------------


def plain(door: Door) -> list[str]:
    """What became of the requests, without what an errno is about."""
    return [row.partition(" (")[0] for row in door.results()]


def test_a_text_is_made_when_it_is_first_read() -> None:
    made: list[str] = []

    def compose() -> str:
        made.append("x" * (len(made) + 1) + "\udc80")
        return made[-1]

    file = TextFile(compose)
    assert made == []
    assert file.read(100, 0) == b"x\x80"
    assert (file.read(100, 1), file.read(100, 2), file.read(1, 50)) == (b"\x80", b"", b"")
    assert made == ["x\udc80"]
    assert file.read(1, 0) == b"x" and file.read(2, 1) == b"x\x80"  # composed again at 0
    with pytest.raises(OSError, match="Invalid argument"):
        file.write(b"x")


# -- lines ----------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 60), max_size=6))
def test_lines_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    text = b"rmmod one\n\nrmmod two # why\nrmmod three\n"
    door = Door()
    with door.opened() as handle:
        start = 0
        for cut in [*cuts, len(text)]:
            door.write(handle, text[start : start + cut])
            start += cut
    assert plain(door) == [
        "rmmod one: ENOENT",
        "rmmod two # why: ENOENT",
        "rmmod three: ENOENT",
    ]


def test_a_write_tells_of_the_lines_that_it_completes() -> None:
    door = Door()
    with door.opened() as handle:
        assert door.write(handle, b"rmmod ") == 0
        assert plain(door) == []
        assert door.write(handle, b"m\nrmm") == errno.ENOENT
        assert door.write(handle, b"od") == 0
        assert door.write(handle, b" x\n# done\n") == errno.ENOENT
    assert plain(door) == ["rmmod m: ENOENT", "rmmod x: ENOENT"]


def test_an_unfinished_line_runs_at_close_which_tells_its_errno() -> None:
    door = Door()
    with pytest.raises(OSError, match="No such file"), door.opened() as handle:
        assert door.write(handle, b"rmmod m") == 0
        assert plain(door) == []
    assert plain(door) == ["rmmod m: ENOENT"]


def test_and_at_the_last_close_if_nobody_closed_before() -> None:
    """As of a program that was killed: its descriptors are released without flush."""
    door = Door()
    handle = door.files.open(door.name(), os.O_WRONLY)
    assert door.write(handle, b"rmmod m") == 0
    door.files.release(handle)
    assert plain(door) == ["rmmod m: ENOENT"]


def test_a_child_that_closes_does_not_end_the_line() -> None:
    door = Door()
    with door.opened() as handle:
        assert door.write(handle, b"rmmod ") == 0
        door.asked.tid = os.getppid()  # somebody else closes a copy of the descriptor
        door.files.flush(handle)
        door.asked.tid = None
        assert door.write(handle, b"m\n") == errno.ENOENT
    assert plain(door) == ["rmmod m: ENOENT"]


def test_writers_do_not_share_an_unfinished_line() -> None:
    door = Door()
    with door.opened() as one, door.opened() as two:
        assert door.write(one, b"rmmod ") == door.write(two, b"rmmod ") == 0
        assert door.write(one, b"first\n") == door.write(two, b"second\n") == errno.ENOENT
    assert plain(door) == ["rmmod first: ENOENT", "rmmod second: ENOENT"]


def test_a_line_that_a_signal_ends_is_written_again_as_a_whole(tmp_path: Path) -> None:
    """As Python does, and others, upon EINTR (PEP 475): with what the write gave, not the line."""
    module = tmp_path / "slow.ko"
    module.write_bytes(build_module(ModuleSpec("slow")))
    door = Door(LiveKernel(init_routines=InitRoutines({"slow": InitRoutine(seconds=0.5)})))
    with door.opened() as handle:
        assert door.write(handle, b"insm") == 0
        door.asked.signal = True
        assert door.write(handle, f"od {module}\nrmmod m\n".encode()) == errno.EINTR
        door.asked.signal = False
        assert door.write(handle, f"od {module}\nrmmod m\n".encode()) == errno.ENOENT
    asked = f"insmod {module}"  # the second call shares the first one's load, which went on
    assert plain(door) == [f"{asked}: EINTR", f"{asked}: ok", "rmmod m: ENOENT"]


def test_what_was_done_before_a_signal_is_not_written_again(tmp_path: Path) -> None:
    """A short write."""
    for name in ("quick", "slow"):
        (tmp_path / f"{name}.ko").write_bytes(build_module(ModuleSpec(name)))
    door = Door(LiveKernel(init_routines=InitRoutines({"slow": InitRoutine(seconds=0.5)})))
    text = f"insmod {tmp_path}/quick.ko\ninsmod {tmp_path}/slow.ko\nrmmod m\n".encode()
    with door.opened() as handle:
        assert door.write(handle, text[:3]) == 0
        door.asked.signal = True
        taken = door.files.write(handle, text[3:])
        assert text[3 + taken :].startswith(b"insmod ") and b"slow" in text[3 + taken :]
        door.asked.signal = False
        assert door.write(handle, b"rmmod m\n") == errno.ENOENT
    assert [row.rpartition(" ")[2] for row in plain(door)] == ["ok", "EINTR", "ENOENT"]


LIMIT = 64 << 10  # bytes, README's Limits


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_a_line_that_is_too_long_is_one_error(pieces: int) -> None:
    """The rest of it is passed over up to its end, however it comes."""
    door = Door()
    text = b"rmmod m\n#" + b"x" * (3 * LIMIT) + b"\nrmmod n\n"
    step = -(-len(text) // pieces)
    with door.opened() as handle:
        found = [door.write(handle, text[at : at + step]) for at in range(0, len(text), step)]
    assert errno.ENOENT in found
    assert sum("E2BIG" in row for row in plain(door)) == 1
    names = [row for row in plain(door) if "E2BIG" not in row]
    assert names == ["rmmod m: ENOENT", "rmmod n: ENOENT"]


def test_a_line_of_just_the_limit_is_taken() -> None:
    door = Door()
    assert door.ask("#" + "x" * (LIMIT - 1)) == 0
    assert door.ask("#" + "x" * LIMIT) == errno.E2BIG


def test_what_is_not_text_is_kept_as_it_is() -> None:
    door = Door()
    assert door.ask("rmmod \udcff\udc80") == errno.ENOENT
    assert door.ask("rmmod a\0b") == errno.EINVAL


def test_reading_shows_how_to_write() -> None:
    assert Door().read("control") == HELP


# -- numbers of nodes -----------------------------------------------------------------------------


class Numbers(RuleBasedStateMachine):
    """Whoever is told a number, or has it open, is the only one, unless it opened it twice."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = Nodes()
        self.told: list[int] = []
        self.open: list[tuple[int, Callable[[], None]]] = []

    @rule()
    def take(self) -> None:
        number = self.nodes.take()
        assert number not in self.told
        assert number not in [other for other, _ in self.open]
        self.told.append(number)

    @rule(data=st.data())
    def open_told(self, data: st.DataObject) -> None:
        if self.told:
            number = self.told.pop(data.draw(st.integers(0, len(self.told) - 1)))
            self.open.append((number, self.nodes.opened(number)))

    @rule(number=st.integers(1, 8))
    def open_without_being_told(self, number: int) -> None:
        """By its name, which whoever lists /proc/PID/fd can see."""
        if number not in self.told:
            self.open.append((number, self.nodes.opened(number)))

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        if self.open:
            self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))[1]()


Numbers.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestNumbers = Numbers.TestCase


def test_numbers_are_used_again_so_that_few_are_needed() -> None:
    nodes = Nodes()
    found = set()
    for _ in range(5000):
        number = nodes.take()
        found.add(number)
        nodes.opened(number)()
    assert len(found) < 2500


def test_but_not_at_once() -> None:
    """Whoever was told one just before may be about to open it."""
    nodes = Nodes()
    latest: list[int] = []
    for _ in range(3000):
        number = nodes.take()
        assert number not in latest[-500:]
        latest.append(number)
        nodes.opened(number)()


def test_numbers_that_nobody_opens_are_forgotten_at_last() -> None:
    nodes = Nodes()
    found = [nodes.take() for _ in range(70_000)]
    assert 60_000 < len(set(found)) < 70_000
