"""The grammar of the control file: a line in, a request out.

The requests are named after the commands and the system calls that people know. Nothing is done
here, no file is looked at.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from loader.calls import MODULE_INIT_IGNORE_MODVERSIONS, MODULE_INIT_IGNORE_VERMAGIC
from loader.words import module_name

HELP = """\
# One request a line; the write returns when it is done, with its errno if it failed.
#   insmod [--force-vermagic] [--force-modversion] [-f] PATH [NAME=VALUE ...]
#   modprobe [-f] [-r] [--first-time] NAME-OR-ALIAS [NAME=VALUE ...]
#   rmmod [-f] NAME ...
#   finit_module PATH [flags=N] [NAME=VALUE ...]
#   init_module PATH [len=N] [NAME=VALUE ...]
#   delete_module NAME [flags=N]
# Words may be quoted as in a shell; what follows # is a comment. Paths that do not start with /
# are taken from the working directory of whoever writes.
"""


class ControlError(ValueError):
    """The line is no request; the message says why."""


@dataclass(frozen=True, slots=True)
class FinitModule:
    """finit_module(2) on a file. ``unpack``: as insmod does it, see modfs.requests."""

    path: str
    params: str = ""
    flags: int = 0
    unpack: bool = False


@dataclass(frozen=True, slots=True)
class InitModule:
    """init_module(2) with the first ``length`` bytes of a file, None for all."""

    path: str
    params: str = ""
    length: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteModule:
    """delete_module(2)."""

    name: str
    flags: int = os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Modprobe:
    """modprobe: a module or alias with all that it needs."""

    name: str
    params: str = ""
    flags: int = 0
    first_time: bool = False


@dataclass(frozen=True, slots=True)
class ModprobeRemove:
    """modprobe -r: a module, and those that nobody needs any more."""

    name: str
    flags: int = os.O_NONBLOCK
    first_time: bool = False


Request = FinitModule | InitModule | DeleteModule | Modprobe | ModprobeRemove
_FORCE = MODULE_INIT_IGNORE_VERMAGIC | MODULE_INIT_IGNORE_MODVERSIONS

# option -> bits of the flags argument
_INSERT_OPTIONS: dict[str, int] = {
    "-f": _FORCE,
    "--force": _FORCE,
    "--force-vermagic": MODULE_INIT_IGNORE_VERMAGIC,
    "--force-modversion": MODULE_INIT_IGNORE_MODVERSIONS,
}

_REMOVE_OPTIONS: dict[str, int] = {"-f": os.O_TRUNC, "--force": os.O_TRUNC}

# Accepted without meaning here: these tools are quiet or talkative, wait or log elsewhere.
_IGNORED = frozenset(
    ("-v", "--verbose", "-q", "--quiet", "-s", "--syslog", "-b", "--use-blacklist")
)

_SPECIAL = frozenset("\"'\\#")


def parse(line: str) -> tuple[Request, ...]:
    """The requests of one line; none for a comment or an empty one. ControlError."""
    if _SPECIAL.isdisjoint(line):
        words = line.split()
    else:
        try:
            words = shlex.split(_without_comment(line))
        except ValueError as error:
            raise ControlError(str(error)) from None
    if not words:
        return ()
    parser = _PARSERS.get(words[0])
    if parser is None:
        raise ControlError(f"{words[0]}: no such request")
    return tuple(parser(words[0], words[1:]))


def _without_comment(line: str) -> str:
    """As a shell has it: # begins a comment where a word could begin, and is not quoted."""
    quote = ""
    before = " "
    for position, character in enumerate(line):
        if before == "\\" and quote != "'":
            before = ""  # this one is quoted
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#" and before.isspace():
            return line[:position]
        before = character
    return line


def _options(request: str, words: list[str], known: dict[str, int]) -> tuple[int, list[str]]:
    """(flags of the options, the other words)."""
    flags = 0
    for position, word in enumerate(words):
        if word in known:
            flags |= known[word]
        elif word in _IGNORED:
            continue
        elif word.startswith("-") and len(word) > 1:
            raise ControlError(f"{request}: no option {word}")
        else:
            return flags, words[position:]
    return flags, []


def _first(request: str, words: list[str], what: str) -> tuple[str, list[str]]:
    if not words:
        raise ControlError(f"{request}: {what} is missing")
    return words[0], words[1:]


def _number(request: str, words: list[str], name: str) -> tuple[int | None, list[str]]:
    """The word NAME=N, if it comes first."""
    if words and words[0].startswith(f"{name}="):
        try:
            value = int(words[0].partition("=")[2], 0)
        except ValueError:
            raise ControlError(f"{request}: {words[0]} is no number") from None
        if not 0 <= value < 1 << 63:
            raise ControlError(f"{request}: {words[0]} is out of range")
        return value, words[1:]
    return None, words


def _insmod(request: str, words: list[str]) -> Iterator[Request]:
    flags, words = _options(request, words, _INSERT_OPTIONS)
    path, params = _first(request, words, "a path")
    yield FinitModule(path, " ".join(params), flags, unpack=True)


def _modprobe(request: str, words: list[str]) -> Iterator[Request]:
    removes = {"-r", "--remove"} & set(words)
    first_time = "--first-time" in words
    words = [word for word in words if word not in ("-r", "--remove", "--first-time")]
    if removes:
        flags, words = _options(request, words, _REMOVE_OPTIONS)
        name, words = _first(request, words, "a module")
        for module in (name, *words):
            yield ModprobeRemove(module, os.O_NONBLOCK | flags, first_time)
        return
    flags, words = _options(request, words, _INSERT_OPTIONS)
    name, params = _first(request, words, "a module or alias")
    yield Modprobe(name, " ".join(params), flags, first_time)


def _rmmod(request: str, words: list[str]) -> Iterator[Request]:
    flags, words = _options(request, words, _REMOVE_OPTIONS)
    name, words = _first(request, words, "a module")
    for module in (name, *words):
        # A file's name will do as well.
        yield DeleteModule(module_name(module), os.O_NONBLOCK | flags)


def _finit_module(request: str, words: list[str]) -> Iterator[Request]:
    path, words = _first(request, words, "a path")
    flags, words = _number(request, words, "flags")
    yield FinitModule(path, " ".join(words), flags or 0)


def _init_module(request: str, words: list[str]) -> Iterator[Request]:
    path, words = _first(request, words, "a path")
    length, words = _number(request, words, "len")
    yield InitModule(path, " ".join(words), length)


def _delete_module(request: str, words: list[str]) -> Iterator[Request]:
    name, words = _first(request, words, "a module")
    flags, words = _number(request, words, "flags")
    if words:
        raise ControlError(f"{request}: {words[0]} is one word too many")
    yield DeleteModule(name, os.O_NONBLOCK if flags is None else flags)


_PARSERS: dict[str, Callable[[str, list[str]], Iterator[Request]]] = {
    "insmod": _insmod,
    "modprobe": _modprobe,
    "rmmod": _rmmod,
    "finit_module": _finit_module,
    "init_module": _init_module,
    "delete_module": _delete_module,
}
