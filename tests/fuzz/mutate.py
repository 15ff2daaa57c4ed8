"""Damage to bytes and texts. Every choice is one of ``chance``: the same seed, the same damage."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

Chance = random.Random

_ODD_BITS = (0, 1, 7, 8, 12, 15, 16, 31, 32, 62, 63, 64)


def odd_number(chance: Chance, size: int, near: int = 0) -> int:
    """A number of ``size`` bytes that programs get wrong: small, a power of two, close to ``near``,
    the largest; or any."""
    limit = 1 << 8 * size
    kind = chance.randrange(5)
    if kind == 0:
        return chance.randrange(4)
    if kind == 1:
        return ((1 << chance.choice(_ODD_BITS)) + chance.randrange(-1, 2)) % limit
    if kind == 2:
        return (near + chance.randrange(-2, 3)) % limit
    if kind == 3:
        return (near * chance.randrange(2, 9) + chance.randrange(64)) % limit
    return chance.randrange(limit)


def with_number(data: bytes, position: int, size: int, number: int, order: str = "little") -> bytes:
    """``data`` with another number of ``size`` bytes at ``position``; unchanged past its end."""
    if position + size > len(data):
        return data
    new = number.to_bytes(size, "big" if order == "big" else "little")
    return data[:position] + new + data[position + size :]


# -- bytes ----------------------------------------------------------------------------------------


def _cut(chance: Chance, data: bytes) -> tuple[int, int]:
    """A piece: short mostly, near an end often."""
    length = min(len(data), chance.choice((1, 2, 4, 8, 16, 64, 256, chance.randrange(1, 4097))))
    last = len(data) - length
    start = chance.choice((0, last, chance.randrange(last + 1), chance.randrange(last + 1)))
    return start, start + length


def _flip(chance: Chance, data: bytes) -> bytes:
    position = _cut(chance, data)[0]
    changed = data[position] ^ 1 << chance.randrange(8)
    return data[:position] + bytes((changed,)) + data[position + 1 :]


def _set(chance: Chance, data: bytes) -> bytes:
    position = _cut(chance, data)[0]
    value = chance.choice((0, 0xFF, 0x7F, 0x80, chance.randrange(256)))
    return data[:position] + bytes((value,)) + data[position + 1 :]


def _number(chance: Chance, data: bytes) -> bytes:
    size = chance.choice((2, 4, 8))
    order = chance.choice(("little", "big"))
    return with_number(data, _cut(chance, data)[0], size, odd_number(chance, size), order)


def _delete(chance: Chance, data: bytes) -> bytes:
    start, end = _cut(chance, data)
    return data[:start] + data[end:]


def _insert(chance: Chance, data: bytes) -> bytes:
    start, end = _cut(chance, data)
    piece = bytes(chance.randrange(256) for _ in range(min(end - start, 16)))
    return data[:start] + piece + data[start:]


def _repeat(chance: Chance, data: bytes) -> bytes:
    start, end = _cut(chance, data)
    return data[:end] + data[start:end] * chance.randrange(1, 5) + data[end:]


def _move(chance: Chance, data: bytes) -> bytes:
    start, end = _cut(chance, data)
    target = _cut(chance, data)[0]
    return (data[:target] + data[start:end] + data[target + end - start :])[: len(data)]


def _fill(chance: Chance, data: bytes) -> bytes:
    start, end = _cut(chance, data)
    return data[:start] + bytes((chance.choice((0, 0xFF, 0x41)),)) * (end - start) + data[end:]


def _truncate(chance: Chance, data: bytes) -> bytes:
    return data[: chance.choice((len(data) - 1, chance.randrange(len(data)), len(data) // 2))]


_EDITS: tuple[Callable[[Chance, bytes], bytes], ...] = (
    *(_flip, _flip, _set, _set, _number, _delete, _insert, _repeat, _move, _fill, _truncate),
)


def damaged(chance: Chance, data: bytes, edits: int = 0) -> bytes:
    """``data`` after some edits (at most ``edits``; 0: as many as chance has it)."""
    for _ in range(edits or chance.choice((1, 1, 1, 2, 3, 8))):
        if not data:
            return data
        data = chance.choice(_EDITS)(chance, data)
    return data


def spliced(chance: Chance, data: bytes, others: Sequence[bytes]) -> bytes:
    """``data`` with its end, or a piece in its middle, taken from another of these."""
    other = chance.choice(others)
    if not data or not other:
        return data + other
    start, end = _cut(chance, data)
    first, last = _cut(chance, other)
    return data[:start] + (
        other[first:] if chance.random() < 0.5 else other[first:last] + data[end:]
    )


# -- texts ----------------------------------------------------------------------------------------


def damaged_text(chance: Chance, text: str, words: Sequence[str]) -> str:
    """``text`` with words (of these, or its own) put in, taken out, said again; or broken bytes."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        if chance.random() < 0.25:
            return damaged(chance, text.encode("utf-8", "surrogateescape")).decode(
                "utf-8", "surrogateescape"
            )
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.choice((0, 0, 1, 4, 20)))
        word = chance.choice(words) * chance.choice((1, 1, 1, 2, 300))
        text = text[:start] + word + text[end:]
    return text


def text_of(chance: Chance, parts: Sequence[str], most: int) -> str:
    """Up to ``most`` of these parts in a row."""
    return "".join(chance.choice(parts) for _ in range(chance.randrange(most + 1)))
