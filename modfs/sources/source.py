"""A SOURCE on the command line, read: what happened, in the form of a recording.

modfs.blame.sources knows what there can be; here it is asked for as a whole, and a mount whose
server has gone to sleep holds nobody up.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from loader.errors import UserError
from loader.observe.recording import Recording
from modfs.blame.sources import EVENTS, source_of
from modfs.mount.aside import Silent, aside


def read_source(path: Path) -> Recording:
    """What a mount, a recording, a trace's text, a scenario or a machine's boot tells.

    OSError: it cannot be read. UserError: it is none of these.
    """
    if is_folder(path):
        return _of_mount(path)
    source = source_of(path)
    return Recording.parse(b"".join(source.lines), str(path))


def is_folder(path: Path) -> bool:
    """Is it a directory? OSError: there is nothing. UserError: its server does not answer."""
    try:
        return stat.S_ISDIR(aside(lambda: os.stat(path).st_mode))
    except Silent:
        raise UserError(f"{path}: its server does not answer") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _of_mount(folder: Path) -> Recording:
    def read() -> str | None:
        events = folder / EVENTS
        return events.read_text("utf-8", "surrogateescape") if events.exists() else None

    try:
        content = aside(read)
    except Silent:
        raise UserError(f"{folder}: its server does not answer") from None
    if content is None:
        raise UserError(f"{folder}: no modfs with {EVENTS} is mounted there")
    return Recording.parse(content.encode("utf-8", "surrogateescape"), str(folder / EVENTS))
