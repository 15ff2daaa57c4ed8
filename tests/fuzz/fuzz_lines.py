"""Texts that come with a request: the control file's lines, and parameter strings."""

from __future__ import annotations

from typing import NamedTuple

from loader.calls import DeleteModule, FinitModule, InitModule
from loader.engine.params import parse_args
from loader.errors import UserError
from loader.image.parameters import Parameter
from modfs.control.grammar import format_call, parse
from tests.fuzz.mutate import Chance, damaged_text, text_of
from tests.fuzz.target import Target, answer

_LINES = (
    "insmod --force-vermagic '/lib/a b.ko' n=5 text=\"x y\"",
    "modprobe -r --first-time snd-hda",
    "rmmod -f a b.ko",
    "finit_module --open 2 --params $'a\\nb' /x/y.ko flags=0x4",
    "init_module --fd 7 len=100 n=1",
    "delete_module --unmapped flags=2048",
    "# nothing",
)
_WORDS = (
    *(" ", "  ", "\t", "'", '"', "\\", "$'", "$", "#", "=", "\x1c", "\x85", "\udcff", "é", "--"),
    *("-f", "-r", "--fd", "--fd 1", "--open", "--params ''", "--unmapped", "--unmapped-params"),
    *("flags=", "len=-1", "len=99999999999999999999", "\\x4", "\\xff", "\\'", "a", "7", "0x"),
)


def make_line(chance: Chance) -> str:
    if chance.random() < 0.3:
        return text_of(chance, (*_WORDS, *_LINES), 12)
    return damaged_text(chance, chance.choice(_LINES), _WORDS)


def check_line(line: str) -> str:
    try:
        requests = parse(line.replace("\n", " "))
    except UserError as error:
        assert str(error)
        return "EINVAL"
    for request in requests:
        if isinstance(request, FinitModule | InitModule | DeleteModule):
            assert parse(format_call(request)) == (request,)
    return "ok" if requests else "nothing"


# -- calls, there and back ------------------------------------------------------------------------

_TEXTS = (*"abn=5 -,\"'\\$#\n\t\x1c\x85é", "\udcff", "--", "flags=1", "len=2")


def make_call(chance: Chance) -> FinitModule | InitModule | DeleteModule:
    text = text_of(chance, _TEXTS, 6)
    params = chance.choice((None, text_of(chance, _TEXTS, 6)))
    file: int | str = chance.choice((chance.randrange(1 << 16), text))
    kind = chance.randrange(3)
    if kind == 0:
        flags = chance.choice((0, 4, (1 << 32) - 1))
        return FinitModule(file, params, flags, chance.choice((0, 1, 2)))
    if kind == 1:
        return InitModule(chance.choice((None, file)), params, chance.choice((None, 0, 1 << 63)))
    return DeleteModule(chance.choice((None, text)), chance.choice((0, 2048, 512)))


def check_call(call: FinitModule | InitModule | DeleteModule) -> str:
    assert parse(format_call(call)) == (call,)
    return "ok"


# -- parameters -----------------------------------------------------------------------------------

_TYPES = (
    *("byte", "short", "ushort", "int", "uint", "hexint", "long", "ulong", "ullong", "charp"),
    *("bool", "bint", "invbool", "string", "array of int", "array of charp", "odd"),
)
_VALUES = (
    *("5", "-1", "+7", "0x1F", "0x", "010", "08", "1e3", "y", "on", "of", "o", "\n", ",", ",,"),
    *('"', '"a b"', "=", " ", "--", "\udcff", "é", "9" * 19, "18446744073709551616", "0" * 30),
)


class Arguments(NamedTuple):
    """A parameter string, and the type of the parameter ``n``."""

    text: str
    type: str
    most: int | None


def make_arguments(chance: Chance) -> Arguments:
    text = "n=" + text_of(chance, _VALUES, 4)
    if chance.random() < 0.5:
        text = damaged_text(chance, text, (*_VALUES, "n=", " n=", "n", "dyndbg", "async_probe="))
    return Arguments(text, chance.choice(_TYPES), chance.choice((None, 0, 1, 3)))


def check_arguments(given: Arguments) -> str:
    parameter = Parameter("n", given.type, given.most)
    parsed = parse_args("module", given.text, {"n": parameter})
    assert set(parsed.values) <= {"n"}
    if parsed.errno:
        return answer("parameters", parsed.errno)
    return "ok" if parsed.values else "nothing"


TARGETS = (
    Target("control", make_line, check_line, 800),
    Target("calls", make_call, check_call, 400),
    Target("parameters", make_arguments, check_arguments, 800),
)
