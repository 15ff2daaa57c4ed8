"""Paths and descriptors are those of whoever writes, and so are the rights.

The writers are real processes, which wait while a request is made in their name.
"""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from tests.modfs.doors import Door

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="to be somebody else one must be root")


@pytest.fixture
def folder(open_folder: Path) -> Path:
    """One that everybody can enter, with the module m in it."""
    (open_folder / "m.ko").write_bytes(build_module(ModuleSpec("m")))
    return open_folder


@contextmanager
def writer(*command: str, uid: int | None = None, **options: object) -> Iterator[Door]:
    """A door at which a process asks that does nothing else but wait for its input's end."""
    words = [*command, "sh", "-c", "echo ready; read line"]
    if uid is not None:
        words = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *words]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options  # type: ignore[call-overload]
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        door = Door()
        door.asked.tid = process.pid
        if uid is not None:
            door.asked.ids = uid, uid
        yield door
        process.stdin.close()


def test_a_relative_path_is_the_writers(folder: Path) -> None:
    with writer(cwd=folder) as door:
        assert door.ask("insmod m.ko") == 0
        assert door.ask("insmod ./absent.ko") == errno.ENOENT
    assert Door().ask("insmod m.ko") == errno.ENOENT


def test_a_descriptor_is_the_writers(folder: Path) -> None:
    fd = os.open(folder / "m.ko", os.O_RDONLY)
    try:
        with writer(pass_fds=[fd]) as door:
            assert door.ask(f"finit_module --fd {fd}") == 0
            assert door.ask(f"finit_module --fd {fd + 50}") == errno.EBADF
    finally:
        os.close(fd)


def test_our_own_process_may_write_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    fd = os.open("m.ko", os.O_RDONLY)
    try:
        door = Door()
        assert door.ask("insmod m.ko", "rmmod m", f"finit_module --fd {fd}") == 0
        os.fstat(fd)  # it is still open
    finally:
        os.close(fd)


def test_proc_self_is_the_writers(folder: Path) -> None:
    with writer(cwd=folder) as door:
        assert door.ask("insmod /proc/self/cwd/m.ko") == 0


@as_root
def test_what_the_writer_may_not_read(folder: Path) -> None:
    (folder / "m.ko").chmod(0o600)
    with writer(uid=NOBODY) as door:
        assert door.ask(f"insmod {folder}/m.ko") == errno.EACCES
        assert door.ask(f"finit_module {folder}/m.ko") == errno.EACCES
        (folder / "m.ko").chmod(0o644)
        assert door.ask(f"insmod {folder}/m.ko") == 0
    (folder / "m.ko").chmod(0o000)
    assert Door().ask(f"insmod {folder}/m.ko") == 0  # we are who we were


@as_root
def test_the_writers_root_is_where_its_paths_start(folder: Path) -> None:
    """chroot(1) into a folder that has the same programs as we have, and a module of its own."""
    with writer("unshare", "--mount", "sh", "-ec", CHROOT, str(folder)) as door:
        assert door.ask("insmod /m.ko") == 0
        assert door.ask(f"insmod {folder}/m.ko") == errno.ENOENT


CHROOT = """
for it in bin lib lib64 usr; do
    if [ -d /$it ]; then mkdir -p "$0/$it"; mount --bind /$it "$0/$it"; fi
done
exec chroot "$0" "$@"
"""


@pytest.mark.parametrize("request_", ["rmmod m", "modprobe m"])
def test_requests_without_a_file_ask_nothing_of_the_writer(request_: str) -> None:
    assert Door().ask(request_) == errno.ENOENT


# -- want -----------------------------------------------------------------------------------------


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process cannot open anything."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_who_opens_while_descriptors_are_short_is_told_so(folder: Path) -> None:
    """Not served as somebody of whom nothing is known, for as long as the file is open."""
    door = Door()
    name = door.name()
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        door.files.open(name, os.O_WRONLY)
    with door.opened(name) as handle:
        assert door.write(handle, f"insmod {folder}/m.ko\n".encode()) == 0


def test_who_writes_while_descriptors_are_short_is_told_so(folder: Path) -> None:
    door = Door()
    with door.opened() as handle, writer("env") as other:
        door.asked.tid = other.asked.tid
        with no_descriptors():
            assert door.write(handle, b"rmmod m\n") == errno.EMFILE
        assert door.write(handle, b"rmmod m\n") == errno.ENOENT


def test_whose_folder_could_not_be_kept_is_told_so(folder: Path) -> None:
    door = Door()
    with pytest.raises(OSError, match="Too many open files"), door.opened() as handle:
        assert door.write(handle, b"rmmod m\n") == errno.ENOENT
        with no_descriptors():
            assert door.write(handle, b"insmod m.ko") == 0
