"""A SOURCE on the command line, read: what happened, in the form of a recording."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from loader.errors import UserError
from loader.observe.recording import Recording, is_recording
from modfs.mount.aside import Silent, aside

EVENTS = "events"
"""The file of a mount that has the latest events, as lines of a recording."""


def read_source(path: Path, kernel: str | None = None) -> Recording:
    """What a mount, a recording or a trace's text tells. ``kernel``: of a trace without it.

    OSError: it cannot be read. UserError: it is none of these, or not whole.
    """
    if is_folder(path):
        return _of_mount(path)
    if is_recording(path):
        return Recording.read(path)
    from modfs.tracing.record import recording_of

    try:
        return recording_of(path, kernel)
    except UserError as error:
        raise UserError(f"{error}, and it is no recording either") from None


def is_folder(path: Path) -> bool:
    """Is it a directory? Asked so that a server that has gone to sleep holds nobody up.

    OSError: there is nothing. UserError: nobody answers.
    """
    try:
        return stat.S_ISDIR(aside(lambda: os.stat(path).st_mode))
    except Silent:
        raise UserError(f"{path}: its server does not answer") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _of_mount(folder: Path) -> Recording:
    events = folder / EVENTS
    if not events.exists():
        raise UserError(f"{folder}: no mount of modfs that tells of events")
    return Recording.read(events)
