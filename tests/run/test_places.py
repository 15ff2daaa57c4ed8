"""What programs find of their kernel, at its places and in namespaces of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec, ParameterSpec
from tests.run.conftest import Done

Run = Callable[..., Done]
N = "/sys/module/middle/parameters/n"


def test_root_of_another_user_namespace_loads_nothing(run: Run) -> None:
    """capable() asks about the first one (kernel/module/main.c)."""
    done = run("unshare -Ur modprobe base; lsmod | wc -l; modprobe base; unshare -Ur rmmod base;"
               " lsmod | wc -l")  # fmt: skip
    assert done.stdout.split() == ["1", "2"]
    assert "could not insert 'base': Operation not permitted" in done.stderr
    assert "could not remove 'base': Operation not permitted" in done.stderr


def test_parameters_can_be_set(run: Run) -> None:
    done = run(
        f"modprobe middle; echo 7 >{N} && cat {N}; echo 0x10 >{N} && cat {N}; echo many >{N};"
        f" echo 99999999999 >{N}; cat {N}; stat -c '%a %s' {N}",
        shell="bash",
    )
    assert done.stdout.split() == ["7", "16", "16", "644", "4096"]
    assert "Invalid argument" in done.stderr and "out of range" in done.stderr


def test_what_cannot_be_written_or_read(run: Run) -> None:
    """Not by root either (KERNFS_ROOT_EXTRA_OPEN_PERM_CHECK)."""
    done = run("modprobe base; cd /sys/module/base; echo 1 >refcnt; cat uevent; cat refcnt",
               shell="bash")  # fmt: skip
    assert done.stdout == "0\n"
    assert done.stderr.count("Permission denied") == 2


def test_tainted(run: Run) -> None:
    """P is bit 0, E is bit 13."""
    done = run("cd /proc/sys/kernel; cat tainted; modprobe top; cat tainted")
    before, after = done.stdout.split()
    assert (before, after) == ("0", str(1 << 0 | 1 << 13))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_chroot_with_proc_and_sys_bound(run: Run, tmp_path: Path) -> None:
    done = run(
        "modprobe top; mkdir root; mount --rbind / root; mount --rbind /proc root/proc;"
        " mount --rbind /sys root/sys; chroot root sh -c"
        " 'wc -l </proc/modules; ls /sys/module; readlink /proc/self/exe; rmmod top; lsmod | wc -l'"
    )
    lines = done.stdout.split()
    assert lines[0] == "3"
    assert lines[1:-2] == ["base", "compression", "middle", "top"]
    assert (Path(lines[-2]).name, lines[-1]) == ("readlink", "3")


def test_the_first_process_of_a_pid_namespace(run: Run) -> None:
    """Its calls are caught as well; with the /proc that it has from before it finds everything."""
    done = run(
        "unshare --fork --pid sh -c 'modprobe top; wc -l </proc/modules; rmmod top; echo $$'"
    )
    assert (done.stdout.split(), done.stderr) == (["3", "1"], "")


def test_a_parameter_that_its_module_checks_itself(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """drivers/block/loop.c: by param_set_int, and by kstrtoint, from 1 on."""
    parameters = (
        ParameterSpec("max_loop", default=8, mode=0o444, own=True),
        ParameterSpec("hw_queue_depth", default=128, own=True),
    )
    file = tmp_path / "loop.ko"
    file.write_bytes(build_module(ModuleSpec("loop", parameters=parameters)))
    script = (
        "insmod $LOOP max_loop=abc; insmod $LOOP hw_queue_depth=0; lsmod | wc -l;"
        " insmod $LOOP max_loop=0x10; cd /sys/module/loop/parameters; cat max_loop hw_queue_depth;"
        " echo 64 >hw_queue_depth; echo none >hw_queue_depth; cat hw_queue_depth; dmesg -t"
    )
    done = subprocess.run(
        ["modfs", "run", "--", "bash", "-c", script],
        env=environment | {"LOOP": str(file)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert [line for line in done.stdout.splitlines() if "taint" not in line] == [
        "1", "16", "128", "64",
        "loop: `abc' invalid for parameter `max_loop'",
        "loop: `0' invalid for parameter `hw_queue_depth'",
    ]  # fmt: skip
    assert done.stderr.count("Invalid parameters") == 2
    assert done.stderr.count("Invalid argument") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_our_files_can_be_put_on_a_new_proc(run: Run) -> None:
    """By whoever mounts it; and then it cannot be unmounted, why nobody does so for them."""
    done = run(
        "modprobe top; mkdir new; unshare -m sh -c 'mount -t proc proc new;"
        " cat new/sys/kernel/tainted;"
        " mount --bind /proc/sys/kernel/tainted new/sys/kernel/tainted; cat new/sys/kernel/tainted;"
        " umount new'; cat /proc/sys/kernel/tainted"
    )
    host, on_new, ours = done.stdout.split()
    assert host == Path("/proc/sys/kernel/tainted").read_text().strip()
    assert on_new == ours == str(1 << 0 | 1 << 13)
    assert "target is busy" in done.stderr
