"""Who writes to the control file: its view of the files, opened with the rights of who opened it.

Its paths start where they start for itself: at its root, in its folder. So the kernel treats a path
that is written to it (bm_register_write, fs/binfmt_misc.c: f_cred, but the writer's root).
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from loader.calls import File, Origin, Task
from loader.errors import LoadError
from modfs.control.credentials import SHORT, Status, who_answers_for
from modfs.control.identity import Identity
from modfs.control.walk import Own
from modfs.linux import AT_FDCWD, descriptor_of_thread, place

if TYPE_CHECKING:
    from modfs.control.opener import Asked, Opener

_MOST_FETCHED = 40  # as MAXSYMLINKS


class Client:
    """The thread that writes, for the time of its write; after that, what was ``kept`` of it."""

    __slots__ = ("_asked", "_certain", "_folders", "_home", "_kept", "_lacking", "_opener",
                 "_status", "_task", "_whose", "command", "pid", "refused")  # fmt: skip

    def __init__(self, opener: Opener, asked: Asked, status: Status, certain: bool = False) -> None:
        """``certain``: its credentials have been compared with the opener's."""
        self._opener, self._asked, self._status = opener, asked, status
        self._certain = certain
        self._folders: dict[str, int] | None = None  # what was opened of it: "cwd", "root"
        self._home: bool | None = None
        self._whose: str | None = None
        self._kept = False
        self._task: Task | None = None
        self._lacking = errno.EACCES  # why no more can be asked of it
        self.command, self.pid = status.command, status.pid
        self.refused = False

    def close(self) -> None:
        """Hold nothing of it any more."""
        folders, self._folders = self._folders, None
        for folder in (folders or {}).values():
            os.close(folder)

    def keep(self) -> None:
        """Its write is over, but a line of it is left: nothing more will be asked of it."""
        self.task()
        if not self._kept and self._opener.credentials is not None:
            try:
                self._folder("cwd")
                if not self._is_home():
                    self._folder("root")
                self._account()
            except OSError as error:  # what is missing then cannot be opened
                self._lacking = error.errno if error.errno in SHORT else errno.EACCES
        self._kept = True

    def task(self) -> Task:
        """Who it is, for people."""
        if self._task is None:
            self._task = self._opener.task(self._asked, self._status)
        return self._task

    def origin(self, alias: str | None = None, file: str | None = None) -> Origin:
        """Of a call that it makes, or that is made for it."""
        return Origin(self.task(), alias, file=file)

    # -- files ------------------------------------------------------------------------------------

    def open(self, file: File, access: int = os.O_RDONLY) -> tuple[int, bool]:
        """What its path or descriptor is in this process (loader.calls.Caller). OSError."""
        if isinstance(file, int):
            return self._descriptor(file)
        return self.open_path(os.fspath(file), access), True

    def _descriptor(self, fd: int) -> tuple[int, bool]:
        try:
            return self._opener.ours.instead(self._own_descriptor(fd)), True
        except OSError as error:
            if error.errno == errno.EBADF:
                return -1, False  # which the kernel has to answer
            raise

    def open_path(self, path: str, access: int = os.O_RDONLY) -> int:
        """A path of the client's, as open(2) would in it. OSError; EACCES also if this server
        cannot open it with the client's rights alone; EPERM: it is no longer who opened."""
        return self._opener.ours.instead(self._open_path(path, _flags(access)))

    def _open_path(self, path: str, flags: int) -> int:
        folder = AT_FDCWD
        if not path.startswith("/"):
            self._make_certain()
            folder = self._folder("cwd")
        if self._opener.may_all_that_we_may and self._is_home():
            here = self._opener.ours.home.open(path, flags, folder)
            if here is not None:
                return here
        return self._through_deputies(path, flags, folder)

    def open_ours(self, path: str) -> int:
        """A path as it is seen from here, with the client's rights. OSError: as open_path."""
        flags = _flags(os.O_RDONLY)
        if self._opener.may_all_that_we_may:
            here = self._opener.ours.home.open(path, flags)
            if here is not None:
                return here
        found = self._deputy(path, flags, home=True)
        if isinstance(found, Own):  # a tree in /proc/self is this process's
            raise LoadError(errno.EACCES)
        return found

    # -- deputies ---------------------------------------------------------------------------------

    def _through_deputies(self, path: str, flags: int, folder: int) -> int:
        found = self._deputy(path, flags, folder)
        for _ in range(_MOST_FETCHED):
            if not isinstance(found, Own):
                return found
            found = self._go_on(found, flags)
        raise LoadError(errno.ELOOP)

    def _go_on(self, own: Own, flags: int) -> int | Own:
        """A path has come to what is the client's own."""
        if own.what in ("cwd", "root"):
            self._make_certain()
            return self._deputy(own.rest or ".", flags, self._folder(own.what))
        try:
            fd = self._own_descriptor(int(own.what.removeprefix("fd/")))
        except OSError as error:
            if error.errno == errno.EBADF and not self._kept:
                raise LoadError(errno.ENOENT) from None  # there is no such name in fd/
            raise
        try:
            return self._deputy(own.rest or None, flags, fd, home=not own.rest)
        finally:
            os.close(fd)

    def _deputy(
        self, path: str | None, flags: int, folder: int = AT_FDCWD, home: bool = False
    ) -> int | Own:
        """``home``: in our world, not the client's."""
        from modfs.control.deputies import Order

        identity = self._identity
        root = -1 if home or self._is_home() else self._folder("root")
        numbers, folder = self._status.numbers, max(folder, -1)
        order = Order(
            self._account(), identity, numbers, path, flags, root, folder, closing=self._kept
        )
        return self._opener.ours.deputies.open(order)

    @property
    def _identity(self) -> Identity:
        ours, known = self._opener.ours.credentials, self._opener.credentials
        if self._opener.may_all_that_we_may:
            known = ours
        elif known is None or os.geteuid() != 0:
            raise LoadError(errno.EACCES)  # whether they may read it cannot be known
        same = known.user_namespace == ours.user_namespace
        return Identity(known.uids, known.gids, known.groups, known.capabilities if same else 0)

    # -- what is known of it ----------------------------------------------------------------------

    def _make_certain(self) -> None:
        """What is its own is used only in the name of who opened. LoadError: EPERM."""
        if self._certain or self._kept or self._opener.may_all_that_we_may:
            return
        if not self._opener.is_still(self._asked):
            raise LoadError(errno.EPERM)
        self._certain = True

    def _is_home(self) -> bool:
        """Do its paths start where ours do?"""
        if self._home is None:
            self._can_be_asked()
            self._home = place(f"/proc/{self._asked[2]}/root") == self._opener.ours.home.root
        return self._home

    def _account(self) -> str:
        """Who is held up if what it asks for hangs. A user may have as many user namespaces as it
        likes; root's containers are told apart by what they have mounted."""
        if self._whose is None:
            known, ours = self._opener.credentials, self._opener.ours.credentials
            assert known is not None
            uid = known.uids[3]
            if known.user_namespace != ours.user_namespace:
                self._can_be_asked()
                uid = who_answers_for(self._asked[2], uid)
            if uid or self._is_home():
                self._whose = str(uid)
            else:
                self._can_be_asked()
                self._whose = os.readlink(f"/proc/{self._asked[2]}/ns/mnt")
        return self._whose

    def _folder(self, what: str) -> int:
        """Its "cwd" or "root", open until this client is closed. OSError."""
        if self._folders is None:
            self._folders = {}
        found = self._folders.get(what)
        if found is None:
            self._can_be_asked()
            found = os.open(f"/proc/{self._asked[2]}/{what}", os.O_PATH | os.O_CLOEXEC)
            self._folders[what] = found
        return found

    def _own_descriptor(self, fd: int) -> int:
        """OSError: EBADF, also once its write is over; ESRCH, EPERM."""
        if self._kept:
            raise LoadError(errno.EBADF)
        self._can_be_asked()
        self._make_certain()
        return descriptor_of_thread(self._asked[2], fd)

    def _can_be_asked(self) -> None:
        """It waits for its write, so its links can be followed. LoadError: not any more."""
        if self._kept or self._opener.credentials is None:
            raise LoadError(self._lacking)


def _flags(access: int) -> int:
    """With which files are opened. Opening changes nothing, whatever it is."""
    return os.O_PATH if access & os.O_PATH else access | os.O_NONBLOCK | os.O_NOCTTY
