"""The types of module parameters (include/linux/moduleparam.h, kernel/params.c), in one table."""

from __future__ import annotations

import struct
from typing import NamedTuple


class Integer(NamedTuple):
    """A type that holds a number: how it lies in memory (struct's code), and how it is shown."""

    code: str
    show: str = "{}"

    @property
    def width(self) -> int:
        """Bytes of one value."""
        return struct.calcsize(self.code)

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest value."""
        bits = 8 * self.width
        if self.code[-1].islower():
            return -(1 << bits - 1), (1 << bits - 1) - 1
        return 0, (1 << bits) - 1


INTEGERS: dict[str, Integer] = {
    "byte": Integer("<B"),
    "short": Integer("<h"),
    "ushort": Integer("<H"),
    "int": Integer("<i"),
    "uint": Integer("<I"),
    "hexint": Integer("<I", "{:#08x}"),
    "long": Integer("<q"),
    "ulong": Integer("<Q"),
    "ullong": Integer("<Q"),
    "bint": Integer("<i"),
}
FLAGS: dict[str, str] = {"bool": "NY", "invbool": "YN"}
"""Types of one byte, and how a 0 and any other value are shown."""
CHARP = "charp"  # a pointer to a string
STRING = "string"  # struct kparam_string
ARRAY_OF = "array of "  # struct kparam_array, before the type of its elements

# Types that may stand without "=value" (KERNEL_PARAM_OPS_FL_NOARG): they are then switched on.
NO_ARGUMENT = frozenset(("bool", "bint", "invbool"))

WIDTHS: dict[str, int] = {
    **{name: integer.width for name, integer in INTEGERS.items()},
    CHARP: 8,
    **dict.fromkeys(FLAGS, 1),
}
"""Bytes of one value of each type but "string"."""
