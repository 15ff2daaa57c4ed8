"""Unmounting what is served by somebody else, by nobody, or by a server that is stuck."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loader.errors import UserError
from modfs.mount import aside, background, umount
from modfs.mount.connection import Server, abort, servers
from modfs.mount.mountinfo import mounted_type, top_mount
from modfs.mount.options import MountOptions
from tests.mount.conftest import wait_for, writers
from tests.mount.servers import foreign, ours
from tests.mount.test_ends import gone, run, server
from tests.unprivileged import run_as_nobody

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do this")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is taken for an answer soon."""
    monkeypatch.setattr(aside, "ANSWER_SECONDS", 1.0)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes as long as a server of tests.mount.servers has, was ended by force."""
    monkeypatch.setattr(umount, "END_SECONDS", 1.0)


@pytest.fixture
def new_kernel() -> None:
    """The kernel tells which process serves a mount (6.16)."""


@pytest.fixture
def old_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel does not tell which process serves a mount (before 6.16)."""
    monkeypatch.setattr(umount, "servers", lambda mount: [])


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any mount."""
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait(20)


def serving(place: Path) -> list[Server]:
    mount = top_mount(str(place))
    assert mount
    found = servers(mount)
    if not found:
        pytest.skip("this kernel does not tell who serves a mount")
    return found


# -- somebody else's ------------------------------------------------------------------------------


@root_only
@pytest.mark.parametrize("kernel", ["new_kernel", "old_kernel"])
def test_a_number_in_a_file_has_nobody_killed(
    workshop: Path,
    bystander: subprocess.Popen[bytes],
    request: pytest.FixtureRequest,
    kernel: str,
) -> None:
    request.getfixturevalue(kernel)
    place = workshop / "mount"
    with foreign(place, f"{bystander.pid}\n") as process:
        assert (place / ".control/server").read_text() == f"{bystander.pid}\n"
        assert "served by something else" in umount.umount_by_force(str(place))
        assert bystander.poll() is None
        assert mounted_type(str(place)) is None
        process.wait(20)  # it served the mount: ended, or its connection is cut


@root_only
def test_one_line_tells_what_was_done(
    workshop: Path, bystander: subprocess.Popen[bytes], environment: dict[str, str]
) -> None:
    place = workshop / "mount"
    with foreign(place, f"{bystander.pid}\n"):
        done = run(environment, "modfs", "umount", "--force", place)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (0, "", 1)
    assert done.stderr.startswith(f"modfs umount: {place}: it is served by something else: ")
    assert bystander.poll() is None


@root_only
@pytest.mark.parametrize("kernel", ["new_kernel", "old_kernel"])
def test_a_server_that_never_answers(
    workshop: Path, impatient: None, request: pytest.FixtureRequest, kernel: str
) -> None:
    request.getfixturevalue(kernel)
    place = workshop / "mount"
    with foreign(place) as process:
        client = subprocess.Popen(["stat", place / "stats"], stderr=subprocess.DEVNULL)
        assert "does not answer" in umount.umount_by_force(str(place))
        assert mounted_type(str(place)) is None
        process.wait(20)
        assert client.wait(20) == 1


@root_only
def test_mounting_over_a_server_that_never_answers(workshop: Path, impatient: None) -> None:
    place = workshop / "mount"
    with foreign(place), pytest.raises(UserError, match="does not answer; try modfs umount"):
        background.mount(lambda: pytest.fail("not mounted"), str(place), MountOptions())


@root_only
def test_mounting_where_something_else_is_mounted(workshop: Path) -> None:
    place = workshop / "mount"
    with foreign(place, "text"), pytest.raises(UserError, match="already mounted"):
        background.mount(lambda: pytest.fail("not mounted"), str(place), MountOptions())


# -- ours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["new_kernel", "old_kernel"])
def test_a_stopped_server(
    mounted: Callable[..., Path], impatient: None, request: pytest.FixtureRequest, kernel: str
) -> None:
    request.getfixturevalue(kernel)
    mount = mounted()
    process = server(mount)
    os.kill(process, signal.SIGSTOP)
    try:
        reader = subprocess.Popen(["cat", mount / "stats"], stderr=subprocess.DEVNULL)
        with pytest.raises(UserError, match="does not answer"):
            background.mount(lambda: pytest.fail("not mounted"), str(mount), MountOptions())
        assert "does not answer" in umount.umount_by_force(str(mount))
        assert mounted_type(str(mount)) is None
        assert reader.wait(20) == 1
    finally:
        os.kill(process, signal.SIGCONT)
    wait_for(lambda: gone(process))


BUSY = """
from pathlib import Path
def busy():
    Path(sys.argv[1] + ".busy").touch()
"""
COMPUTES = (
    BUSY
    + """
def compute(self, step, caller):
    busy()
    while True:
        pass
LiveKernel._run_init = compute
"""
)
HOLDS_THE_LOCK = (
    BUSY
    + """
import time
def hold(self, step, caller):
    with self.kernel.lock:
        busy()
        time.sleep(3600)
LiveKernel._run_init = hold
"""
)
HANGS = (
    BUSY
    + """
import os
from loader.engine.reader import Reader
def hang(self, *arguments):
    busy()
    os.read(os.pipe()[0], 1)
Reader.read_new = hang
"""
)


@pytest.mark.parametrize("how", ["umount", "TERM"])
@pytest.mark.parametrize(
    "prepare", [COMPUTES, HOLDS_THE_LOCK, HANGS], ids=["computes", "holds the lock", "hangs"]
)
def test_a_request_that_does_not_end(
    workshop: Path, make: Callable[..., Path], hurried: None, prepare: str, how: str
) -> None:
    place = workshop / "mount"
    with ours(place, prepare) as process:
        with writers(place, [f"insmod {make('m')}"] * 3) as results:
            wait_for(lambda: waiting(place) == 3 and Path(f"{place}.busy").exists())
            if how == "umount":
                assert "in the middle of its work" in umount.umount_by_force(str(place))
            else:
                process.terminate()
        assert set(results) <= {errno.ENOTCONN, errno.ECONNABORTED}
        assert process.wait(20) == 1
        assert mounted_type(str(place)) is None


def waiting(place: Path) -> int:
    """How many threads of this process wait for an answer of a FUSE server."""
    threads = Path("/proc/self/task").iterdir()
    return sum((thread / "wchan").read_text() == "request_wait_answer" for thread in threads)


@root_only
def test_a_connection_that_is_cut_ends_the_server(
    mounted: Callable[..., Path], make: Callable[..., Path], environment_file: Path
) -> None:
    mount = mounted("--environment", environment_file)
    process = server(mount)
    there = top_mount(str(mount))
    assert there
    with writers(mount, [f"insmod {make('stuck')}"]) as results:
        wait_for(lambda: waiting(mount) == 1)
        assert abort(there)
    assert set(results) <= {errno.ENOTCONN, errno.ECONNABORTED}
    wait_for(lambda: gone(process))


def test_a_read_only_mount_is_told_too(
    mounted: Callable[..., Path], environment: dict[str, str]
) -> None:
    mount = mounted("-o", "ro")
    process = server(mount)
    done = run(environment, "modfs", "umount", mount)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    wait_for(lambda: gone(process))


def test_only_who_mounted_it_may_have_it_end(mounted: Callable[..., Path]) -> None:
    mount = mounted("-o", "allow_other")
    status = os.stat(mount / ".control/end")
    assert (status.st_mode & 0o777, status.st_uid) == (0o400, os.geteuid())


@root_only
def test_root_ends_a_user_s_mount(open_folder: Path, environment: dict[str, str]) -> None:
    done = run_as_nobody(
        'cd "$1"; mkdir mount; modfs mount mount',
        open_folder,
        environment,
        then='modfs umount mount; ! grep "$PWD/mount" /proc/self/mounts',
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@root_only
def test_the_server_is_in_another_pid_namespace(
    workshop: Path, environment: dict[str, str]
) -> None:
    place = workshop / "mount"
    place.mkdir()
    script = f"modfs mount {place} && echo mounted && read line"
    namespace = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", script],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert namespace.stdout and namespace.stdin
    assert namespace.stdout.readline() == "mounted\n"
    processes = serving(place)
    assert server(place) not in [process.number for process in processes]
    done = run(environment, "modfs", "umount", place)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(process.ended(20) for process in processes)
    namespace.communicate("\n", timeout=20)


def test_a_path_that_is_a_link(
    mounted: Callable[..., Path], workshop: Path, environment: dict[str, str]
) -> None:
    mount = mounted()
    (workshop / "link").symlink_to(mount)
    assert run(environment, "modfs", "umount", workshop / "link").returncode == 0
    assert mounted_type(str(mount)) is None
