"""Recordings a line at a time."""

from __future__ import annotations

import pytest

from loader.errors import UserError
from loader.observe.stream import stream

HEADER = b'{"recording": 1}\n'
CALL = b'{"n": 1, "call": "delete_module", "task": {"name": "a", "tid": 1}, "outcome": "kept"%s}\n'


@pytest.mark.parametrize(
    ("told", "result"),
    [(b"OK", 0), (b"ENOENT", 2), (b"523", 523)],
)
def test_a_result(told: bytes, result: int) -> None:
    _, lines = stream([HEADER, CALL % b', "result": "%s"' % told], "a.jsonl")
    assert [line.result for line in lines] == [result]


def test_one_that_was_not_seen() -> None:
    _, lines = stream([HEADER, CALL % b""], "a.jsonl")
    assert [line.result for line in lines] == [None]


@pytest.mark.parametrize("told", [b"errorcode", b"EWHAT", b"", b"-"])
def test_what_is_no_result(told: bytes) -> None:
    _, lines = stream([HEADER, CALL % b', "result": "%s"' % told], "a.jsonl")
    with pytest.raises(UserError, match=r"a\.jsonl, line 2: "):
        list(lines)
