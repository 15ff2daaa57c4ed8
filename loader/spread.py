"""One question about many things, asked on all processors.

By processes of its own, not those of concurrent.futures: to import that, to start some and to have
each answer sent takes as long as reading some hundred modules.
"""

from __future__ import annotations

import marshal
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
Answers = dict[int, list[Any]]  # by the number of the piece

_FEW = 128  # things: another process is not worth its start
_PIECES = 250  # at most: a byte has the number of each, and a pipe takes them all


def spread(
    answer: Callable[[T], Any], things: Sequence[T], told: Callable[[int], None] = lambda done: None
) -> list[Any]:
    """``answer`` to each of ``things``, in their order; ``told`` hears about how many are done.

    Answers are made of texts, bytes, numbers, None and plain tuples, for they may come from a
    process that began as a copy of this one. What such a process leaves out, because it was killed
    or because of an exception, is asked here again.
    """
    processors = len(os.sched_getaffinity(0))
    alone = processors == 1 or len(things) < _FEW
    size = 1 if alone else -(-len(things) // _PIECES)
    pieces = [things[first : first + size] for first in range(0, len(things), size)]
    found: Answers = {}
    if not alone:

        def shared(done: int) -> None:
            told(min(done * size * processors, len(things)))

        found = _together(answer, pieces, processors, shared)
    answers: list[Any] = []
    for number, piece in enumerate(pieces):
        answers += found[number] if number in found else map(answer, piece)
        if alone:
            told(len(answers))
    told(len(answers))
    return answers


def _together(
    answer: Callable[[T], Any],
    pieces: Sequence[Sequence[T]],
    processors: int,
    told: Callable[[int], None],
) -> Answers:
    """``told`` hears how many pieces this process has done."""
    found: Answers = {}
    helpers: list[_Helper] = []
    queue = _queue(len(pieces))
    try:
        with suppress(OSError):  # as many as there may be
            while len(helpers) < processors - 1:
                helpers.append(_Helper(answer, pieces, queue))
        for number, answers in _taken(answer, pieces, queue):
            found[number] = answers
            told(len(found))
        for helper in helpers:
            found |= helper.answers()
    finally:
        os.close(queue)
        for helper in helpers:
            helper.end()
    return found


def _queue(count: int) -> int:
    """A pipe with the numbers up to ``count``, one a byte: who reads one has it for itself."""
    queue, end = os.pipe()
    os.write(end, bytes(range(count)))
    os.close(end)
    return queue


def _taken(
    answer: Callable[[T], Any], pieces: Sequence[Sequence[T]], queue: int
) -> Iterator[tuple[int, list[Any]]]:
    """Piece after piece of the queue, answered, until there is none left."""
    while taken := os.read(queue, 1):
        yield taken[0], list(map(answer, pieces[taken[0]]))


class _Helper:
    """A process that takes pieces as well, and gives all its answers when it is through."""

    def __init__(
        self, answer: Callable[[T], Any], pieces: Sequence[Sequence[T]], queue: int
    ) -> None:
        """OSError: there can be no more processes, or descriptors."""
        self._pipe, end = os.pipe()
        try:
            self._process = os.fork()
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            if getattr(self, "_process", -1) != 0:
                os.close(end)
        if self._process == 0:
            self._work(answer, pieces, queue, end)

    def _work(
        self, answer: Callable[[T], Any], pieces: Sequence[Sequence[T]], queue: int, end: int
    ) -> None:
        """Does not return. A terminal interrupts the one that waits for it as well."""
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.close(self._pipe)
            with open(end, "wb") as file:
                marshal.dump(dict(_taken(answer, pieces, queue)), file)
        finally:
            os._exit(0)

    def answers(self) -> Answers:
        """Waits until it is through. Nothing if it was killed, or could not answer."""
        with open(self._pipe, "rb", closefd=False) as file:
            try:
                found: Answers = marshal.loads(file.read())
            except (EOFError, ValueError, TypeError):
                return {}
        return found

    def end(self) -> None:
        """It ends, through or not."""
        os.close(self._pipe)
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
