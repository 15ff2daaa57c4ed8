"""The engine behind a mount: what is written to its control file, and what is read.

The mount is a folder of plain files here; each call's line is caught with what its descriptor
leads to at that moment. Through a real mount: tests/run/test_doors.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.calls import Call, Caller, DeleteModule, FinitModule, InitModule
from loader.errors import LoadError, UserError
from modfs.control import remote
from modfs.control.grammar import format_call, parse
from modfs.control.remote import RemoteKernel

SYS_MODULE = {"m": {"initstate": "live\n", "holders/user": ""}, "user": {"initstate": "live\n"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".control").mkdir()
    texts = {
        ".control/compression": "xz\n",
        ".control/proc_modules": "m 4096 0 - Live 0x0000000000000000\n",
        ".control/sys_module": json.dumps(SYS_MODULE),
        ".control/tree": "/lib/modules/6.12\n",
        "stats": "the report\n",
        "control": "",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def kernel(folder: Path) -> Iterator[RemoteKernel]:
    made = RemoteKernel(folder)
    yield made
    made.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Call, bytes]]:
    """The calls that become lines, each with the content of its descriptor."""
    found: list[tuple[Call, bytes]] = []

    def catch(call: Call) -> str:
        file = None
        if not isinstance(call, DeleteModule):
            file = call.file if isinstance(call, FinitModule) else call.image
        content = os.pread(file, 1 << 20, 0) if isinstance(file, int) and file >= 0 else b""
        found.append((call, content))
        return format_call(call)

    monkeypatch.setattr(remote, "format_call", catch)
    return found


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


# -- what can be read -----------------------------------------------------------------------------


def test_texts(kernel: RemoteKernel) -> None:
    assert (kernel.compression, kernel.stats()) == ("xz", "the report\n")
    assert kernel.proc_modules() == "m 4096 0 - Live 0x0000000000000000\n"
    assert kernel.module_names() == ["m", "user"]
    assert kernel.module_files("m") == SYS_MODULE["m"]
    assert kernel.module_files("absent") == {}
    assert kernel.tree() == Path("/lib/modules/6.12")


def test_no_tree(folder: Path, kernel: RemoteKernel) -> None:
    (folder / ".control/tree").write_text("\n")
    assert kernel.tree() is None


def test_where_nothing_answers(tmp_path: Path) -> None:
    before = descriptors()
    with pytest.raises(UserError, match="modfs is not mounted here"):
        RemoteKernel(tmp_path)
    assert descriptors() == before


def test_it_holds_the_folder_wherever_that_goes(folder: Path, kernel: RemoteKernel) -> None:
    folder.rename(folder.parent / "elsewhere")
    assert kernel.stats() == "the report\n"


# -- calls ----------------------------------------------------------------------------------------


def lines(folder: Path) -> str:
    return (folder / "control").read_text("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "call", [DeleteModule("m"), DeleteModule("a\udc80 b", 0), DeleteModule(None), InitModule(None)]
)
def test_what_names_no_file_is_one_line(folder: Path, kernel: RemoteKernel, call: Call) -> None:
    kernel.call(call)
    assert parse(lines(folder).removesuffix("\n")) == (call,)


def test_a_path_is_opened_by_the_caller(
    folder: Path, kernel: RemoteKernel, sent: list[tuple[Call, bytes]], tmp_path: Path
) -> None:
    (tmp_path / "m.ko").write_bytes(b"module")
    before = descriptors()
    kernel.call(FinitModule(tmp_path / "m.ko", "a=1 b", 3, os.O_RDWR))
    kernel.call(InitModule(tmp_path / "m.ko", "c", 4))
    (first, one), (second, two) = sent
    assert isinstance(first, FinitModule) and isinstance(second, InitModule)
    assert (first.params, first.flags, first.access, one) == ("a=1 b", 3, os.O_RDONLY, b"module")
    assert (second.params, second.length, two) == ("c", 4, b"module")
    assert descriptors() == before
    assert lines(folder).startswith("init_module ")


def test_bytes_go_through_a_file_in_memory(
    kernel: RemoteKernel, sent: list[tuple[Call, bytes]]
) -> None:
    before = descriptors()
    kernel.call(InitModule(b"in memory", "a=1"))
    kernel.call(InitModule(b"in memory", length=100))
    (first, one), (second, two) = sent
    assert isinstance(first, InitModule) and isinstance(second, InitModule)
    assert (first.length, second.length, one, two) == (9, 100, b"in memory", b"in memory")
    assert descriptors() == before


def test_a_descriptor_stays_the_callers(
    folder: Path, kernel: RemoteKernel, sent: list[tuple[Call, bytes]]
) -> None:
    fd = os.open(folder / "stats", os.O_RDONLY)
    kernel.call(FinitModule(fd))
    assert sent == [(FinitModule(fd), b"the report\n")]
    os.close(fd)  # so it is still open


def test_another_callers_descriptor_is_brought_here_first(
    folder: Path, kernel: RemoteKernel, sent: list[tuple[Call, bytes]]
) -> None:
    def open_(file: object, access: int) -> tuple[int, bool]:
        assert file == 77
        return os.open(folder / "stats", os.O_RDONLY), True

    before = descriptors()
    kernel.call(FinitModule(77), Caller(open=open_))
    assert [content for _, content in sent] == [b"the report\n"]
    assert descriptors() == before


def test_errors_are_the_mounts(folder: Path, kernel: RemoteKernel) -> None:
    (folder / "control").unlink()
    (folder / "control").symlink_to("/dev/full")
    with pytest.raises(LoadError) as caught:
        kernel.call(DeleteModule("m"))
    assert caught.value.errno == errno.ENOSPC
    before = descriptors()
    with pytest.raises(OSError, match="No such file"):
        kernel.call(FinitModule(folder / "absent"))
    assert descriptors() == before


def test_who_may_not_load_modules_does_not_get_so_far(folder: Path, kernel: RemoteKernel) -> None:
    with pytest.raises(LoadError) as caught:
        kernel.call(DeleteModule("m"), Caller(capable=False))
    assert caught.value.errno == errno.EPERM
    assert lines(folder) == ""
    kernel.wake()
