"""Packed files: zstd with its Huffman streams, gzip, xz."""

from __future__ import annotations

import functools
from typing import NamedTuple

from loader.image.compression import DecompressError, decompress
from tests.fuzz import seeds
from tests.fuzz.mutate import Chance, damaged, odd_number, spliced, with_number
from tests.fuzz.target import Target, answer

LIMIT = 1 << 20


class Packed(NamedTuple):
    """A file in that format; ``strict``: for a kernel before 6.15."""

    kind: str
    data: bytes
    strict: bool


def make(kind: str, chance: Chance) -> Packed:
    files = seeds.packed(kind)
    data = chance.choice(files)
    if chance.random() < 0.5:  # the header tells what the rest is
        data = with_number(data, chance.randrange(32), 1, odd_number(chance, 1))
    if chance.random() < 0.1:
        data = spliced(chance, data, files)
    if chance.random() < 0.8:
        data = damaged(chance, data)
    return Packed(kind, data, chance.random() < 0.7)


def make_literals(chance: Chance) -> Packed:
    """Frames without checksum, damaged where the Huffman codes and their table are."""
    data = chance.choice([one for one in seeds.packed("zstd") if len(one) > 500 and not one[4] & 4])
    for _ in range(chance.choice((1, 1, 2, 4))):
        start = chance.choice((10, 10, 200, len(data) - 300))
        position = start + chance.randrange(min(256, len(data) - start))
        data = with_number(data, position, 1, odd_number(chance, 1, data[position]))
    return Packed("zstd", data[: chance.choice((None, None, None, -100))], True)


def check(packed: Packed) -> str:
    try:
        module = decompress(packed.kind, packed.data, LIMIT, packed.strict)
    except DecompressError as error:
        return answer("decompress", error.failure.errno)
    assert len(module) <= LIMIT
    return "ok"


TARGETS = (
    *(Target(kind, functools.partial(make, kind), check, 400) for kind in ("zstd", "gzip", "xz")),
    Target("huffman", make_literals, check, 400),
)
