"""The grammar of the control file."""

from __future__ import annotations

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loader.calls import Call, DeleteModule, FinitModule, InitModule, RequestModule
from loader.errors import UserError
from modfs.control.grammar import (
    HELP,
    GetFsType,
    Insmod,
    Modprobe,
    ModprobeRemove,
    Request,
    format_call,
    parse,
)

NB, FORCE = os.O_NONBLOCK, os.O_TRUNC


@pytest.mark.parametrize(
    ("line", "requests"),
    [
        ("", []),
        ("   # nothing but a comment", []),
        ("insmod /x/a.ko", [Insmod("/x/a.ko")]),
        ("  insmod\t/x/a.ko  n=5 # why", [Insmod("/x/a.ko", "n=5")]),
        ("insmod '/x/a b.ko' s=\"two words\"", [Insmod("/x/a b.ko", "s=two words")]),
        ("insmod /x/a#b.ko # why", [Insmod("/x/a#b.ko")]),
        ("insmod 'a #b.ko' \\#c", [Insmod("a #b.ko", "#c")]),
        ("insmod -f a.ko", [Insmod("a.ko", "", 3)]),
        ("insmod --force-vermagic a.ko", [Insmod("a.ko", "", 2)]),
        ("insmod --force-modversion a.ko -x", [Insmod("a.ko", "-x", 1)]),
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
        ("insmod a\u00a0b.ko", [Insmod("a\u00a0b.ko")]),  # no blank to a shell
        ("insmod $'a\\tb' $x", [Insmod("a\tb", "$x")]),
        ("finit_module --fd 3 flags=4 n=1", [FinitModule(3, "n=1", 4)]),
        ("finit_module --open 2 -- -x.ko", [FinitModule("-x.ko", "", 0, os.O_RDWR)]),
        ("finit_module --unmapped-params a.ko", [FinitModule("a.ko", None)]),
        ("init_module --params len=5 a.ko", [InitModule("a.ko", "len=5")]),
        ("init_module --unmapped len=64", [InitModule(None, "", 64)]),
        ("delete_module --unmapped", [DeleteModule(None)]),
        ("request_module fs-xfs", [RequestModule("fs-xfs")]),
        ("request_module ''", [RequestModule("")]),
        ("request_module -q", [RequestModule("-q")]),
        ("request_module 'we ird;$name' # why", [RequestModule("we ird;$name")]),
        ("request_module $'a\\xff\\x00b'", [RequestModule("a\udcff\0b")]),
        ("request_module_nowait m", [RequestModule("m", False)]),
        ("get_fs_type fuse.x", [GetFsType("fuse.x")]),
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
        ("insmod x\\", "No escaped character"),
        ("finit_module --open 0x241 x", "more than opening"),
        ("finit_module --params a x b=1", "one word too many"),
        ("finit_module --fd x", "no number"),
        ("finit_module --fd", "missing"),
    ],
)
def test_what_is_no_request(line: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        parse(line)


C_STRING = st.text(st.characters(exclude_characters="\0"))
FILES = st.integers(-1, 1 << 20) | C_STRING
PARAMS = st.none() | C_STRING
NUMBERS = st.integers(0, (1 << 32) - 1)
CALLS = (
    st.builds(FinitModule, FILES, PARAMS, NUMBERS, st.sampled_from((os.O_RDONLY, os.O_RDWR)))
    | st.builds(InitModule, st.none() | FILES, PARAMS, st.none() | st.integers(0, (1 << 64) - 1))
    | st.builds(DeleteModule, PARAMS, NUMBERS)
)


@given(CALLS)
@example(FinitModule("a.ko", 'a="two  words"\tb'))
@example(InitModule("a.ko", "len=5"))
@example(FinitModule("a.ko", "a=1\nb=2"))
@example(FinitModule("a\udcff.ko", "$'\\x41'"))
def test_every_call_can_be_written_and_read(call: Call) -> None:
    line = format_call(call)
    (found,) = parse(line)
    assert found == call and type(found) is type(call)
    assert "\n" not in line


def test_bytes_have_no_place_in_a_line() -> None:
    with pytest.raises(ValueError, match="bytes"):
        format_call(InitModule(b"\x7fELF"))


@given(st.text())
def test_any_line_is_a_request_or_an_error(line: str) -> None:
    try:
        parse(line)
    except UserError as error:
        assert str(error)


def test_help_names_every_request() -> None:
    assert all(line.startswith("#") for line in HELP.splitlines())
    for word in ("insmod", "modprobe", "rmmod", "finit_module", "init_module", "delete_module"):
        assert f"#   {word} " in HELP
