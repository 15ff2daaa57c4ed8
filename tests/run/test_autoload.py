"""Requests of the kernel's own under modfs run: real helpers, settings at their places, test_kmod0.

tools/kmod_selftest.py runs the kernel's own script for this; here are its moves, briefly.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.conftest import Done
from tests.run.kmod_tree import write_kmod_tree

SCRIPT = r"""
D=/sys/devices/virtual/misc/test_kmod0; MP=/proc/sys/kernel/modprobe
run() { echo -n "$1" > $D/config_test_case; echo -n "$2" > $D/config_num_threads
        echo -n 1 > $D/trigger_config; echo "$3 $(cat $D/test_result)"; echo -n 1 > $D/reset; }
ls -d $D 2>/dev/null
cat $MP; modprobe test_kmod
run 1 50 driver; run 2 62 fs; lsmod | awk 'NR > 1 {print $1}' | sort | xargs
echo -n nope > $D/config_test_driver; run 1 1 nope
echo -n nope > $D/config_test_fs; run 2 3 nope
echo /KMOD_TEST_NONEXISTENT > $MP; run 1 1 nonexistent
echo > $MP; run 1 1 empty
printf '#!/bin/sh\necho "$0 $*" > %s/told\nexit 3\n' "$PWD" > helper; chmod 755 helper
echo $PWD/helper > $MP; run 1 1 helper; cat told | sed "s|$PWD||"
echo abc > $D/config_num_threads
echo 0 > /proc/sys/kernel/modules_disabled
echo 1 > /proc/sys/kernel/modules_disabled; echo /sbin/modprobe > $MP; rmmod test_module
cat /proc/sys/kernel/modules_disabled
"""
TOLD = """\
/sbin/modprobe
driver 0
fs 0
libcrc32c test_kmod test_module xfs
nope 256
nope -22
nonexistent -2
empty -2
helper 768
/helper -q -- test_module
1
"""


@pytest.fixture(scope="module")
def kmod_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kmod")
    write_kmod_tree(root)
    return root


@pytest.fixture
def with_kmod(
    kmod_tree: Path, environment: dict[str, str], tmp_path: Path
) -> Callable[[str], Done]:
    def run(script: str) -> Done:
        words = ["modfs", "run", "--modules", str(kmod_tree), "--", "bash", "-c", script]
        return subprocess.run(
            words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=100
        )

    return run


def test_a_session(with_kmod: Callable[[str], Done]) -> None:
    done = with_kmod(SCRIPT)
    assert done.stdout == TOLD, done.stderr
    assert done.stderr.count("Invalid argument") == 2
    assert "Operation not permitted" in done.stderr


def test_addresses_are_for_those_who_may_know_them(with_kmod: Callable[[str], Done]) -> None:
    shown = "grep -o '0x.*' /proc/modules /sys/module/test_module/sections/.text"
    done = with_kmod(f'modprobe test_module; {shown}; capsh --drop=CAP_SYSLOG -- -c "{shown}"')
    first, second, *hidden = [line.partition(":")[2] for line in done.stdout.splitlines()]
    assert first == second != f"0x{0:016x}"
    assert hidden == [f"0x{0:016x}"] * 2


def test_a_helper_outlives_the_command(with_kmod: Callable[[str], Done], tmp_path: Path) -> None:
    done = with_kmod(
        "printf '#!/bin/sh\\nsleep 0.5; modprobe test_module && : > %s/told\\n' $PWD > helper"
        "; chmod 755 helper; echo $PWD/helper > /proc/sys/kernel/modprobe;"
        "echo request_module_nowait m > /sys/kernel/debug/modules/control"
    )
    assert done.returncode == 0, done.stderr
    while not (tmp_path / "told").exists():  # the sandbox stays until then
        time.sleep(0.01)


def test_settings_of_a_joined_mount(
    mounted: Callable[..., Path], kmod_tree: Path, environment: dict[str, str]
) -> None:
    mount = mounted("--modules", kmod_tree)
    script = "cd /proc/sys/kernel; echo > modprobe; echo 0 > modules_disabled; cat modprobe"
    done = subprocess.run(
        ["modfs", "run", "--mount", str(mount), "--", "bash", "-c", script],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "\n" and "Invalid argument" in done.stderr
    assert (mount / "autoload/modprobe").read_text() == "\n"
