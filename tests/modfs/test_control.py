"""The grammar of the control file."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modfs.control.grammar import (
    HELP,
    ControlError,
    DeleteModule,
    FinitModule,
    InitModule,
    Modprobe,
    ModprobeRemove,
    Request,
    parse,
)

NB, FORCE = os.O_NONBLOCK, os.O_TRUNC


@pytest.mark.parametrize(
    ("line", "requests"),
    [
        ("", []),
        ("   # nothing but a comment", []),
        ("insmod /x/a.ko", [FinitModule("/x/a.ko", unpack=True)]),
        ("  insmod\t/x/a.ko  n=5 # why", [FinitModule("/x/a.ko", "n=5", unpack=True)]),
        ("insmod '/x/a b.ko' s=\"two words\"", [FinitModule("/x/a b.ko", "s=two words", 0, True)]),
        ("insmod /x/a#b.ko # why", [FinitModule("/x/a#b.ko", unpack=True)]),
        ("insmod 'a #b.ko' \\#c", [FinitModule("a #b.ko", "#c", unpack=True)]),
        ("insmod -f a.ko", [FinitModule("a.ko", "", 3, True)]),
        ("insmod --force-vermagic a.ko", [FinitModule("a.ko", "", 2, True)]),
        ("insmod --force-modversion a.ko -x", [FinitModule("a.ko", "-x", 1, True)]),
        ("modprobe xfs", [Modprobe("xfs")]),
        ("modprobe --first-time -q pci:v00* n=1", [Modprobe("pci:v00*", "n=1", 0, True)]),
        ("modprobe -r a b", [ModprobeRemove("a", NB), ModprobeRemove("b", NB)]),
        ("rmmod a", [DeleteModule("a", NB)]),
        ("rmmod -f a-b /x/c-d.ko.xz", [DeleteModule(n, NB | FORCE) for n in ("a_b", "c_d")]),
        ("finit_module a.ko", [FinitModule("a.ko")]),
        ("finit_module a.ko flags=4 flags=9", [FinitModule("a.ko", "flags=9", 4)]),
        ("finit_module a.ko n=1 flags=4", [FinitModule("a.ko", "n=1 flags=4")]),
        ("init_module a.ko len=0x10 n=1", [InitModule("a.ko", "n=1", 16)]),
        ("delete_module a-b", [DeleteModule("a-b", NB)]),
        ("delete_module a flags=0", [DeleteModule("a", 0)]),
    ],
)
def test_requests(line: str, requests: list[Request]) -> None:
    assert parse(line) == tuple(requests)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("load x", "no such request"),
        ("insmod", "a path is missing"),
        ("insmod --wait x", "no option --wait"),
        ("insmod 'x", "No closing quotation"),
        ("modprobe -r", "a module is missing"),
        ("finit_module x flags=many", "no number"),
        ("init_module x len=-1", "out of range"),
        ("delete_module x y", "one word too many"),
    ],
)
def test_what_is_no_request(line: str, reason: str) -> None:
    with pytest.raises(ControlError, match=reason):
        parse(line)


@given(st.text())
def test_any_line_is_a_request_or_an_error(line: str) -> None:
    try:
        parse(line)
    except ControlError as error:
        assert str(error)


def test_help_names_every_request() -> None:
    assert all(line.startswith("#") for line in HELP.splitlines())
    for word in ("insmod", "modprobe", "rmmod", "finit_module", "init_module", "delete_module"):
        assert f"#   {word} " in HELP
