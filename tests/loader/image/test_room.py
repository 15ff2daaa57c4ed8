"""How much of a file's texts is kept."""

from __future__ import annotations

from loader.image.room import Room


def test_once_it_is_full_nothing_more_is_taken() -> None:
    room = Room(10)
    assert [room.take(length) for length in (4, 6, 0, 1, 0)] == [True, True, True, False, False]
