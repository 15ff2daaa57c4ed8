"""Aliases by buckets find what fnmatch over all patterns finds, in the same order."""

from __future__ import annotations

import ctypes
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.tree.aliases import Aliases

LIBC = ctypes.CDLL(None)
PATTERN = st.lists(
    st.sampled_from(["a", "b", "-", "_", ":", "*", "?", "[ab]", "[!a]", "[0-9]", "[]a]", "1"]),
    min_size=1,
    max_size=8,
).map("".join)
ALIAS = st.text("ab1-_:]", max_size=10)


def filled(patterns: list[str]) -> Aliases:
    """Each pattern leads to a module of its own."""
    aliases = Aliases()
    for number, pattern in enumerate(patterns):
        aliases.add(pattern, f"m{number}")
    return aliases


def underscored(text: str) -> str:
    """Both sides as kmod takes them: `_` for `-` but in brackets (alias_normalize)."""
    return re.sub(r"\[[^\]]*\]|-", lambda part: "_" if part[0] == "-" else part[0], text)


def by_fnmatch(patterns: list[str], alias: str) -> tuple[str, ...]:
    wanted = underscored(alias).encode()
    return tuple(
        f"m{number}"
        for number, pattern in enumerate(patterns)
        if LIBC.fnmatch(underscored(pattern).encode(), wanted, 0) == 0
    )


@given(st.lists(PATTERN, max_size=12), ALIAS)
def test_the_buckets_miss_nothing(patterns: list[str], alias: str) -> None:
    assert filled(patterns).lookup(alias) == by_fnmatch(patterns, alias)


@given(st.lists(PATTERN, min_size=1, max_size=12), st.data())
def test_what_a_pattern_was_made_for_is_found(patterns: list[str], data: st.DataObject) -> None:
    """The same with aliases that do match: random ones seldom do."""
    pattern = data.draw(st.sampled_from(patterns))
    alias = re.sub(r"\[!a\]", "b", pattern).replace("[ab]", "a").replace("[0-9]", "7")
    alias = alias.replace("[]a]", "]").replace("*", "ab").replace("?", "1")
    found = filled(patterns).lookup(alias)
    assert found == by_fnmatch(patterns, alias)
    assert f"m{patterns.index(pattern)}" in found


def test_a_module_is_named_once_where_its_first_pattern_stands() -> None:
    aliases = Aliases()
    for pattern, module in (("x*", "b"), ("xy", "a"), ("x?", "b"), ("xy", "c")):
        aliases.add(pattern, module)
    assert aliases.lookup("xy") == ("b", "a", "c")


@pytest.mark.parametrize("alias", ["", "x", "*", "[", "a[b", "-"])
def test_an_alias_has_no_wildcards_of_its_own(alias: str) -> None:
    assert filled(["never*", "[!x]yy"]).lookup(alias) == ()
    assert filled([]).lookup(alias) == ()


def test_real_ones() -> None:
    """Two of modules.alias, and what udev asks for."""
    pci = "pci:v00008086d000010D3sv*sd*bc*sc*i*"
    cpu = "cpu:type:x86,ven*fam*mod*:feature:*0081*"
    aliases = filled([pci, cpu, "fs-xfs", "net-pf-10"])
    assert aliases.lookup("pci:v00008086d000010D3sv00001043sd00008369bc02sc00i00") == ("m0",)
    assert aliases.lookup("cpu:type:x86,ven0000fam0006mod003F:feature:,0000,0081,00F0") == ("m1",)
    assert aliases.lookup("fs_xfs") == aliases.lookup("fs-xfs") == ("m2",)
    assert aliases.lookup("net-pf-1") == ()
