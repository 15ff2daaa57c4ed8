"""The three system calls about modules as values, and who makes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# include/uapi/linux/module.h
MODULE_INIT_IGNORE_MODVERSIONS = 1
MODULE_INIT_IGNORE_VERMAGIC = 2
MODULE_INIT_COMPRESSED_FILE = 4
MANGLED = MODULE_INIT_IGNORE_MODVERSIONS | MODULE_INIT_IGNORE_VERMAGIC
KNOWN_FLAGS = MANGLED | MODULE_INIT_COMPRESSED_FILE


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call.

    ``signal_pending`` is asked before each wait and after each wake-up, with the kernel's lock
    held: it must be quick. Where it says True the caller leaves its wait with EINTR; if it was
    running a module's init, that goes on without it. ``capable``: has CAP_SYS_MODULE.
    """

    signal_pending: Callable[[], bool] = _never
    capable: bool = True


ANYONE = Caller()
