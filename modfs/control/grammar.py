"""The grammar of the control file: a line in, requests out, and back.

A line is a command as people type it, or one of the three system calls. For programs, which have to
say exactly what a caller did, the calls have options besides what HELP tells:

    finit_module [--open N] [--params TEXT | --unmapped-params] PATH|--fd N [flags=N]
    init_module [--params TEXT | --unmapped-params] PATH|--fd N|--unmapped [len=N]
    delete_module NAME|--unmapped [flags=N]

``--fd N`` is the writer's own descriptor, ``--open`` what PATH is opened with (2: O_RDWR),
``--params`` the parameter string to the letter, "unmapped" an address that is not mapped.
``parse(format_call(call))`` is ``(call,)``. Nothing is done here, no file is looked at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from loader.calls import (
    MANGLED,
    MODULE_INIT_IGNORE_MODVERSIONS,
    MODULE_INIT_IGNORE_VERMAGIC,
    Call,
    DeleteModule,
    File,
    FinitModule,
    InitModule,
    RequestModule,
)
from loader.errors import UserError
from loader.words import did_you_mean, module_name

HELP = """\
# One request a line; the write returns when it is done, with its errno if it failed.
#   insmod [--force-vermagic] [--force-modversion] [-f] PATH [NAME=VALUE ...]
#   modprobe [-f] [-r] [--first-time] NAME-OR-ALIAS [NAME=VALUE ...]
#   rmmod [-f] NAME ...
#   finit_module PATH [flags=N] [NAME=VALUE ...]
#   init_module PATH [len=N] [NAME=VALUE ...]
#   delete_module NAME [flags=N]
#   request_module STRING
#   request_module_nowait STRING
#   get_fs_type NAME
# Words may be quoted as in a shell; what follows # is a comment. Paths that do not start with /
# are taken from the working directory of whoever writes.
"""


class Insmod(NamedTuple):
    """insmod: one file, unpacked here if the kernel does not know its format."""

    file: str
    params: str = ""
    flags: int = 0


class Modprobe(NamedTuple):
    """modprobe: a module or alias with all that it needs."""

    name: str
    params: str = ""
    flags: int = 0
    first_time: bool = False


class ModprobeRemove(NamedTuple):
    """modprobe -r: a module, and those that nobody needs any more."""

    name: str
    flags: int = os.O_NONBLOCK
    first_time: bool = False


class GetFsType(NamedTuple):
    """get_fs_type, as mount(2) calls it."""

    name: str


Request = Call | Insmod | Modprobe | ModprobeRemove | RequestModule | GetFsType

# option -> bits of the flags argument
_INSERT_OPTIONS: dict[str, int] = {
    "-f": MANGLED,
    "--force": MANGLED,
    "--force-vermagic": MODULE_INIT_IGNORE_VERMAGIC,
    "--force-modversion": MODULE_INIT_IGNORE_MODVERSIONS,
}
_REMOVE_OPTIONS: dict[str, int] = {"-f": os.O_TRUNC, "--force": os.O_TRUNC}
# Accepted without meaning here: these tools are quiet or talkative, wait or log elsewhere.
_IGNORED = frozenset(
    ("-v", "--verbose", "-q", "--quiet", "-s", "--syslog", "-b", "--use-blacklist")
)
# What a path may be opened with: nothing that makes or changes a file.
_ACCESS = os.O_ACCMODE | os.O_PATH


def parse(line: str) -> tuple[Request, ...]:
    """The requests of one line; none for a comment or an empty one. UserError: it is no request."""
    return _parse_again(line) if len(line) <= _REMEMBERED else _parse(line)


def _parse(line: str) -> tuple[Request, ...]:
    words = list(_words(line)) if _SPECIAL.search(line) else line.split()
    if not words:
        return ()
    parser = _PARSERS.get(words[0])
    if parser is None:
        raise UserError(f"{words[0]}: no such request{did_you_mean(words[0], _PARSERS)}")
    return tuple(parser(words[0], words[1:]))


_REMEMBERED = 256  # characters
# The same requests come again and again: that is what a storm of them is.
_parse_again = lru_cache(_REMEMBERED)(_parse)

# -- words ----------------------------------------------------------------------------------------

_BLANKS = " \t\r\v\f\n"
# What makes a line more than words with blanks between them (str.split knows more blanks).
_SPECIAL = re.compile("[\"'\\\\#$\x1c-\x1f]|[^\x00-\x7f]")
_PART = re.compile(
    r"""\$'(?P<escaped>(?:[^'\\]|\\.)*)'
      | '(?P<literal>[^']*)'
      | "(?P<quoted>(?:[^"\\]|\\.)*)"
      | \\(?P<one>.)
      | (?P<plain>(?:[^ \t\r\v\f\n'"\\$]|\$(?!'))+)""",
    re.VERBOSE | re.DOTALL,
)
_IN_QUOTES = re.compile(r"\\([\"\\$`])")
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f"}
_SAFE = re.compile(r"[\w@%+=:,./-]+", re.ASCII)


def _words(line: str) -> Iterator[str]:
    """The words of a line as a shell has them: quotes, \\, $'...', and comments after #."""
    position, end = 0, len(line)
    while True:
        while position < end and line[position] in _BLANKS:
            position += 1
        if position == end or line[position] == "#":
            return
        word = ""
        while part := _PART.match(line, position):
            word += _unquoted(part)
            position = part.end()
        if position < end and line[position] not in _BLANKS:
            escaped = line[position] == "\\"
            raise UserError("No escaped character" if escaped else "No closing quotation")
        yield word


def _unquoted(part: re.Match[str]) -> str:
    text = part[part.lastgroup or 0]
    if part.lastgroup == "quoted":
        return _IN_QUOTES.sub(r"\1", text)
    if part.lastgroup == "escaped":
        return _ESCAPE.sub(_unescaped, text)
    return text


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1]
    if code[0] == "x" and len(code) > 1:
        return bytes((int(code[1:], 16),)).decode("utf-8", "surrogateescape")
    return _ESCAPES.get(code, code)


def quote(word: str) -> str:
    """``word`` so that it is one word of a line."""
    if _SAFE.fullmatch(word):
        return word
    if "\n" not in word:
        return "'" + word.replace("'", "'\"'\"'") + "'"
    escaped = word.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"$'{escaped}'"


# -- commands -------------------------------------------------------------------------------------


def _options(request: str, words: list[str], known: Mapping[str, int]) -> tuple[int, list[str]]:
    """(flags of the options, the other words)."""
    flags = 0
    for position, word in enumerate(words):
        if word in known:
            flags |= known[word]
        elif word in _IGNORED:
            continue
        elif word == "--":
            return flags, words[position + 1 :]
        elif word.startswith("-") and len(word) > 1:
            raise UserError(f"{request}: no option {word}")
        else:
            return flags, words[position:]
    return flags, []


def _first(request: str, words: list[str], what: str) -> tuple[str, list[str]]:
    if not words:
        raise UserError(f"{request}: {what} is missing")
    return words[0], words[1:]


def _insmod(request: str, words: list[str]) -> Iterator[Request]:
    flags, words = _options(request, words, _INSERT_OPTIONS)
    path, params = _first(request, words, "a path")
    yield Insmod(path, " ".join(params), flags)


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


# -- system calls ---------------------------------------------------------------------------------

_WITH_VALUE = ("--fd", "--open", "--params")
_WITHOUT_VALUE = ("--unmapped", "--unmapped-params")


class _Words:
    """The words after a system call's name, taken from the front."""

    def __init__(self, request: str, words: list[str]) -> None:
        self.request = request
        self.words = words
        self.options: dict[str, str] = {}
        while self.words and self.words[0].startswith("-") and len(self.words[0]) > 1:
            word = self.words.pop(0)
            if word == "--":
                return
            if word not in _WITH_VALUE + _WITHOUT_VALUE:
                raise UserError(f"{request}: no option {word}")
            self.options[word] = self.first(f"what follows {word}") if word in _WITH_VALUE else ""

    def first(self, what: str) -> str:
        if not self.words:
            raise UserError(f"{self.request}: {what} is missing")
        return self.words.pop(0)

    def file(self) -> File:
        """The writer's descriptor, or a path."""
        if "--fd" in self.options:
            return self.number("--fd", self.options["--fd"])
        return self.first("a path")

    def access(self) -> int:
        access = self.number("--open", self.options.get("--open", "0"))
        if access & ~_ACCESS:
            raise UserError(f"{self.request}: --open {access} is more than opening")
        return access

    def setting(self, name: str) -> int | None:
        """The word NAME=N, if it comes first."""
        if not self.words or not self.words[0].startswith(f"{name}="):
            return None
        word = self.words.pop(0)
        return self.number(word, word.partition("=")[2])

    def number(self, word: str, text: str) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            raise UserError(f"{self.request}: {word} is no number") from None
        if not -(1 << 31) <= value < 1 << 64:
            raise UserError(f"{self.request}: {word} is out of range")
        return value

    def params(self) -> str | None:
        """All that is left is for the module."""
        given = "--params" in self.options or "--unmapped-params" in self.options
        if not given:
            return " ".join(self.words)
        self.end()
        return self.options.get("--params")

    def end(self) -> None:
        if self.words:
            raise UserError(f"{self.request}: {self.words[0]} is one word too many")


def _finit_module(request: str, line: list[str]) -> Iterator[Request]:
    words = _Words(request, line)
    file, flags = words.file(), words.setting("flags")
    yield FinitModule(file, words.params(), flags or 0, words.access())


def _init_module(request: str, line: list[str]) -> Iterator[Request]:
    words = _Words(request, line)
    image = None if "--unmapped" in words.options else words.file()
    length = words.setting("len")
    if length is not None and length < 0:
        raise UserError(f"{request}: len={length} is out of range")
    yield InitModule(image, words.params(), length)


def _delete_module(request: str, line: list[str]) -> Iterator[Request]:
    words = _Words(request, line)
    name = None if "--unmapped" in words.options else words.first("a module")
    flags = words.setting("flags")
    words.end()
    yield DeleteModule(name, os.O_NONBLOCK if flags is None else flags)


# -- requests of the kernel's ----------------------------------------------------------------------


def _one_word(request: str, words: list[str], what: str) -> str:
    word, more = _first(request, words, what)
    if more:
        raise UserError(f"{request}: {more[0]} is one word too many")
    return word


def _request_module(request: str, words: list[str]) -> Iterator[Request]:
    yield RequestModule(_one_word(request, words, "a string"), request == "request_module")


def _get_fs_type(request: str, words: list[str]) -> Iterator[Request]:
    yield GetFsType(_one_word(request, words, "a file system's name"))


_PARSERS: dict[str, Callable[[str, list[str]], Iterator[Request]]] = {
    "insmod": _insmod,
    "modprobe": _modprobe,
    "rmmod": _rmmod,
    "finit_module": _finit_module,
    "init_module": _init_module,
    "delete_module": _delete_module,
    "request_module": _request_module,
    "request_module_nowait": _request_module,
    "get_fs_type": _get_fs_type,
}


# -- and back -------------------------------------------------------------------------------------


def format_call(call: Call) -> str:
    """The line, without its end, that is this call. ValueError: an image of bytes, which no line
    can hold; write it to a file and give its descriptor."""
    return " ".join(map(quote, _call_words(call)))


def format_request(request: RequestModule | GetFsType) -> str:
    """The line, without its end, that is this request."""
    if isinstance(request, GetFsType):
        return f"get_fs_type {quote(request.name)}"
    verb = "request_module" if request.wait else "request_module_nowait"
    return f"{verb} {quote(request.string)}"


def _call_words(call: Call) -> Iterator[str]:
    if isinstance(call, FinitModule):
        yield "finit_module"
        yield from ("--open", str(call.access)) if call.access else ()
        yield from _params_words(call.params)
        yield from _file_words(call.file)
        yield from (f"flags={call.flags}",) if call.flags else ()
    elif isinstance(call, InitModule):
        if isinstance(call.image, bytes):
            raise ValueError("a line cannot hold bytes")
        yield "init_module"
        yield from _params_words(call.params)
        yield from ("--unmapped",) if call.image is None else _file_words(call.image)
        yield from (f"len={call.length}",) if call.length is not None else ()
    else:
        yield "delete_module"
        yield from ("--unmapped",) if call.name is None else _place_words(call.name)
        yield from (f"flags={call.flags}",) if call.flags != os.O_NONBLOCK else ()


def _params_words(params: str | None) -> tuple[str, ...]:
    if params is None:
        return ("--unmapped-params",)
    return ("--params", params) if params else ()


def _file_words(file: File) -> tuple[str, ...]:
    return ("--fd", str(file)) if isinstance(file, int) else _place_words(os.fspath(file))


def _place_words(text: str) -> tuple[str, ...]:
    return ("--", text) if text.startswith("-") else (text,)
