"""What a program's own calls would have the kernel ask for (``modfs run --autoload``).

A caught call is looked at before the host's kernel carries it out: is what it needs missing there,
and in the engine as well? Then the engine makes the kernel's request, with the caller waiting, as
it would in the kernel. In any case the call goes on as it is, and what its caller gets is the
host's answer, which is asked for after the request.

What is read of the caller decides about a request and about nothing else: a request can be had by
anybody, and whoever changes a call's arguments meanwhile only gets another one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Protocol

from loader.calls import Caller, SystemCalls
from loader.engine import askers
from loader.engine.askers import Ask
from modfs import linux
from modfs.run.autoload_files import FileCalls
from modfs.run.autoload_sockets import SocketCalls
from modfs.run.scout import Scout
from modfs.run.seccomp import Notification


class Requests(SystemCalls, Protocol):
    """Who makes them: an engine."""

    def request_module(
        self, string: str, caller: Caller, wait: bool = True, function: str = ""
    ) -> int:
        """What it came to, see loader.engine.kmod."""

    def get_fs_type(self, name: str, caller: Caller) -> bool:
        """Is there such a file system, now or after a request?"""

    def provides(self, string: str) -> bool:
        """Is a module live that ``string`` means?"""


class Autoload:
    """Looks at the calls of modfs.run.caught."""

    def __init__(self, requests: Requests, scout: Scout) -> None:
        self._requests = requests
        self._namespace = os.stat("/proc/self/ns/user").st_ino
        self._looks = FileCalls(self, scout).looks | SocketCalls(self).looks

    def look(self, call: Notification, caller: Caller) -> None:
        """Make the requests that the call brings about. LoadError: the engine ends."""
        self._looks[call.call](call, caller)

    def get_fs_type(self, name: str, caller: Caller) -> None:
        """fs/filesystems.c. LoadError: the engine ends."""
        self._requests.get_fs_type(name, caller)

    def ask(
        self, asks: Iterable[Ask], caller: Caller, missing: Callable[[], bool] = lambda: True
    ) -> None:
        """Make these requests, until nothing is ``missing``. LoadError: the engine ends."""

        def request(ask: Ask) -> int:
            return self._requests.request_module(ask.string, caller, True, ask.function)

        def is_there(ask: Ask) -> bool:
            return not missing() or self._requests.provides(ask.string)

        askers.ask(asks, request, is_there)

    def capable(self, tid: int, capability: int) -> bool:
        """capable(): in the user namespace of the sandbox, which is the initial one here."""
        try:
            if os.stat(f"/proc/{tid}/ns/user").st_ino != self._namespace:
                return False
            return bool(linux.effective_capabilities(tid) >> capability & 1)
        except OSError:  # it is gone
            return False
