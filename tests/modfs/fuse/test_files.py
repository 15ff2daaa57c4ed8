"""What a file system of ours is."""

from __future__ import annotations

import stat

from modfs.fuse.files import DIRECTORY, Attributes, FileSystem, Operation
from tests.modfs.doors import Asked, Door


def test_a_mounts_files_are_one() -> None:
    files: FileSystem = Door().files
    operation: Operation = Asked()
    assert files.getattr(b"/") is DIRECTORY
    assert len(operation.client()) == 3 and not operation.interrupted()


def test_attributes_of_what_is_not_said() -> None:
    assert Attributes(stat.S_IFREG) == Attributes(stat.S_IFREG, size=0, links=1, inode=0)
    assert stat.S_ISDIR(DIRECTORY.mode) and DIRECTORY.links == 2
