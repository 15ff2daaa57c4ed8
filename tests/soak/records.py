"""What clients were told, in memory that they share with the program: it outlives a client that is
killed. One writer each, so no locks."""

from __future__ import annotations

import errno
import mmap
from collections import Counter
from collections.abc import Iterator

from tests.soak.requests import COUNTERS, KINDS, LOADED, NAMES

_ERRNOS = max(errno.errorcode) + 1
_UNKNOWN = _ERRNOS  # a column more: requests whose end the client did not see
_COLUMNS = _ERRNOS + 1
_STATE = 2  # words before the table: the kind that runs (from 1), and how it stands with its client

RUNNING, PAUSED = 0, 1


class Record:
    """One client's."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8 * (_STATE + len(NAMES) * _COLUMNS))
        self._words = memoryview(self._memory).cast("Q")

    def begin(self, kind: str) -> None:
        """The client is about to ask."""
        self._words[0] = NAMES.index(kind) + 1

    def end(self, kind: str, number: int) -> None:
        """It was told: an errno, or 0."""
        self._words[_STATE + NAMES.index(kind) * _COLUMNS + number] += 1
        self._words[0] = 0

    def lose(self) -> None:
        """It will never be told."""
        if running := self._words[0]:
            self._words[_STATE + (running - 1) * _COLUMNS + _UNKNOWN] += 1
            self._words[0] = 0

    def clear(self) -> None:
        """All of it has been added up."""
        for word in range(_STATE, len(self._words)):
            self._words[word] = 0

    @property
    def state(self) -> int:
        return self._words[1]

    @state.setter
    def state(self, value: int) -> None:
        self._words[1] = value

    def told(self) -> Iterator[tuple[str, int, int]]:
        """Each kind, errno and how often; -1 for what is not known."""
        for row, kind in enumerate(NAMES):
            start = _STATE + row * _COLUMNS
            for column, count in enumerate(self._words[start : start + _COLUMNS]):
                if count:
                    yield kind, -1 if column == _UNKNOWN else column, count


def _name(number: int) -> str:
    return "not told" if number < 0 else errno.errorcode.get(number, "ok")


class Sums:
    """What the counters must be: at least, and at most."""

    def __init__(self) -> None:
        self.least: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.requests = 0
        self.unknown = 0
        self.answers: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        """Answers that are no kernel's: a kind of request with an errno."""

    def add(self, record: Record, tolerated: frozenset[int] = frozenset()) -> None:
        """``tolerated``: errnos of a server in need; what was asked then failed anywhere."""
        for kind, number, count in record.told():
            self.requests += count * KINDS[kind].requests
            effect = KINDS[kind].answers.get(number)
            in_part = bool(tolerated) and KINDS[kind].requests > 1  # the first errno tells not all
            if effect is None or in_part:
                self._add_unknown(kind, number, count, tolerated)
                continue
            self.answers[_name(number)] += count
            for counter in effect:
                self.least[counter] += count * effect[counter]
                self.most[counter] += count * effect[counter]

    def _add_unknown(self, kind: str, number: int, count: int, tolerated: frozenset[int]) -> None:
        name = _name(number)
        self.answers[name] += count
        if number >= 0 and number not in (*KINDS[kind].answers, *tolerated):
            self.wrong[f"{kind}: {name}"] += count
        self.unknown += count
        for counter in COUNTERS:
            self.most[counter] += count * _at_most(kind, number, counter, tolerated)


def _at_most(kind: str, number: int, counter: str, tolerated: frozenset[int]) -> int:
    """What a request added to a counter, whose answer does not tell."""
    found = KINDS[kind]
    if number in (errno.EMFILE, errno.EAGAIN) and found.requests == 1:
        return 0  # its file was never opened, or the request never begun
    if number in tolerated and counter != LOADED:
        return found.requests  # without memory it may fail anywhere
    return found.most(counter)
