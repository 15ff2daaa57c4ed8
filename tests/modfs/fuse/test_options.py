"""What options mean without libfuse."""

from __future__ import annotations

import pytest

from modfs.fuse.options import Options
from modfs.linux import MS_NODEV, MS_NOSUID, MS_RDONLY
from modfs.mount.options import mount_options


def test_those_of_every_mount_need_no_libfuse() -> None:
    found = Options.of(mount_options(("allow_other", "ro", "max_read=4096", "nonempty")))
    assert found is not None
    assert found.flags == MS_NOSUID | MS_NODEV | MS_RDONLY
    assert found.kernel == ("default_permissions", "allow_other", "max_read=4096")
    assert (found.type, found.fsname, found.words) == ("fuse.modfs", "modfs", ("ro",))
    assert (found.entry_timeout, found.attr_timeout) == (86400, 0)


def test_the_last_word_counts() -> None:
    found = Options.of(("fsname=one", "fsname=two,three", "entry_timeout=0.5", "auto_unmount"))
    assert found is not None and found.auto_unmount
    assert (found.fsname, found.entry_timeout, found.attr_timeout) == ("two,three", 0.5, 1)


@pytest.mark.parametrize(
    "word", ["nonsense", "umask=077", "debug", "max_read", "allow_other=1", "attr_timeout=x", "rox"]
)
def test_what_only_libfuse_might_know(word: str) -> None:
    assert Options.of((word,)) is None
