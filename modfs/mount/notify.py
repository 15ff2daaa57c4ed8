"""What a service manager is told: sd_notify(3), and the priorities of sd-daemon(3)."""

from __future__ import annotations

import logging
import os
from contextlib import suppress

_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))  # syslog(3)


def notify(*states: str) -> None:
    """Tell the service manager, if there is one: "READY=1", "STOPPING=1", "STATUS=…"."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    import socket  # few have one to tell

    with (
        suppress(OSError),  # who does not listen is not waited for
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager,
    ):
        manager.setblocking(False)
        manager.sendto("\n".join(states).encode(), address.replace("@", "\0", 1))


def is_journal(descriptor: int) -> bool:
    """Whether the journal reads what is written there (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class JournalFormatter(logging.Formatter):
    """Lines that begin with their priority; the journal has the time itself."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        level = next(level for least, level in _PRIORITIES if record.levelno >= least)
        return "\n".join(f"<{level}>{line}" for line in super().format(record).splitlines())
