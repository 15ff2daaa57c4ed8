"""What the host's kernel has, as its files in /proc and /sys tell.

Nothing here makes that kernel ask for a module itself, but a socket that is tried: any process may
have it do that, and the caller is about to.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from modfs import linux

AF_INET, AF_INET6, AF_NETLINK = 2, 10, 16
MISC_MAJOR = 10
_TYPE = 0xF  # SOCK_TYPE_MASK
_NO_PROTOCOL = (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
# Drivers that make a disk when it is asked for (register_blkdev with a probe).
_PROBING = frozenset(("loop", "md", "mdp", "sd", "ramdisk", "fd", "ide0", "ide1"))
# EI_CLASS, e_machine of the programs that the machine runs: its own, and 32-bit ones.
_ELF = {"x86_64": ((2, 62), (1, 62), (1, 3)), "aarch64": ((2, 183), (1, 40))}
_ET_EXEC, _ET_DYN = 2, 3
_ALGORITHMS = {"hash": "sha256", "skcipher": "ecb(aes)", "aead": "gcm(aes)", "rng": "stdrng"}


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []


def has_filesystem(name: str) -> bool:
    """Is the type registered? (Yes, where that cannot be read.)"""
    lines = _lines("/proc/filesystems")
    return not lines or name in (line.rpartition("\t")[2] for line in lines)


# -- sockets --------------------------------------------------------------------------------------


def socket_error(family: int, kind: int, protocol: int) -> int:
    """The errno with which socket(2) fails for everybody, 0 if it does not."""
    try:
        socket.socket(family, kind & _TYPE, protocol).close()
    except OSError as error:
        return error.errno or 0
    except (OverflowError, ValueError):
        return errno.EINVAL
    return 0


def lacks_family(error: int) -> bool:
    """Is ``error`` of socket_error that no such family is registered?"""
    return error == errno.EAFNOSUPPORT


def lacks_protocol(error: int) -> bool:
    """… that no such protocol is registered, of a family that asks for them?"""
    return error in _NO_PROTOCOL


def has_algorithms(kind: str) -> bool:
    """Is the type of AF_ALG registered? It is if one of its algorithms can be had."""
    try:
        with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as tried:
            tried.bind((kind, _ALGORITHMS[kind]))
    except (OSError, KeyError):
        return False
    return True


def has_tcp(kind: str, name: str) -> bool:
    """``kind``: "congestion_control" or "ulp"."""
    lines = _lines(f"/proc/sys/net/ipv4/tcp_available_{kind}")
    return not lines or name in lines[0].split()


def has_interface(tid: int, name: str) -> bool:
    """In the thread's network namespace."""
    lines = _lines(f"/proc/{tid}/net/dev")
    return not lines or name in (line.partition(":")[0].strip() for line in lines[2:])


# -- devices --------------------------------------------------------------------------------------


def _majors(kind: str) -> dict[int, set[str]]:
    """Drivers by number. ``kind``: "Character" or "Block"."""
    found: dict[int, set[str]] = {}
    here = False
    for line in _lines("/proc/devices"):
        if line.endswith(":"):
            here = line.startswith(kind)
        elif here and line.strip():
            number, _, name = line.strip().partition(" ")
            found.setdefault(int(number), set()).add(name)
    return found


def has_character_device(major: int, minor: int) -> bool:
    """Has a driver the number? A driver that has any of the major's numbers is taken to have all
    but for misc devices, which are listed."""
    if major == MISC_MAJOR:
        return str(minor) in (line.split()[0] for line in _lines("/proc/misc"))
    return major in _majors("Character")


def has_block_device(major: int, minor: int) -> bool:
    """Is there such a disk, or a driver that makes it when it is asked for?"""
    if Path(f"/sys/dev/block/{major}:{minor}").exists():
        return True
    return bool(_PROBING & _majors("Block").get(major, set()))


def has_line_discipline(number: int) -> bool:
    """Is it registered?"""
    lines = _lines("/proc/tty/ldiscs")
    return not lines or str(number) in (line.split()[-1] for line in lines)


def autoloads_line_disciplines() -> bool:
    """For everybody (dev.tty.ldisc_autoload)."""
    return _lines("/proc/sys/dev/tty/ldisc_autoload") != ["0"]


# -- formats of programs --------------------------------------------------------------------------


def has_format(head: bytes, name: bytes) -> bool:
    """Does a format take a file that begins so? ``name`` of the file, which binfmt_misc may go by.

    A script is none here: what counts is its interpreter.
    """
    if head[:4] == b"\x7fELF":
        kind, machine = int.from_bytes(head[16:18], "little"), int.from_bytes(head[18:20], "little")
        ours = (head[4], machine) in _ELF.get(linux.MACHINE, ()) if len(head) > 20 else False
        if ours and head[5] == 1 and kind in (_ET_EXEC, _ET_DYN):
            return True
    return any(matches(entry, head, name) for entry in _binfmt_misc())


def _binfmt_misc() -> Iterator[list[str]]:
    folder = Path("/proc/sys/fs/binfmt_misc")
    if _lines(str(folder / "status")) != ["enabled"]:
        return
    with suppress(OSError):
        for name in os.listdir(folder):
            if name not in ("status", "register"):
                yield _lines(str(folder / name))


def matches(entry: list[str], head: bytes, name: bytes) -> bool:
    """Does one entry of binfmt_misc, as its file reads, take the file?"""
    words = dict(re.split(r"[ :]+", line, maxsplit=1) for line in entry[1:] if " " in line)
    if not entry or entry[0] != "enabled":
        return False
    if "extension" in words:
        extension = words["extension"].removeprefix(".").encode()
        return name.rpartition(b"/")[2].rpartition(b".")[2] == extension
    offset, magic = int(words.get("offset", "0")), bytes.fromhex(words.get("magic", ""))
    mask = bytes.fromhex(words.get("mask", "")) or b"\xff" * len(magic)
    part = head[offset : offset + len(magic)]
    return (
        bool(magic)
        and len(part) == len(magic)
        and all(not (x ^ y) & m for x, y, m in zip(part, magic, mask, strict=True))
    )
