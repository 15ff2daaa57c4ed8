"""A folder of recordings taken whole, and the table of sizes in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.config import Config
from loader.errors import UserError
from modfs.verify.corpus import Corpus
from modfs.verify.folder import read_folder
from modfs.verify.sizes import compare_sizes
from tests.recordings import DATA

HEAD = "file\ttotal_mod_size\ttotal_text_size\tcore_size\n"


def test_what_is_in_a_folder() -> None:
    found = read_folder(DATA / "linux-7.3")
    assert len(found.transcripts) == 8
    assert found.config == DATA / "linux-7.3/kernel.config.gz"
    assert found.sizes == DATA / "linux-7.3/modules.tsv"
    assert read_folder(DATA / "debian-7.3-arm64").keys == ()


def test_a_folder_without_recordings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no recordings"):
        read_folder(tmp_path)


def test_a_wrong_size_is_told(tmp_path: Path, recorded: Corpus) -> None:
    table = tmp_path / "modules.tsv"
    table.write_text(HEAD + "ext4.ko\t1\t1\t1\nnowhere.ko\t1\t1\t1\n")
    report = compare_sizes(table, recorded, Config(machine=62))
    assert (report.agreed, report.modules, report.missing) == (0, 1, 1)
    assert "ext4.ko: total_mod_size is" in report.differences[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "needs the columns file, core_size"), (HEAD + "a.ko\t1\tx\t1\n", "line 2: a size")],
)
def test_no_table_of_sizes(text: str, told: str, tmp_path: Path, recorded: Corpus) -> None:
    table = tmp_path / "modules.tsv"
    table.write_text(text)
    with pytest.raises(UserError, match=told):
        compare_sizes(table, recorded, Config())
