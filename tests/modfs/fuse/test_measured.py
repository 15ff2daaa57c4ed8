"""Sizes of texts, and what is read by them."""

from __future__ import annotations

import time

from modfs.fuse.measured import Measured


def test_what_is_read_is_what_was_measured() -> None:
    texts = [b"three", b"four"]
    measured = Measured(lambda path: texts.pop(0))
    assert measured.size(b"/a") == 5
    assert measured.text(b"/a") == b"three"
    assert measured.size(b"/a") == 4
    assert measured.text(b"/a") == b"four"


def test_what_has_no_text_has_no_size() -> None:
    measured = Measured(lambda path: None)
    assert measured.size(b"/pipe") is None
    assert measured.text(b"/pipe") is None


def test_what_takes_long_is_not_made_for_every_look() -> None:
    """As the events, of which there may be a million: not for each ls in the folder."""
    made: list[bytes] = []

    def text(path: bytes) -> bytes:
        made.append(path)
        time.sleep(1)
        return b"x" * len(made)

    measured = Measured(text)
    assert [measured.size(b"/events") for _ in range(100)] == [1] * 100
    assert made == [b"/events"]
