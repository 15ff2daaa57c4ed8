"""The files that transcripts name: folders, archives, indexes beside them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import zstandard

from loader.config import BuiltFor
from loader.errors import UserError
from loader.synthesize.builder import build_module
from loader.synthesize.spec import MODULE_LAYOUT_CRC, STRUCT_MODULE_SIZE, ModuleSpec
from modfs.verify.corpus import corpus

MADE = build_module(ModuleSpec("made", exports=("made_f",), vermagic="6.12.9 modversions "))


def archive(path: Path, files: Mapping[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    """A tar.zst as tar(1) would make it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.type = len(data), kind
            tar.addfile(member, io.BytesIO(data))
    path.write_bytes(zstandard.compress(packed.getvalue()))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "given").mkdir()
    (tmp_path / "given/made.ko").write_bytes(MADE)
    return tmp_path / "given"


def test_a_folder_and_an_archive_are_the_same(folder: Path, tmp_path: Path) -> None:
    packed = archive(tmp_path / "files.tar.zst", {"made.ko": MADE})
    for source in (folder, packed):
        with corpus(source, None) as found:
            assert found.path("files/made.ko").read_bytes() == MADE
            assert found.exporter("made_f") == "made" and found.exporter("printk") is None
            expected = BuiltFor("6.12.9 modversions ", STRUCT_MODULE_SIZE, MODULE_LAYOUT_CRC)
            assert (found.built_for, found.tree) == (expected, None)
            root = found.root
        assert not root.exists()
    assert (folder / "made.ko").read_bytes() == MADE  # a folder is only looked at


def test_nothing_is_given() -> None:
    with corpus(None, None) as found:
        assert (found.built_for, found.tree, found.exporters) == (BuiltFor(), None, {})
        with pytest.raises(UserError, match=r"no file files/a\.ko: give it with --files"):
            found.path("files/a.ko")


def test_modules_with_their_indexes_beside_the_archive(tmp_path: Path) -> None:
    packed = archive(tmp_path / "modules.tar.zst", {"a.ko": MADE, "b.ko": MADE})
    (tmp_path / "modules.dep").write_text("a.ko: b.ko\nb.ko:\n")
    (tmp_path / "modules.symbols").write_text("alias symbol:x b\n")
    with corpus(None, packed) as found:
        assert found.tree is not None
        assert found.tree.dependencies("a") == (found.path("modules/b.ko").resolve(),)
        assert found.exporter("x") == "b"


def test_a_module_of_a_tree_is_found_in_its_folder(folder: Path) -> None:
    (folder / "kernel/fs").mkdir(parents=True)
    (folder / "made.ko").rename(folder / "kernel/fs/made.ko")
    (folder / "modules.dep").write_text("kernel/fs/made.ko:\n")
    with corpus(None, folder) as found:
        assert found.path("modules/made.ko").read_bytes() == MADE
        with pytest.raises(UserError, match="no file"):
            found.path("files/made.ko")


def test_places_of_the_machine_that_was_recorded() -> None:
    """Its files were in /t: what was no file there is none here either."""
    with corpus(None, None) as found:
        assert found.path("/t") == found.path("/no/such/place") == found.root
        assert found.path("/dev/null") == Path("/dev/null")


@pytest.mark.parametrize("content", [b"", b"text", zstandard.compress(b"no archive" * 99)])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with (
        pytest.raises(UserError, match=r"neither a folder nor a tar\.zst archive"),
        corpus(tmp_path / "x", None),
    ):
        pass


def test_a_file_that_would_be_written_elsewhere(tmp_path: Path) -> None:
    packed = archive(tmp_path / "x", {"../../outside": b"x"})
    with pytest.raises(UserError, match="outside of its folder"), corpus(packed, None):
        pass


def test_only_files_are_taken_out(tmp_path: Path) -> None:
    packed = archive(tmp_path / "x", {"link": b""}, tarfile.SYMTYPE)
    with corpus(packed, None) as found, pytest.raises(UserError, match="no file files/link"):
        found.path("files/link")


def test_what_is_no_module_is_passed_over(folder: Path) -> None:
    (folder / "damaged.ko").write_bytes(MADE[:500])
    (folder / "text.ko").write_text("no module")
    with corpus(folder, None) as found:
        assert found.exporters == {"made_f": "made"}
        assert found.built_for.vermagic == "6.12.9 modversions "
