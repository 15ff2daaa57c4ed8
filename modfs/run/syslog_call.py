"""syslog(2) of programs that run here: the log is the emulated kernel's."""

from __future__ import annotations

import errno
from collections.abc import Callable

from loader.calls import Caller
from loader.engine import sequence
from loader.engine.syslog import Syslog
from loader.engine.threads import LiveKernel
from modfs import linux
from modfs.linux import as_int
from modfs.run import seccomp
from modfs.run.seccomp import Notification, Reply


class SyslogCall:
    """Answers it from a kernel of our own."""

    def __init__(self, live: LiveKernel, syslog: Syslog) -> None:
        self._live, self._syslog = live, syslog
        self._namespace = seccomp.user_namespace()

    def __call__(
        self, notification: Notification, still_there: Callable[[], bool], caller: Caller
    ) -> Reply:
        """LoadError: the kernel's errno."""
        action, address, size, *_ = notification.arguments
        tid = notification.tid
        capable = seccomp.capable(tid, linux.CAP_SYSLOG, self._namespace)
        if not still_there():  # what was found may be another's
            return Reply(errno.ESRCH)

        def wait(ready: Callable[[], bool]) -> None:
            self._live.wait(sequence.Wait(self._syslog.log, ready), caller)

        found = self._syslog.call(as_int(action), address, as_int(size), capable, wait)
        if found.data and not seccomp.write_memory(tid, address, found.data, still_there):
            return Reply(errno.EFAULT)
        return Reply(value=found.value)
