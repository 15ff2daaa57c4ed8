"""/sys/module, /proc and the debug files as one file system (sysfs's own layout)."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from modfs.fuse.files import FileSystem
from modfs.run.module_view import SysModuleView
from modfs.run.views import DebugView, ProcView, View, Views
from tests.modfs.doors import Door

MODULES = {
    "m": {"initstate": "live\n", "refcnt": "1\n", "parameters/n": "5\n", "holders/user": ""},
    "user": {
        "initstate": "live\n",
        "refcnt": "0\n",
        "notes/.note.x": "\0\x04\udcff",
        "sections/.text": "0x0000000000000000\n",
    },
}


def sys_module(compression: str = "zstd") -> SysModuleView:
    return SysModuleView(lambda: MODULES, lambda name: MODULES.get(name, {}), compression)


def error_of(operation: Callable[[], object]) -> int:
    with pytest.raises(OSError) as caught:
        operation()
    return caught.value.errno or 0


def text(view: View, path: bytes) -> bytes:
    file = view.open_file(path)
    try:
        return file.read(4096, 0)
    finally:
        file.flush()
        file.release()


def kind(view: View, path: bytes) -> str:
    mode = view.getattr(path).mode
    kinds = {"folder": stat.S_ISDIR, "link": stat.S_ISLNK, "file": stat.S_ISREG}
    return next(name for name, is_kind in kinds.items() if is_kind(mode))


# -- /sys/module ----------------------------------------------------------------------------------


def test_modules_are_folders() -> None:
    view = sys_module()
    assert set(view.names(b"/")) == {b"m", b"user", b"compression"}
    assert set(view.names(b"/m")) >= {b"initstate", b"refcnt", b"parameters", b"holders"}
    assert b"parameters" not in view.names(b"/user")  # sysfs has no empty one
    assert list(view.names(b"/m/parameters")) == [b"n"]
    assert list(view.names(b"/user/holders")) == []
    assert [kind(view, path) for path in (b"/", b"/m", b"/m/parameters", b"/user/holders")] == [
        "folder"
    ] * 4


def test_files() -> None:
    view = sys_module()
    assert text(view, b"/m/initstate") == b"live\n"
    assert text(view, b"/m/parameters/n") == b"5\n"
    assert text(view, b"/compression") == b"zstd\n"
    assert kind(view, b"/m/refcnt") == "file"


def test_sections_and_notes() -> None:
    """Files with bytes: add_sect_attrs, add_notes_attrs (kernel/module/sysfs.c)."""
    view = sys_module()
    assert text(view, b"/user/notes/.note.x") == b"\0\x04\xff"
    found = {name: view.getattr(b"/user/" + name) for name in (b"notes/.note.x", b"sections/.text")}
    assert [(stat.S_IMODE(each.mode), each.size) for each in found.values()] == [
        (0o444, 3), (0o400, 19)
    ]  # fmt: skip
    assert b"notes" not in view.names(b"/m")


def test_uevent_takes_the_names_of_events() -> None:
    """kobject_synth_uevent; the file can only be written."""
    view = sys_module()
    assert view.getattr(b"/m/uevent").mode == stat.S_IFREG | 0o200
    assert b"uevent" in view.names(b"/m")
    uuid = b"7c1a2f2e-5a04-4f1e-8f1b-0d0f6d0a9a11"
    for data in (b"add", b"change\n", b"remove %s SEAT=1\n" % uuid):
        assert view.open_file(b"/m/uevent", os.O_WRONLY).write(data) == len(data)
    for data in (b"added\n", b"", b" add", b"add ", b"remove 6e1a", b"add 6e1a SEAT=1"):
        file = view.open_file(b"/m/uevent", os.O_WRONLY)
        assert error_of(partial(file.write, data)) == errno.EINVAL
    assert error_of(lambda: view.open_file(b"/m/uevent").read(10, 0)) == errno.EACCES
    for path in (b"/absent/uevent", b"/uevent", b"/m/holders/uevent"):
        assert error_of(lambda path=path: view.getattr(path)) == errno.ENOENT  # type: ignore[misc]


def test_holders_are_links_to_modules() -> None:
    view = sys_module()
    assert kind(view, b"/m/holders/user") == "link"
    target = os.path.normpath(b"/m/holders/" + view.readlink(b"/m/holders/user"))
    assert target == b"/user"
    assert error_of(lambda: view.readlink(b"/m/initstate")) == errno.EINVAL


@pytest.mark.parametrize(
    "path",
    [b"/absent", b"/m/absent", b"/absent/initstate", b"/user/parameters", b"/\xff", b"/m/x/y"],
)
def test_what_is_not_there(path: bytes) -> None:
    view = sys_module()
    assert error_of(lambda: view.getattr(path)) == errno.ENOENT
    assert error_of(lambda: view.open_file(path)) == errno.ENOENT


def test_a_kernel_that_unpacks_nothing_has_no_file_for_it() -> None:
    view = sys_module("none")
    assert b"compression" not in view.names(b"/")
    assert error_of(lambda: view.getattr(b"/compression")) == errno.ENOENT


def test_modules_come_and_go() -> None:
    there: dict[str, dict[str, str]] = {}
    view = SysModuleView(lambda: there, lambda name: there.get(name, {}), "none")
    assert list(view.names(b"/")) == []
    there["new"] = {"initstate": "coming\n"}
    assert text(view, b"/new/initstate") == b"coming\n"
    there.clear()
    assert error_of(lambda: view.getattr(b"/new")) == errno.ENOENT


# -- /proc ----------------------------------------------------------------------------------------


@pytest.fixture
def proc(tmp_path: Path) -> ProcView:
    (tmp_path / "meminfo").touch()
    (tmp_path / "mounts").symlink_to("nowhere")
    for name in ("self", "thread-self"):
        (tmp_path / name).symlink_to("nowhere")
    own = tmp_path / str(threading.get_native_id())
    own.symlink_to(f"/proc/self/task/{own.name}")
    files = {"modules": lambda: "m 4096\n", "sys/kernel/modprobe": lambda: "/sbin/modprobe\n"}
    return ProcView(files, lambda: (0, 0, threading.get_native_id()), tmp_path, tmp_path)


def test_files_of_our_own(proc: ProcView) -> None:
    assert text(proc, b"/modules") == b"m 4096\n"
    assert text(proc, b"/sys/kernel/modprobe") == b"/sbin/modprobe\n"
    assert [kind(proc, path) for path in (b"/", b"/sys", b"/sys/kernel", b"/modules")] == [
        *["folder"] * 3,
        "file",
    ]


def test_all_else_leads_to_the_real_one(proc: ProcView, tmp_path: Path) -> None:
    there = {b"modules", b"sys", *os.listdir(os.fsencode(tmp_path))}
    assert set(proc.names(b"/")) == there
    for name in (b"meminfo", b"mounts"):  # also what leads nowhere: it is whoever asks
        assert kind(proc, b"/" + name) == "link"
        assert proc.readlink(b"/" + name) == os.fsencode(tmp_path) + b"/" + name
    assert error_of(lambda: proc.getattr(b"/absent")) == errno.ENOENT
    assert error_of(lambda: proc.readlink(b"/modules")) == errno.EINVAL
    assert error_of(lambda: proc.open_file(b"/meminfo")) == errno.ENOENT


def test_who_asks(proc: ProcView) -> None:
    """The program's number is in the status of the thread that asks (proc_self_get_link)."""
    tid = threading.get_native_id()
    assert proc.readlink(b"/self") == b"%d" % os.getpid()
    assert proc.readlink(b"/thread-self") == b"%d/task/%d" % (os.getpid(), tid)


def test_the_place_of_the_real_one(proc: ProcView, tmp_path: Path) -> None:
    """It can be mounted on, and is not listed."""
    assert kind(proc, b"/" + os.fsencode(tmp_path.name)) == "folder"
    assert os.fsencode(tmp_path.name) not in proc.names(b"/")


def test_without_a_real_one() -> None:
    view = ProcView({"modules": lambda: ""}, lambda: (0, 0, 0), None)
    assert set(view.names(b"/")) == {b"modules"}
    assert error_of(lambda: view.getattr(b"/meminfo")) == errno.ENOENT


# -- all together ---------------------------------------------------------------------------------


@pytest.fixture
def views(proc: ProcView) -> Views:
    return Views({"debug": DebugView(Door().files), "module": sys_module(), "proc": proc})


def test_they_are_a_file_system(views: Views) -> None:
    files: FileSystem = views
    assert (files.uid, files.gid) == (os.geteuid(), os.getegid())


def names(views: Views, path: bytes) -> set[bytes]:
    handle = views.opendir(path)
    found = set(views.readdir(handle))
    views.releasedir(handle)
    return found


def test_each_has_its_folder(views: Views) -> None:
    assert names(views, b"/") == {b"debug", b"module", b"proc"}
    assert b"stats" in names(views, b"/debug")
    assert names(views, b"/module/m/parameters") == {b"n"}
    assert stat.S_ISDIR(views.getattr(b"/").mode) and stat.S_ISDIR(views.getattr(b"/debug").mode)
    assert views.readlink(b"/module/m/holders/user") == b"../../user"


def test_open_files(views: Views) -> None:
    first = views.open(b"/module/m/refcnt", os.O_RDONLY)
    second = views.open(b"/debug/modcount", os.O_RDONLY)
    assert (views.read(first, 9, 0), views.read(second, 9, 0)) == (b"1\n", b"0\n")
    assert error_of(lambda: views.write(first, b"x")) == errno.EINVAL
    for handle in (first, second):
        views.flush(handle)
        views.release(handle)


def test_requests_are_taken_here_as_well(views: Views) -> None:
    target = views.readlink(b"/debug/control")
    handle = views.open(b"/debug/" + target, os.O_WRONLY)
    assert error_of(lambda: views.write(handle, b"rmmod m\n")) == errno.ENOENT
    views.release(handle)


@pytest.mark.parametrize(
    ("operation", "path", "number"),
    [
        ("getattr", b"/absent", errno.ENOENT),
        ("readlink", b"/absent/x", errno.ENOENT),
        ("opendir", b"/module/m/refcnt", errno.ENOTDIR),
        ("opendir", b"/module/absent", errno.ENOENT),
    ],
)
def test_errors(views: Views, operation: str, path: bytes, number: int) -> None:
    assert error_of(lambda: getattr(views, operation)(path)) == number
    assert error_of(lambda: views.open(b"/module/absent", os.O_RDONLY)) == errno.ENOENT
