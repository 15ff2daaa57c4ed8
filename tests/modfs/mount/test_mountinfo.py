"""What is mounted where, by rows as the kernel writes them (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from loader.errors import UserError
from modfs.mount import mountinfo
from modfs.mount.mountinfo import fusermount, mounted_type

ROWS = r"""
22 1 0:20 / /proc rw,nosuid - proc proc rw
23 1 8:1 / / rw,relatime shared:1 master:2 - ext4 /dev/sda1 rw
90 23 0:50 / /mnt/a\040b rw,nosuid,nodev - fuse.modfs modfs rw,user_id=0,group_id=0
91 23 0:51 / /mnt/tab\011new\012back\134hash\043 rw - tmpfs none rw
92 23 0:52 / /mnt/twice rw - tmpfs none rw
93 92 0:53 / /mnt/twice rw - fuse.modfs modfs rw
94 23 0:54 / /mnt/ünï rw - tmpfs none rw
95 23 0:55 / /mnt/dash\040-\040x rw - ramfs - rw
""".lstrip()


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path, *_: ROWS)
    monkeypatch.setattr(Path, "read_bytes", lambda path: ROWS.encode())


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/", "ext4"),
        ("/proc", "proc"),
        ("/mnt/a b", "fuse.modfs"),
        ("/mnt/tab\tnew\nback\\hash#", "tmpfs"),
        ("/mnt/twice", "fuse.modfs"),  # the one on top
        ("/mnt/ünï", "tmpfs"),
        ("/mnt/dash - x", "ramfs"),
        ("/mnt", None),
        ("/mnt/a", None),
        (r"/mnt/a\040b", None),
        ("", None),
    ],
)
def test_the_type_of_a_place(rows: None, place: str, kind: str | None) -> None:
    assert mounted_type(place) == kind


def test_of_this_machine() -> None:
    """findmnt(8), or the kernel's own word for it."""
    assert mounted_type("/proc") == "proc"
    assert mounted_type(os.path.realpath(__file__)) is None


def test_fusermount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if shutil.which("fusermount"):
        assert str(tmp_path) in fusermount("-u", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="fusermount is missing: install it"):
        fusermount("-u", "/x")
    for name, text in (("fusermount3", "echo no >&2; exit 1"), ("fusermount", "echo quiet >&2")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
        said = mountinfo.fusermount("-u", "/x")
        assert said == ("no" if name == "fusermount3" else "")
