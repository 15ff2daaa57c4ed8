"""Files whose size is that of their text, as it was when their size was last told.

The kernel gives sendfile(2), splice(2), io_uring and mmap(2) nothing past the size that it was told
(filemap_splice_read, fuse_direct_IO), and asks for it when a file is opened or its status is read.
What they read comes in pages, which all who have the file open share, and is taken from the text
that was measured. What read(2) gets does not look at sizes: it is asked of the open file itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

_KEPT = 64  # texts
_QUICK = 0.002  # seconds: a text that takes longer to make is not made for every ls
_SHARE = 4  # of the time, at most one part is spent on it


class _Text(NamedTuple):
    """``until``: time.monotonic() up to which it is told again."""

    text: bytes
    until: float


class Measured:
    """The texts whose sizes were told last."""

    def __init__(self, text: Callable[[bytes], bytes | None]) -> None:
        """``text`` of a path now; None: it has none, or it may not be read just to be measured."""
        self._text = text
        self._lock = threading.Lock()
        self._latest: dict[bytes, _Text] = {}  # by path, the oldest first

    def size(self, path: bytes) -> int | None:
        """In bytes, from now on."""
        now = time.monotonic()
        latest = self._latest.get(path)
        if latest is not None and now < latest.until:
            return len(latest.text)
        text = self._text(path)
        return None if text is None else len(self._keep(path, text, now))

    def _keep(self, path: bytes, text: bytes, since: float) -> bytes:
        now = time.monotonic()
        took = now - since
        with self._lock:
            self._latest.pop(path, None)
            self._latest[path] = _Text(text, now + _SHARE * took if took > _QUICK else 0.0)
            if len(self._latest) > _KEPT:
                del self._latest[next(iter(self._latest))]
        return text

    def text(self, path: bytes) -> bytes | None:
        """The text that was measured; one of now if that is forgotten."""
        latest = self._latest.get(path)
        return self._text(path) if latest is None else latest.text
