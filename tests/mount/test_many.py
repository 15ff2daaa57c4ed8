"""More writers at once than anybody should have, and a server that may not have more threads."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modfs.mount import room
from tests.mount.conftest import request, stats, wait_for
from tests.unprivileged import GAMES, run_as_nobody

MANY = 1500

# So many threads write a request each; how each write ends is counted, and printed at the end.
WRITERS = r"""
import collections, errno, os, sys, threading
control, line, number = sys.argv[1], sys.argv[2].encode(), int(sys.argv[3])
ends = collections.Counter()
threading.stack_size(1 << 16)

def write():
    try:
        os.write(os.open(control, os.O_WRONLY), line)
        ends["ok"] += 1
    except OSError as error:
        ends[errno.errorcode[error.errno]] += 1

threads = [threading.Thread(target=write, daemon=True) for _ in range(number)]
for thread in threads:
    thread.start()
"""
# Until every thread has been answered or waits for that, and nothing changes any more.
SETTLED = r"""
import glob, time
def texts():
    for name in glob.glob("/proc/self/task/*/wchan"):
        try:
            yield open(name).read()
        except OSError:
            pass
same = 0
while same < 20:
    before = dict(ends)
    time.sleep(0.02)
    waiting = list(texts()).count("request_wait_answer")
    same = same + 1 if before == ends and waiting + sum(ends.values()) == number else 0
print(dict(ends), flush=True)
"""


def waiting(process: subprocess.Popen[bytes]) -> int:
    """How many of its threads wait for the server."""
    threads = Path(f"/proc/{process.pid}/task").iterdir()
    return sum((thread / "wchan").read_text() == "request_wait_answer" for thread in threads)


@contextmanager
def descriptors_for(number: int) -> Iterator[None]:
    """Processes started here may have so many files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(number, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_many_waiting_writers_hold_nobody_up_and_can_be_killed(
    mounted: Callable[..., Path], make: Callable[..., Path], environment_file: Path
) -> None:
    with descriptors_for(3 * MANY):
        mount = mounted("--environment", environment_file)
        words = [str(mount / "control"), f"insmod {make('stuck')}\n", str(MANY)]
        script = f"{WRITERS}\nfor thread in threads: thread.join()"
        writers = subprocess.Popen([sys.executable, "-c", script, *words])
    try:
        wait_for(lambda: waiting(writers) == MANY)
        assert stats(mount)["Mods ever loaded"] == 0
        assert request(mount, f"insmod {make('m')}") == 0
        assert stats(mount)["Mods ever loaded"] == 1
        assert writers.poll() is None
    finally:
        writers.kill()
        writers.wait(60)
    assert request(mount, f"insmod {make('m')}") == errno.EEXIST


# -- no more threads ------------------------------------------------------------------------------

LIMITED = """
cd "$1"
mkdir mount
modfs mkmod stuck.ko --name stuck
echo '{"init": {"stuck": {"seconds": 3600}}}' > environment.json
BEFORE modfs mount --environment environment.json mount
AFTER
python3 -c "$WRITERS" mount/control "insmod $PWD/stuck.ko
" 200
grep -c ': EAGAIN (too many at once)$' mount/control
head -n 1 mount/stats
modfs umount mount
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_server_that_may_not_have_more_threads(
    open_folder: Path, environment: dict[str, str], when: str
) -> None:
    limit = {
        "before": ("prlimit --nproc=60:", ""),
        "after": ("", "prlimit --pid $(cat mount/.control/server) --nproc=60:"),
    }[when]
    script = LIMITED.replace("BEFORE", limit[0]).replace("AFTER", limit[1])
    refused = _refused(script, open_folder, environment)
    assert 100 < refused < 200  # some could be taken in


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_server_whose_user_has_more_threads_than_allowed(
    open_folder: Path, environment: dict[str, str]
) -> None:
    """libfuse cannot begin another thread from the first request on: nobody may wait."""
    others = "import threading, time; time.sleep(0.1)\n"
    others += "for _ in range(80): threading.Thread(target=time.sleep, args=(100,)).start()\n"
    others += "print(flush=True); time.sleep(100)"
    after = f"python3 -c '{others}' > up & others=$!; trap 'kill -9 $others' EXIT\n"
    after += "while ! [ -s up ]; do sleep 0.1; done\n"
    after += "prlimit --pid $(cat mount/.control/server) --nproc=60:\n"
    after += "for n in 1 2 3; do timeout 9 cat mount/events_pipe > got || echo $?; done 2> told\n"
    after += 'test "$(grep -c unavailable told)" = 3'
    script = LIMITED.replace("BEFORE", "").replace("AFTER", after)
    assert _refused(script, open_folder, environment) == 200


def _refused(script: str, folder: Path, environment: dict[str, str]) -> int:
    """How many writers were; the others wait, and readers do not."""
    writers = {"WRITERS": WRITERS + SETTLED}
    done = run_as_nobody(script, folder, environment | writers, user=GAMES)
    assert done.returncode == 0, done.stderr
    ends, shown, loaded = done.stdout.splitlines()[-3:]
    assert ends.startswith("{'EAGAIN': "), ends
    assert loaded.endswith("Mods ever loaded\t0")
    assert int(shown) > 0
    return int(ends.split()[1].rstrip("}"))


def test_the_bound_follows_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for limits, most in (((1 << 22,), room._MOST), ((1 << 22, 1016), 500), ((20,), 16)):
        monkeypatch.setattr(room, "_thread_limits", lambda limits=limits: iter(limits))
        assert room.most_requests() == min(most, room._MOST)


# -- an unfinished line ---------------------------------------------------------------------------


def test_a_writer_of_an_unfinished_line_can_be_killed(
    mounted: Callable[..., Path], make: Callable[..., Path], environment_file: Path
) -> None:
    mount = mounted("--environment", environment_file)
    script = (
        "import os, sys, time\n"
        "os.write(os.open(sys.argv[1], os.O_WRONLY), sys.argv[2].encode())\n"
        "print('written', flush=True)\n"
        "time.sleep(1000)\n"
    )
    words = [str(mount / "control"), f"insmod {make('stuck')}"]
    writer = subprocess.Popen([sys.executable, "-c", script, *words], stdout=subprocess.PIPE)
    assert writer.stdout and writer.stdout.readline() == b"written\n"
    writer.kill()
    writer.communicate(timeout=60)


def test_what_has_no_end_is_refused(mounted: Callable[..., Path]) -> None:
    mount = mounted()
    for line in ("init_module /dev/zero", "finit_module /dev/zero", "insmod /dev/zero"):
        assert request(mount, line) == errno.EINVAL
