"""Processors that many tasks share, in virtual time."""

from __future__ import annotations

from collections import deque

import simpy

from loader.engine.clock import Later


class Processors:
    """``count`` processors. Who computes has one of them; who sleeps has none.

    While there are enough, each computes to its end. While there are not, each is put off after
    ``turn`` seconds, and those who are ready have their turns in the order in which they came.
    """

    __slots__ = ("_env", "_free", "_ready", "_turn")

    def __init__(self, env: simpy.Environment, count: int, turn: float) -> None:
        self._env = env
        self._free = count
        self._turn = turn
        self._ready: deque[tuple[Later, float]] = deque()  # (its end, seconds that it needs yet)

    def compute(self, seconds: float, end: Later | None = None) -> simpy.Event:
        """Begin to; the event (``end`` if it is given) comes when that has been done."""
        if end is None:
            end = Later(self._env)
        if self._free:
            self._go_on(end, seconds)
        else:
            self._ready.append((end, seconds))
        return end

    def _go_on(self, end: Later, seconds: float) -> None:
        self._free -= 1
        if self._free or seconds <= self._turn:
            end.callbacks.append(self._leave)
            end.happen_in(seconds)
            return
        turn = Later(self._env)
        turn.callbacks.append(lambda _: self._put_off(end, seconds - self._turn))
        turn.happen_in(self._turn)

    def _leave(self, _: simpy.Event) -> None:
        self._free += 1
        if self._ready:
            self._go_on(*self._ready.popleft())

    def _put_off(self, end: Later, left: float) -> None:
        self._free += 1
        self._ready.append((end, left))
        self._go_on(*self._ready.popleft())
