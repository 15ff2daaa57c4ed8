"""This machine's kernel as a mount shows it: its statistics, as far as they were seen."""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from loader.engine.stats import STATS_ROWS, Snapshot
from loader.observe.account import Account
from loader.observe.call import Item, ModuleRequest, ObservedCall
from loader.observe.events import Lost
from loader.observe.recording import Before
from loader.observe.replay import rules
from loader.observe.sizes import Memory
from modfs import observed
from modfs.host.watch import loaded_sizes, missing, modules_before, watch
from modfs.mount.ending import ENDING
from modfs.mount.status import Serving, told
from modfs.tracing.live import LiveTrace

log = logging.getLogger("modfs.host")

_LATEST = 1000  # calls and requests that can be looked at
_PATIENCE = 30.0  # seconds for what has happened to be seen before a text is made of it
_END_PATIENCE = 5.0  # seconds for the same at the end
_ABOUT_MODULES = re.compile(r"\bmodules?\b|\btaint|Unknown symbol|disagrees about version")
_RECORD = 8192  # bytes: /dev/kmsg gives one record a read


class HostKernel:
    """Watches from its making on, in a thread, until `shutdown`.

    Whoever asks for a text first waits until all that happened before has been accounted.
    ``buffer``: KiB a processor, None for the usual size. UserError: the kernel cannot be watched.
    """

    def __init__(self, buffer: int | None = None) -> None:
        self._trace = LiveTrace(buffer=buffer)
        self._lock = threading.Lock()
        self._account = Account(rules(os.uname().release))
        self._memory = Memory()
        self._calls: deque[ObservedCall] = deque(maxlen=_LATEST)
        self._requests: deque[ModuleRequest] = deque(maxlen=_LATEST)
        self._seen = 0
        self._over = False
        self._since = time.time()
        # A signal that ends the server waits until there is somebody to clear up, see serve.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        self._trace.__enter__()
        self.before: list[Before] = []
        with suppress(OSError):
            self.before = modules_before(self._trace)
        for module in self.before:
            self._account.already_loaded(module.name, module.taints)
        for line in (
            *missing(self._trace),
            *(f"removed what {n} left" for n in self._trace.watched.left),
        ):
            log.warning("%s", line)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        try:
            watch(self._trace, self._take)
        except Exception:
            log.exception("watching the kernel failed")
            with self._lock:
                self._account.lost("cut", 1)

    def _take(self, item: Item) -> None:
        with self._lock:
            self._memory.take(item)
            if isinstance(item, ObservedCall):
                self._account.count(item)
                self._seen += 1
                self._calls.append(item)
            elif isinstance(item, ModuleRequest):
                self._requests.append(item)
            elif isinstance(item, Lost):
                self._account.lost(item.gap, item.times)

    def _up_to_now(self) -> None:
        """OSError: ETIMEDOUT: the machine is too busy for what has happened to be accounted."""
        if self._thread.is_alive() and not self._trace.sync(_PATIENCE) and not self._over:
            log.warning("what has happened could not be accounted within %.0f seconds", _PATIENCE)
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    # -- what the directory shows -----------------------------------------------------------------

    def statistics(self, make: Callable[[Snapshot], str]) -> str:
        """A text of the kernel's statistics, as of now."""
        self._up_to_now()
        with self._lock:
            return make(self._account.snapshot(STATS_ROWS))

    def losses(self) -> str:
        """What was not seen, and what cannot be."""
        self._up_to_now()
        sizes = loaded_sizes()
        with self._lock:
            told = observed.gaps(self._account.gaps)
            wrong = self._memory.disagreeing(sizes)
        lines = [f"{call.module}: its memory is not what /proc/modules says" for call in wrong]
        return told + "".join(f"{line}\n" for line in (*lines, *missing(self._trace)))

    def failed_inits(self) -> str:
        """Loads whose init failed."""
        self._up_to_now()
        with self._lock:
            return observed.failed_inits(self._account.failed_inits.values())

    def calls(self) -> str:
        """The latest calls and the kernel's own requests, oldest first."""
        self._up_to_now()
        with self._lock:
            rows = [(item.n, observed.call(item)) for item in self._calls]
            rows += [(item.n, observed.request(item)) for item in self._requests]
        return "".join(line for _, line in sorted(rows))

    def loaded_before(self) -> str:
        """The modules that were there when the watch began: name, bytes, taints."""
        return "".join(
            f"{module.name} {module.size}{f' ({module.taints})' if module.taints else ''}\n"
            for module in self.before
        )

    def status(self) -> str:
        """What modfs status asks for; as far as was seen by now."""
        serving = Serving(
            os.uname().release, None, None, len(loaded_sizes()), self._seen, host=True
        )
        return told(serving, self._since)

    def kmsg(self) -> str:
        """The kernel's lines about modules."""
        return "".join(f"{line}\n" for line in _kernel_log() if _ABOUT_MODULES.search(line))

    # -- its end ----------------------------------------------------------------------------------

    def wake(self) -> None:
        """Nobody waits for long."""

    def shutdown(self) -> None:
        """No more is watched, and nothing of ours is left in tracefs. May be called twice."""
        with self._lock:
            over, self._over = self._over, True
        if over:
            return
        self._trace.stop()
        self._thread.join(_END_PATIENCE)
        self._trace.__exit__(None, None, None)


def _kernel_log() -> list[str]:
    """The messages of /dev/kmsg that are still there."""
    found: list[str] = []
    try:
        descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return found
    try:
        while True:
            try:
                record = os.read(descriptor, _RECORD)
            except BrokenPipeError:  # some were overwritten meanwhile
                continue
            text = record.decode("utf-8", "backslashreplace").partition(";")[2]
            found.append(text.split("\n")[0])
    except OSError:  # EAGAIN: that was all
        pass
    finally:
        os.close(descriptor)
    return found
