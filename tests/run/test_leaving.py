"""The server is nowhere where its own files can be seen, and is cut off if it does not answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from modfs.linux import device_unasked
from modfs.mount.mountinfo import FS_TYPE
from modfs.run.own_views import OwnViews
from tests.mount.conftest import wait_for
from tests.mount.servers import foreign
from tests.run.conftest import Done, stats
from tests.run.test_sandbox import nothing_is_left
from tests.unprivileged import run_as_nobody

HERE = Path(__file__).parent
Run = Callable[..., Done]
STATS = "cat /sys/kernel/debug/modules/stats"


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rows(task: Path) -> list[list[str]]:
    """What a thread has mounted."""
    return [row.split() for row in (task / "mountinfo").read_text().splitlines()]


@contextmanager
def sandbox(environment: dict[str, str], *words: str | Path) -> Iterator[tuple[int, int]]:
    """The server and the keeper of a ``modfs run``, while its command waits."""
    process = subprocess.Popen(
        ["modfs", "run", *map(str, words), "--", "sh", "-c", "echo ready; read line"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin and process.stdout
    try:
        assert process.stdout.readline() == b"ready\n"
        server = next(child for child in children(process.pid) if children(child))
        yield server, children(server)[0]  # the next one starts helpers
    finally:
        process.communicate(b"\n", timeout=60)


def test_no_thread_of_the_server_sees_its_files(
    environment: dict[str, str], trees: dict[str, Path], mounted: Callable[..., Path]
) -> None:
    mount = mounted("--modules", trees["ko"])
    for words in ((), ("--modules", trees["xz"]), ("--mount", mount)):
        with sandbox(environment, *words) as (server, keeper):
            [place] = [row for row in rows(Path(f"/proc/{keeper}")) if row[4].endswith("views")]
            assert place[place.index("-") + 1] == FS_TYPE
            tasks = list(Path(f"/proc/{server}/task").iterdir())
            assert len(tasks) > 3
            for task in tasks:
                assert place[2] not in [row[2] for row in rows(task)]
            assert OwnViews(place[2]).seen_by() == []
            # Whoever else had /dev/fuse open would keep the connection when the server is gone.
            for other in (*children(server), *children(keeper)):
                held = [os.readlink(fd) for fd in Path(f"/proc/{other}/fd").iterdir()]
                assert not [name for name in held if name.startswith("/dev/fuse")]
    wait_for(nothing_is_left)


def test_a_thread_that_sees_them_would_be_found() -> None:
    device = next(row[2] for row in rows(Path("/proc/self")) if row[4] == "/")
    assert os.getpid() in OwnViews(device).seen_by()


# -- the views named to their own server ----------------------------------------------------------

NAMES = """
import ctypes, errno, os, platform, sys
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 313, "aarch64": 273}[platform.machine()]
for path in ("/proc/modules", "/sys/module/compression", "/sys/kernel/debug/modules/stats"):
    for access in (os.O_RDONLY, os.O_PATH):
        failed = libc.syscall(number, os.open(path, access), b"", 0)
        print(errno.errorcode[ctypes.get_errno()] if failed else "OK")
"""


def test_views_are_no_modules(run: Run, tmp_path: Path) -> None:
    """kernel_read_file: EINVAL for a size of 0."""
    (tmp_path / "names.py").write_text(NAMES)
    done = run(f"python3 names.py; insmod /proc/modules; {STATS}")
    assert done.stdout.splitlines()[:6] == ["EINVAL", "EBADF"] * 3
    assert "could not insert module /proc/modules" in done.stderr
    assert stats(done.stdout)["Mods failed on kread"] == 3


def test_views_are_no_modules_for_control_either(run: Run) -> None:
    control = "/sys/kernel/debug/modules/control"
    lines = "insmod /proc/modules", "finit_module /sys/module/compression", "insmod /dev/stdin"
    script = "; ".join(f"echo '{line}' > {control} < /proc/modules" for line in lines)
    done = run(f"{script}; tail -n 3 {control}")
    assert [line.rpartition(": ")[2] for line in done.stdout.splitlines()] == ["EINVAL"] * 3


@pytest.mark.skipif(os.geteuid() != 0, reason="root's")
def test_a_silent_server_is_not_asked_whose_file_it_is(workshop: Path) -> None:
    place = workshop / "silent"
    with foreign(place, "text"):
        fds = [os.open(place / "file", access) for access in (os.O_RDONLY, os.O_PATH)]
        device = os.stat(place).st_dev
    own = OwnViews(f"{os.major(device)}:{os.minor(device)}")
    with pytest.raises(OSError):
        os.fstat(fds[0])  # no server is left
    assert device_unasked(fds[0]) == (os.major(device), os.minor(device))
    path_only = own.instead(fds[1])
    with pytest.raises(OSError):
        os.read(path_only, 10)
    with open("/etc/passwd") as other:
        assert own.instead(other.fileno()) == other.fileno()
    os.close(path_only)
    with suppress(OSError):
        os.close(fds[0])


# -- what has hung --------------------------------------------------------------------------------


def storm(run: Run, trees: dict[str, Path], tmp_path: Path, *words: object) -> dict[str, int]:
    """How the calls of storm.c ended."""
    program = tmp_path / "storm"
    subprocess.run(["gcc", "-O1", "-o", program, HERE / "storm.c"], check=True)
    files = [trees[tree] / f"kernel/base.ko{end}" for tree, end in (("ko", ""), ("xz", ".xz"))]
    done = run(" ".join(map(str, ("./storm", *files, *words, f"; {STATS}; lsmod"))), tree="xz")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Used by\n")  # nothing is left
    ends = [line.rpartition(" ") for line in done.stdout.splitlines() if line[0] in "lr"]
    return {what: int(times) for what, _, times in ends} | stats(done.stdout)


def test_many_load_and_remove_one_module(run: Run, trees: dict[str, Path], tmp_path: Path) -> None:
    """As ``stress-ng --module 16 --module-name base`` does it."""
    found = storm(run, trees, tmp_path, "base", 16, 30)
    names = {name for name in found if name.startswith(("load", "remove"))}
    assert names <= {"load OK", "load EEXIST", "load EBUSY", "remove OK", "remove ENOENT",
                     "remove EBUSY", "remove EAGAIN"}  # fmt: skip
    assert sum(found[name] for name in names) == 16 * 30 * 2 + 1
    assert found["Mods ever loaded"] == found["remove OK"]
    failed = found["Mods failed on becoming"] + found["Mods failed on load"]
    # Who asks for a file that is being loaded already gets that load's answer, and counts nothing.
    assert failed <= found.get("load EEXIST", 0) + found.get("load EBUSY", 0)
    assert found["Mods failed on kread"] == found["Mods failed on decompress"] == 0


def test_many_shells_that_unpack(run: Run) -> None:
    """With a thread of the server in its own /proc this hung more often than not."""
    loops = "for round in 1 2 3; do insmod $file; rmmod base; done 2>/dev/null"
    done = run(
        "file=$(modprobe --show-depends base | cut -d' ' -f2);"
        f" for i in $(seq 24); do {loops} & done; wait; echo done",
        tree="xz",
    )
    assert (done.returncode, done.stdout) == (0, "done\n")


# -- the watchdog ---------------------------------------------------------------------------------

# modfs, with a short patience.
IMPATIENT = """
import sys
from modfs.cli import main
from modfs.run import watchdog
watchdog.EVERY_SECONDS, watchdog.ANSWER_SECONDS = 0.2, 1.0
sys.argv[0] = "modfs"
main()
"""
# Its parent is modfs run, whose other child is the server. Threads stop one after the other; they
# are looked at from a folder of the real procfs, where no view is on the way.
STOPS_THE_SERVER = """
cat /sys/module/compression
cd -P /proc/$PPID/task/$PPID
for child in $(cat children); do
    [ $child = $$ ] && continue
    kill -STOP $child
    while grep -L '^State:.[TZX]' ../../../$child/task/*/status | grep -q .; do :; done
done
cat /sys/module/compression || echo refused
insmod /nothing.ko 2>/dev/null || echo refused
"""


def test_a_server_that_does_not_answer_is_cut_off(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPATIENT, "run", "--", "sh", "-c", STOPS_THE_SERVER],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    check_cut_off(done)
    wait_for(nothing_is_left)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_so_is_an_ordinary_user_s(open_folder: Path, environment: dict[str, str]) -> None:
    words = json.dumps([IMPATIENT, STOPS_THE_SERVER])
    (open_folder / "words.json").write_text(words)
    script = (
        'exec python3 -c "import json, os, sys; code, script = json.load(open(sys.argv[1]));'
        " os.execvp('python3', ['python3', '-c', code, 'run', '--', 'sh', '-c', script])\""
        ' "$1/words.json"'
    )
    check_cut_off(run_as_nobody(script, open_folder, environment))
    wait_for(nothing_is_left)


def check_cut_off(done: Done) -> None:
    assert done.stdout == "zstd\nrefused\nrefused\n"
    assert "Software caused connection abort" in done.stderr or "not connected" in done.stderr
    assert "its server did not answer" in done.stderr


def test_the_keeper_s_end_is_nobody_s(environment: dict[str, str]) -> None:
    with sandbox(environment) as (_, keeper):
        os.kill(keeper, 9)
    wait_for(nothing_is_left)
