"""A mount's events: the latest, all as they come, in a file; and a storm, whose maker is named."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.observe.recording import Recording
from loader.observe.replay import account, rules_of
from loader.observe.stream import stream
from modfs import texts
from modfs.blame import savings
from modfs.blame.sources import source_of
from modfs.blame.tables import blame
from tests.mount.clients import nobody, outcome
from tests.mount.conftest import request, stats, wait_for

Make = Callable[..., Path]


def read(mount: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (mount / "events").read_text().splitlines()]


def test_the_latest_are_a_recording(mounted: Callable[..., Path], make: Make) -> None:
    mount = mounted()
    path = make("m")
    request(mount, f"insmod {path} ", f"insmod {path}", "request_module nothing-there", "rmmod m")
    header, live, duplicate, asked, removed, end = read(mount)
    assert header["source"] == "engine" and end["end"] == 4
    assert (live["outcome"], duplicate["outcome"]) == ("live", "becoming")
    assert (asked["request"], removed["outcome"]) == ("nothing-there", "removed")
    task = live["task"]
    assert isinstance(task, dict)
    assert (task["tid"], task["uid"]) == (os.getpid(), os.geteuid())
    assert task["command"].split()[0] in Path("/proc/self/cmdline").read_text().split("\0")
    assert live["file"]["name"] == path.name  # type: ignore[index]
    recording = Recording.read(mount / "events")
    assert recording.whole
    found = account(recording).snapshot()
    for name in texts.FILES:
        assert texts.FILES[name].text(found) == (mount / name).read_text(), name


def test_no_more_are_kept_than_an_option_says(mounted: Callable[..., Path]) -> None:
    mount = mounted("-o", "events=2")
    for number in range(5):
        request(mount, f"rmmod m{number}")
    _, lost, *calls, _ = read(mount)
    assert (lost["lost"], lost["count"]) == ("overwritten", 3)
    assert [call["module"] for call in calls] == ["m3", "m4"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_others_do_not_see_who_asked(mounted: Callable[..., Path], open_workshop: Path) -> None:
    mount = mounted("-o", "allow_other")
    for name in ("events", "events_pipe"):
        assert outcome(nobody, (mount / name).read_text) == errno.EACCES


# -- events_pipe ----------------------------------------------------------------------------------


def opened(mount: Path, flags: int = 0) -> int:
    fd = os.open(mount / "events_pipe", os.O_RDONLY | flags)
    assert b'"recording":1' in os.read(fd, 1 << 16)
    return fd


def test_each_reader_gets_all(mounted: Callable[..., Path]) -> None:
    mount = mounted()
    request(mount, "rmmod before")
    readers = [opened(mount) for _ in range(3)]
    for number in range(3):
        request(mount, f"rmmod m{number}")
    for fd in readers:
        text = b""
        while text.count(b"\n") < 3:
            text += os.read(fd, 100)  # in pieces
        found = [json.loads(line)["module"] for line in text.splitlines()]
        assert found == ["m0", "m1", "m2"]
        os.close(fd)


def test_without_waiting(mounted: Callable[..., Path]) -> None:
    mount = mounted()
    fd = opened(mount, os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        os.read(fd, 100)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(0) == []
    late = threading.Timer(0.2, lambda: request(mount, "rmmod m"))
    late.start()
    assert poll.poll(20_000) == [(fd, select.POLLIN)]
    assert b'"module":"m"' in os.read(fd, 1 << 16)
    late.join()
    os.close(fd)


def test_a_reader_that_waits_can_be_killed(mounted: Callable[..., Path]) -> None:
    mount = mounted()
    reader = subprocess.Popen(["cat", mount / "events_pipe"], stdout=subprocess.PIPE)
    assert reader.stdout is not None
    assert b"recording" in reader.stdout.readline()
    request(mount, "rmmod m")
    assert b'"module":"m"' in reader.stdout.readline()
    reader.send_signal(signal.SIGTERM)
    assert reader.wait(20) == -signal.SIGTERM
    reader.stdout.close()


def test_the_end_of_the_mount_is_the_end(
    mounted: Callable[..., Path], environment: dict[str, str]
) -> None:
    mount = mounted()
    reader = subprocess.Popen(["cat", mount / "events_pipe"], stdout=subprocess.PIPE)
    assert reader.stdout is not None
    reader.stdout.readline()
    subprocess.run(["modfs", "umount", "--force", mount], env=environment, check=True)
    reader.communicate(timeout=20)


# -- a file ---------------------------------------------------------------------------------------


def test_a_file_that_goes_on(
    mounted: Callable[..., Path], workshop: Path, environment: dict[str, str]
) -> None:
    file = workshop / "events.jsonl"
    for turn in range(2):
        mount = mounted("--events", file)
        for number in range(20):
            request(mount, f"rmmod m{turn}_{number}")
        subprocess.run(["modfs", "umount", mount], env=environment, check=True)
        wait_for(lambda: len(file.read_bytes().splitlines()) >= 21)
    first, second = (Recording.read(each) for each in (Path(f"{file}.1"), file))
    assert getattr(first.items[0], "module", "") == "m0_0"
    assert getattr(second.items[-1], "module", "") == "m1_19"
    assert len(first.items) == len(second.items) == 20
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("link", "it is a symbolic link, which others may have put there"),
        ("pipe", "it is a pipe that nobody reads"),
        ("folder/none/file", "there is no such file or folder"),
    ],
)
def test_a_file_that_cannot_be(
    workshop: Path, environment: dict[str, str], kind: str, why: str
) -> None:
    mount, file = workshop / "mount", workshop / kind
    mount.mkdir()
    (workshop / "link").symlink_to("/etc/passwd")
    os.mkfifo(workshop / "pipe")
    command = ["modfs", "mount", str(mount), "--events", str(file)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"modfs mount: {file}: {why}\n"
    assert not os.path.ismount(mount)


# -- a storm --------------------------------------------------------------------------------------


def test_blame_names_who_made_a_storm(
    mounted: Callable[..., Path], make: Make, workshop: Path, environment: dict[str, str]
) -> None:
    """Real processes: one program asks thirty times, another once, for different modules."""
    mount = mounted("--kernel", "6.4")
    big, small = make("big", rodata=300_000), make("small")
    request(mount, f"insmod {big}", f"insmod {small}")
    for name, path, times in (("greedy", big, 30), ("modest", small, 1)):
        program = workshop / name
        program.write_text(f"#!/bin/sh\necho 'insmod {path}' > {mount}/control\n")
        program.chmod(0o755)
        started = [subprocess.Popen([program], stderr=subprocess.DEVNULL) for _ in range(times)]
        for process in started:
            process.wait()
    source = source_of(mount)
    header, lines = stream(source.lines, "x")
    found = blame(lines, rules_of(header))
    counted = stats(mount)
    assert found.wasted.total == counted["Virtual mem wasted bytes"]
    assert found.failed == counted["Mods failed on becoming"] == 31
    who, module = found.by("who"), found.by("module")
    assert (who[0].name.partition(" ")[0], who[0].cell.failed) == ("greedy", 30)
    assert (module[0].name, module[0].cell.wasted) == ("big", 30 * big.stat().st_size)
    helps = source.savings()
    assert helps.base == counted["Virtual mem wasted bytes"]
    row = next(row for row in helps.rows if row.remedy == savings.AGAIN)
    assert (row.calls, row.left) == (31, 0)
    # Who asks once only leaves what the second call of each wastes: as if there were no storm.
    calm = mounted("--kernel", "6.4")
    request(calm, f"insmod {big}", f"insmod {small}", f"insmod {big}", f"insmod {small}")
    once = next(row for row in helps.rows if row.remedy == savings.ONCE)
    assert once.left == stats(calm)["Virtual mem wasted bytes"]
