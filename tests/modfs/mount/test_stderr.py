"""What libfuse and fusermount say, in one line with what to do.

The texts are those of libfuse 2.9 and 3 (lib/mount.c, util/fusermount.c).
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from modfs.mount.stderr import CapturedStderr, reason


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "fusermount: option allow_other only allowed if 'user_allow_other' is set in"
            " /etc/fuse.conf\n",
            "allow_other needs the line user_allow_other in /etc/fuse.conf",
        ),
        ("fuse: failed to open /dev/fuse: Permission denied\n", "no permission for /dev/fuse"),
        (
            "fuse: failed to exec fusermount: No such file or directory\n",
            "fusermount is missing: install it with",
        ),
        ("fusermount: mount failed: Operation not permitted\n", "mount failed: Operation not"),
        ("fusermount3: mount failed: Operation not permitted\n", "mount failed: Operation not"),
        ("fuse: unknown option `nonsense'\n", "unknown option `nonsense'"),
        ("fuse: unknown option(s): `-o nonsense'\n", "unknown option(s): `-o nonsense'"),
        ("first\n\n  fuse: bad mount point `/x'  \n\n", "bad mount point `/x'"),
        ("", "it could not be mounted"),
        (" \n\t\n", "it could not be mounted"),
    ],
)
def test_last_words(said: str, told: str) -> None:
    found = reason(said)
    assert found.startswith(told) and "\n" not in found


PROGRAM = """
import os
from modfs.mount.stderr import CapturedStderr
os.write(2, b"before ")
with CapturedStderr() as said:
    os.write(2, b"inside")
    if early:
        said.restore()
        os.write(2, b"early ")
    said_so_far = said.text
os.write(2, b"after")
said.restore()
print(said.text, "|", said_so_far)
"""


@pytest.mark.parametrize(
    ("early", "out", "err"),
    [(False, "inside |", "before after"), (True, "inside | inside", "before early after")],
)
def test_descriptor_2_goes_to_memory(early: bool, out: str, err: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"early = {early}\n{PROGRAM}"], capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == (out, err)


def test_nothing_is_left_open() -> None:
    before = os.listdir("/proc/self/fd")
    with CapturedStderr() as said:
        os.write(2, b"\xff")
    assert said.text == "\ufffd"
    assert os.listdir("/proc/self/fd") == before
