"""What io_uring asks twice, told from what programs ask."""

from __future__ import annotations

import errno

import pytest

from modfs.fuse.measured import Measured
from modfs.fuse.repeats import Repeats

FILE, TID, OTHER = 3, 10, 11


def test_the_rest_of_a_short_read_is_not_asked_of_the_beginning() -> None:
    repeats = Repeats()
    repeats.answered(FILE, TID, 1000, 0, 300)
    assert not repeats.is_one(FILE, TID, 1000, 300)
    assert not repeats.is_one(FILE, TID, 1000, 0)  # it has gone back to the beginning
    assert not repeats.is_one(FILE, OTHER, 700, 0)
    assert not repeats.is_one(FILE + 1, TID, 700, 0)
    assert repeats.is_one(FILE, TID, 700, 0)
    with pytest.raises(OSError) as caught:
        repeats.is_one(FILE, TID, 1000, 0)
    assert caught.value.errno == errno.EINVAL
    repeats.closed(FILE)
    assert not repeats.is_one(FILE, TID, 1000, 0)


def test_reading_on_at_the_end_is_no_repeat() -> None:
    repeats = Repeats()
    repeats.answered(FILE, TID, 1000, 300, 0)
    assert not repeats.is_one(FILE, TID, 1000, 300)


def test_pages_are_of_the_text_that_was_measured() -> None:
    texts = {b"/a": b"one"}
    measured = Measured(texts.get)
    assert (measured.size(b"/a"), measured.size(b"/none")) == (3, None)
    texts[b"/a"] = b"three"
    assert measured.text(b"/a") == b"one"
    assert measured.size(b"/a") == 5
    assert measured.text(b"/a") == b"three"


def test_few_texts_are_kept() -> None:
    measured = Measured(lambda path: path)
    for number in range(1000):
        measured.size(b"/%d" % number)
    assert len(measured._latest) == 64
    assert measured.text(b"/0") == b"/0"  # composed again


def test_io_uring_that_begins_again_is_refused() -> None:
    """By who asks: a buffer below the text, read from where the file is; one of two requests."""
    repeats = Repeats(lambda tid: tid == TID)
    repeats.answered(FILE, TID, 100, 0, 100)
    repeats.answered(FILE + 1, TID, 100, 0, 100)
    repeats.answered(FILE + 1, TID, 100, 100, 30)
    for handle in (FILE, FILE + 1):
        assert not repeats.is_one(handle, OTHER, 100, 0)  # pread(2), or read(2) after lseek(2)
        with pytest.raises(OSError) as caught:
            repeats.is_one(handle, TID, 100, 0)
        assert caught.value.errno == errno.EINVAL
    assert not repeats.is_one(FILE, TID, 100, 100)  # it goes on
