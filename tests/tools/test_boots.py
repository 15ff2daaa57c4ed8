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
from loader.tree.tree import Tree
from modfs.tracing.text import read_text
from tests.conftest import PROJECT
from tools.boots.asked import baseline, unpack_tree, wanted
from tools.boots.facts import Boot
from tools.boots.plan import PLAN
from tools.boots.reading import FOLDER, read_boot, recordings, sections

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
