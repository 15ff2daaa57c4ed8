"""The memory of 117 real modules, as the kernel measured it; and of the same ones by readelf."""

from __future__ import annotations

import csv

import pytest

from loader.config import Config
from loader.image.elf import ElfModule
from loader.image.module_image import read_image
from loader.keyring import Keyring
from modfs.verify.corpus import Corpus
from tests.recordings import DATA

with (DATA / "modules.tsv").open() as table:
    ROWS = list(csv.DictReader(table, delimiter="\t"))


def test_there_are_117() -> None:
    assert len(ROWS) == 117


@pytest.mark.parametrize("row", ROWS, ids=[row["file"] for row in ROWS])
def test_sizes(row: dict[str, str], recorded: Corpus, keyring: Keyring) -> None:
    data = (recorded.root / "modules" / row["file"]).read_bytes()
    image = read_image(data, 0, Config(built_for=recorded.built_for, keyring=keyring))
    assert image.becoming_failure is None
    assert image.signed
    assert image.read_bytes == int(row["file_bytes"])
    assert image.len == int(row["bytes_without_signature"])
    assert image.layout.total == int(row["total_mod_size"])
    assert image.layout.text_total == int(row["total_text_size"])
    assert image.layout.core == int(row["core_size"])


def test_tables_are_those_that_pyelftools_reads(recorded: Corpus) -> None:
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    path = recorded.root / "modules" / "ext4.ko"
    ours = ElfModule(path.read_bytes(), 62)
    ours.cache_indices(None)
    with path.open("rb") as stream:
        theirs = ELFFile(stream)
        named = [ours.name(index) for index in range(ours.e_shnum)]
        assert named == [section.name for section in theirs.iter_sections()]
        symtab = theirs.get_section_by_name(".symtab")
        assert isinstance(symtab, SymbolTableSection)
        names = [symbol.name for symbol in symtab.iter_symbols()]
        sections = [symbol["st_size"] for symbol in symtab.iter_symbols()]
    # pyelftools shows a section symbol by the name of its section; the file gives it none.
    found = [ours.string(ours.symbol(index).st_name) for index in range(ours.symbol_count())]
    assert len(found) == len(sections)
    assert all(a == b for a, b in zip(found, names, strict=True) if a)
