"""Signals of programs that wait in a file of ours: they end the wait, as in the kernel.

libfuse sends INTERRUPTS to the thread that serves such a program. Python's handlers run in the main
thread alone, but each signal, in whichever thread, also writes a byte to a pipe.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from modfs.fuse.server import INTERRUPTS


def wake_at_interrupts(wake: Callable[[], None]) -> None:
    """Call ``wake`` after each, in a thread, from now on; to be called by the main thread."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    signal.signal(INTERRUPTS, _noted)
    # A thread whose wait went on by itself need not have Python's lock to go on with it.
    signal.siginterrupt(INTERRUPTS, False)

    def watch() -> None:
        while os.read(read_end, 4096):
            wake()

    threading.Thread(target=watch, daemon=True).start()


def _noted(number: int, frame: FrameType | None) -> None:
    """The byte in the pipe says it all."""
