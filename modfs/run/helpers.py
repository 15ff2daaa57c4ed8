"""Where the helpers of ``modfs run`` run: in the sandbox, with their module calls caught.

They are no children of the command, as a kernel's are none of whoever made it ask.
"""

from __future__ import annotations

import threading

from loader.calls import SystemCalls
from loader.engine.threads import LiveKernel
from modfs.run import seccomp
from modfs.run.intercept import Supervisor
from modfs.run.kthreadd import Kthreadd


def start_kthreadd() -> Kthreadd:
    """Fork it, from a process of one thread that is in the sandbox. OSError: calls cannot be
    caught."""
    return Kthreadd(lambda: (seccomp.install(),))


def serve_helpers(kthreadd: Kthreadd, live: LiveKernel, calls: SystemCalls) -> None:
    """Have ``live`` start its helpers there, whose calls ``calls`` answers."""
    live.autoload.programs = kthreadd
    supervisor = Supervisor(kthreadd.descriptors[0], calls)
    threading.Thread(target=supervisor.run, daemon=True).start()
