"""Module parameters by the kernel's rules (kernel/params.c, lib/kstrtox.c, lib/cmdline.c).

The types come from .modinfo (``parmtype=NAME:TYPE``), the values from the string handed to
init_module or finit_module. Values are kept as the text that /sys/module/NAME/parameters shows.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from loader.image.parameters import Parameter
from loader.words import canonical

_CHARP_MAX = 1024  # bytes
_SPACE = " \t\n\v\f\r"
_TRUE, _FALSE = frozenset("yYtT1"), frozenset("nNfF0")


class Parsed(NamedTuple):
    """What parse_args made of a parameter string.

    ``values``: text of each parameter that was set. ``errno``: of the last bad one, or 0.
    ``log``: lines in the order in which the kernel prints them.
    """

    values: dict[str, str]
    errno: int
    log: tuple[str, ...]


class _Invalid(Exception):
    def __init__(self, number: int, log: str = "") -> None:
        super().__init__(number)
        self.errno = number
        self.log = log


# -- one value ------------------------------------------------------------------------------------


def _magnitude(text: str) -> int:
    """_kstrtoull with base 0: 0x.. hexadecimal, 0.. octal, else decimal; one newline may end it."""
    base, digits = 10, text
    if text[:1] == "0":
        base = 8
        if text[1:2] in ("x", "X") and text[2:3] in tuple("0123456789abcdefABCDEF"):
            base, digits = 16, text[2:]
    known = "0123456789abcdef"[:base]
    count = 0
    while count < len(digits) and digits[count].lower() in known:
        count += 1
    # Python refuses to read thousands of digits; 2**64 - 1 has 20, and no decimal starts with 0.
    value = int(digits[: min(count, 21) if base == 10 else count], base) if count else 0
    if value >> 64:
        raise _Invalid(errno.ERANGE)
    if not count or digits[count:] not in ("", "\n"):
        raise _Invalid(errno.EINVAL)
    return value


def _integer(low: int, high: int, show: str = "{}") -> Callable[[str], str]:
    """kstrtoint and its relatives: EINVAL what is no number, ERANGE what does not fit."""

    def parse(text: str) -> str:
        if low < 0 and text[:1] == "-":
            value = -_magnitude(text[1:])
        else:
            value = _magnitude(text[1:] if text[:1] == "+" else text)
        if not low <= value <= high:
            raise _Invalid(errno.ERANGE)
        return show.format(value)

    return parse


def _truth(text: str) -> bool:
    """kstrtobool: y, Y, t, T, 1, n, N, f, F, 0, and "on" or "off" by their second letter."""
    first = text[:1]
    if first in _TRUE:
        return True
    if first in _FALSE:
        return False
    second = text[1:2]
    if first and first in "oO" and second:
        if second in "nN":
            return True
        if second in "fF":
            return False
    raise _Invalid(errno.EINVAL)


def _charp(text: str) -> str:
    if len(text.encode(errors="surrogateescape")) > _CHARP_MAX:
        raise _Invalid(errno.ENOSPC, "{name}: string parameter too long")
    return text


_SCALARS: dict[str, Callable[[str], str]] = {
    "byte": _integer(0, 0xFF),
    "short": _integer(-(1 << 15), (1 << 15) - 1),
    "ushort": _integer(0, 0xFFFF),
    "int": _integer(-(1 << 31), (1 << 31) - 1),
    "uint": _integer(0, (1 << 32) - 1),
    "long": _integer(-(1 << 63), (1 << 63) - 1),
    "ulong": _integer(0, (1 << 64) - 1),
    "ullong": _integer(0, (1 << 64) - 1),
    "hexint": _integer(0, (1 << 32) - 1, "{:#08x}"),
    "charp": _charp,
    "bool": lambda text: "Y" if _truth(text) else "N",
    "bint": lambda text: "1" if _truth(text) else "0",
    "invbool": lambda text: "Y" if _truth(text) else "N",
}

# Types that may stand without "=value" (KERNEL_PARAM_OPS_FL_NOARG): they are then switched on.
_NO_ARGUMENT = frozenset(("bool", "bint", "invbool"))
_ARRAY = "array of "


def _scalar(kind: str, value: str) -> str:
    parse = _SCALARS.get(kind)
    return value if parse is None else parse(value)  # unknown: the module's own function


def _array(parameter: Parameter, value: str) -> str:
    """param_array: a comma-separated list, no longer than the array."""
    kind = parameter.type.removeprefix(_ARRAY)
    shown = []
    for count, element in enumerate(value.split(",")):
        if parameter.max_elements is not None and count == parameter.max_elements:
            limit = parameter.max_elements
            raise _Invalid(errno.EINVAL, f"{{name}}: can only take {limit} arguments")
        shown.append(_scalar(kind, element))
    return ",".join(shown)


def _copystring(parameter: Parameter, value: str) -> str:
    """param_set_copystring: the buffer has room for a NUL as well."""
    size = parameter.max_elements
    if size is not None and len(value.encode(errors="surrogateescape")) >= size:
        raise _Invalid(errno.ENOSPC, f"{{name}}: string doesn't fit in {size - 1} chars.")
    return value


def set_parameter(parameter: Parameter, value: str | None) -> str:
    """The text that the parameter shows after it was set to ``value`` (None: no "=")."""
    if value is None:
        if parameter.type not in _NO_ARGUMENT:
            raise _Invalid(errno.EINVAL)
        value = "1"
    if parameter.type.startswith(_ARRAY):
        return _array(parameter, value)
    if parameter.type == "string":
        return _copystring(parameter, value)
    return _scalar(parameter.type, value)


# -- the whole string -----------------------------------------------------------------------------


def arguments(text: str) -> Iterator[tuple[str, str | None, str]]:
    """(name, value or None, rest of the string) of each argument (next_arg, lib/cmdline.c).

    Double quotes hold blanks together; around a whole value or argument they are taken off.
    """
    rest = text.lstrip(_SPACE)
    while rest:
        quoted = in_quote = rest[0] == '"'
        if quoted:
            rest = rest[1:]
        equals, end = 0, len(rest)
        for position, character in enumerate(rest):
            if character in _SPACE and not in_quote:
                end = position
                break
            if not equals and character == "=":
                equals = position
            if character == '"':
                in_quote = not in_quote
        argument, rest = rest[:end], rest[end + 1 :].lstrip(_SPACE)
        name, value = argument, None
        if equals:
            name, value = argument[:equals], argument[equals + 1 :]
            if value[:1] == '"':
                value = value[1:].removesuffix('"')
        if quoted and argument.endswith('"'):
            if value is None:
                name = name[:-1]
            elif value.endswith('"'):
                value = value[:-1]
        yield name, value, rest


def parse_args(module: str, text: str, parameters: Mapping[str, Parameter]) -> Parsed:
    """Set ``parameters`` (by canonical name) from ``text`` as parse_args does for ``module``.

    A bad value is logged and the rest still parsed; the last errno is the result. Unknown names
    are logged and ignored, but for async_probe and dyndbg, which every module takes. What follows
    ``--`` is not for the module.
    """
    values: dict[str, str] = {}
    log: list[str] = []
    number = 0
    for name, value, rest in arguments(text):
        if value is None and name == "--":
            if not number:
                log.append(f"{module}: parameters '{rest}' after `--' ignored")
            break
        parameter = parameters.get(canonical(name))
        if parameter is None:
            if name not in ("async_probe", "dyndbg"):
                log.append(f"{module}: unknown parameter '{name}' ignored")
            continue
        try:
            values[parameter.name] = set_parameter(parameter, value)
        except _Invalid as invalid:
            number = invalid.errno
            if invalid.log:
                log.append(invalid.log.format(name=parameter.name))
            what = "too large" if number == errno.ENOSPC else "invalid"
            log.append(f"{module}: `{value or ''}' {what} for parameter `{name}'")
    return Parsed(values, number, tuple(log))
