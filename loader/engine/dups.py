"""kernel/module/dups.c: requests for what has been requested already (6.4 and later).

A kernel built with CONFIG_MODULE_DEBUG_AUTOLOAD_DUPS has one modprobe run for all waiting requests
for one string. The first is the anchor; those that come while it runs wait for its result, and
those that come within a minute after that get its result at once, be it a failure. A request that
does not wait returns 0 where there is an anchor, and is never one. Strings are compared byte for
byte: an alias and its module are two.

The result that counts is the first that is reported. (Kernels before 6.12.117 and some 6.18 or 7.0
let a later report replace it, and tell the waiters a little later, from a work item: which release
changed that is not known here, so all releases are as 6.12.117.)
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Hashable

from loader.engine.log import KernelLog
from loader.errors import LoadError

_KEPT = 60.0  # seconds that a result is remembered


class DupRequest:
    """struct kmod_dup_req: an anchor, and what came of it once it is ``done``."""

    __slots__ = ("done", "result", "until")

    def __init__(self) -> None:
        self.done = False
        self.result = 0
        self.until = 0.0


class Dups:
    """All anchors by string. Used with the kernel's lock held."""

    def __init__(
        self, log: KernelLog, now: Callable[[], float], wakeup: Callable[[Hashable], None]
    ) -> None:
        self.enable_dups_trace = False
        self._log = log
        self._now = now
        self._wakeup = wakeup
        self._requests: dict[str, DupRequest] = {}
        self._done: deque[tuple[str, DupRequest]] = deque()  # the first that ends first

    def exists(self, string: str, wait: bool) -> DupRequest | None:
        """The anchor that this request is a duplicate of, which is logged; None if there is none.

        Then a waiting request is one from now on (kmod_dup_request_exists_wait).
        """
        self._forget()
        found = self._requests.get(string)
        if found is not None:
            self._warn(f"module-autoload: duplicate request for module {string}")
        elif wait:
            self._requests[string] = DupRequest()
        return found

    def announce(self, string: str, result: int) -> None:
        """A helper for ``string`` has ended, or could not be started: tell those who wait.

        Not only the anchor's: a request that does not wait and began before the anchor reports,
        too, when its helper was executed (kmod_dup_request_announce).
        """
        found = self._requests.get(string)
        if found is None or found.done:
            return
        found.result = result
        found.done = True
        found.until = self._now() + _KEPT
        self._done.append((string, found))
        self._wakeup(found)

    def _forget(self) -> None:
        now = self._now()
        while self._done and self._done[0][1].until <= now:
            del self._requests[self._done.popleft()[0]]

    def _warn(self, text: str) -> None:
        if not self.enable_dups_trace:
            self._log.write(f"module: {text}")
            return
        # WARN(): where it was and the stack are left out.
        for line in ("------------[ cut here ]------------", text, _WHERE, _END):
            self._log.write(line)

    def set_enable_dups_trace(self, value: bool) -> None:
        """bool_enable_only. LoadError: EROFS, it is on and stays so."""
        if not value and self.enable_dups_trace:
            raise LoadError(errno.EROFS)
        self.enable_dups_trace = value


_WHERE = "WARNING: kernel/module/dups.c kmod_dup_request_exists_wait"
_END = "---[ end trace 0000000000000000 ]---"
