"""Who asks for what: the order of the strings, and what ends it. [E6, F4] of the transcript."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from loader.engine import askers
from loader.engine.askers import Ask

MISSING = 256


def asked(asks: Iterable[Ask], results: dict[str, int], there: frozenset[str]) -> list[str]:
    """The strings of the requests made; ``results`` of those that are not MISSING."""
    found: list[str] = []

    def request(ask: Ask) -> int:
        found.append(ask.string)
        return results.get(ask.string, MISSING)

    askers.ask(asks, request, lambda ask: ask.string in there)
    return found


NODEV9 = askers.dev_load("nodev9", True, True)
CHAR, BLOCK = askers.base_probe(199, 7), askers.blk_request_module(199, 3)
TYPED, ANY = "net-pf-2-proto-132-type-1", "net-pf-2-proto-132"
SCTP = askers.inet_create(2, 1, 132)


@pytest.mark.parametrize(
    ("asks", "results", "there", "strings"),
    [
        (NODEV9, {}, "", "netdev-nodev9 nodev9"),
        (NODEV9, {"netdev-nodev9": 0}, "", "netdev-nodev9"),
        (NODEV9, {"netdev-nodev9": -2}, "", "netdev-nodev9 nodev9"),
        (NODEV9, {}, "netdev-nodev9", "netdev-nodev9 nodev9"),  # a module is no interface
        (askers.dev_load("nodev9", False, True), {}, "", "nodev9"),
        (askers.dev_load("nodev9", True, False), {}, "", "netdev-nodev9"),
        (askers.dev_load("nodev9", False, False), {}, "", ""),
        (CHAR, {}, "", "char-major-199-7 char-major-199"),
        (CHAR, {"char-major-199-7": 0}, "", "char-major-199-7"),
        (CHAR, {"char-major-199-7": -2}, "", "char-major-199-7"),
        (CHAR, {}, "char-major-199", "char-major-199-7"),
        (BLOCK, {}, "", "block-major-199-3 block-major-199"),
        (BLOCK, {"block-major-199-3": -62}, "", "block-major-199-3"),
        (askers.misc_open(199), {}, "", "char-major-10-199"),
        (askers.misc_open(255), {}, "", ""),
        (SCTP, {TYPED: 0}, "", f"{TYPED} {ANY}"),
        (SCTP, {}, ANY, TYPED),
        (SCTP, {}, TYPED, ""),
        (askers.inet_create(10, 1, 132), {}, "", "net-pf-10-proto-132-type-1 net-pf-10-proto-132"),
        (askers.sock_create(45, 1), {}, "", "net-pf-45"),
        (askers.sock_create(46, 1), {}, "", ""),  # NPROTO: EAFNOSUPPORT at once
        (askers.sock_create(-1, 1), {}, "", ""),
        (askers.sock_create(3, 11), {}, "", ""),  # SOCK_MAX: EINVAL
        (askers.netlink_create(25), {}, "", "net-pf-16-proto-25"),
        (askers.netlink_create(32), {}, "", ""),  # MAX_LINKS
        (askers.tty_ldisc_get(29, True), {}, "", "tty-ldisc-29"),
        (askers.tty_ldisc_get(29, False), {}, "", ""),
        (askers.tty_ldisc_get(31, True), {}, "", ""),
        (askers.alg_bind("nope"), {}, "", "algif-nope"),
        (askers.tcp_ca_find("nope", True), {}, "", "tcp_nope"),
        (askers.tcp_ulp_find("nope", False), {}, "", ""),
        (askers.search_binary_handler("binfmt-0403"), {}, "binfmt-0403", "binfmt-0403"),
        (askers.search_binary_handler(None), {}, "", ""),
    ],
)  # fmt: skip
def test_what_is_asked_for(
    asks: list[Ask], results: dict[str, int], there: str, strings: str
) -> None:
    assert asked(asks, results, frozenset(there.split())) == strings.split()
