"""uname(2) in a sandbox: the release is that of the kernel that was named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.conftest import Done

Run = Callable[..., Done]


@pytest.mark.parametrize(
    ("kernel", "release"),
    # The tree's modules say 6.12.117 (loader.synthesize); of another kernel they say nothing.
    [
        ("6.12", "6.12.117"),
        ("7.3", "7.3.0"),
        ("7.3.4+deb13-amd64", "7.3.4+deb13-amd64"),
        ("6.4 without early-check", "6.4.0"),
    ],
)
def test_the_release_that_was_named(run: Run, kernel: str, release: str) -> None:
    done = run("uname -r; ls /lib/modules/$(uname -r)/modules.dep", options=("--kernel", kernel))
    assert done.stdout == f"{release}\n/lib/modules/{release}/modules.dep\n", done.stderr


def test_modprobe_finds_the_tree_there(run: Run) -> None:
    done = run("modprobe top && lsmod | wc -l", options=("--kernel", "7.3"))
    assert done.stdout == "4\n", done.stderr


def test_all_else_is_the_machines(run: Run) -> None:
    done = run("uname -s; uname -n; uname -m; uname -v", options=("--kernel", "7.3"))
    host = os.uname()
    assert done.stdout.splitlines() == [host.sysname, host.nodename, host.machine, host.version]


def test_without_a_kernel_it_is_the_machines(run: Run) -> None:
    assert run("uname -r").stdout == f"{os.uname().release}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a UTS namespace without a user's")
def test_in_another_namespace_the_kernel_answers(run: Run) -> None:
    script = "unshare --uts sh -c 'hostname other 2>/dev/null; uname -r'"
    assert run(script, options=("--kernel", "7.3")).stdout == f"{os.uname().release}\n"


def test_memory_that_is_not_there(run: Run, tmp_path: Path) -> None:
    program = tmp_path / "fault.py"
    program.write_text(
        "import ctypes, errno\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.uname(ctypes.c_void_p(1)), errno.errorcode[ctypes.get_errno()])\n"
    )
    done = run(f"{shutil.which('python3')} {program}", options=("--kernel", "7.3"))
    assert done.stdout == "-1 EFAULT\n", done.stderr
