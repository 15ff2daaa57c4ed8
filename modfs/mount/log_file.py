"""The server's log: a file, in a folder that others may write to as well, or standard error."""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from collections.abc import Callable
from typing import TextIO

from loader.errors import UserError, in_words
from modfs.mount.notify import JournalFormatter, is_journal

_FORM = "%(asctime)s %(name)s: %(message)s"

# O_NONBLOCK: nobody need be at the other end of a pipe.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


def open_log(path: str) -> int:
    """A descriptor to append to ``path``, which is made with mode 0600.

    What others could have put there is refused, so that nothing is written where they want it and
    nobody reads along: a symbolic link (ELOOP); a file of another user, other than root (EPERM); a
    file with a second name (EMLINK); what is neither a file nor a device (EINVAL). OSError also
    where open(2) fails.
    """
    descriptor = os.open(path, _FLAGS | os.O_CLOEXEC, 0o600)
    if number := _refused(os.fstat(descriptor)):
        os.close(descriptor)
        raise OSError(number, os.strerror(number))
    os.set_blocking(descriptor, True)
    return descriptor


_REFUSED: dict[int, str] = {
    errno.ELOOP: "it is a symbolic link, which others may have put there",
    errno.EMLINK: "it has a second name, by which others may read it",
    errno.EPERM: "it is another user's file",
    errno.ENXIO: "it is a pipe that nobody reads",
    errno.EINVAL: "it is neither a file nor a device",
}


def told(path: str, error: OSError) -> str:
    """Why open_log has failed, or a write to what it opened."""
    return f"{path}: {_REFUSED.get(error.errno or 0) or in_words(error)}"


def _refused(status: os.stat_result) -> int:
    if status.st_uid not in (0, os.geteuid()):
        return errno.EPERM
    if stat.S_ISREG(status.st_mode):
        return errno.EMLINK if status.st_nlink != 1 else 0
    return 0 if stat.S_ISCHR(status.st_mode) else errno.EINVAL


# -- the log ---------------------------------------------------------------------------------------


def set_up_log(path: str | None, verbose: bool) -> Callable[[], None] | None:
    """Log to ``path``, or to standard error; what opens the file anew, None for standard error.

    ``verbose``: what the kernel would log as well. UserError.
    """
    level = logging.INFO if verbose else logging.WARNING
    if path is None:
        journal = JournalFormatter() if is_journal(2) else logging.Formatter(_FORM)
        handler: logging.StreamHandler[TextIO] = logging.StreamHandler(sys.stderr)
        handler.setFormatter(journal)
        logging.basicConfig(handlers=(handler,), level=level)
        return None
    file = _LogFile(path)
    file.setFormatter(logging.Formatter(_FORM))
    logging.basicConfig(handlers=(file,), level=min(level, logging.INFO))
    return file.reopen


class _LogFile(logging.StreamHandler[TextIO]):
    """A log that goes on in another file of the same name, once its own was moved away."""

    def __init__(self, path: str) -> None:
        """UserError."""
        self._path = path
        super().__init__(self._open())

    def _open(self) -> TextIO:
        try:
            descriptor = open_log(self._path)
        except OSError as error:
            raise UserError(told(self._path, error)) from None
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")

    def reopen(self) -> None:
        """Go on in the file that has the name now; in the old one if that cannot be opened."""
        try:
            new = self._open()
        except UserError as error:
            logging.getLogger("modfs").error("the log cannot be opened anew: %s", error)
            return
        old = self.setStream(new)
        if old is not None:
            old.close()
