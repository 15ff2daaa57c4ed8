"""Users beside root in an ordinary user's sandbox, where the host has numbers for them."""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

import pytest

from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from modfs.run.user_ids import Range, ranges
from tests.unprivileged import GAMES, NOBODY, run_as_nobody

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes others")
needs_uidmap = pytest.mark.skipif(
    shutil.which("newuidmap") is None, reason="uidmap is not installed"
)
LINES = "nobody:300000:1000\n65534:400000:64536\nother:500000:9\n"
SUBORDINATE = """
for file in subuid subgid; do
    : >>/etc/$file
    mount --bind "$1/$file" /etc/$file
done
"""
AS_NOBODY = (
    "id -u; rmmod m; cat /sys/kernel/debug/modules/stats; echo >/sys/kernel/debug/modules/control"
)
ASKED = (
    "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; insmod m.ko; echo $?;"
    f" setpriv --reuid=65534 --regid=65534 --clear-groups sh -c '{AS_NOBODY}'; rmmod m; echo $?"
)


@pytest.fixture
def folder(open_folder: Path) -> Path:
    (open_folder / "m.ko").write_bytes(build_module(ModuleSpec("m")))
    for name in ("subuid", "subgid"):
        (open_folder / name).write_text(LINES)
    return open_folder


def run_in(folder: Path, environment: dict[str, str], first: str = SUBORDINATE) -> list[list[str]]:
    """The lines of words that ASKED prints in there; the last has the mistakes."""
    done = run_as_nobody(f'cd "$1"; modfs run -- sh -c "{ASKED}"', folder, environment, first=first)
    assert done.returncode == 0, done.stderr
    return [*(line.split() for line in done.stdout.splitlines()), [done.stderr]]


@needs_uidmap
def test_a_second_user_may_nothing_that_root_may(folder: Path, environment: dict[str, str]) -> None:
    """As in a booted system: stats and control are root's (0400, 0600), and so are module calls."""
    said = run_in(folder, environment)
    mapped = [["0", str(NOBODY), "1"], ["1", "300000", "1000"], ["1001", "400000", "64536"]]
    assert said[:-1] == [*mapped, *mapped, ["allow"], ["0"], [str(NOBODY)], ["0"]]
    assert "rmmod: ERROR" in said[-1][0] and "Operation not permitted" in said[-1][0]
    assert said[-1][0].count("Permission denied") == 2


REFUSING = """
mkdir "$1/bin"
for name in newuidmap newgidmap; do cp /bin/false "$1/bin/$name"; done
PATH=$1/bin:$PATH
"""


@pytest.mark.parametrize(
    ("lines", "first"), [("other:500000:9\n", ""), (LINES, REFUSING)], ids=["none", "refused"]
)
def test_there_is_only_root_without(
    folder: Path, environment: dict[str, str], lines: str, first: str
) -> None:
    for name in ("subuid", "subgid"):
        (folder / name).write_text(lines)
    said = run_in(folder, environment, SUBORDINATE + first)
    alone = ["0", str(NOBODY), "1"]
    assert said[:-1] == [alone, alone, ["deny"], ["0"], ["0"]]
    assert "setpriv: setresuid failed" in said[-1][0] or "setresgid failed" in said[-1][0]


@pytest.mark.parametrize("user", [NOBODY, GAMES])
def test_how_many_are_told(folder: Path, environment: dict[str, str], user: int) -> None:
    done = run_as_nobody("modfs --version", folder, environment, user=user, first=SUBORDINATE)
    users = f"up to {1 + 1000 + 64536} users"
    if user == GAMES:
        users = "root is the only user, for /etc/subuid has no more for you"
    elif shutil.which("newuidmap") is None:
        users = "root is the only user, for there is no newuidmap (Debian's package uidmap)"
    assert done.stdout.splitlines()[2] == f"modfs run: {users}"


def test_numbers_are_by_name_and_by_number(tmp_path: Path) -> None:
    name = pwd.getpwuid(os.geteuid()).pw_name
    text = f"{name}:1000:10\nother:1:1\n{os.geteuid()}:2000:5\n{name}:x:1\n{name}:1:0\n{name}:7\n"
    (tmp_path / "subuid").write_text(text)
    assert ranges("uid", 42, tmp_path) == (Range(0, 42, 1), Range(1, 1000, 10), Range(11, 2000, 5))
    assert ranges("gid", 42, tmp_path) == (Range(0, 42, 1),)
