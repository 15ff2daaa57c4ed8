"""Records of the buffers of Debian's 6.1, 6.12 and 7.3, against the text that the kernels made."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.observe.events import Value
from modfs.tracing.formats import FormatError, event_format, page_format
from modfs.tracing.lines import Line
from modfs.tracing.merge import Merge
from modfs.tracing.names import Names
from modfs.tracing.pages import read_page
from modfs.tracing.records import Raw, Records
from modfs.tracing.symbols import Symbols
from tests.modfs.tracing.recorded import RELEASES, Recorded, recorded


def decode(boot: Recorded, tmp_path: Path) -> list[Raw]:
    """All events in their order; the reading of the buffers came after the text and is left out."""
    (tmp_path / "kallsyms").write_bytes(boot.files["kallsyms"])
    records = Records(boot.formats, boot.functions, Symbols(tmp_path / "kallsyms"))
    merge: Merge[Raw] = Merge()
    come: dict[int, list[Raw]] = {}
    for processor, pages in boot.pages().items():
        come[processor] = []
        for data in pages:
            page = read_page(data, boot.page)
            assert not page.lost and not page.damaged
            found = [records.read(data, record) for record in page.records]
            assert all(found)
            come[processor] += [raw for raw in found if raw]
    assert merge.round(come, frozenset()) == []
    return merge.round({}, frozenset())[: len(boot.lines())]


def as_line(raw: Raw, names: Names) -> Line:
    return Line(round(raw.at / 1e9, 5), names.of(raw), raw.tid, raw.kind, raw.fields)


def as_raw(line: Line) -> Line:
    """What only the text has is taken away: who called a function, where nobody asks for it, and
    that what is not zero is true. The text has the name that a task had last."""
    fields = dict(line.fields)
    if line.kind != "__request_module%return":
        fields.pop("caller", None)
    if "group_dead" in fields:
        fields["group_dead"] = int(fields["group_dead"] == "true")
    return line._replace(at=round(line.at, 5), fields=fields)


@pytest.mark.parametrize("release", RELEASES)
def test_records_are_what_the_kernels_text_says(release: str, tmp_path: Path) -> None:
    boot = recorded(release)
    lines = boot.lines()
    first = {line.tid: line.task for line in reversed(lines)}
    names = Names(first.get)
    made = [as_line(raw, names) for raw in decode(boot, tmp_path)]
    assert len(made) == len(lines) > 200
    for mine, theirs in zip(made, lines, strict=True):
        assert abs(mine.at - theirs.at) <= 1.1e-5
        if mine.kind.startswith(("sched_", "task_")):
            theirs = theirs._replace(task=mine.task)
        assert mine._replace(at=0) == as_raw(theirs)._replace(at=0)


def test_names_come_from_forks_and_renames() -> None:
    asked: list[int] = []

    def nobody(tid: int) -> None:
        asked.append(tid)

    names = Names(nobody)
    forked: dict[str, Value] = {"comm": "sh", "pid": 5, "child_comm": "sh", "child_pid": 6}
    assert names.of(Raw(1, 5, "sched_process_fork", forked)) == "sh"
    assert names.of(Raw(2, 6, "task_rename", {"pid": 6, "newcomm": "insmod"})) == "insmod"
    assert names.of(Raw(3, 6, "load_module", {})) == "insmod"
    assert names.of(Raw(4, 6, "sched_process_exit", {"comm": "insmod", "pid": 6})) == "insmod"
    assert names.of(Raw(5, 6, "load_module", {})) == "<...>"  # another of the same number
    assert asked == [6]


# -- formats --------------------------------------------------------------------------------------


def test_a_format_in_another_order(tmp_path: Path) -> None:
    """Whatever stands where: the format says it."""
    text = recorded("6.12").files["events/modfs_boot/loaded/format"].decode()
    head, fields = text.split("format:\n")
    lines = fields.splitlines()
    turned = "\n".join([*reversed(lines[:9]), *lines[9:]])
    plain, other = event_format(text), event_format(f"{head}format:\n{turned}\n")
    assert sorted(plain.fields) == sorted(other.fields) and plain.fields != other.fields
    boot = recorded("6.12")
    formats = [other if form.name == "loaded" else form for form in boot.formats]
    data = boot.pages()[0][0]
    ways = [Records(each, boot.functions, hex) for each in (formats, boot.formats)]
    for record in read_page(data, boot.page).records:
        assert ways[0].read(data, record) == ways[1].read(data, record)


@pytest.mark.parametrize(
    "text", ["", "name: x\n", "name: x\nID: 5\nformat:\n\tfield:int a;\toffset:0;\tsize:4;\n"]
)
def test_a_format_that_is_none(text: str) -> None:
    with pytest.raises(FormatError):
        event_format(text)


@pytest.mark.parametrize(
    "damage",
    [("timestamp", "time"), ("size:4080", "size:4"), ("size:8;", "size:3;"), ("field", "feld")],
)
def test_a_page_format_that_is_none(damage: tuple[str, str]) -> None:
    text = recorded("6.12").files["events/header_page"].decode()
    assert page_format(text).size == 4096
    with pytest.raises(FormatError, match="header_page"):
        page_format(text.replace(*damage))


def test_records_that_no_format_describes() -> None:
    boot = recorded("7.3")
    data = boot.pages()[0][0]
    some = [form for form in boot.formats if form.name != "sched_process_fork"]
    records = Records(some, boot.functions, hex)
    read = [records.read(data, record) for record in read_page(data, boot.page).records]
    forks = sum(line.kind == "sched_process_fork" for line in boot.lines())
    assert 0 < read.count(None) <= forks + 5


# -- order ----------------------------------------------------------------------------------------


def at(*times: int) -> list[Raw]:
    return [Raw(time, 1, "x", {}) for time in times]


def times(found: list[Raw]) -> list[int]:
    return [raw.at for raw in found]


def test_what_is_older_may_come_a_round_later() -> None:
    merge: Merge[Raw] = Merge()
    assert times(merge.round({0: at(1, 5), 1: at(2, 9)}, frozenset())) == []
    assert times(merge.round({0: at(7), 1: at(11)}, frozenset())) == [1, 2, 5, 7, 9]
    assert times(merge.round({}, frozenset())) == [11]
    assert times(merge.round({}, frozenset())) == []


def test_a_processor_that_was_not_finished() -> None:
    """Nothing is given that is younger than what may still come of it."""
    merge: Merge[Raw] = Merge()
    merge.round({0: at(1, 20), 1: at(2, 3)}, frozenset({1}))
    assert times(merge.round({0: at(30), 1: at(4, 15)}, frozenset({1}))) == [1, 2, 3, 4, 15]
    assert times(merge.round({1: at(16, 21)}, frozenset())) == [16, 20, 21, 30]
