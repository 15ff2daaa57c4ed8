"""What `control` shows of the latest requests."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

from modfs.control.grammar import HELP
from modfs.control.results import Results
from tests.modfs.doors import Door


def rows(door: Door) -> list[str]:
    text = door.read("control")
    assert text.startswith(HELP)
    return text.removeprefix(HELP).splitlines()


def test_who_asked_what_and_how_it_ended() -> None:
    door = Door()
    door.ask("rmmod nothing", "insmod 'nowhere at all.ko'")
    name = re.escape(Path("/proc/self/comm").read_text().strip())
    first, second = rows(door)
    what = rf"1 {name}\[{os.getpid()}\] rmmod nothing: ENOENT"
    assert re.fullmatch(rf"{what} \('nothing' is not loaded\)", first)
    what = rf"2 {name}\[{os.getpid()}\] insmod 'nowhere at all.ko': ENOENT"
    assert re.fullmatch(rf"{what} \(there is no file 'nowhere at all.ko'\)", second)


def test_the_latest_hundred() -> None:
    door = Door()
    door.ask(*(f"rmmod m{number}" for number in range(1, 131)))
    assert [int(row.split()[0]) for row in rows(door)] == list(range(31, 131))
    assert "rmmod m31:" in rows(door)[0]


def test_a_line_stays_one_line_and_is_cut() -> None:
    door = Door()
    door.ask(f"rmmod {'x' * 5000}", "rmmod a\udc80\u2028b")
    long, odd = door.read("control").removeprefix(HELP).removesuffix("\n").split("\n")
    assert len(long) < 400 and "…" in long and ": ENOENT (" in long
    assert ": ENOENT (" in odd and odd.encode()  # it is UTF-8 again


def test_numbers_go_on_among_many_writers() -> None:
    door = Door()
    threads = [
        threading.Thread(target=door.ask, args=[f"rmmod m{n}" for n in range(20)]) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [int(row.split()[0]) for row in rows(door)] == list(range(1, 101))


def test_why_is_found_out_once() -> None:
    asked = []

    def why() -> str:
        asked.append(1)
        return "because"

    results = Results()
    results.add(1, "sh", "rmmod a", "ENOENT", why)
    assert not asked
    assert results.text() == results.text() == "1 sh[1] rmmod a: ENOENT (because)\n"
    assert len(asked) == 1
