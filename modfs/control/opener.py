"""Who opened the control file, and whether who writes to it is still the same.

The rights that count are those of who opened it, as with any file of the kernel's (``f_cred``). Nor
may another write to it: a program with more rights would ask in its own name for what its caller
has made it say (CVE-2012-0056, CVE-2013-1959). So the kernel's sg driver refuses it as well
(sg_check_file_access, drivers/scsi/sg.c). That compares pointers; here two processes with equal
credentials are as good as one another, so that a shell's children may write for it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from loader.calls import Task
from modfs.control.client import Client
from modfs.control.credentials import (
    Credentials,
    MayBeUnseen,
    Status,
    read_credentials,
    read_status,
    unseen,
)
from modfs.control.home import Home
from modfs.linux import capability_sets
from modfs.who import describe

if TYPE_CHECKING:
    from modfs.control.deputies import Deputies

Asked = tuple[int, int, int]
"""(uid, gid, thread number) of who asks for an operation: those that count for files."""


class Ours:
    """What this process is itself, and who stands in for it."""

    def __init__(
        self, interrupted: Callable[[], bool], instead: Callable[[int], int] = lambda fd: fd
    ) -> None:
        """``instead``: what to read in the place of a client's file, which it closes if that is
        another (for what this process must not read)."""
        self._interrupted = interrupted
        self.instead = instead
        self._lock = threading.Lock()
        self._deputies: Deputies | None = None
        self._over = False

    @property
    def deputies(self) -> Deputies:
        """Who opens files in others' names; most mounts never need any."""
        from modfs.control.deputies import Deputies

        with self._lock:
            if self._deputies is None:
                self._deputies = Deputies(self._interrupted)
                if self._over:
                    self._deputies.let_go()
            return self._deputies

    def let_go(self) -> None:
        """See Deputies: now, and whenever one is asked for."""
        with self._lock:
            self._over = True
            if self._deputies is not None:
                self._deputies.let_go()

    @cached_property
    def home(self) -> Home:
        """OSError: there is no /proc."""
        return Home()

    @cached_property
    def credentials(self) -> Credentials:
        """OSError: there is no /proc."""
        return read_credentials(os.getpid())


class Opener:
    """Who opened a control node."""

    __slots__ = ("_capabilities", "_described", "_ids", "_is_itself", "_last", "_may", "_status",
                 "credentials", "ours")  # fmt: skip

    def __init__(self, ours: Ours, asked: Asked) -> None:
        """OSError: EMFILE, ENFILE, ENOMEM: it would be nobody as long as the file is open."""
        self.ours = ours
        self._ids, self._last = asked[:2], asked
        self._status = unseen(asked[2])
        self._capabilities = b""
        self._may: bool | None = None
        self._described: tuple[Status, Task] | None = None
        self.credentials: Credentials | None = None
        """None: they cannot be known."""
        self._is_itself = True
        with MayBeUnseen():
            self._status = read_status(asked[2])
            self._capabilities = capability_sets(asked[2])
            self.credentials = known = read_credentials(asked[2], self._status)
            # A file system between, such as overlayfs, asks with the rights of who mounted it.
            self._is_itself = (known.uids[3], known.gids[3]) == self._ids

    @property
    def may_all_that_we_may(self) -> bool:
        """Can nothing be opened in this process that it could not open?"""
        if self._may is None:
            known = self.credentials
            self._may = known is not None and known.may_all_that(self.ours.credentials)
        return self._may

    # -- who writes -------------------------------------------------------------------------------

    def writer(self, asked: Asked) -> Client:
        """Who writes now; ``refused`` if that is somebody else."""
        if asked == self._last and self._is_unchanged():
            return Client(self, asked, self._status)
        status = self._status_of(asked)
        client = Client(self, asked, status, certain=True)
        client.refused = not self._same(asked, status)
        if not client.refused:
            self._last, self._status = asked, status
        return client

    def task(self, asked: Asked, status: Status) -> Task:
        """Who that is, for people. To be asked during a write only; looked up once for a thread."""
        if self._described is None or self._described[0] is not status:
            self._described = status, describe(Task(status.command, asked[2]))
        return self._described[1]

    def is_still(self, asked: Asked) -> bool:
        """Are these, now, the opener's credentials? To be asked during a write only."""
        return self._same(asked, self._status_of(asked))

    def closes(self, asked: Asked, writer: Client) -> bool | None:
        """Is it ``writer``'s process that closes, with the opener's credentials? None: another.

        A close may come in the middle of an execve, which holds exec_update_lock. Only files of
        /proc that do without are read: status.
        """
        status = self._status_of(asked)
        if status.pid != writer.pid:
            return None
        known = self.credentials
        return asked[:2] == self._ids and (known is None or status.rows == known.rows)

    def _same(self, asked: Asked, status: Status) -> bool:
        if not self._is_itself or asked[:2] != self._ids:
            return False
        if self.credentials is None:
            return True
        with MayBeUnseen():
            return read_credentials(asked[2], status) == self.credentials
        return False

    @staticmethod
    def _status_of(asked: Asked) -> Status:
        with MayBeUnseen():
            return read_status(asked[2])
        return unseen(asked[2])

    # -- who has written before -------------------------------------------------------------------

    def _is_unchanged(self) -> bool:
        """Of a thread that wrote before, with the same user and group: one call tells it of most.

        All is looked at again before anything of the writer's own is used. Who may take on other
        groups by itself is looked at each time, unless that makes no difference here.
        """
        known = self.credentials
        if known is None or not self._is_itself:
            return self._is_itself
        if not self.may_all_that_we_may and known.permitted:
            return False
        try:
            return capability_sets(self._last[2]) == self._capabilities
        except OSError:
            return False
