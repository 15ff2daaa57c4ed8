"""A stranger's folder: what is read of it, and that nothing leads out of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modfs.machine.folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret\n")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/name").write_text("inside\n")
    return root


@pytest.mark.parametrize("target", ["../../secret", "{outside}/secret", "/../secret", "loop"])
def test_no_link_leads_out(folder: Path, target: str) -> None:
    (folder / "etc/loop").symlink_to(target.format(outside=folder.parent))
    with Folder(folder) as opened:
        assert opened.read("etc/loop") is None
        assert opened.read("../secret") is None


def test_links_are_those_of_its_own_root(folder: Path) -> None:
    (folder / "name").symlink_to("/etc/name")
    (folder / "up").symlink_to("../../../etc")
    with Folder(folder) as opened:
        assert opened.read("name") == opened.read("up/name") == "inside\n"
        assert opened.names("up") == ["name"] and opened.link("name") == "/etc/name"
        below = opened.below("up")
        assert below is not None and below.read("../../secret") is None
        assert below.read("name") == "inside\n"


def test_a_folder_that_is_a_link_out_of_it_is_none(folder: Path) -> None:
    (folder / "sys").symlink_to("/sys")
    with Folder(folder) as opened:
        assert opened.below("sys") is None and opened.names("sys") == []


def test_only_files_are_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "null").symlink_to("/dev/null")
    with Folder(folder) as opened:
        assert [opened.read(name) for name in ("pipe", "null", "etc", "none", "a\0b")] == [None] * 5


def test_no_more_than_was_asked_for_is_read(folder: Path) -> None:
    (folder / "long").write_text("0123456789")
    with Folder(folder) as opened:
        assert opened.read("long", 10) == "0123456789" and opened.cut == []
        assert opened.read("long", 4) == "0123" and opened.cut == ["long"]
