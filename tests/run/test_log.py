"""dmesg(1) and all else that reads or writes the kernel's log."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.conftest import Done

Run = Callable[..., Done]
NEEDS_KMSG = pytest.mark.skipif(not os.path.exists("/dev/kmsg"), reason="no /dev/kmsg here")
TIME = r"\[ *(\d+\.\d{6})\] "


def without_times(text: str) -> list[str]:
    return [re.sub(TIME, "", line) for line in text.splitlines()]


@pytest.mark.parametrize("dmesg", ["dmesg", "dmesg --syslog", "busybox dmesg"])
def test_dmesg(run: Run, dmesg: str) -> None:
    """By /dev/kmsg, and by syslog(2). The line is README's."""
    before = time.monotonic()
    done = run(f"modprobe middle nosuch=1; {dmesg}")
    after = time.monotonic()
    assert done.stderr == ""
    lines = without_times(done.stdout)
    assert "middle: unknown parameter 'nosuch' ignored" in lines
    assert lines[-1].startswith("middle:")
    times = [float(found) for found in re.findall(TIME, done.stdout)]
    assert times == sorted(times)
    assert all(before - 1 < moment < after + 1 for moment in times)


@NEEDS_KMSG
def test_levels_and_facilities(run: Run) -> None:
    script = "modprobe middle nosuch=1; echo '<29>a daemon' >/dev/kmsg; echo mine >/dev/kmsg; "
    done = run(script + "dmesg -x | grep -e nosuch -e daemon -e mine; dmesg -l notice --notime")
    lines = without_times(done.stdout)
    assert lines[0] == "kern  :warn  : middle: unknown parameter 'nosuch' ignored"
    assert lines[1] == "daemon:notice: a daemon"
    assert lines[2] == "user  :warn  : mine"
    assert "a daemon" in lines[3:] and "mine" not in lines[3:]


@NEEDS_KMSG
def test_dmesg_clears_and_follows(run: Run) -> None:
    done = run(
        "echo one >/dev/kmsg; dmesg -C; dmesg; echo two >/dev/kmsg; dmesg -t; head -1 /dev/kmsg"
    )
    assert done.stdout.splitlines()[0] == "two"
    assert re.fullmatch(r"12,\d+,\d+,-;one", done.stdout.splitlines()[1])
    done = run(
        "echo one >/dev/kmsg; (sleep 1; echo two >/dev/kmsg) & timeout 3 dmesg -t --follow-new;"
        " timeout 1 dmesg -t --follow; timeout 1 cat /dev/kmsg; echo $?"
    )
    lines = done.stdout.splitlines()
    assert lines[:3] == ["two", "one", "two"]
    assert [line.partition(";")[2] for line in lines[3:5]] == ["one", "two"]
    assert lines[5:] == ["124"]


def test_console_level_and_settings(run: Run) -> None:
    done = run("cd /proc/sys/kernel; dmesg -n 5; cat printk; dmesg -D; cat printk; dmesg -E;"
               " cat printk dmesg_restrict printk_devkmsg")  # fmt: skip
    assert done.stdout.splitlines() == [
        "5\t4\t1\t7", "1\t4\t1\t7", "5\t4\t1\t7", "1", "ratelimit"
    ]  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_others_may_not(run: Run) -> None:
    """Where dmesg_restrict is set, as it is on Debian."""
    other = "setpriv --reuid 65534 --clear-groups"
    done = run(f"{other} dmesg; {other} cat /proc/kmsg; echo 0 >/proc/sys/kernel/dmesg_restrict;"
               f" {other} dmesg && echo yes; {other} dmesg -C")  # fmt: skip
    assert done.stdout == "yes\n"
    assert "dmesg: read kernel buffer failed: Operation not permitted" in done.stderr
    assert "dmesg: clear kernel buffer failed: Operation not permitted" in done.stderr


@NEEDS_KMSG
def test_proc_kmsg_takes_messages_away(run: Run) -> None:
    done = run("echo one >/dev/kmsg; timeout 1 cat /proc/kmsg; echo two >/dev/kmsg;"
               " dd if=/proc/kmsg iflag=nonblock bs=4096 status=none")  # fmt: skip
    assert [re.sub(TIME, "", line) for line in done.stdout.splitlines()] == ["<12>one", "<12>two"]
    assert "Resource temporarily unavailable" in done.stderr


@NEEDS_KMSG
@pytest.mark.skipif(os.geteuid() != 0, reason="the host's own log is for root")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler")
def test_answers_are_those_of_the_host_s_kernel(run: Run, tmp_path: Path) -> None:
    program = tmp_path / "log_calls"
    source = Path(__file__).with_name("log_calls.c")
    subprocess.run(["gcc", "-o", program, source], check=True)
    there = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    if "syslog 3 sizeof buffer more\n" not in there:
        pytest.skip("the host's log is empty, or kept from us")
    done = run(f"for i in 1 2 3; do echo $i >/dev/kmsg; done; {program}")
    assert done.stdout == there
