"""Whose rights a deputy takes on, and how: afterwards it may nothing else, for good."""

from __future__ import annotations

import os
import signal
from typing import NamedTuple

from modfs.linux import (
    CLONE_NEWUSER,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    failure,
    libc,
    permitted_capabilities,
    set_capabilities,
)

_UNCHANGED = -1


class Identity(NamedTuple):
    """Users and groups: (real, effective, saved, file system's). ``capabilities`` are those that
    count in our user namespace."""

    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    capabilities: int


def become(identity: Identity, root: int, parent: int) -> None:
    """This process, which has one thread, is as its client from now on, and ends with ``parent``.

    ``root``: a descriptor of the client's root folder, -1 where it is this process's own. No other
    program can look into it: not even its client, whom it is like. OSError: EPERM.
    """
    if root >= 0:
        _enter(root)
    ours = Identity(os.getresuid(), os.getresgid(), tuple(os.getgroups()), 0)
    if set(identity.groups) != set(ours.groups):
        os.setgroups(identity.groups)
    if identity.gids[:3] != ours.gids:
        os.setresgid(*identity.gids[:3])
    _prctl(PR_SET_KEEPCAPS, 1)
    if identity.uids[:3] != ours.uids:
        os.setresuid(*identity.uids[:3])
    permitted = permitted_capabilities()
    set_capabilities(permitted)  # for changing its user took them out of effect
    _set_file_system_ids(identity.uids[3], identity.gids[3])
    set_capabilities(identity.capabilities & permitted)
    _prctl(PR_SET_KEEPCAPS, 0)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_SET_DUMPABLE, 0)  # which a change of users may have set anew
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # which a change of users has taken away
    if os.getppid() != parent:
        os._exit(1)


def _enter(root: int) -> None:
    os.fchdir(root)
    try:
        os.chroot(".")
    except PermissionError:
        # Only somebody's own server gets here. In a user namespace of its own it may.
        if libc.unshare(CLONE_NEWUSER):
            raise failure() from None
        os.chroot(".")
    os.close(root)


def _set_file_system_ids(uid: int, gid: int) -> None:
    libc.setfsgid(gid)
    libc.setfsuid(uid)
    if (libc.setfsuid(_UNCHANGED & 0xFFFFFFFF), libc.setfsgid(_UNCHANGED & 0xFFFFFFFF)) != (
        uid,
        gid,
    ):
        raise PermissionError


def _prctl(option: int, value: int) -> None:
    if libc.prctl(option, value, 0, 0, 0):
        raise failure()
