"""Sections of notes of recorded modules, as pyelftools finds them."""

from __future__ import annotations

from elftools.elf.elffile import ELFFile

from loader.config import Config
from loader.image.module_image import read_image
from modfs.verify.corpus import corpus
from tests.recordings import DATA


def test_notes_of_recorded_modules() -> None:
    with corpus(None, DATA / "modules.tar.zst") as found:
        files = sorted((found.root / "modules").rglob("*.ko"))[:20]
        assert files
        for path in files:
            with path.open("rb") as file:
                wanted = {
                    section.name: section.data()
                    for section in ELFFile(file).iter_sections("SHT_NOTE")
                    if section["sh_flags"] & 2  # SHF_ALLOC
                }
            notes = read_image(path.read_bytes(), 0, Config()).contents.notes
            assert wanted.keys() == notes.keys() != set()
            for name, text in notes.items():
                assert text.encode("utf-8", "surrogateescape") == wanted[name]
