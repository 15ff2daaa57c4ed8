"""Recorded boots against what stands beside the trace in the same file, and against the tree.

The kernel's own list of modules, its own counts of probes, its own numbers of events, and what kmod
loaded were written by others than the reader.
"""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import zstandard

from loader.errors import UserError
from loader.observe.events import Event
from loader.tree.tree import Tree
from modfs.tracing.text import parse_text, read_text
from tests.conftest import PROJECT
from tools.boots.asked import baseline, unpack_tree, wanted
from tools.boots.facts import Boot
from tools.boots.locks import contended, names
from tools.boots.plan import PLAN
from tools.boots.probes import script
from tools.boots.reading import FOLDER, read_boot, recordings, sections
from tools.boots.table import spans, summary
from tools.boots.udevd import Udevd

PATHS = recordings()
boot_of = cache(read_boot)


@cache
def parts_of(path: Path) -> dict[str, list[str]]:
    return sections(read_text(path).decode("utf-8", "replace"))


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tree]:
    folder = tmp_path_factory.mktemp("trees")
    kernels = {path.name.partition("-")[0] for path in PATHS}
    return {kernel: unpack_tree(kernel, folder) for kernel in kernels}


def each(path: Path) -> tuple[Boot, dict[str, list[str]]]:
    return boot_of(path), parts_of(path)


recorded = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name.split(".txt")[0])


@recorded
def test_a_recording_is_whole(path: Path) -> None:
    boot, _ = each(path)
    assert path.name == f"{boot.name}.txt.zst"
    assert boot.name in {spec.name for spec in PLAN}
    assert path.stat().st_size < 250_000
    assert not boot.lost
    assert boot.start < boot.settled < boot.end


@recorded
def test_what_is_live_is_in_the_kernels_own_list(path: Path) -> None:
    boot, _ = each(path)
    live = [load.module for load in boot.loads if load.outcome == "live"]
    assert sorted([*live, *boot.before]) == sorted(boot.sizes)


@recorded
def test_no_probe_was_missed(path: Path) -> None:
    """The kernel's own counts, of those probes that are kprobes: hits and misses."""
    boot, parts = each(path)
    rows = {row.split()[0]: row.split()[1:] for row in parts["PROBES"]}
    counted = {name: int(hits) for name, (hits, _) in rows.items()}
    assert not [name for name, (_, missed) in rows.items() if int(missed)]
    if "load" in counted:
        entered = [load for load in boot.loads if "checked" in load.call.phases]
        assert counted["load"] == len(entered)
        assert counted["inited"] == sum("initialized" in load.call.phases for load in boot.loads)
    if "state" in counted:
        looks = [look for event in boot.uevents for look in event.looks]
        assert counted["state"] == sum(look.state is not None for look in looks)


@recorded
def test_every_event_was_handled_once(path: Path) -> None:
    boot, parts = each(path)
    numbers = [event.seqnum for event in boot.uevents]
    first = int(parts["SEQNUM"][0]) + 1
    assert numbers == list(range(first, first + len(numbers)))
    assert {event.worker for event in boot.uevents} <= {worker.tid for worker in boot.workers}


@recorded
def test_times_are_in_order(path: Path) -> None:
    boot, _ = each(path)
    for event in boot.uevents:
        times = (event.sent, event.handed, event.begin, event.ruled, event.done, event.free)
        known = [at for at in times if at is not None]
        assert known == sorted(known), event
        assert event.sent is not None and event.ruled is not None
    assert sum(event.handed is None for event in boot.uevents) <= len(boot.uevents) / 100
    for worker in boot.workers:
        own = [event for event in boot.uevents if event.worker == worker.tid]
        own.sort(key=lambda event: event.begin)
        assert [event.forked for event in own] == [True] + [False] * (len(own) - 1)


@recorded
def test_kmod_loaded_what_the_tree_says(path: Path, trees: dict[str, Tree]) -> None:
    """Of each event: nothing but what its modalias asks for, in that order."""
    boot, _ = each(path)
    events = {event.seqnum: event for event in boot.uevents}
    tree = trees[boot.machine.kernel]
    for load in boot.loads:
        assert load.seqnum is not None
        event = events[load.seqnum]
        asked = wanted(tree, event.modalias, boot.machine.blacklist)
        assert load.module in asked, (event.devpath, load.module)
    for seqnum in {load.seqnum for load in boot.loads}:
        assert seqnum is not None
        asked = wanted(tree, events[seqnum].modalias, boot.machine.blacklist)
        loaded = [asked.index(load.module) for load in boot.loads if load.seqnum == seqnum]
        assert loaded == sorted(loaded)


@recorded
def test_children_max_is_kept(path: Path) -> None:
    """udevd's own choice is twice the processors and 16, where memory allows it."""
    boot, _ = each(path)
    most = boot.machine.children_max or 2 * boot.machine.processors + 16
    assert len([worker for worker in boot.workers if worker.ended is None]) <= most


def test_baseline_by_module(trees: dict[str, Tree]) -> None:
    boot = boot_of(FOLDER / "6.1-8-1.txt.zst")
    found = baseline(boot, trees["6.1"])
    assert found["aesni_intel"] == 7  # eight processors ask
    assert found["acpi_cpufreq"] == 15  # and eight ACPI processor devices
    assert "button" not in found  # one device asks


def test_idempotent_loads_fail_nowhere() -> None:
    for path in PATHS:
        boot = boot_of(path)
        if boot.machine.kernel != "6.1":
            assert boot.failed == 0
            assert any(load.outcome == "shared" for load in boot.loads)


def test_spans_add_up() -> None:
    """A load's steps follow each other from its beginning to its end, nothing in between."""
    boot = boot_of(FOLDER / "6.1-8-1.txt.zst")
    for load in boot.loads:
        call = load.call
        assert call.begin is not None and call.end is not None
        steps = (load.read, load.check, load.copy, load.wait, load.undo)
        if load.failed:
            assert sum(step or 0 for step in steps) == pytest.approx(
                call.end - call.begin - (call.phases["checked"] - call.phases["read"])
            )


def test_one_row_for_each(tmp_path: Path) -> None:
    for name in ("6.1-2-1.txt.zst", "tree-6.1.tar.zst"):
        (tmp_path / name).symlink_to(FOLDER / name)
    for rows in (summary(tmp_path), spans(tmp_path)):
        head, row = rows
        assert len(head) == len(row) and row[0] == "6.1-2-1"


def test_what_is_no_recording(tmp_path: Path) -> None:
    path = tmp_path / "x.txt.zst"
    path.write_bytes(zstandard.compress(b"@HEAD\n{}\n@END\n"))
    with pytest.raises(UserError, match="no section MACHINE"):
        read_boot(path)
    text = read_text(PATHS[0]).replace(b'"release"', b'"other"')
    path.write_bytes(text)
    with pytest.raises(UserError, match=r"damaged.*release"):
        read_boot(path)


def test_the_table_in_the_readme() -> None:
    """Each row that README.md shows is one that the command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.boots", "table"], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    printed = {tuple(line.split()) for line in done.stdout.splitlines()}
    readme = (PROJECT / "tools/boots/README.md").read_text()
    shown = re.findall(r"^ {4}(\S+-\d+ .*)$", readme, re.MULTILINE)
    assert shown
    assert {tuple(line.split()) for line in shown} <= printed


# -- by hand --------------------------------------------------------------------------------------

_TRACE = """
@TRACE
 systemd-udevd-10 [000] .....  1.000000: sched_process_fork: comm=systemd-udevd pid=10 child_comm=systemd-udevd child_pid=21
 udevadm-9        [000] .....  0.900000: uevent: (netlink_broadcast+0x0/0x10) group=1 sk=7
 udevadm-9        [000] .....  0.910000: uevent: (netlink_broadcast+0x0/0x10) group=1 sk=7
 ip-8             [000] .....  0.915000: uevent: (netlink_broadcast+0x0/0x10) group=1 sk=8
 udevadm-9        [000] .....  0.920000: uevent: (netlink_broadcast+0x0/0x10) group=1 sk=7
 (udev-worker)-21 [001] .....  1.010000: task_rename: pid=21 oldcomm=systemd-udevd newcomm=(udev-worker) oom_score_adj=0
 (udev-worker)-21 [001] .....  1.020000: tracing_mark_write: uevent begin 101 add /devices/a
 (udev-worker)-21 [001] .....  1.030000: tracing_mark_write: uevent ruled 101
 (udev-worker)-21 [001] .....  1.040000: look: (do_sys_openat2+0x0/0x10) path="/sys/module/kvm/initstate"
 (udev-worker)-21 [001] .....  1.041000: state: (show_initstate+0x0/0x10) name="kvm" state=1
 (udev-worker)-21 [001] .....  1.042000: look: (do_sys_openat2+0x0/0x10) path="/sys/module/button/initstate"
 (udev-worker)-21 [001] .....  1.043000: find: (find_module_all+0x0/0x10) name="button"
 (udev-worker)-21 [001] .....  1.050000: send: (netlink_sendmsg+0x0/0x10) len=100
 (udev-worker)-21 [001] .....  1.060000: answer: (unix_dgram_sendmsg+0x0/0x10) len=4
 systemd-udevd-10 [000] .....  1.070000: send: (netlink_sendmsg+0x0/0x10) len=90
 (udev-worker)-21 [001] .....  1.080000: tracing_mark_write: uevent begin 103 add /devices/with space
@END
"""  # noqa: E501 - as the kernel writes them


def udevd_of(text: str, seqnum: int) -> Udevd:
    seen = Udevd(seqnum)
    functions = "".join(
        f"OK p:modfs_boot/{name} {function}\n"
        for name, function in (("uevent", "netlink_broadcast"), ("find", "find_module_all"))
    )
    for event in parse_text(functions + text).events:
        assert isinstance(event, Event)
        seen.see(event)
    seen.match()
    return seen


def test_a_worker_by_hand() -> None:
    one, other = udevd_of(_TRACE, 100).handled
    assert (one.seqnum, one.action, one.devpath, one.worker) == (101, "add", "/devices/a", 21)
    assert (one.sent, one.handed, one.forked) == (0.9, 1.0, True)
    assert (one.begin, one.ruled, one.done, one.free) == (1.02, 1.03, 1.05, 1.06)
    assert one.looks == [(1.04, "kvm", "coming"), (1.042, "button", None)]
    assert one.looked_for(1.0405) == "kvm" and one.looked_for(1.2) == "button"
    assert (other.devpath, other.forked) == ("/devices/with space", False)
    assert (other.sent, other.handed, other.free) == (0.92, 1.07, None)


def test_numbers_that_cannot_be() -> None:
    """An event that began before it can have been sent: one was missed, nothing is told."""
    assert [one.sent for one in udevd_of(_TRACE, 98).handled] == [None, None]


def test_waits_for_locks_by_hand() -> None:
    lines = [
        "(udev-worker)-312 [008] ...1. 39.100000: contention_begin: ffffffff82d2ea20 (flags=SPIN)",
        "(udev-worker)-312 [008] ...2. 39.200000: contention_begin: ffffffff82d2ea20 (flags=MUTEX)",
        "(udev-worker)-313 [008] ...2. 39.300000: contention_begin: 0000000000000bad (flags=MUTEX)",
        "(udev-worker)-312 [001] ...2. 39.400000: contention_end: ffffffff82d2ea20 (ret=0)",
        "(udev-worker)-312 [001] ...2. 39.500000: contention_end: ffffffff82d2ea20 (ret=0)",
    ]
    known = names(["ffffffff82d2ea20 D module_mutex"])
    assert contended(lines, known) == [(312, "module_mutex", 39.1, 39.4)]


def test_the_guests_scripts_are_scripts() -> None:
    init = (PROJECT / "tools/boots/init.sh").read_text()
    for text in (script(), init.replace("@TIMEOUT@", "180")):
        done = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_names_in_the_plan_are_distinct() -> None:
    assert len({spec.name for spec in PLAN}) == len(PLAN)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.boots", "modules", "none"],
        cwd=PROJECT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("make boots: ") and done.stderr.count("\n") == 1
