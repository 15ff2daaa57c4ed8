"""Module aliases with wildcards, looked up as modprobe does (libkmod's index, fnmatch(3))."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import NamedTuple

from loader.words import canonical

_WILDCARD = re.compile(r"[*?\[]")
_WILD_PART = re.compile(r"[*?]|\[!?\]?[^\]]*\]?")


def normal_alias(alias: str) -> str:
    """`_` for `-` except in brackets, where it makes a range. kmod does it to both sides, too."""
    if "-" not in alias:
        return alias
    if "[" not in alias:
        return canonical(alias)
    parts = re.split(r"(\[[^\]]*\])", alias)
    return "".join(part if part.startswith("[") else canonical(part) for part in parts)


class _Wild(NamedTuple):
    """A line of modules.alias whose pattern has wildcards."""

    order: int
    needle: str  # the longest text that the pattern demands after its prefix
    pattern: str
    module: str


class Aliases:
    """Patterns by the text before their first wildcard: a lookup tries one bucket for each length.

    Buckets can be large (`of:N` holds all of a devicetree machine's), so a pattern is first tested
    by a substring it demands; fnmatch sees the few that pass.
    """

    def __init__(self) -> None:
        self._exact: dict[str, list[tuple[int, str]]] = {}
        self._wild: dict[str, list[_Wild]] = {}
        self._count = 0

    def add(self, pattern: str, module: str) -> None:
        order, self._count = self._count, self._count + 1
        pattern = normal_alias(pattern)
        wildcard = _WILDCARD.search(pattern)
        if wildcard is None:
            self._exact.setdefault(pattern, []).append((order, module))
            return
        start = wildcard.start()
        needle = max(_WILD_PART.split(pattern[start:]), key=len)
        self._wild.setdefault(pattern[:start], []).append(_Wild(order, needle, pattern, module))

    def lookup(self, alias: str) -> tuple[str, ...]:
        alias = normal_alias(alias)
        hits = list(self._exact.get(alias, ()))
        for end in range(len(alias) + 1):
            for wild in self._wild.get(alias[:end], ()):
                if wild.needle in alias and fnmatchcase(alias, wild.pattern):
                    hits.append((wild.order, wild.module))
        return tuple(dict.fromkeys(module for _, module in sorted(hits)))
