"""FUSE servers that are not ours, and ones of ours whose requests do not end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Mounts itself as a modfs would be mounted, and answers what it is told to: FUSE_INIT (26) alone;
# or GETATTR (3), LOOKUP (1), OPEN (14), READ (15), ... so that every file holds one text.
_FOREIGN = r"""
import ctypes, os, struct, sys
place, text = sys.argv[1], sys.argv[2].encode()
libc = ctypes.CDLL(None, use_errno=True)
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if libc.mount(b"modfs", place.encode(), b"fuse.modfs", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))

def attributes(node):
    mode = 0o40755 if node < 3 else 0o100644
    return struct.pack("<6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

def answer(opcode, node, body):
    if opcode == 26:
        return struct.pack("<4I2H2I2H8I", 7, 31, 1 << 17, 0, 12, 9, 1 << 17, 1, 0, 0, *[0] * 8)
    if not text:
        return None
    if opcode == 1:
        child = 2 if body.startswith(b".control\0") else 3
        return struct.pack("<4Q2I", child, 0, 0, 0, 0, 0) + attributes(child)
    if opcode == 3:
        return struct.pack("<Q2I", 0, 0, 0) + attributes(node)
    if opcode == 14:
        return struct.pack("<Q2I", 1, 1, 0)
    if opcode == 15:
        return text if not struct.unpack_from("<Q", body, 8)[0] else b""
    return b"" if opcode in (18, 25) else -38

print("mounted", flush=True)
try:
    while True:
        request = os.read(fuse, 1 << 18)
        _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        reply = answer(opcode, node, request[40:])
        if isinstance(reply, int):
            os.write(fuse, struct.pack("<IiQ", 16, reply, unique))
        elif reply is not None:
            os.write(fuse, struct.pack("<IiQ", 16 + len(reply), 0, unique) + reply)
except OSError:
    pass
"""


@contextmanager
def foreign(place: Path, text: str = "") -> Iterator[subprocess.Popen[str]]:
    """A file system of somebody else's on ``place``, all of whose files hold ``text``.

    Without a text it takes up every request and answers none.
    """
    place.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", _FOREIGN, str(place), text], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "mounted\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


# A server of ours: the text is run before it mounts.
_OURS = """
import sys
from modfs.mount import background, ending
from modfs.mount.options import MountOptions
from loader.engine import threads
LiveKernel = threads.LiveKernel
ending.END_SECONDS = 1.0
{prepare}
sys.exit(background.mount(LiveKernel, sys.argv[1], MountOptions(), foreground=True))
"""


@contextmanager
def ours(place: Path, prepare: str) -> Iterator[subprocess.Popen[bytes]]:
    """``modfs mount -f`` with a patience of a second, after the lines ``prepare``."""
    place.mkdir(exist_ok=True)
    program = _OURS.format(prepare=prepare)
    process = subprocess.Popen([sys.executable, "-c", program, str(place)])
    try:
        while not os.path.exists(place / "stats"):
            assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait(20)
