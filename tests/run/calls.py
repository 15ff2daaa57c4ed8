"""The same calls by every door: a table of them, and a program that makes them of its kernel.

Run as a program (FOLDER with m.ko, n.ko and empty.ko in it) it makes real system calls, and prints
the errno of each, 0 for success, as a JSON list.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

UNMAPPED = 1 << 30  # an address; nothing is ever mapped so low in a program of 64 bits without ASLR

Door = Callable[..., int]
"""door("finit_module", fd, params, flags), ("init_module", image, length, params) or
("delete_module", name, flags); params and image None: an address that is not mapped. The errno."""


def _opened(
    path: Path | str, access: int, door: Door, flags: int = 0, params: str | None = ""
) -> int:
    fd = os.open(path, access)
    try:
        return door("finit_module", fd, params, flags)
    finally:
        os.close(fd)


def _memfd(data: bytes, door: Door, *, again: bool = False) -> int:
    """A module in a memfd, through the descriptor that may write, or one of its own."""
    fd = os.memfd_create("module")
    os.write(fd, data)
    try:
        if again:
            return _opened(f"/proc/self/fd/{fd}", os.O_RDONLY, door)
        return door("finit_module", fd, "", 0)
    finally:
        os.close(fd)


def _while_written(path: Path, door: Door) -> int:
    writer = os.open(path, os.O_WRONLY)
    try:
        return _opened(path, os.O_RDONLY, door)
    finally:
        os.close(writer)


def _pipe(door: Door) -> int:
    ends = os.pipe()
    try:
        return door("finit_module", ends[0], "", 0)
    finally:
        for end in ends:
            os.close(end)


def make_calls(folder: Path, door: Door) -> list[int]:
    """Make every call of the table in its order; the errnos."""
    m, n, empty = folder / "m.ko", folder / "n.ko", folder / "empty.ko"
    data = n.read_bytes()
    return [
        _opened(m, os.O_RDWR, door),
        _opened(m, os.O_RDWR, door, flags=8),
        _opened(m, os.O_WRONLY, door),
        _opened(m, os.O_PATH, door),
        _while_written(m, door),
        _opened(folder, os.O_RDONLY, door),
        _opened(empty, os.O_RDONLY, door),
        _pipe(door),
        door("finit_module", -1, "", 0),
        door("finit_module", 9999, "", 8),
        _opened(m, os.O_RDONLY, door, params=None),
        _opened(m, os.O_RDONLY, door, flags=4),
        _opened(m, os.O_RDONLY, door, flags=2),
        _opened(m, os.O_RDONLY, door, params="n=many"),
        _opened(m, os.O_RDONLY, door, params='s="two  words"\tn=5\nother=1'),
        _opened(m, os.O_RDONLY, door, params="len=5"),
        _memfd(m.read_bytes(), door),
        door("delete_module", "m", os.O_NONBLOCK),
        _memfd(m.read_bytes(), door, again=True),
        _memfd(m.read_bytes(), door),
        door("init_module", data, len(data), "len=5"),
        door("init_module", data, len(data), "-x # 'quoted"),
        door("init_module", data, 63, ""),
        door("init_module", data, 0, ""),
        door("init_module", data, len(data), None),
        door("init_module", None, 100_000, ""),
        door("init_module", None, 10, ""),
        door("init_module", data[:-100], len(data) - 100, ""),
        door("delete_module", "n", 0),
        door("delete_module", "n", os.O_TRUNC),
        door("delete_module", None, 0),
        door("delete_module", "", 0),
        door("delete_module", "x" * 55, 0),
        door("delete_module", "x" * 56, 0),
        door("delete_module", "no such name", 0),
        door("delete_module", "-r", 0),
    ]  # fmt: skip


# -- as a program ---------------------------------------------------------------------------------

_NUMBERS = {
    "x86_64": {"init_module": 175, "delete_module": 176, "finit_module": 313},
    "aarch64": {"init_module": 105, "delete_module": 106, "finit_module": 273},
}[os.uname().machine]


def _text(text: str | None) -> ctypes.c_char_p | ctypes.c_void_p:
    return ctypes.c_void_p(UNMAPPED) if text is None else ctypes.c_char_p(text.encode())


def system_call(name: str, *arguments: object) -> int:
    """One call of this process's own kernel (see Door)."""
    libc = ctypes.CDLL(None, use_errno=True)
    words: list[object]
    if name == "finit_module":
        fd, params, flags = arguments
        words = [ctypes.c_long(int(str(fd))), _text(params), ctypes.c_long(int(str(flags)))]  # type: ignore[arg-type]
    elif name == "init_module":
        image, length, params = arguments
        address = ctypes.c_void_p(UNMAPPED) if image is None else image
        words = [address, ctypes.c_long(int(str(length))), _text(params)]  # type: ignore[arg-type]
    else:
        module, flags = arguments
        words = [_text(module), ctypes.c_long(int(str(flags)))]  # type: ignore[arg-type]
    failed = libc.syscall(ctypes.c_long(_NUMBERS[name]), *words)
    return ctypes.get_errno() if failed else 0


if __name__ == "__main__":
    print(json.dumps(make_calls(Path(sys.argv[1]), system_call)))
