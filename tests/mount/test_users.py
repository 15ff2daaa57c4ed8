"""Several users: whose rights open a file, who may read and write, who may mount."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loader.synthesize.spec import ModuleSpec
from loader.synthesize.trees import write_tree
from tests.mount.conftest import request, stats

NOBODY = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def as_nobody(attempt: Callable[[], object]) -> int:
    """Do something as another user, in a process of its own; the errno, 0 if none."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    status = 0
    try:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        attempt()
    except OSError as error:
        status = error.errno or 255
    except BaseException:
        status = 255
    finally:
        os._exit(status)


def read(path: Path) -> int:
    return as_nobody(path.read_text)


def write(mount: Path, line: str) -> int:
    def attempt() -> None:
        fd = os.open(mount / "control", os.O_WRONLY)
        os.write(fd, f"{line}\n".encode())

    return as_nobody(attempt)


@pytest.fixture
def open_workshop(workshop: Path) -> Iterator[Path]:
    """Other users can get to the files of the test."""
    folders = [folder for folder in workshop.parents if folder != Path("/tmp")][:3]
    modes = {folder: stat.S_IMODE(folder.stat().st_mode) for folder in [workshop, *folders]}
    for folder in modes:
        folder.chmod(modes[folder] | 0o755)
    yield workshop
    for folder, mode in modes.items():
        folder.chmod(mode)


def test_others_see_nothing(mounted: Callable[..., Path], open_workshop: Path) -> None:
    assert read(mounted() / "stats") == errno.EACCES


def test_others_read_what_the_modes_allow(
    mounted: Callable[..., Path], make: Callable[..., Path], open_workshop: Path
) -> None:
    mount = mounted("-o", "allow_other")
    assert read(mount / "stats") == errno.EACCES
    assert read(mount / "unloaded_tainted") == 0
    assert write(mount, f"insmod {make('m')}") == errno.EACCES


def test_files_are_opened_with_the_writer_s_rights(
    mounted: Callable[..., Path], make: Callable[..., Path], open_workshop: Path
) -> None:
    mount = mounted("-o", "allow_other,control_mode=0666")
    public, private = make("public"), make("private")
    private.chmod(0o600)
    assert write(mount, f"insmod {private}") == errno.EACCES
    assert write(mount, f"insmod {public}") == 0
    assert request(mount, f"insmod {private}") == 0  # root's own request is root's
    for _ in range(20):  # the threads that served nobody are root's again
        assert request(mount, f"insmod {private}") == errno.EEXIST
    assert stats(mount)["Mods ever loaded"] == 2


def test_modprobe_too(mounted: Callable[..., Path], open_workshop: Path) -> None:
    tree = open_workshop / "tree"
    write_tree(tree, [ModuleSpec("private")])
    mount = mounted("-o", "allow_other,control_mode=0666", "--modules", tree)
    path = next(tree.rglob("private.ko"))
    path.chmod(0o600)
    assert write(mount, "modprobe private") == errno.EACCES
    path.chmod(0o644)
    assert write(mount, "modprobe private") == 0
