"""Standard output and error where they are closed, full, or read by nobody."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def prepare() -> None:
    """Make the standard files fit to report on. Once, before anything is written."""
    _hold_closed()
    old = sys.stdout
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(1, "w", closefd=False)),
        encoding=old.encoding if old else None,
        errors=old.errors if old else None,
        line_buffering=os.isatty(1),
    )
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the whole process


class _Output(io.FileIO):
    """Standard output, whose errors have its name."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            _throw_away()
            raise OSError(error.errno, error.strerror, "standard output") from None


def _hold_closed() -> None:
    """Hold the descriptors 0, 1 and 2 if the caller closed them.

    Else a file of ours would get such a number, and the output would go there. What holds them
    cannot be written, so that a report that nobody gets is an error, as elsewhere: EBADF. They
    close when another program is executed, which finds them as the caller left them.
    """
    while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= 2:
        pass
    os.close(descriptor)


def _throw_away() -> None:
    """Let go what cannot be written: Python would try once more at its end, and complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
