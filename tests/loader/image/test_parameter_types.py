"""The table of parameter types against C's own types of the same names."""

from __future__ import annotations

import struct

import pytest

from loader.image.parameter_types import FLAGS, INTEGERS, NO_ARGUMENT, WIDTHS
from tests.headers import numbers

# STANDARD_PARAM_DEF in kernel/params.c: the C type that each name stands for
C_TYPES = {
    "byte": "unsigned char",
    "short": "short",
    "ushort": "unsigned short",
    "int": "int",
    "uint": "unsigned int",
    "hexint": "unsigned int",
    "long": "long",
    "ulong": "unsigned long",
    "ullong": "unsigned long long",
    "bint": "int",
}


def test_widths_are_those_of_c() -> None:
    theirs = numbers("stdbool.h", *(f"sizeof({c})" for c in set(C_TYPES.values())), "sizeof(bool)")
    assert {name: theirs[f"sizeof({c})"] for name, c in C_TYPES.items()} == {
        name: integer.width for name, integer in INTEGERS.items()
    }
    assert all(WIDTHS[name] == theirs["sizeof(bool)"] for name in FLAGS)


@pytest.mark.parametrize("name", INTEGERS)
def test_limits_are_what_the_type_holds(name: str) -> None:
    integer, signed = INTEGERS[name], "unsigned" not in C_TYPES[name]
    least, most = integer.limits
    assert (least < 0) is signed
    for value in (least, most):
        assert struct.unpack(integer.code, struct.pack(integer.code, value)) == (value,)
    for value in (least - 1, most + 1):
        with pytest.raises(struct.error):
            struct.pack(integer.code, value)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("int", -5, "-5"), ("byte", 200, "200"), ("hexint", 16, "0x000010")],  # "%#08x"
)
def test_how_they_are_shown(name: str, value: int, shown: str) -> None:
    assert INTEGERS[name].show.format(value) == shown


def test_each_type_has_a_width_and_switches_are_types() -> None:
    assert {*INTEGERS, *FLAGS, "charp"} == set(WIDTHS)
    assert set(WIDTHS) >= NO_ARGUMENT
    assert {name: tuple(shown) for name, shown in FLAGS.items()} == {
        "bool": ("N", "Y"),
        "invbool": ("Y", "N"),
    }
