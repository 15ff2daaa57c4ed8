"""A path is opened as its client would open it: what is the client's own is told apart."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from modfs.control.walk import Numbers, Own, open_path
from modfs.linux import AT_FDCWD

CLIENT = os.getppid()
NUMBERS = Numbers((CLIENT,), (CLIENT,))


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/proc/self/fd/0", Own("fd/0", "")),
        ("/proc/thread-self/fd/12/a/b", Own("fd/12", "a/b")),
        ("/proc/self/cwd", Own("cwd", "")),
        ("/proc/self/root/etc/../x", Own("root", "etc/../x")),
        ("//proc/.//self/task/../cwd/x/", Own("cwd", "x/.")),
        (f"/proc/{CLIENT}/fd/3", Own("fd/3", "")),
        (f"/proc/{CLIENT}/task/{CLIENT}/fd/3", Own("fd/3", "")),
        ("/proc/mounts/../self/fd/1", errno.ENOTDIR),
        ("/proc/self/fd/x", errno.ENOENT),
        ("/dev/stdin", Own("fd/0", "")),
        ("/dev/fd/../fd/4", Own("fd/4", "")),
        ("", errno.ENOENT),
        ("/nowhere", errno.ENOENT),
        ("/etc/passwd/", errno.ENOTDIR),
        ("x" * 5000, errno.ENAMETOOLONG),
    ],
)
def test_what_is_the_clients_own(path: str, own: Own | int) -> None:
    if isinstance(own, int):
        with pytest.raises(OSError) as failed:
            open_path(path, os.O_RDONLY, AT_FDCWD, NUMBERS)
        assert failed.value.errno == own
    else:
        assert open_path(path, os.O_RDONLY, AT_FDCWD, NUMBERS) == own


def test_files_about_the_client_are_not_about_us() -> None:
    found = open_path("/proc/self/status", os.O_RDONLY, AT_FDCWD, NUMBERS)
    assert isinstance(found, int)
    with os.fdopen(found) as file:
        assert f"Tgid:\t{CLIENT}\n" in file.read()


def test_other_files_and_nothing_left_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("/proc/self/../../" + str(tmp_path / "file"))
    before = os.listdir("/proc/self/fd")
    for path in (tmp_path / "file", tmp_path / "link"):
        found = open_path(str(path), os.O_RDONLY, AT_FDCWD, NUMBERS)
        assert isinstance(found, int)
        assert os.read(found, 9) == b"text"
        os.close(found)
    with pytest.raises(OSError, match="Too many"):
        (tmp_path / "loop").symlink_to("loop")
        open_path(str(tmp_path / "loop"), os.O_RDONLY, AT_FDCWD, NUMBERS)
    assert os.listdir("/proc/self/fd") == before
