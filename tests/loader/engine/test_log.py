"""The log: a ring of lines, each of which the kernel would cut."""

from __future__ import annotations

from loader.engine.log import KernelLog


def test_the_newest_lines_are_kept() -> None:
    log = KernelLog(lines=3)
    for number in range(5):
        log.write(f"line {number}")
    assert log.lines() == ("line 2", "line 3", "line 4")
    assert log.text() == "line 2\nline 3\nline 4\n"


def test_nothing_was_said() -> None:
    assert (KernelLog().lines(), KernelLog().text()) == ((), "")


def test_a_listener_hears_each_line_as_it_is_kept() -> None:
    log, heard = KernelLog(), list[str]()
    log.write("before")
    log.listener = heard.append
    log.write("short")
    log.write("x" * 5000)
    assert heard == ["short", "x" * 1021]  # PRINTKRB_RECORD_MAX less level and NUL
    assert log.lines() == ("before", *heard)
