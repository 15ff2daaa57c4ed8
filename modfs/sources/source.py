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


def read_source(path: Path) -> Recording:
    """What a mount, a recording or a trace's text tells.

    OSError: it cannot be read. UserError: it is none of these, or not whole.
    """
    if is_folder(path):
        return _of_mount(path)
    if is_recording(path):
        return Recording.read(path)
    from modfs.tracing.record import recording_of

    return recording_of(path)


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

    def read() -> str | None:
        return events.read_text("utf-8", "surrogateescape") if events.exists() else None

    try:
        content = aside(read)
    except Silent:
        raise UserError(f"{folder}: its server does not answer") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(events)) from None
    if content is None:
        raise UserError(f"{folder}: no mount of modfs that tells of events")
    return Recording.parse(content.encode("utf-8", "surrogateescape"), str(events))
