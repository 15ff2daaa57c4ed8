"""Asking what may never answer, in a process that can be left behind.

A FUSE server that is stopped, or means ill, holds whoever looks at its mount. Not even SIGKILL
frees a process whose question the server has taken up (request_wait_answer, fs/fuse/dev.c). So the
question is asked by a child, which keeps nothing open, and is waited for only so long.
"""

from __future__ import annotations

import marshal
import os
import select
import signal
from collections.abc import Callable
from typing import Any, NoReturn

from modfs.mount.descriptors import close_descriptors, open_descriptors

ANSWER_SECONDS = 10.0
_END = b"said"


class Silent(Exception):
    """Nobody answered in time."""


def aside(ask: Callable[[], Any]) -> Any:
    """What ``ask`` answers, of Python's plain types, from a process of its own.

    OSError: what it met; Silent: it did not end within ANSWER_SECONDS.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        _answer(ask, write_end)
    os.close(write_end)
    try:
        said = _hear(read_end)
    finally:
        os.close(read_end)
        _let_go(child)
    error, answer = marshal.loads(said)
    if error:
        raise OSError(error, os.strerror(error))
    return answer


def _answer(ask: Callable[[], Any], write_end: int) -> NoReturn:
    # Whoever reads what this command prints waits until nobody has that pipe open.
    close_descriptors(open_descriptors(), keep=(write_end,))
    try:
        error, answer = 0, ask()
    except OSError as failed:
        error, answer = failed.errno or -1, None
    try:
        text = marshal.dumps((error, answer)) + _END
        while text:
            text = text[os.write(write_end, text) :]
    finally:
        os._exit(0)


def _hear(read_end: int) -> bytes:
    """All that is said until the end."""
    said = b""
    poll = select.poll()
    poll.register(read_end, select.POLLIN)
    while poll.poll(ANSWER_SECONDS * 1000):
        more = os.read(read_end, 4096)
        if not more:
            break
        said += more
    if not said.endswith(_END):
        raise Silent
    return said.removesuffix(_END)


def _let_go(child: int) -> None:
    """It is over, or is left to end when its server lets it."""
    os.kill(child, signal.SIGKILL)
    process = os.pidfd_open(child)
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.poll(1000)
        os.waitpid(child, os.WNOHANG)
    finally:
        os.close(process)
