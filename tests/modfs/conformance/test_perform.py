"""What modfs record --conformance hands to this machine's kernel, which is not asked here."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from modfs import linux
from modfs.conformance.files import Files
from modfs.conformance.host import _lay_out
from modfs.conformance.perform import Here


def test_the_folder_that_scenarios_load_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest of make record has /t; this machine has none: 6.12.118 was told ENOENT of it."""
    kinds: list[int] = []

    def finit_module(name: str, fd: int, *_: object) -> int:
        assert name == "finit_module"
        kinds.append(os.fstat(fd).st_mode)
        raise OSError(errno.EINVAL, "")

    monkeypatch.setattr(linux, "syscall", finit_module)
    files = Files()
    files.add("quick", "a.ko", b"a module")
    _lay_out(tmp_path, files)
    here = Here(tmp_path, frozenset())
    for file in ("/t", "files/a.ko"):
        answer = here.answer({"op": "finit_module", "file": file})
        assert answer.results == (-errno.EINVAL,)
    assert list(map(stat.S_IFMT, kinds)) == [stat.S_IFDIR, stat.S_IFREG]
