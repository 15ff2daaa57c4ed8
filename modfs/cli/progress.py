"""How far a long command is, for those who watch."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

_PATIENCE = 1.0  # seconds without a bar


class Progress:
    """A bar on standard error if that is a terminal, once it has taken longer than a second."""

    def __init__(self, label: str, length: int) -> None:
        self._label, self._length = label, length
        self._patient_until = time.monotonic() + _PATIENCE
        # A bar goes back to the begin of its line, which a dumb terminal cannot do.
        self._watched = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._bar: ProgressBar[int] | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    def reached(self, done: int) -> None:
        """``done`` of the whole length are done."""
        if self._bar is None and self._watched and time.monotonic() > self._patient_until:
            bar = click.progressbar(length=self._length, label=self._label, file=sys.stderr)
            self._bar = bar.__enter__()
        if self._bar is not None:
            self._bar.update(done - self._bar.pos)
