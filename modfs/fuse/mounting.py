"""Mounting a FUSE file system and taking it away: by mount(2), or by fusermount where that is
root's."""

from __future__ import annotations

import errno
import os
import stat

from loader.errors import UserError, in_words
from modfs.fuse.missing import install_fuse
from modfs.fuse.options import Options
from modfs.linux import MNT_DETACH, UMOUNT_NOFOLLOW, failure, libc

_DEVICE = "/dev/fuse"
_PROGRAMS = ("fusermount3", "fusermount")
_CHANNEL = "_FUSE_COMMFD"  # in fusermount's environment: the socket that takes the descriptor


def mount(place: str, options: Options) -> int | None:
    """/dev/fuse, with a connection that is mounted on ``place``. None: fusermount could not, and
    has said why on descriptor 2. UserError.

    ``auto_unmount`` is fusermount's: it stays, and unmounts when this process has ended.
    """
    try:
        if not options.auto_unmount:
            return _by_ourselves(place, options)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise UserError(f"{place}: {in_words(error)}") from None
    return _by_fusermount(place, options)


def unmount(place: str) -> None:
    """Take it out of the tree; if it is in use, it goes when it no longer is. It may have gone."""
    target = os.fsencode(place)
    if libc.umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) and failure().errno == errno.EPERM:
        child = _spawn(("-u", "-q", "-z", "--", place), os.environ)
        os.waitpid(child, 0)


def _by_ourselves(place: str, options: Options) -> int:
    """OSError: EPERM, and what mount(2) has."""
    mode = stat.S_IFMT(os.stat(place).st_mode)
    device = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    ours = f"fd={device},rootmode={mode:o},user_id={os.getuid()},group_id={os.getgid()}"
    source, kind = _source(options), options.type
    data = ",".join((ours, *options.kernel))
    if libc.mount(source.encode(), os.fsencode(place), kind.encode(), options.flags, data.encode()):
        failed = failure()
        os.close(device)
        raise failed
    return device


def _source(options: Options) -> str:
    return options.fsname or options.subtype or _DEVICE


# -- fusermount ------------------------------------------------------------------------------------


def _by_fusermount(place: str, options: Options) -> int | None:
    """The descriptor comes over a socket. UserError: there is none."""
    import socket  # only here: a mount by root needs it no more than its import's time

    ours, theirs = socket.socketpair()
    with theirs:
        os.set_inheritable(theirs.fileno(), True)
        environment = {**os.environ, _CHANNEL: str(theirs.fileno())}
        child = _spawn(("-o", _told(options), "--", place), environment)
    _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    if options.auto_unmount and descriptors:
        ours.detach()  # it waits for the end of this socket
    else:
        ours.close()
        os.waitpid(child, 0)
    if not descriptors:
        return None
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


def _told(options: Options) -> str:
    """As after fusermount's -o."""
    names = {"fsname": options.fsname, "subtype": options.subtype}
    named = (f"{name}={_escaped(value)}" for name, value in names.items() if value)
    more = ("auto_unmount",) if options.auto_unmount else ()
    return ",".join((*named, *options.words, *options.kernel, *more)) or "rw"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,")


def _spawn(arguments: tuple[str, ...], environment: dict[str, str] | os._Environ[str]) -> int:
    """fusermount's process. UserError: it is missing."""
    for program in _PROGRAMS:
        try:
            return os.posix_spawnp(program, (program, *arguments), environment)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UserError(f"{program}: {in_words(error)}") from None
    raise UserError(f"fusermount is missing: {install_fuse()}")
