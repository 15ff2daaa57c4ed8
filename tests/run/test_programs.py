"""Real programs, unchanged: what they print, how they exit, what the statistics then say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.conftest import Done, stats

STATS = "cat /sys/kernel/debug/modules/stats"
Run = Callable[..., Done]


def test_modprobe_loads_dependencies_first(run: Run) -> None:
    done = run(f"modprobe -v top && lsmod && {STATS}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [Path(line.split()[1]).name for line in lines[:3]] == ["base.ko", "middle.ko", "top.ko"]
    assert lines[3].split() == ["Module", "Size", "Used", "by"]
    assert [line.split()[0] for line in lines[4:7]] == ["top", "middle", "base"]
    assert lines[5].split()[2:] == ["1", "top"]
    assert stats(done.stdout)["Mods ever loaded"] == 3


def test_modprobe_by_alias(run: Run) -> None:
    done = run("modprobe pci:v00001234d00005678 && cat /sys/module/top/taint")
    assert (done.returncode, done.stdout) == (0, "PE\n")


def test_modprobe_knows_what_is_loaded(run: Run) -> None:
    done = run(f"modprobe top; modprobe top && ! modprobe --first-time top && {STATS}")
    assert done.returncode == 0, done.stderr
    assert "already in kernel" in done.stderr
    assert stats(done.stdout)["Mods failed on becoming"] == 0


def test_modprobe_removes(run: Run) -> None:
    done = run("modprobe top; rmmod base; modprobe -r top; lsmod")
    assert "Module base is in use by: middle" in done.stderr
    assert "top" not in done.stdout and "middle" not in done.stdout


def test_modprobe_options_and_failures(run: Run) -> None:
    done = run(
        "modprobe middle n=x; modprobe nothing; modprobe bad; modprobe middle n=7;"
        " cat /sys/module/middle/parameters/n; cat /sys/kernel/debug/modules/kmsg"
    )
    assert "could not insert 'middle': Invalid argument" in done.stderr
    assert "Module nothing not found" in done.stderr
    assert "could not insert 'bad': No such device" in done.stderr
    assert done.stdout.startswith("7\n")
    assert "middle: `x' invalid for parameter `n'\n" in done.stdout


def test_modprobe_show_depends(run: Run) -> None:
    done = run("modprobe --show-depends top")
    names = [Path(line.split()[1]).name for line in done.stdout.splitlines()]
    assert names == ["base.ko", "middle.ko", "top.ko"]


@pytest.mark.parametrize("tree", ["zst", "xz"])
def test_compressed_modules(run: Run, tree: str) -> None:
    done = run(f"modprobe top && insmod $(modprobe --show-depends base | cut -d' ' -f2); {STATS}",
               tree)  # fmt: skip
    assert "File exists" in done.stderr
    found = stats(done.stdout)
    assert (found["Mods ever loaded"], found["Mods failed on becoming"]) == (3, 1)


def test_insmod_and_rmmod(run: Run) -> None:
    done = run("insmod $TREE/kernel/middle.ko; insmod $TREE/kernel/base.ko &&"
               " insmod $TREE/kernel/base.ko; rmmod nothing; rmmod base && rmmod base")  # fmt: skip
    assert "Unknown symbol in module" in done.stderr
    assert "base.ko: File exists" in done.stderr
    assert "Module nothing is not currently loaded" in done.stderr
    assert "Module base is not currently loaded" in done.stderr
    assert done.returncode == 1


def test_lsmod_shows_what_is_there(run: Run) -> None:
    done = run("modprobe middle; lsmod | tail -n +2 | sort; cat /proc/modules")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["base", "middle", "middle", "base"]
    size = lines[0].split()[1]
    row = rf"base {size} 1 middle, Live 0xffffffff[c-f][0-9a-f]{{4}}000 \(E\)"
    assert re.fullmatch(row, lines[3])


def test_modinfo_and_depmod(run: Run, trees: dict[str, Path]) -> None:
    done = run("modinfo -F depends top; rm /lib/modules/$(uname -r)/modules.dep; depmod &&"
               " cut -d: -f1 /lib/modules/$(uname -r)/modules.dep | sort | head -1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "middle\nkernel/bad.ko\n"
    assert (trees["ko"] / "modules.dep").exists()  # the host's tree is as it was


def test_busybox(run: Run) -> None:
    done = run(
        "busybox modprobe top && busybox lsmod && busybox rmmod top && ! busybox rmmod top;"
        " busybox insmod $TREE/kernel/base.ko; busybox modprobe -r middle; busybox lsmod"
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Module")
    assert [line.split()[0] for line in lines[1:4]] == ["top", "middle", "base"]
    assert "can't insert" in done.stderr and "File exists" in done.stderr
    assert "middle" not in "".join(lines[4:])


def test_systemd_modules_load(run: Run, tmp_path: Path) -> None:
    places = ("/usr/lib/systemd/systemd-modules-load", "/lib/systemd/systemd-modules-load")
    program = next((place for place in places if os.path.exists(place)), None)
    if program is None:
        pytest.skip("systemd is not installed")
    (tmp_path / "some.conf").write_text("# ours\nmiddle\nslow\nnothing_of_that_name\n")
    done = run(f"{program} {tmp_path}/some.conf; echo $?; cut -d' ' -f1 /proc/modules | sort")
    assert done.stdout.splitlines() == ["0", "base", "middle", "slow"]
    assert "Failed to find module 'nothing_of_that_name'" in done.stderr


C_PROGRAM = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int counts[200];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *path;

static void *load(void *unused) {
    int fd = open(path, O_RDONLY);
    int result = syscall(SYS_finit_module, fd, "", 0) ? errno : 0;
    close(fd);
    pthread_mutex_lock(&lock);
    counts[result]++;
    pthread_mutex_unlock(&lock);
    return unused;
}

static void show(const char *what, long result) {
    printf("%s: %s\n", what, result ? strerrorname_np(errno) : "OK");
}

int main(int argc, char **argv) {
    pthread_t threads[64];
    path = argv[1];
    for (int i = 0; i < 64; i++) pthread_create(&threads[i], NULL, load, NULL);
    for (int i = 0; i < 64; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 200; i++)
        if (counts[i]) printf("%s x %d\n", i ? strerrorname_np(i) : "OK", counts[i]);

    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page + 4096, 4096);
    int fd = open(path, O_RDONLY), writer = open(path, O_RDWR), closed = dup(fd);
    close(closed);
    show("write-only", syscall(SYS_finit_module, open(path, O_WRONLY), "", 0));
    close(writer + 1);
    show("read-write", syscall(SYS_finit_module, writer, "", 0));
    close(writer);
    show("closed", syscall(SYS_finit_module, 900, "", 0));
    show("flags", syscall(SYS_finit_module, fd, "", 64));
    show("folder", syscall(SYS_finit_module, open("/", O_RDONLY), "", 0));
    show("unmapped image", syscall(SYS_init_module, page + 4096, 5000L, ""));
    show("short image", syscall(SYS_init_module, page, 10L, ""));
    show("empty image", syscall(SYS_init_module, page, 4096L, ""));
    show("over the edge", syscall(SYS_init_module, page, 5000L, ""));
    show("unmapped name", syscall(SYS_delete_module, page + 4096, O_NONBLOCK));
    memcpy(page + 4096 - 5, "slow", 5);
    show("name at the edge", syscall(SYS_delete_module, page + 4096 - 5, O_NONBLOCK));
    show("null params", syscall(SYS_finit_module, fd, NULL, 0));
    return 0;
}
"""


@pytest.mark.parametrize("static", [False, True])
def test_c_program_with_64_threads(run: Run, tmp_path: Path, static: bool) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    (tmp_path / "load.c").write_text(C_PROGRAM)
    command = ["gcc", "-O1", "-o", "load", "load.c", "-pthread", *["-static"] * static]
    subprocess.run(command, cwd=tmp_path, check=True)
    # The tree's own file may be written to by nobody: a copy stands for it.
    done = run("cp $TREE/kernel/slow.ko . && ./load slow.ko")
    assert done.returncode == 0, done.stderr
    assert done.stdout == textwrap.dedent("""\
        OK x 64
        write-only: EBADF
        read-write: ETXTBSY
        closed: EBADF
        flags: EINVAL
        folder: EINVAL
        unmapped image: EFAULT
        short image: ENOEXEC
        empty image: ENOEXEC
        over the edge: EFAULT
        unmapped name: EFAULT
        name at the edge: OK
        null params: EFAULT
        """)


def test_python_through_ctypes(run: Run, tmp_path: Path) -> None:
    (tmp_path / "load.py").write_text(
        textwrap.dedent("""\
        import ctypes, os, platform, sys
        libc = ctypes.CDLL(None, use_errno=True)
        number = {"x86_64": 313, "aarch64": 273}[platform.machine()]
        fd = os.open(sys.argv[1], os.O_RDONLY)
        for _ in range(2):
            result = libc.syscall(number, fd, b"", 0)
            print(result, os.strerror(ctypes.get_errno()) if result else "")
        """)
    )
    done = run("python3 load.py $TREE/kernel/base.ko")
    assert done.stdout == "0 \n-1 File exists\n"


def test_background_jobs_race(run: Run) -> None:
    """Each has its own file, so none is merged: one loads, the others fail as duplicates."""
    done = run("for i in 1 2 3 4 5 6; do cp $TREE/kernel/slow.ko $i.ko; done;"
               f" for i in 1 2 3 4 5 6; do insmod $i.ko & done; wait; {STATS}")  # fmt: skip
    found = stats(done.stdout)
    assert found["Mods ever loaded"] == 1
    assert found["Mods failed on becoming"] + found["Mods failed on load"] == 5
    assert done.stderr.count("File exists") == 5
