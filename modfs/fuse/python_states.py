"""Python's state of libfuse's threads, kept from call to call."""

from __future__ import annotations

import ctypes
import threading
from ctypes import c_void_p
from typing import Any

_GILSTATE_LOCKED = 0


class KeptStates:
    """Python states of libfuse's threads, kept between calls.

    A thread that Python did not start gets a new state at every callback and loses it at its end.
    One more PyGILState_Ensure keeps it, until the thread ends: libfuse ends threads that idle.
    """

    def __init__(self) -> None:
        self._local = threading.local()
        # What the C library runs at the end of a thread, before it forgets which state is whose.
        # A state must be freed by its own thread: from Python 3.12 on, freeing another's breaks
        # the one of who frees it.
        self._at_exit: Any = getattr(ctypes.CDLL(None), "__cxa_thread_atexit_impl", None)
        self._release = ctypes.CFUNCTYPE(None, c_void_p)(_release_state)

    def keep(self) -> None:
        """Keep the state of the calling thread. To be called first in every callback."""
        try:
            self._local.kept  # noqa: B018 - is it there?
        except AttributeError:
            self._keep()

    def _keep(self) -> None:
        self._local.kept = True
        if self._at_exit is not None and self._at_exit(self._release, None, self._at_exit) == 0:
            ctypes.pythonapi.PyGILState_Ensure()


def _release_state(_: object) -> None:
    """Undo the one more PyGILState_Ensure; the callback's own end then frees the state."""
    ctypes.pythonapi.PyGILState_Release(_GILSTATE_LOCKED)
