"""What a process may do, and when one may all that another may."""

from __future__ import annotations

import os
import threading

import pytest

from modfs.control.credentials import Credentials, read_credentials, read_status, unseen

USER = "user:[1]"
ALL = b"000001ffffffffff"
FILES = b"0000000000000006"  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
NONE = b"0000000000000000"


def credentials(
    uid: int, capabilities: bytes = NONE, groups: bytes = b"", namespace: str = USER
) -> Credentials:
    ids = b"\t".join([b"%d" % uid] * 4)
    rows = (ids, ids, groups, NONE, capabilities, capabilities, ALL, NONE)
    return Credentials(rows, namespace)


def test_our_own() -> None:
    mine = read_credentials(os.getpid())
    assert mine.uids[:3] == os.getresuid() and mine.gids[:3] == os.getresgid()
    assert set(mine.groups) == set(os.getgroups())
    assert mine.user_namespace == os.readlink("/proc/self/ns/user")
    assert mine.may_all_that(mine)


def test_a_thread() -> None:
    status = read_status(threading.get_native_id())
    assert status.pid == os.getpid()
    assert status.numbers.pids[0] == os.getpid()
    assert status.rows == read_status(os.getpid()).rows


def test_one_that_cannot_be_seen() -> None:
    with pytest.raises(OSError, match="No such"):
        read_status(1 << 22)
    status = unseen(77)
    assert (status.command, status.pid, status.numbers.pids) == ("?", 77, ())


@pytest.mark.parametrize(
    ("client", "server", "may"),
    [
        (credentials(0, ALL), credentials(0, ALL), True),
        (credentials(0, ALL), credentials(0, FILES, b"7 8"), True),
        (credentials(0, FILES), credentials(0, ALL), False),
        (credentials(0), credentials(0, FILES), False),
        (credentials(7, ALL), credentials(0, ALL), False),
        (credentials(0, ALL, namespace="user:[2]"), credentials(0, ALL), False),
        (credentials(7), credentials(7), True),
        (credentials(7, groups=b"7 8 9"), credentials(7, groups=b"8"), True),
        (credentials(7, groups=b"9"), credentials(7, groups=b"8 9"), False),
        (credentials(7, ALL, namespace="user:[2]"), credentials(7), True),
    ],
)
def test_who_may_all_that_another_may(client: Credentials, server: Credentials, may: bool) -> None:
    assert client.may_all_that(server) is may
