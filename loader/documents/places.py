"""In which line of a text a value stands, for messages about it. TOML and JSON.

The libraries that read these texts give values without their places. So when a value is wrong, the
text is gone through once more here, for the places alone: it is known to be right by then.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator

Path = tuple[str | int, ...]
"""Keys, and indexes of lists, from the outermost inwards."""

# Strings first: what they hold is no punctuation. All that is left is a bare key or a value.
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|[][{}=:,.\n]"
    r"""|[^][{}=:,.\s"'#]+""",
    re.DOTALL,
)
_END = ""  # what is found behind the last token


def line_of(text: str, path: Path, *, is_json: bool) -> int:
    """The line, from 1, of the value with that path, or of the nearest that holds it."""
    lines: dict[Path, int] = {}
    for found, line in places(text, is_json=is_json):
        lines.setdefault(found, line)
    inner = (path[:length] for length in range(len(path), 0, -1))
    return next((lines[part] for part in inner if part in lines), 1)


def first_repeated(json_text: str) -> tuple[Path, int]:
    """The first path that is there a second time, and the line of that; ((), 1): none is."""
    seen: set[Path] = set()
    for found, line in places(json_text, is_json=True):
        if found in seen:
            return found, line
        seen.add(found)
    return (), 1


def places(text: str, *, is_json: bool) -> Iterator[tuple[Path, int]]:
    """The path of each key and of each list's elements, with its line. A text that is right."""
    tokens = _tokens(text)
    if is_json:  # where lines end says nothing
        return _Scan(token for token in tokens if token[0] != "\n").value(())
    return _Scan(tokens).toml()


class _Scan:
    """Goes through a text from its start."""

    def __init__(self, tokens: Iterator[tuple[str, int]]) -> None:
        self._tokens = tokens
        self._token, self._line = next(self._tokens)

    def _take(self) -> str:
        taken = self._token
        self._token, self._line = next(self._tokens, (_END, self._line))
        return taken

    def toml(self) -> Iterator[tuple[Path, int]]:
        table: Path = ()
        lists: Counter[Path] = Counter()  # [[list]] -> how many there are up to here
        while self._token != _END:
            if self._token == "\n":
                self._take()
            elif self._token != "[":
                yield from self._pair(table)
            else:
                line = self._line
                table = self._header(lists)
                yield from ((table[:length], line) for length in range(1, len(table) + 1))

    def _header(self, lists: Counter[Path]) -> Path:
        """Past [key] or [[key]]: the path of the table that it opens."""
        self._take()
        is_list = self._token == "["
        if is_list:
            self._take()
        *outer, last = self._key()
        while self._token not in ("\n", _END):
            self._take()
        path: Path = ()
        for step in outer:
            path = (*path, step)
            path += (lists[path] - 1,) if path in lists else ()
        path = (*path, last)
        if is_list:
            lists[path] += 1
            return (*path, lists[path] - 1)
        return path

    def _pair(self, table: Path) -> Iterator[tuple[Path, int]]:
        line = self._line
        keys = self._key()
        self._take()  # = or :
        for length in range(1, len(keys) + 1):
            yield (*table, *keys[:length]), line
        yield from self.value((*table, *keys))

    def _key(self) -> list[str]:
        """Past a key: its parts, of which only TOML's has several."""
        keys = [_plain(self._take())]
        while self._token == ".":
            self._take()
            keys.append(_plain(self._take()))
        return keys

    def value(self, path: Path) -> Iterator[tuple[Path, int]]:
        """Past a value and all that is in it."""
        if self._token not in ("{", "["):
            while self._token not in (",", "]", "}", "\n", _END):
                self._take()
            return
        is_table, index = self._take() == "{", 0
        while self._token not in ("]", "}", _END):
            if self._token in (",", "\n"):
                self._take()
            elif is_table:
                yield from self._pair(path)
            else:
                yield (*path, index), self._line
                yield from self.value((*path, index))
                index += 1
        self._take()


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    """The tokens but for comments, each with its line; at the end an empty one."""
    line, past = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", past, match.start())
        past = match.start()
        if not match[0].startswith("#"):
            yield match[0], line
    yield _END, line


def _plain(key: str) -> str:
    if key[:1] == "'":
        return key[1:-1]
    if key[:1] != '"':
        return key
    try:
        return str(json.loads(key, strict=False))
    except ValueError:  # an escape that only TOML has
        return key[1:-1]
