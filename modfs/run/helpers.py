"""Where the helpers of ``modfs run`` run: in the sandbox, with their module calls caught.

They are no children of the command, as a kernel's are none of whoever made it ask.
"""

from __future__ import annotations

import errno
import threading

from loader.calls import SystemCalls
from loader.engine.threads import LiveKernel
from loader.errors import UserError
from modfs.run import sandbox, seccomp
from modfs.run.intercept import Supervisor
from modfs.run.kthreadd import Kthreadd


def start_kthreadd() -> Kthreadd:
    """Fork it, from a process of one thread that is in the sandbox. UserError: calls cannot be
    caught."""
    try:
        return Kthreadd(lambda: (seccomp.install(),))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise UserError(sandbox.NESTED) from None
        raise UserError(f"calls cannot be caught: {error.strerror}") from None


def serve_helpers(kthreadd: Kthreadd, live: LiveKernel, calls: SystemCalls) -> None:
    """Have ``live`` start its helpers there, whose calls ``calls`` answers."""
    live.autoload.programs = kthreadd
    supervisor = Supervisor(kthreadd.descriptors[0], calls)
    threading.Thread(target=supervisor.run, daemon=True).start()
