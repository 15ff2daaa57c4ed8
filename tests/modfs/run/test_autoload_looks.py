"""What is made of a caught call's arguments: of this process, which is the caller here."""

from __future__ import annotations

import ctypes
import os
import random
import stat
import struct

import pytest

from loader.calls import ANYONE, Call, Caller
from modfs import linux
from modfs.run import caught, known
from modfs.run.autoload import Autoload
from modfs.run.scout import Order, Seen
from modfs.run.seccomp import Notification

X86_64 = linux.AUDIT_ARCH_X86_64
UNMAPPED = 1 << 30
AT_FDCWD = (1 << 64) - 100


class Engine:
    """Whose helper finds nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.live: tuple[str, ...] = ()

    def request_module(
        self, string: str, caller: Caller, wait: bool = True, function: str = ""
    ) -> int:
        self.asked.append((string, function))
        return 256

    def get_fs_type(self, name: str, caller: Caller) -> bool:
        self.asked.append((f"fs-{name.partition('.')[0]}", "get_fs_type"))
        return False

    def provides(self, string: str) -> bool:
        return string in self.live

    def call(self, call: Call, caller: Caller = ANYONE) -> None: ...

    def wake(self) -> None: ...


class Places:
    """What paths lead to, instead of the scout."""

    def __init__(self) -> None:
        self.found: dict[bytes, Seen] = {
            b"/dir": Seen(stat.S_IFDIR | 0o755, 0, 0, b"", b""),
            b"device": Seen(stat.S_IFCHR | 0o600, 199, 7, b"", b""),
            b"disk": Seen(stat.S_IFBLK | 0o600, 199, 3, b"", b""),
            b"program": Seen(stat.S_IFREG | 0o755, 0, 0, b"\x01\x02\x03\x04", b"program"),
        }

    def look(self, order: Order) -> Seen | None:
        return self.found.get(order.path)


class World:
    def __init__(self) -> None:
        self.engine = Engine()
        self.autoload = Autoload(self.engine, Places())  # type: ignore[arg-type]
        self.kept: list[object] = []

    def at(self, data: bytes) -> int:
        """The address of these bytes and a NUL."""
        buffer = ctypes.create_string_buffer(data)
        self.kept.append(buffer)
        return ctypes.addressof(buffer)

    def call(self, name: str, *arguments: int) -> list[str]:
        """The strings asked for."""
        words = tuple(word & (1 << 64) - 1 for word in arguments)
        padded = (*words, *(0,) * (6 - len(words)))
        self.engine.asked.clear()
        self.autoload.look(Notification(1, os.getpid(), name, padded, X86_64), ANYONE)
        return [string for string, _ in self.engine.asked]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(linux, "effective_capabilities", lambda tid: (1 << 41) - 1)
    return World()


MS_REMOUNT, MS_BIND, MS_MOVE, MS_SHARED, MS_NOUSER = 32, 4096, 8192, 1 << 20, 1 << 31


def test_mounts(world: World) -> None:
    folder, kind = world.at(b"/dir"), world.at(b"nofs.sub")
    assert world.call("mount", 0, folder, kind, 0, 0) == ["fs-nofs"]
    assert world.call("mount", UNMAPPED, folder, kind, 0xC0ED0001, 0) == ["fs-nofs"]
    for flags in (MS_REMOUNT, MS_BIND, MS_MOVE, MS_SHARED, MS_NOUSER, 0xC0ED0000 | MS_BIND):
        assert world.call("mount", 0, folder, kind, flags, 0) == []
    assert world.call("mount", 0, world.at(b"/nowhere"), kind, 0, 0) == []
    assert world.call("mount", 0, folder, world.at(b"tmpfs"), 0, 0) == []
    for bad in (0, UNMAPPED, (1 << 64) - 1, world.at(b"x" * 5000)):
        assert world.call("mount", 0, folder, bad, 0, 0) == []
        assert world.call("mount", 0, bad, kind, 0, 0) == []
    assert world.call("fsopen", kind, 1) == ["fs-nofs"]
    assert world.call("fsopen", kind, 2) == []


def test_who_may_not_mount(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "effective_capabilities", lambda tid: 0)
    folder, kind = world.at(b"/dir"), world.at(b"nofs")
    assert world.call("mount", 0, folder, kind, 0, 0) == []
    assert world.call("fsopen", kind, 0) == []


def test_what_is_live_is_not_missed(world: World) -> None:
    world.engine.live = ("net-pf-3", "char-major-199")
    assert world.call("socket", 3, 1, 0) == []
    assert world.call("open", world.at(b"device"), os.O_RDWR) == ["char-major-199-7"]


def test_sockets(world: World) -> None:
    assert world.call("socket", 3, 1 | 0o2000000, 0) == ["net-pf-3"]
    assert world.call("socket", (7 << 32) | 3, 1, 0) == ["net-pf-3"]  # ints
    assert world.call("socket", 3, 1 | 1 << 20, 0) == []  # no such flag: EINVAL
    assert world.call("socket", 3, 12, 0) == []
    assert world.call("socket", 46, 1, 0) == world.call("socket", -1, 1, 0) == []
    assert world.call("socketpair", 3, 1, 0, UNMAPPED) == ["net-pf-3"]
    assert world.call("socket", 16, 3, 25) == ["net-pf-16-proto-25"]
    assert world.call("socket", 16, 3, 32) == world.call("socket", 16, 1, 25) == []
    assert [function for _, function in world.engine.asked] == []
    words = world.at(struct.pack("<3I", 24, 1, 0))
    assert world.call("socketcall", caught.SYS_SOCKET, words) == ["net-pf-24"]
    assert world.call("socketcall", caught.SYS_SOCKET, UNMAPPED) == []


def test_devices_and_programs(world: World) -> None:
    device, disk, program = world.at(b"device"), world.at(b"disk"), world.at(b"program")
    character = ["char-major-199-7", "char-major-199"]
    assert world.call("open", device, os.O_RDWR) == character
    assert world.call("creat", device) == world.call("openat", AT_FDCWD, device, 3) == character
    how = world.at(struct.pack("<3Q", os.O_RDWR, 0, 0))
    assert world.call("openat2", AT_FDCWD, device, how, 24) == character
    how = world.at(struct.pack("<3Q", os.O_PATH, 0, 0))
    assert world.call("openat2", AT_FDCWD, device, how, 24) == []
    assert world.call("openat2", AT_FDCWD, device, UNMAPPED, 24) == []
    assert world.call("open", disk, 0) == ["block-major-199-3", "block-major-199"]
    assert world.call("execve", program, 0, 0) == ["binfmt-0403"]
    assert world.call("execveat", AT_FDCWD, program, 0, 0, 0) == ["binfmt-0403"]
    assert world.engine.asked == [("binfmt-0403", "bprm_execve")]
    for bad in (0, UNMAPPED, world.at(b"")):
        assert world.call("open", bad, 0) == world.call("execve", bad, 0, 0) == []


def test_any_arguments(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No exception, and never a string but of the known kinds."""
    monkeypatch.setattr(known, "has_algorithms", lambda kind: False)
    chance = random.Random(14)
    calls = sorted({name for numbers in caught.names().values() for name in numbers.values()})
    pointers = [world.at(chance.randbytes(chance.choice((0, 1, 8, 24, 300)))) for _ in range(40)]
    plain = (0, 1, 2, 3, 10, 13, 16, 31, 38, AT_FDCWD, 0x8933, 0x5423, UNMAPPED, (1 << 64) - 1)
    families = ("fs-", "net-pf-", "netdev-", "char-major-", "block-major-", "binfmt-", "tty-ldisc-",
                "algif-", "tcp_", "tcp-ulp-")  # fmt: skip
    for _ in range(4000):
        call = chance.choice(calls)
        first = chance.choice((1, 2, 8, 14)) if call == "socketcall" else chance.choice(plain)
        rest = [chance.choice((*pointers, *plain, chance.getrandbits(64))) for _ in range(5)]
        for string in world.call(call, chance.choice((first, *pointers[:3]))
                                 if call != "socketcall" else first, *rest):  # fmt: skip
            assert string.startswith(families) or call == "ioctl"
