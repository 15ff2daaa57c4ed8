"""Module parameters by the kernel's rules (kernel/params.c, lib/kstrtox.c, lib/cmdline.c).

The types come from .modinfo (``parmtype=NAME:TYPE``), the values from the string handed to
init_module or finit_module. Values are kept as the text that /sys/module/NAME/parameters shows.
"""

from __future__ import annotations

import errno
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from loader.config import PAGE_SIZE
from loader.engine.log import LINE_MAX, LINES
from loader.errors import LoadError
from loader.image.own_checks import ANY, OwnCheck
from loader.image.parameter_types import ARRAY_OF, CHARP, INTEGERS, NO_ARGUMENT, STRING
from loader.image.parameters import Parameter, page_of
from loader.words import canonical

_CHARP_MAX = 1024  # bytes
_BLANKS = " \t\n\v\f\r"
_ARGUMENT = re.compile(rf'(?:[^{_BLANKS}"]|"[^"]*+"?+)++')
_TRUE, _FALSE = frozenset("yYtT1"), frozenset("nNfF0")


class Parsed(NamedTuple):
    """What parse_args made of a parameter string.

    ``values``: text of each parameter that was set. ``errno``: of the last bad one, or 0.
    ``log``: the lines in the order in which the kernel prints them, the newest 4096 of them.
    ``unsafe``: one was set that taints the kernel.
    """

    values: dict[str, str]
    errno: int
    log: tuple[str, ...]
    unsafe: bool = False


class _Invalid(Exception):
    def __init__(self, number: int, log: str = "") -> None:
        super().__init__(number)
        self.errno = number
        self.log = log


# -- one value ------------------------------------------------------------------------------------


_NUMBER = re.compile(
    r"0[xX](?P<hexadecimal>[0-9a-fA-F]+)|(?P<octal>0[0-7]*)|(?P<decimal>[1-9][0-9]*)"
)
_BASES = {"hexadecimal": 16, "octal": 8, "decimal": 10}
_DIGITS = 22  # of 64 bits, in the base that needs most


_DECIMAL = re.compile(r"(?P<decimal>[0-9]+)")


def _magnitude(text: str, decimal: bool) -> int:
    """_kstrtoull with base 0: 0x.. hexadecimal, 0.. octal, else decimal; one newline may end it.
    ``decimal``: with base 10."""
    number = (_DECIMAL if decimal else _NUMBER).match(text)
    if number is None:
        raise _Invalid(errno.EINVAL)
    base = number.lastgroup or ""
    digits = number[base].lstrip("0")
    # Python itself would refuse to read a decimal number of more than 4300 digits.
    if len(digits) > _DIGITS or (value := int(digits or "0", _BASES[base])) >> 64:
        raise _Invalid(errno.ERANGE)
    if text[number.end() :] not in ("", "\n"):
        raise _Invalid(errno.EINVAL)
    return value


def _number(text: str, low: int, high: int, decimal: bool = False) -> int:
    """kstrtoint and its relatives: EINVAL what is no number, ERANGE what does not fit."""
    if low < 0 and text[:1] == "-":
        value = -_magnitude(text[1:], decimal)
    else:
        value = _magnitude(text[1:] if text[:1] == "+" else text, decimal)
    if not low <= value <= high:
        raise _Invalid(errno.ERANGE)
    return value


def _integer(low: int, high: int, show: str = "{}") -> Callable[[str], str]:
    """As _number, and how it is shown."""
    return lambda text: show.format(_number(text, low, high))


def kstrtobool(text: str) -> bool | None:
    """y, Y, t, T, 1, n, N, f, F, 0, and "on" or "off" by their second letter; None of others."""
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
    return None


def _truth(text: str) -> bool:
    truth = kstrtobool(text)
    if truth is None:
        raise _Invalid(errno.EINVAL)
    return truth


def _charp(text: str) -> str:
    if len(text.encode(errors="surrogateescape")) > _CHARP_MAX:
        raise _Invalid(errno.ENOSPC, "{name}: string parameter too long")
    return text


_SETTERS: dict[str, Callable[[str], str]] = {
    **{name: _integer(*integer.limits, integer.show) for name, integer in INTEGERS.items()},
    CHARP: _charp,
    "bool": lambda text: "Y" if _truth(text) else "N",
    "invbool": lambda text: "Y" if _truth(text) else "N",
    "bint": lambda text: "1" if _truth(text) else "0",
}


def _scalar(kind: str, value: str) -> str:
    parse = _SETTERS.get(kind)
    return value if parse is None else parse(value)  # unknown: the module's own function


def _own(check: OwnCheck, text: str) -> str:
    """What a set function of the module's own makes of it (loader.image.own_checks)."""
    try:
        return _own_value(check, text)
    except _Invalid as invalid:
        raise _Invalid(check.refused or invalid.errno) from None


def _own_value(check: OwnCheck, text: str) -> str:
    word = text.removesuffix("\n")
    if check.type == ANY or any(
        word.startswith(each) if check.begins else word == each for each in check.words
    ):
        return word
    if not check.type or (word != text and not check.newline):
        raise _Invalid(errno.EINVAL)
    if check.type not in INTEGERS or check.type in NO_ARGUMENT:
        return _scalar(check.type, text)
    integer = INTEGERS[check.type]
    value = _number(text, *integer.limits, check.decimal)
    if value < (value if check.low is None else check.low) or (
        check.high is not None and value > check.high
    ):
        raise _Invalid(check.outside)
    return integer.show.format(value)


def _array(parameter: Parameter, value: str, before: str) -> str:
    """param_array: a comma-separated list, no longer than the array.

    Where nobody counts the elements that were set all are shown (param_array_get), the rest as
    they were ``before``.
    """
    kind, limit = parameter.type.removeprefix(ARRAY_OF), parameter.max_elements
    shown, left = [], PAGE_SIZE  # what follows a page is checked, but never seen
    for count, element in enumerate(_elements(value)):
        if count == limit:
            raise _Invalid(errno.EINVAL, f"{{name}}: can only take {limit} arguments")
        text = _scalar(kind, element)
        if left > 0:
            shown.append(text)
            left -= len(text) + 1
    if not parameter.counted and left > 0:
        shown += before.split(",")[len(shown) :]
    return page_of(",".join(shown))


def _elements(value: str) -> Iterator[str]:
    """The parts of a list, one at a time: it may have as many as it has characters."""
    start = 0
    while (comma := value.find(",", start)) >= 0:
        yield value[start:comma]
        start = comma + 1
    yield value[start:]


def _copystring(parameter: Parameter, value: str) -> str:
    """param_set_copystring: the buffer has room for a NUL as well."""
    size = parameter.max_elements
    if size is not None and len(value.encode(errors="surrogateescape")) >= size:
        raise _Invalid(errno.ENOSPC, f"{{name}}: string doesn't fit in {size - 1} chars.")
    return value


def takes_no_argument(parameter: Parameter) -> bool:
    """May it stand without "="?"""
    return parameter.type in NO_ARGUMENT or parameter.no_argument


def warning_of(parameter: Parameter) -> str:
    """What is logged of one that taints the kernel, before it is set (param_check_unsafe)."""
    return f"Setting dangerous option {parameter.name} - tainting kernel"


def set_parameter(parameter: Parameter, value: str | None, before: str) -> str:
    """The text that the parameter shows after it was set to ``value`` (None: no "=").

    ``before``: the text that it showed until then.
    """
    if value is None:
        if not takes_no_argument(parameter):
            raise _Invalid(errno.EINVAL)
        value = "1"
    if parameter.own_set:
        return value if parameter.check is None else _own(parameter.check, value)
    if parameter.type.startswith(ARRAY_OF):
        return _array(parameter, value, before)
    if parameter.type == STRING:
        return _copystring(parameter, value)
    return _scalar(parameter.type, value)


def store(parameter: Parameter, text: str, before: str) -> str:
    """What it shows after its file was written to (param_attr_store). LoadError: EINVAL, ERANGE or
    ENOSPC, what it cannot take."""
    try:
        return set_parameter(parameter, text, before)
    except _Invalid as invalid:
        raise LoadError(invalid.errno) from None


# -- the whole string -----------------------------------------------------------------------------


def arguments(text: str) -> Iterator[tuple[str, str | None, int]]:
    """(name, value or None, where it ends) of each argument (next_arg, lib/cmdline.c).

    Double quotes hold blanks together; around a whole value or argument they are taken off.
    """
    for argument in _ARGUMENT.finditer(text):
        start, end = argument.span()
        yield *_name_and_value(text, start, end), end


def _name_and_value(text: str, start: int, end: int) -> tuple[str, str | None]:
    quoted = text[start] == '"'
    start += quoted
    equals = text.find("=", start + 1, end)  # a name has at least one character
    value = equals + 1
    value_quoted = equals > 0 and text.startswith('"', value, end)
    if (quoted or value_quoted) and start < end and text[end - 1] == '"':
        end -= 1
    if equals < 0:
        return text[start:end], None
    return text[start:equals], text[value + value_quoted : end]


class _Lines(deque[str]):
    """The newest lines that a module logs, no more and no longer ones than the log keeps."""

    def __init__(self, module: str) -> None:
        super().__init__(maxlen=LINES)
        self._module = module

    def say(self, text: str) -> None:
        self.append(f"{self._module}: {text}"[:LINE_MAX])


def _left_of(parameter: Parameter, value: str) -> str:
    """What the log shows of a bad value: param_array has put a NUL in the place of each comma."""
    is_cut = parameter.type.startswith(ARRAY_OF) and parameter.max_elements != 0
    return value.partition(",")[0] if is_cut else value


def _say_unknown(name: str, dynamic_debug: bool, log: _Lines) -> None:
    """unknown_module_param_cb: async_probe and dyndbg are for every module, the rest is told.

    With CONFIG_DYNAMIC_DEBUG_CORE a dot ends the name, and what is behind it may be dyndbg
    (ddebug_dyndbg_param_cb, lib/dynamic_debug.c). Its queries are not followed.
    """
    if name == "async_probe":
        return
    told, dot, behind = name.partition(".") if dynamic_debug else (name, "", "")
    if (behind if dot else told) != "dyndbg":
        log.say(f"unknown parameter '{told}' ignored")
    elif not dynamic_debug:
        log.append("dyndbg param is supported only in CONFIG_DYNAMIC_DEBUG builds")


def parse_args(
    module: str, text: str, parameters: Mapping[str, Parameter], dynamic_debug: bool = True
) -> Parsed:
    """Set ``parameters`` (by canonical name) from ``text`` as parse_args does for ``module``.

    A bad value is logged and the rest still parsed; the last errno is the result. Unknown names
    are logged and ignored. ``dynamic_debug``: CONFIG_DYNAMIC_DEBUG_CORE. What follows ``--`` is not
    for the module. No more is kept of the lines than the log keeps.
    """
    values: dict[str, str] = {}
    log = _Lines(module)
    number, unsafe = 0, False
    for name, value, end in arguments(text):
        if value is None and name == "--":
            if not number:
                rest = text[end:].lstrip(_BLANKS)
                log.say(f"parameters '{rest}' after `--' ignored")
            break
        parameter = parameters.get(canonical(name))
        if parameter is None:
            _say_unknown(name, dynamic_debug, log)
            continue
        if parameter.unsafe and (value is not None or takes_no_argument(parameter)):
            unsafe = True
            log.append(warning_of(parameter))
        try:
            before = values.get(parameter.name, parameter.default)
            values[parameter.name] = set_parameter(parameter, value, before)
        except _Invalid as invalid:
            number = invalid.errno
            if invalid.log:
                log.append(invalid.log.format(name=parameter.name)[:LINE_MAX])
            what = "too large" if number == errno.ENOSPC else "invalid"
            log.say(f"`{_left_of(parameter, value or '')}' {what} for parameter `{name}'")
    return Parsed(values, number, tuple(log), unsafe)
