"""Programs of every kind: many at once, traced, of 32 bits, started in other ways."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.conftest import Done, stats

Run = Callable[..., Done]
HERE = Path(__file__).parent
STATS = "cat /sys/kernel/debug/modules/stats"

MANY = """
import os, subprocess, sys
from collections import Counter

copies = [f"{number}.ko" for number in range(200)]
for copy in copies:
    os.link("base.ko", copy) if not os.path.exists(copy) else None
quiet = {"stderr": subprocess.DEVNULL}
started = [subprocess.Popen(["insmod", copy], **quiet) for copy in copies]  # vfork
print(sorted(Counter(one.wait() for one in started).items()))
subprocess.run(["rmmod", "base"], check=True)
words = ["insmod", "base.ko"]
pids = [os.posix_spawnp("insmod", words, os.environ) for _ in range(20)]
print(sum(os.waitpid(pid, 0)[1] == 0 for pid in pids) >= 1)
"""


def test_200_processes_at_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "many.py").write_text(textwrap.dedent(MANY))
    done = run(f"cp $TREE/kernel/base.ko .; python3 many.py; {STATS}")
    first, second, *_ = done.stdout.splitlines()
    ends = dict(re.findall(r"\((\d), (\d+)\)", first))
    assert sum(map(int, ends.values())) == 200 and int(ends["0"]) >= 1
    assert second == "True"
    assert stats(done.stdout)["Mods ever loaded"] == 2


@pytest.mark.skipif(platform.machine() != "x86_64", reason="another machine's calls")
def test_a_program_of_32_bits(run: Run, tmp_path: Path) -> None:
    """It has numbers of its own for the calls. "A" is EEXIST: 17 after "0"."""
    flags = ("-nostdlib", "-static", "-ffreestanding", "-fno-pie", "-no-pie")
    command: list[str | Path] = [
        "gcc",
        "-m32",
        "-O1",
        *flags,
        "-fno-stack-protector",
        "-o",
        "m32",
        HERE / "m32.c",
    ]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = run("cp $TREE/kernel/base.ko .; ./m32 base.ko base; insmod base.ko; ./m32 base.ko base")
    assert (done.stdout, done.stderr) == ("00\nA0\n", "")


@pytest.mark.parametrize("tracer", ["strace -f -o trace", "gdb -batch -ex run --args"])
def test_a_traced_program(run: Run, tracer: str) -> None:
    if shutil.which(tracer.split()[0]) is None:
        pytest.skip(f"{tracer.split()[0]} is not installed")
    done = run(f"{tracer} insmod $TREE/kernel/base.ko; lsmod | wc -l; rmmod base; test -e trace &&"
               " grep -c 'finit_module.*= 0' trace")  # fmt: skip
    lines = done.stdout.splitlines()
    assert "2" in lines
    assert lines[-1] == "1" if "strace" in tracer else "2"


def test_a_program_that_ends_in_the_middle_of_its_call(run: Run, tmp_path: Path) -> None:
    """One thread waits for an init routine, another ends the process."""
    (tmp_path / "end.py").write_text(
        textwrap.dedent("""\
        import os, subprocess, sys, threading, time
        from ctypes import CDLL
        fd = os.open(sys.argv[1], os.O_RDONLY)
        threading.Thread(target=lambda: CDLL(None).syscall(313, fd, b"", 0), daemon=True).start()
        while b"slow" not in open("/proc/modules", "rb").read():
            time.sleep(0.01)
        os._exit(3)
        """)
    )
    done = run(f"python3 end.py $TREE/kernel/slow.ko; echo $?; modprobe base && echo on; {STATS}")
    assert done.stdout.splitlines()[:2] == ["3", "on"]


HANDLED = """
import os, signal, sys, threading
from ctypes import CDLL, get_errno

seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append("alarm"))
signal.siginterrupt(signal.SIGALRM, True)
libc = CDLL(None, use_errno=True)
fd = os.open(sys.argv[1], os.O_RDONLY)
signal.setitimer(signal.ITIMER_REAL, 0.1)
print(libc.syscall(313, fd, b"", 0), seen)
"""


def test_a_handled_signal_does_not_end_an_init_routine(run: Run, tmp_path: Path) -> None:
    """do_one_initcall knows nothing of signals: the handler runs when the call is over."""
    (tmp_path / "handled.py").write_text(textwrap.dedent(HANDLED))
    done = run("python3 handled.py $TREE/kernel/slow.ko; lsmod | wc -l")
    assert (done.stdout, done.stderr) == ("0 ['alarm']\n2\n", "")
