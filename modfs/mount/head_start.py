"""A server's process that is begun before it is known what it is to serve.

Most of the time until a mount answers goes by while modules are imported: those that read a command
line, and those that serve. Neither needs the others. So the process that will serve is forked at
once and imports its own, which nobody else has to have in memory, while the caller reads the
command line.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from modfs.mount.background import Order


class _Early:
    """A process that waits for its order. ``status`` is where it tells how it went."""

    def __init__(self, number: int, orders: int, status: int) -> None:
        self.number, self._orders, self.status = number, orders, status

    def send(self, order: bytes) -> None:
        """OSError: EPIPE: it has ended."""
        with os.fdopen(self._orders, "wb") as orders:
            orders.write(order)

    def abandon(self) -> None:
        """It is not needed: nothing of the caller's stays open in it."""
        os.close(self._orders)
        os.close(self.status)
        os.kill(self.number, signal.SIGKILL)
        os.waitpid(self.number, 0)


_waiting: list[_Early] = []


def begin(modules: Iterable[str]) -> None:
    """Fork the process, from one of one thread; it imports ``modules``. If none can be had, the
    server begins later."""
    orders_read, orders = os.pipe()
    status, status_write = os.pipe()
    try:
        number = os.fork()
    except OSError:
        number = -1
    if not number:
        os.close(orders)
        os.close(status)
        _serve(tuple(modules), orders_read, status_write)
    os.close(orders_read)
    os.close(status_write)
    if number < 0:
        os.close(orders)
        os.close(status)
    else:
        _waiting.append(_Early(number, orders, status))


def abandon() -> None:
    """Without an order there is nothing to serve."""
    while _waiting:
        _waiting.pop().abandon()


def take(order: Order) -> int | None:
    """Have it carry out an order; where it tells how it went. None: there is none, or not any more.

    It is never waited for: it belongs to nobody once its caller has ended.
    """
    if not _waiting:
        return None
    from pickle import dumps

    early = _waiting.pop()
    with suppress(BrokenPipeError):
        early.send(dumps(order))
        return early.status
    os.close(early.status)
    return None


def _serve(modules: tuple[str, ...], orders: int, status: int) -> NoReturn:
    """The process: nothing is said where there is no order."""
    try:
        gc.disable()  # what is imported stays
        from modfs.mount.background_server import serve_in_background

        for name in modules:
            import_module(name)
        gc.freeze()
        gc.enable()
        with os.fdopen(orders, "rb") as file:
            said = file.read()
        if said:
            from pickle import loads

            serve_in_background(loads(said), status)
    finally:
        os._exit(1)
