"""A page of one file, without a network: lanes to zoom and search, and what was wasted beside them.

Names and command lines come from whoever made them. They travel as JSON in which nothing can end
the element that holds it; the page's program makes text nodes of them, never markup; and the page's
own policy lets nothing run but that program, known by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import string
from collections.abc import Sequence
from importlib import resources
from typing import Any

from modfs.observed import result as told_result
from modfs.pictures.story import KINDS, Bar, Story

_PROGRAM = ("model.js", "draw.js", "tables.js", "main.js")


_PLAIN = frozenset(string.ascii_letters + string.digits + " -_./,:+")


class _Texts:
    """Each text once; calls name them by number."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str | None) -> int:
        """Of that text; 0 is the empty one, and what is not known."""
        return self._numbers.setdefault(text or "", self._add(text or ""))

    def _add(self, text: str) -> int:
        if text not in self._numbers:
            self.all.append(text)
        return len(self.all) - 1


FIELDS = (
    "begin", "end", "open", "failed", "module", "who", "program", "call", "outcome", "result",
    "reason", "file", "params", "command", "unit", "asked", "alias", "device", "gaps", "wasted",
    "memory", "size", "uid", "peak", "for", "parts",
)  # fmt: skip
"""What is told of a call, in the order in which it is told."""


def page(stories: Sequence[Story]) -> str:
    """The page: one source, or two to be looked at side by side. ASCII but for its own texts."""
    texts = _Texts()
    texts.number("")
    sources = [_source(story, texts) for story in stories]
    data = {
        "version": 1,
        "kinds": list(KINDS),
        "told": list(KINDS.values()),
        "fields": FIELDS,
        "texts": texts.all,
        "sources": sources,
    }
    program = "".join(_file(name) for name in _PROGRAM)
    return _filled(
        _file("page.html"),
        {
            "@HASH@": base64.b64encode(hashlib.sha256(program.encode()).digest()).decode(),
            "@TITLE@": _escaped(" and ".join(story.title for story in stories)),
            "@STYLE@": _file("page.css"),
            "@DATA@": embedded(data),
            "@PROGRAM@": program,
        },
    )


def embedded(data: object) -> str:
    """JSON for the inside of a script element: it has no ``<``, and so no end of that element."""
    text = json.dumps(data, separators=(",", ":"))  # ASCII alone, lone surrogates as well
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _filled(frame: str, parts: dict[str, str]) -> str:
    """The frame with its marks replaced; what a part holds is never taken for a mark."""
    made = frame
    done = []
    for mark, text in parts.items():
        before, found, made = made.partition(mark)
        assert found, mark
        done += [before, text]
    return "".join([*done, made])


def _escaped(text: str) -> str:
    """Text for the title element: nothing in it is markup, and all of it is ASCII."""
    return "".join(letter if letter in _PLAIN else _entity(letter) for letter in text)


def _entity(letter: str) -> str:
    number = ord(letter)
    is_text = number >= 32 and not 0x7F <= number < 0xA0 and not 0xD800 <= number < 0xE000
    return f"&#{number if is_text else 0xFFFD};"


def _file(name: str) -> str:
    return resources.files("modfs.pictures").joinpath("page", name).read_text("utf-8")


def _source(story: Story, texts: _Texts) -> dict[str, Any]:
    return {
        "title": story.title,
        "kernel": story.kernel,
        "leftOut": story.left_out,
        "length": _micro(story.ended - story.began),
        "began": round(story.began, 6),
        "moments": [[_micro(one.at - story.began), one.name] for one in story.moments],
        "requests": [
            [
                _micro(one.at - story.began),
                texts.number(one.module),
                texts.number(f"{one.task.name}-{one.task.tid}"),
                texts.number(one.function),
                texts.number("" if one.result is None else str(one.result)),
            ]
            for one in story.requests
        ],
        "calls": [_call(bar, story.began, texts) for bar in story.bars],
    }


def _call(bar: Bar, began: float, texts: _Texts) -> list[Any]:
    call, number = bar.call, texts.number
    parts: list[int] = []
    kinds = list(KINDS)
    for part in bar.parts:
        parts += (kinds.index(part.kind), _micro(part.end - began))
    return [
        _micro(bar.begin - began),
        _micro(bar.end - began),
        int(bar.is_open),
        int(bar.failed),
        number(bar.module),
        number(bar.who),
        number(bar.program),
        number(call.call),
        number(call.outcome),
        number(told_result(call.result)),
        number(bar.reason),
        number(call.file.name),
        number(call.params),
        number(call.task.command or call.task.exe),
        number(call.task.unit),
        number(call.asked_by),
        number(call.alias),
        number(call.device),
        number(", ".join(call.gaps)),
        bar.wasted,
        call.memory_size,
        call.file.size if call.file.size is not None else call.argument or 0,
        -1 if call.task.uid is None else call.task.uid,
        call.peak or 0,
        call.waited_for or 0,
        parts,
    ]


def _micro(seconds: float) -> int:
    return round(seconds * 1e6)
