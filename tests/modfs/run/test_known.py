"""What the host has: files in /proc as a 6.12 shows them, and what this machine has."""

from __future__ import annotations

import errno
import os
import struct
import sys
from pathlib import Path

import pytest

from modfs import linux
from modfs.run import known

FILES = {
    "/proc/filesystems": "nodev\tsysfs\nnodev\ttmpfs\n\text3\n",
    "/proc/devices": (
        "Character devices:\n  1 mem\n  4 tty\n  4 ttyS\n 10 misc\n\n"
        "Block devices:\n  7 loop\n  8 sd\n254 virtblk\n"
    ),
    "/proc/misc": "237 loop-control\n 60 test\n",
    "/proc/tty/ldiscs": "n_tty       0\nn_null     27\n",
    "/proc/7/net/dev": "Inter-|   Receive\n face |bytes\n    lo:       0       0\neth0.5: 1 2\n",
    "/proc/sys/net/ipv4/tcp_available_congestion_control": "reno cubic\n",
    "/proc/sys/net/ipv4/tcp_available_ulp": "mptcp\n",
}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    files = dict(FILES)
    monkeypatch.setattr(known, "_lines", lambda path: files.get(path, "").splitlines())
    return files


def test_files(host: dict[str, str]) -> None:
    assert known.has_filesystem("tmpfs") and known.has_filesystem("ext3")
    assert not known.has_filesystem("nodev") and not known.has_filesystem("")
    assert known.has_character_device(4, 70) and not known.has_character_device(7, 0)
    assert known.has_character_device(10, 60) and not known.has_character_device(10, 199)
    assert known.has_block_device(7, 200) and known.has_block_device(8, 200)
    assert not known.has_block_device(4, 0) and not known.has_block_device(254, 4095)
    assert known.has_line_discipline(27) and not known.has_line_discipline(2)
    assert known.has_interface(7, "lo") and known.has_interface(7, "eth0.5")
    assert not known.has_interface(7, "eth0") and not known.has_interface(7, "face |bytes")
    assert known.has_tcp("congestion_control", "cubic") and not known.has_tcp("ulp", "tls")
    assert known.autoloads_line_disciplines()
    host["/proc/sys/dev/tty/ldisc_autoload"] = "0\n"
    assert not known.autoloads_line_disciplines()


def test_nothing_is_missed_where_nothing_can_be_read(host: dict[str, str]) -> None:
    host.clear()
    assert known.has_filesystem("any") and known.has_interface(7, "any")
    assert known.has_line_discipline(1) and known.has_tcp("ulp", "any")


def test_sockets() -> None:
    assert known.socket_error(1, 1, 0) == 0
    assert known.socket_error(2, 1 | 0o2000000, 0) == 0  # SOCK_CLOEXEC
    assert known.socket_error(999, 1, 0) == errno.EAFNOSUPPORT
    assert known.socket_error(16, 3, 31) == errno.EPROTONOSUPPORT
    assert known.socket_error(2, 1, 1 << 40) == errno.EINVAL
    assert not known.has_algorithms("nope")


def elf(machine: int, size: int = 2, order: int = 1, kind: int = 2) -> bytes:
    head = bytes((0x7F, *b"ELF", size, order, 1)).ljust(16, b"\0")
    return (head + struct.pack("<HH" if order == 1 else ">HH", kind, machine)).ljust(64, b"\0")


@pytest.mark.parametrize(
    ("head", "ours"),
    [
        (elf(62), True),
        (elf(62, kind=3), True),
        (elf(3, size=1), True),
        (elf(62, size=1), True),  # x32
        (elf(3), False),
        (elf(183), False),
        (elf(62, order=2), False),
        (elf(62, kind=1), False),  # an object file
        (b"\x7fELF", False),
        (b"\x01\x02\x03\x04", False),
        (b"", False),
    ],
)
def test_formats(monkeypatch: pytest.MonkeyPatch, head: bytes, ours: bool) -> None:
    monkeypatch.setattr(linux, "MACHINE", "x86_64")
    monkeypatch.setattr(known, "_lines", lambda path: [])
    assert known.has_format(head, b"x") == ours


def test_this_program_is_in_a_format_of_this_machine() -> None:
    head = Path(os.path.realpath(sys.executable)).read_bytes()[:256]
    assert known.has_format(head, b"python")


# As binfmt_misc shows it (Documentation/admin-guide/binfmt-misc.rst).
MAGIC = ["enabled", "interpreter /usr/bin/run", "flags: ", "offset 2", "magic 0304", "mask ff0f"]


@pytest.mark.parametrize(
    ("entry", "head", "name", "taken"),
    [
        (MAGIC, b"\x01\x02\x03\x04", b"x", True),
        (MAGIC, b"\x01\x02\x03\xf4", b"x", True),
        (MAGIC, b"\x01\x02\x03\x05", b"x", False),
        (MAGIC, b"\x01\x02\x03", b"x", False),
        (["disabled", *MAGIC[1:]], b"\x01\x02\x03\x04", b"x", False),
        (["enabled", "interpreter /w", "flags: ", "extension .exe"], b"MZ", b"/a/b.exe", True),
        (["enabled", "interpreter /w", "flags: ", "extension .exe"], b"MZ", b"/a.exe/b", False),
        ([], b"MZ", b"x", False),
    ],
)
def test_binfmt_misc(entry: list[str], head: bytes, name: bytes, taken: bool) -> None:
    assert known.matches(entry, head, name) == taken
