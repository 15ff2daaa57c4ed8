"""The page is one file that asks no network, and what it shows is data in it, never markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from modfs.pictures.html import FIELDS, page
from modfs.pictures.story import story
from modfs.tracing.record import recording_of
from tests.conftest import PROJECT
from tests.modfs.pictures import hostile
from tests.recordings import STOCK, TRACES


class Parts(HTMLParser):
    """What a browser finds: elements with their attributes, and the text within each kind."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._within = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within = tag
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within:
            self.texts[self._within][-1] += data


def data_of(text: str) -> dict[str, Any]:
    made = re.search(r'<script type="application/json" id="data">([^<]*)</script>', text)
    assert made
    read: dict[str, Any] = json.loads(made[1])
    return read


def test_what_is_embedded() -> None:
    recording = recording_of(TRACES[-1])
    told = story(recording, "boot")
    data = data_of(page([told]))
    assert tuple(data["fields"]) == FIELDS
    calls = data["sources"][0]["calls"]
    assert len(calls) == len(told.bars)
    for call, bar in zip(calls, told.bars, strict=True):
        read = dict(zip(data["fields"], call, strict=True))
        assert data["texts"][read["module"]] == bar.module
        assert read["wasted"] == bar.wasted and read["failed"] == bar.failed
        assert abs(read["end"] - read["begin"] - (bar.end - bar.begin) * 1e6) <= 1


@pytest.mark.parametrize("title", ["boot.jsonl", *hostile.NAMES])
def test_names_are_no_markup(title: str) -> None:
    plain = Parts(page([story(recording_of(STOCK[0]), "boot")]))
    text = page([story(hostile.recording(), title)])
    parts = Parts(text)
    assert parts.elements[1:] != [] and [one for one, _ in parts.elements] == [
        one for one, _ in plain.elements
    ]
    assert all(not name.startswith("on") for _, given in parts.elements for name in given)
    data = data_of(text)
    assert set(hostile.NAMES) <= set(data["texts"])
    assert data["sources"][0]["title"] == title
    text.encode("utf-8")  # no lone surrogate is left as it was


def test_no_network_and_one_program() -> None:
    text = page([story(hostile.recording(), "x")])
    parts = Parts(text)
    assert not [given for _, given in parts.elements if {"src", "href"} & given.keys()]
    assert "@import" not in text and "url(" not in text
    policy = next(
        given["content"] or ""
        for name, given in parts.elements
        if given.get("http-equiv") == "Content-Security-Policy"
    )
    program = parts.texts["script"][1]
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


MARKUP = re.compile(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(")


def test_the_program_makes_no_markup() -> None:
    programs = list((PROJECT / "modfs/pictures/page").glob("*.js"))
    assert programs and not [path for path in programs if MARKUP.search(path.read_text())]


def test_two_sources() -> None:
    one, two = (story(recording_of(path), path.name) for path in STOCK[:2])
    data = data_of(page([one, two]))
    assert [source["title"] for source in data["sources"]] == [STOCK[0].name, STOCK[1].name]
