"""The file that holds the number of the server's process, for init scripts and supervisors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from loader.errors import UserError, in_words

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def pid_file(path: str | None) -> Iterator[None]:
    """The file is there inside this block. UserError: it cannot be written."""
    if path is None:
        yield
        return
    try:
        descriptor = os.open(path, _FLAGS, 0o644)
        os.write(descriptor, b"%d\n" % os.getpid())
        os.close(descriptor)
    except OSError as error:
        raise UserError(f"{path}: {in_words(error)}") from None
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)
