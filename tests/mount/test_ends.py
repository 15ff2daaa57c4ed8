"""Mounting and its failures; every way a mount ends; what a dead server leaves behind."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from modfs.mount.mountinfo import mounted_type
from tests.mount.conftest import request, stats, wait_for, writers


def run(environment: dict[str, str], *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], env=environment, capture_output=True, text=True, timeout=60
    )


def server(mount: Path) -> int:
    return int((mount / ".control/server").read_text())


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("how", ["modfs umount", "fusermount -u", "TERM", "INT", "HUP"])
def test_ends(mounted: Callable[..., Path], environment: dict[str, str], how: str) -> None:
    mount = mounted()
    process = server(mount)
    if " " in how:
        assert run(environment, *how.split(), mount).returncode == 0
    else:
        os.kill(process, getattr(signal, f"SIG{how}"))
    wait_for(lambda: gone(process))
    assert mounted_type(str(mount)) is None


def test_umount_by_root(mounted: Callable[..., Path], environment: dict[str, str]) -> None:
    if os.geteuid():
        pytest.skip("umount(8) is root's")
    mount = mounted()
    process = server(mount)
    assert run(environment, "umount", mount).returncode == 0
    wait_for(lambda: gone(process))


def test_unmounting_lets_waiting_writers_go(
    mounted: Callable[..., Path],
    make: Callable[..., Path],
    environment: dict[str, str],
    environment_file: Path,
) -> None:
    mount = mounted("--environment", environment_file)
    paths = [make("stuck", copy) for copy in range(3)]
    lines = [f"insmod {path} nosuch=1" for path in [*paths, paths[0]]]
    with writers(mount, lines) as results:
        wait_for(lambda: "nosuch" in (mount / "kmsg").read_text())
        process = server(mount)
        assert run(environment, "modfs", "umount", "--force", mount).returncode == 0
    assert results == [errno.ENOTCONN] * 4
    wait_for(lambda: gone(process))
    assert mounted_type(str(mount)) is None


def test_what_is_in_use_stays(mounted: Callable[..., Path], environment: dict[str, str]) -> None:
    mount = mounted()
    with subprocess.Popen(["sleep", "1000"], cwd=mount) as sleeper, (mount / "stats").open():
        done = run(environment, "modfs", "umount", mount)
        sleeper.kill()
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (32, "", 1)
    assert f"{mount}: in use by " in done.stderr
    assert f"sleep[{sleeper.pid}] (working directory)" in done.stderr
    assert f"[{os.getpid()}] (stats)" in done.stderr
    assert mounted_type(str(mount)) is not None
    assert run(environment, "modfs", "umount", mount).returncode == 0


def test_unmounting_under_a_reader_by_force(
    mounted: Callable[..., Path], environment: dict[str, str]
) -> None:
    mount = mounted()
    process = server(mount)
    fd = os.open(mount / "stats", os.O_RDONLY)
    assert run(environment, "modfs", "umount", "--force", mount).returncode == 0
    wait_for(lambda: gone(process))
    with pytest.raises(OSError, match="connect"):
        os.pread(fd, 1, 0)
    with suppress(OSError):  # libfuse's server is asked at a close as well
        os.close(fd)


def test_unmounting_lazily(mounted: Callable[..., Path], environment: dict[str, str]) -> None:
    mount = mounted()
    process = server(mount)
    with (mount / "stats").open() as reader:
        assert run(environment, "modfs", "umount", "--lazy", mount).returncode == 0
        assert mounted_type(str(mount)) is None
        assert "Mods ever loaded" in reader.read()
        assert not gone(process)
    wait_for(lambda: gone(process))


def test_several_mountpoints(
    mounted: Callable[..., Path], workshop: Path, environment: dict[str, str]
) -> None:
    mounts = [mounted(), mounted()]
    done = run(environment, "modfs", "umount", mounts[0], workshop, mounts[1])
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert [mounted_type(str(mount)) for mount in mounts] == [None, None]


def test_a_killed_server_leaves_a_mount_that_the_next_one_clears(
    mounted: Callable[..., Path], environment: dict[str, str]
) -> None:
    mount = mounted()
    os.kill(server(mount), signal.SIGKILL)
    with pytest.raises(OSError, match=r"connected|abort"):
        (mount / "stats").read_text()
    assert run(environment, "modfs", "mount", mount).returncode == 0
    assert stats(mount)["Mods ever loaded"] == 0
    os.kill(server(mount), signal.SIGKILL)
    assert run(environment, "modfs", "umount", mount).returncode == 0
    assert mounted_type(str(mount)) is None


def test_foreground(workshop: Path, environment: dict[str, str]) -> None:
    mount = workshop / "mount"
    mount.mkdir()
    process = subprocess.Popen(
        ["modfs", "mount", "--foreground", str(mount)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: mounted_type(str(mount)))
    assert server(mount) == process.pid
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in said
    assert mounted_type(str(mount)) is None


def test_log(mounted: Callable[..., Path], make: Callable[..., Path], workshop: Path) -> None:
    log = workshop / "log"
    mount = mounted("--log", log, "-v")
    request(mount, f"insmod {make('m', intree=False)}")
    wait_for(lambda: "m: loading out-of-tree module taints kernel." in log.read_text())
    assert f"mounted on {mount}" in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "no such directory; make it with mkdir"),
        (["file"], "not a directory"),
        (["full"], "not empty; choose an empty directory"),
        (["--kernel", "5.10", "empty"], "6.4 is the first that does"),
        (["--kernel", "six", "empty"], "not a kernel release"),
        (["--without", "speed", "empty"], "no feature 'speed'"),
        (["--modules", "nowhere", "empty"], "does not exist"),
        (["-o", "nonsense_option", "empty"], "nonsense_option"),
        (["-o", "control_mode=9", "empty"], "not a mode"),
        (["--log", "/nowhere/log", "empty"], "/nowhere/log: there is no such file or folder"),
        (["--nothing", "empty"], "there is no option"),
        ([], "Missing argument"),
    ],
)
def test_failures_are_one_line(
    workshop: Path, environment: dict[str, str], words: list[str], said: str
) -> None:
    (workshop / "file").touch()
    (workshop / "full").mkdir()
    (workshop / "full/something").touch()
    (workshop / "empty").mkdir()
    done = subprocess.run(
        ["modfs", "mount", *words], cwd=workshop, env=environment, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert done.stdout == ""
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("modfs mount: ")


def test_a_folder_with_an_odd_name(workshop: Path, environment: dict[str, str]) -> None:
    folder = workshop / "é and a blank"
    folder.mkdir()
    assert run(environment, "modfs", "mount", folder).returncode == 0
    assert "already mounted" in run(environment, "modfs", "mount", folder).stderr
    assert run(environment, "modfs", "umount", folder).returncode == 0


def test_mounted_twice(mounted: Callable[..., Path], environment: dict[str, str]) -> None:
    mount = mounted()
    done = run(environment, "modfs", "mount", mount)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "already mounted" in done.stderr


def test_umount_of_something_else(workshop: Path, environment: dict[str, str]) -> None:
    for place in (workshop, workshop / "nothing"):
        done = run(environment, "modfs", "umount", place)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "modfs is not mounted here" in done.stderr


# In a mount namespace of its own: mount(8) clears PATH, so modfs has to be where /bin/sh looks
# for programs without one.
MOUNT_BY_TYPE = """
set -e
mount -t tmpfs private /usr/local/sbin
ln -s "$1" /usr/local/sbin/modfs
mount -t fuse.modfs modfs "$2" -o kernel=6.4,noauto,rw
findmnt -no FSTYPE "$2"
cat "$2/modcount"
umount "$2"
"""


def test_mount_by_type(workshop: Path, environment: dict[str, str]) -> None:
    """As /etc/fstab has it: mount.fuse runs modfs, which it must find."""
    if os.geteuid():
        pytest.skip("mount(8) is root's")
    folder = workshop / "mount"
    folder.mkdir()
    modfs = shutil.which("modfs", path=environment["PATH"])
    assert modfs
    script: list[str | Path] = ["sh", "-c", MOUNT_BY_TYPE, "sh", modfs, folder]
    done = run(environment, "unshare", "--mount", *script)
    assert (done.returncode, done.stdout) == (0, "fuse.modfs\n0\n"), done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide files")
@pytest.mark.parametrize("how", [[], ["--lazy"], ["--force"]], ids=" ".join)
def test_on_a_minimal_root(workshop: Path, environment: dict[str, str], how: list[str]) -> None:
    """No fusermount, no /lib/modules, no /etc/mtab."""
    script = f"""
set -e
cd {workshop}
mkdir over mount
mount -t tmpfs none over
mkdir over/upper over/work
mount -t overlay -o lowerdir=/etc,upperdir=over/upper,workdir=over/work none /etc
rm -f /etc/mtab
[ ! -d /lib/modules ] || mount -t tmpfs none /lib/modules
for name in fusermount fusermount3; do
    ! program=$(command -v $name) || mount --bind /dev/null "$program"
done
modfs mount mount
cat mount/modcount
modfs umount {" ".join(how)} mount
! grep -q " $PWD/mount " /proc/self/mountinfo
"""
    done = run(environment, "unshare", "--mount", "sh", "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
