"""What a server says of itself, and how it is asked from outside."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from loader.errors import UserError, in_words
from modfs.control.results import shortened
from modfs.mount.aside import Silent, aside
from modfs.mount.mountinfo import DEAD, FS_TYPE, STATUS, find, mounts

VERSION = 1
ANSWERS, SILENT, DEAD_SERVER = "answers", "silent", "dead"
FORBIDDEN, OTHER = "forbidden", "other"
_STATES = {errno.EACCES: FORBIDDEN, errno.EPERM: FORBIDDEN, **dict.fromkeys(DEAD, DEAD_SERVER)}


class UnderWay(NamedTuple):
    """A request that somebody waits for. ``since``: time.monotonic(), in seconds."""

    process: int
    command: str
    request: str
    since: float
    number: int  # no two are the same


class Serving(NamedTuple):
    """What is served. ``kernel``: its release; ``loaded``: modules that it has now; ``requests``:
    calls so far; ``host``: it is this machine's own."""

    kernel: str
    compression: str | None
    tree: str | None
    loaded: int
    requests: int
    host: bool = False


def told(serving: Serving, since: float, under_way: Iterable[UnderWay] = ()) -> str:
    """The text of the file STATUS: a JSON object. ``since``: time.time() at the mount."""
    now = time.monotonic()
    waiting = [
        {
            "process": one.process,
            "command": one.command,
            "request": shortened(one.request),
            "seconds": round(now - one.since, 3),
        }
        for one in sorted(under_way, key=lambda one: one.since)
    ]
    import json  # here and below: whoever looks needs it, a start does not

    said = {
        "version": VERSION,
        "process": os.getpid(),
        "since": round(since, 3),
        **serving._asdict(),
        "waiting": waiting,
    }
    return json.dumps(said) + "\n"


# -- from outside ----------------------------------------------------------------------------------


def places() -> list[str]:
    """Where a modfs is mounted, as far as this process can see."""
    return [mount.place for mount in mounts() if mount.type == FS_TYPE]


def ask(path: str) -> dict[str, Any]:
    """What the server of the mount ``path`` says, with its ``place`` and a ``state``.

    ANSWERS: the rest is there; else SILENT, DEAD_SERVER, FORBIDDEN to this user, or OTHER: no modfs
    of this version. UserError: modfs is not mounted there.
    """
    try:
        place, mount = find(path)
    except OSError as error:
        raise UserError(f"{path}: {in_words(error)}") from None
    except Silent:
        return {"place": path, "state": SILENT}
    if mount is None or mount.type != FS_TYPE:
        raise UserError(f"{path}: modfs is not mounted here")
    import json

    try:
        said = aside(lambda: Path(place, STATUS).read_text())
        return {"place": place, "state": ANSWERS, **json.loads(said)}
    except Silent:
        return {"place": place, "state": SILENT}
    except OSError as error:
        return {"place": place, "state": _STATES.get(error.errno or 0, OTHER)}
    except ValueError:
        return {"place": place, "state": OTHER}
