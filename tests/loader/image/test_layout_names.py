"""Which symbols stay and how long their names are, however they are counted."""

from __future__ import annotations

import random
from itertools import chain

import pytest

from loader.image import layout
from loader.image.elf import ElfModule
from loader.image.elf_format import SYM

STRINGS = 64


class Tables(ElfModule):
    """Nothing but a string table and a symbol table, in this order."""

    def __init__(self, strings: bytes, symbols: list[tuple[int, int]]) -> None:
        table = b"".join(SYM.pack(name, 0, 0, shndx, 0, 0) for name, shndx in symbols)
        self.data = bytes(STRINGS) + strings + table
        self.size = len(self.data)
        self.index_sym, self.index_str, self.index_info = 1, 2, 0
        self.sh_offset = [0, STRINGS + len(strings), STRINGS]
        self.sh_size = [0, len(table), len(strings)]


def made(seed: int, sections: int) -> tuple[Tables, list[tuple[int, int]]]:
    number = random.Random(seed)
    strings = b"\0" + b"\0".join(b"n" * number.randrange(9) for _ in range(200)) + b"\0"
    odd = (0xFFF1, 0xFFF2, 0xFF20, 0x0103, 0x0301)
    symbols = [
        (
            number.randrange(len(strings)),
            number.choice(odd) if number.random() < 0.1 else number.randrange(sections),
        )
        for _ in range(number.randrange(1, 400))
    ]
    return Tables(strings, symbols), symbols


def stays(symbols: list[tuple[int, int]], kept: set[int]) -> list[int]:
    """is_core_symbol, one after the other; the first one stays in any case."""
    return [
        name for index, (name, shndx) in enumerate(symbols) if not index or (name and shndx in kept)
    ]


@pytest.mark.parametrize("sections", [3, 200, 256, 300, 1000])
@pytest.mark.parametrize("seed", range(8))
def test_who_stays(sections: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    elf, symbols = made(seed, sections)
    monkeypatch.setattr("loader.image.elf._SYMBOLS_AT_ONCE", 64)
    kept = set(random.Random(seed).sample(range(1, sections), sections // 2))
    found = list(chain.from_iterable(layout._kept_names(elf, kept)))
    assert sorted(found) == sorted(stays(symbols, kept))
    assert len(list(chain.from_iterable(layout._kept_names(elf, set())))) == 1


@pytest.mark.parametrize("soon", [0, 40 << 20])
@pytest.mark.parametrize(
    "strings", [b"\0one\0two\0", b"\0one\0two", b"x" * 9000 + b"\0y\0", b"z" * 9000]
)
def test_how_long_their_names_are(
    soon: int, strings: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name ends at the next NUL, wherever that is, or with the file."""
    monkeypatch.setattr(layout, "_SOON", soon)
    elf = Tables(strings, [])
    names = list(range(0, len(strings), max(1, len(strings) // 50)))
    expected = sum(len(strings[name:].partition(b"\0")[0]) + 1 for name in names)
    assert layout._string_bytes(elf, names) == expected
    assert layout._string_bytes(elf, []) == 0
