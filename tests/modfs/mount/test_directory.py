"""The names, modes and texts of a mount; what the kernel does with them is tests/mount's."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from loader.calls import InitModule
from loader.config import Config
from loader.engine.stats import Snapshot
from loader.engine.threads import LiveKernel
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from loader.synthesize.trees import write_tree
from loader.tree.tree import Tree
from modfs import texts
from modfs.mount.directory import ModulesDirectory
from tests.modfs.doors import Asked, Door

# behaviour.md section 1, with unloaded_tainted; control and kmsg are ours (README, The files)
FAILED = ("kreads", "decompress", "becoming", "load_modules")
LOST = ("kread", "decompress", "becoming", "mod")
COUNTERS = {
    *("modcount", "total_mod_size", "total_text_size"),
    *(f"failed_{step}" for step in FAILED),
    *(f"invalid_{step}_bytes" for step in LOST),
}
EVENTS = {"events", "events_pipe"}
NAMES = {"stats", *COUNTERS, *EVENTS, "unloaded_tainted", "kmsg", "control", "autoload"}


def error_of(door: Door, path: str) -> int:
    with pytest.raises(OSError) as caught:
        door.files.getattr(path.encode())
    return caught.value.errno or 0


def names(door: Door, path: bytes = b"/") -> list[str]:
    handle = door.files.opendir(path)
    found = [name.decode() for name in door.files.readdir(handle)]
    door.files.releasedir(handle)
    return found


def test_what_is_listed() -> None:
    found = names(Door())
    assert len(found) == len(set(found)) and set(found) == NAMES
    assert names(Door(), b"/.control") == []


@pytest.mark.parametrize("name", sorted(NAMES - {"control", "autoload"}))
def test_modes_are_those_of_debugfs(name: str) -> None:
    """0400, unloaded_tainted 0444 (behaviour.md section 1); and a size that shows as 0."""
    found = Door().files.getattr(f"/{name}".encode())
    mode = 0o444 if name in ("unloaded_tainted", "kmsg") else 0o400
    assert (found.mode, found.size) == (stat.S_IFREG | mode, 0)


def test_folders_and_links() -> None:
    files = Door().files
    assert stat.S_ISDIR(files.getattr(b"/").mode) and stat.S_ISDIR(files.getattr(b"/.control").mode)
    assert stat.S_ISLNK(files.getattr(b"/control").mode)
    assert stat.S_IMODE(files.getattr(b"/.control/1").mode) == 0o600
    other = ModulesDirectory(LiveKernel(), Asked(), control_mode=0o622)
    assert stat.S_IMODE(other.getattr(b"/.control/1").mode) == 0o622
    assert (files.uid, files.gid) == (os.geteuid(), os.getegid())


def test_settings_of_auto_loading() -> None:
    """autoload.md section 3 and 6: 0644, enable_dups_trace only where it means something."""
    assert names(Door(), b"/autoload") == ["modprobe", "modules_disabled"]
    door = Door(LiveKernel(Config(autoload_dups=True)))
    assert names(door, b"/autoload") == ["modprobe", "modules_disabled", "enable_dups_trace"]
    found = door.files.getattr(b"/autoload/modprobe")
    assert (found.mode, found.size) == (stat.S_IFREG | 0o644, 0)
    with door.opened(b"/autoload/modprobe") as handle:
        assert door.write(handle, b"/h/exit3\n") == 0
    assert door.read("autoload/modprobe") == "/h/exit3\n"
    with door.opened(b"/autoload/modules_disabled") as handle:
        assert door.write(handle, b"0\n") == errno.EINVAL
    assert door.live.request_module("m") == -errno.ENOENT


def test_no_two_files_are_one() -> None:
    door = Door()
    paths = [f"/{name}".encode() for name in names(door)]
    paths += [b"/" + door.files.readlink(b"/control") for _ in range(20)]
    inodes = [door.files.getattr(path).inode for path in paths]
    assert len(set(inodes)) == len(paths)


@pytest.mark.parametrize(
    "path",
    [
        *("/nothing", "/stats/x", "", "stats"),
        *("/.control/x", "/.control/-1", "/.control/1/2", "/.control/9999999999"),
    ],
)
def test_names_that_are_not_there(path: str) -> None:
    assert error_of(Door(), path) == errno.ENOENT


@pytest.mark.parametrize(
    ("operation", "path", "number"),
    [
        ("opendir", b"/stats", errno.ENOTDIR),
        ("opendir", b"/nothing", errno.ENOENT),
        ("readlink", b"/stats", errno.EINVAL),
        ("readlink", b"/", errno.EINVAL),
    ],
)
def test_operations_on_what_is_something_else(operation: str, path: bytes, number: int) -> None:
    with pytest.raises(OSError) as caught:
        getattr(Door().files, operation)(path)
    assert caught.value.errno == number
    with pytest.raises(OSError, match="No such file"):
        Door().files.open(b"/nothing", os.O_RDONLY)


# -- texts ----------------------------------------------------------------------------------------


def test_texts_are_those_of_the_engine() -> None:
    door = Door()
    door.live.call(InitModule(build_module(ModuleSpec("m", intree=False))))
    snapshot = door.live.snapshot()
    assert door.read("modcount") == "1\n"
    for name, file in texts.FILES.items():
        assert door.read(name) == file.text(snapshot)
    assert door.read("kmsg") == door.live.kmsg() != ""
    assert door.read(".control/proc_modules") == texts.proc_modules(snapshot)
    assert json.loads(door.read(".control/sys_module"))["m"]["initstate"] == "live\n"
    assert door.read(".control/server") == f"{os.getpid()}\n"


def test_for_programs_that_join(tmp_path: Path) -> None:
    write_tree(tmp_path / "6.12", [ModuleSpec("m")])
    live = LiveKernel(Config(compression="xz"), tree=Tree.open(tmp_path / "6.12"))
    assert Door(live).read(".control/compression") == "xz\n"
    assert Door(live).read(".control/tree") == f"{(tmp_path / '6.12').resolve()}\n"
    assert Door().read(".control/tree") == "\n"


def test_an_open_file_keeps_its_text_until_it_is_read_from_the_start() -> None:
    door = Door()
    with door.opened(b"/failed_kreads", os.O_RDONLY) as handle:
        assert door.files.read(handle, 10, 0) == b"0\n"
        door.ask("init_module --unmapped len=5")
        assert door.files.read(handle, 10, 1) == b"\n"
        assert door.files.read(handle, 10, 0) == b"1\n"


def test_texts_take_no_writes() -> None:
    door = Door()
    with door.opened(b"/stats", os.O_WRONLY) as handle:
        assert door.write(handle, b"0") == errno.EINVAL


def test_statistics_are_made_again_only_if_something_was_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    door = Door()
    made: list[bool] = []
    real = door.live.statistics

    def statistics(unloaded: bool = False) -> Snapshot:
        made.append(unloaded)
        return real(unloaded)

    monkeypatch.setattr(door.live, "statistics", statistics)
    before = [door.read("stats") for _ in range(5)]
    assert len(set(before)) == 1 and len(made) == 1
    (tmp_path / "a.ko").write_bytes(b"no module")
    assert door.ask(f"insmod {tmp_path}/a.ko") == errno.ENOEXEC
    assert "Mods failed on becoming\t1" in door.read("stats")
    assert door.ask(f"finit_module {tmp_path}") == errno.EINVAL
    assert "Mods failed on kread\t1" in door.read("stats") != before[0]


# -- control --------------------------------------------------------------------------------------


def test_each_look_at_control_leads_elsewhere() -> None:
    door = Door()
    found = [door.files.readlink(b"/control") for _ in range(100)]
    assert len(set(found)) == 100
    assert all(name.startswith(b".control/") for name in found)


def test_nobody_is_told_a_node_that_is_open() -> None:
    door = Door()
    with door.opened(b"/.control/3"):
        assert b".control/3" not in [door.files.readlink(b"/control") for _ in range(10)]


def test_a_writer_that_waits_can_be_interrupted() -> None:
    """Asked whenever it is about to wait: here there is nothing to wait for, so it is done."""
    door = Door()
    door.asked.signal = True
    assert door.ask("rmmod m") == errno.ENOENT


def test_a_server_that_ends_waits_until_all_is_closed() -> None:
    door = Door()
    handle = door.files.open(door.name(), os.O_WRONLY)
    waiter = threading.Thread(target=door.files.wait_until_closed, args=(60,))
    waiter.start()
    door.files.release(handle)
    waiter.join(30)
    assert not waiter.is_alive()
    door.files.wait_until_closed(60)  # nothing is open
