"""Requests of a kernel's, sent over a socket in the place of /dev/fuse, and their answers."""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import struct
import threading
from collections.abc import Iterator

import pytest

from loader.errors import UserError
from modfs.fuse import protocol
from modfs.fuse.direct import DirectServer
from modfs.fuse.options import Options
from modfs.fuse.protocol import ATTR_OUT, ENTRY_OUT, IN_HEADER, OPEN_OUT, OUT_HEADER
from modfs.fuse.workers import Worker, Workers
from modfs.mount.options import mount_options
from tests.modfs.doors import Door

ROOT = protocol.FUSE_ROOT_ID


class Kernel:
    """The other end of the connection."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(20)
        options = Options.of(mount_options())
        assert options is not None
        self.server = DirectServer(options)
        self.door = Door()
        self.failed: list[BaseException] = []
        self._unique = 0
        self.ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(theirs.detach(),), daemon=True)
        self._thread.start()

    def _serve(self, device: int) -> None:
        try:
            self.server.serve(device, self.door.files, self.ready.set)
        except UserError as error:
            self.failed.append(error)

    def send(self, opcode: int, node: int = ROOT, body: bytes = b"") -> int:
        """The number of the request."""
        self._unique += 2
        size = IN_HEADER.size + len(body)
        head = IN_HEADER.pack(size, opcode, self._unique, node, os.getuid(), os.getgid(),
            threading.get_native_id(), 0, 0)  # fmt: skip
        self._socket.send(head + body)
        return self._unique

    def answer(self) -> tuple[int, int, bytes]:
        """The number, the errno and the rest of what is answered."""
        said = self._socket.recv(1 << 18)
        size, error, unique = OUT_HEADER.unpack_from(said)
        assert size == len(said)
        return unique, -error, said[OUT_HEADER.size :]

    def ask(self, opcode: int, node: int = ROOT, body: bytes = b"") -> tuple[int, bytes]:
        """The errno and the rest."""
        unique = self.send(opcode, node, body)
        answered, error, rest = self.answer()
        assert answered == unique
        return error, rest

    def greet(self, major: int = 7, minor: int = 45) -> bytes:
        flags = 0xFFFFFFFF
        said = protocol.INIT_IN.pack(major, minor, 1 << 17, flags)
        return self.ask(protocol.FUSE_INIT, 0, said + bytes(48))[1]

    def look_up(self, path: str) -> int:
        node = ROOT
        for name in path.split("/"):
            error, rest = self.ask(protocol.FUSE_LOOKUP, node, name.encode() + b"\0")
            assert not error
            node = int(ENTRY_OUT.unpack(rest)[0])
        return node

    def open(self, node: int, flags: int = os.O_RDONLY) -> tuple[int, int]:
        error, rest = self.ask(protocol.FUSE_OPEN, node, protocol.OPEN_IN.pack(flags, 0))
        assert not error
        handle, answered, _ = OPEN_OUT.unpack(rest)
        return handle, answered

    def close(self) -> None:
        self._socket.close()
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    found = Kernel()
    yield found
    found.close()


@pytest.fixture
def greeted(kernel: Kernel) -> Kernel:
    kernel.greet()
    assert kernel.ready.wait(20)
    return kernel


# -- the protocol ----------------------------------------------------------------------------------


def test_a_new_kernel_is_met_half_way(kernel: Kernel) -> None:
    major, minor, readahead, flags, *_, most, _, _, _, _ = protocol.INIT_OUT.unpack(kernel.greet())
    assert (major, minor, readahead, most) == (7, 31, 1 << 17, 1 << 17)
    assert flags & protocol.FUSE_ATOMIC_O_TRUNC
    assert flags.bit_count() == 4  # nothing that this server knows nothing of


def test_a_kernel_of_a_later_protocol_asks_again(kernel: Kernel) -> None:
    assert protocol.INIT_OUT.unpack(kernel.greet(major=8))[0] == 7
    assert not kernel.ready.is_set()
    assert protocol.INIT_OUT.unpack(kernel.greet(minor=23))[:2] == (7, 23)
    assert kernel.ready.wait(20)


@pytest.mark.parametrize("version", [(7, 22), (6, 40)])
def test_a_kernel_that_is_too_old(kernel: Kernel, version: tuple[int, int]) -> None:
    kernel.send(protocol.FUSE_INIT, 0, protocol.INIT_IN.pack(*version, 0, 0))
    kernel._thread.join(20)
    assert "too old" in str(kernel.failed[0])


@pytest.mark.parametrize("opcode", [0, 7, 19, 39, 46, 52, 54, 4096, 0xFFFFFFFF])
def test_what_this_server_does_not_know(greeted: Kernel, opcode: int) -> None:
    assert greeted.ask(opcode) == (errno.ENOSYS, b"")
    assert greeted.ask(protocol.FUSE_STATFS)[0] == 0


def test_a_node_that_nobody_was_told(greeted: Kernel) -> None:
    assert greeted.ask(protocol.FUSE_GETATTR, 99, bytes(16)) == (errno.ESTALE, b"")


def test_a_name_without_an_end(greeted: Kernel) -> None:
    assert greeted.ask(protocol.FUSE_LOOKUP, ROOT, b"x" * (1 << 17)) == (errno.ENOENT, b"")


@pytest.mark.parametrize(
    ("opcode", "number"),
    [
        (protocol.FUSE_MKDIR, errno.EPERM),
        (protocol.FUSE_UNLINK, errno.EPERM),
        (protocol.FUSE_RENAME2, errno.EPERM),
        (protocol.FUSE_CREATE, errno.EACCES),
    ],
)
def test_what_is_refused(greeted: Kernel, opcode: int, number: int) -> None:
    assert greeted.ask(opcode, ROOT, bytes(64)) == (number, b"")


# -- files -----------------------------------------------------------------------------------------


def test_a_file_is_read(greeted: Kernel) -> None:
    node = greeted.look_up("stats")
    text = greeted.door.read("stats").encode()
    _, told = greeted.ask(protocol.FUSE_GETATTR, node, bytes(16))
    valid, part, _, inode, size, *_, mode, links, uid, gid, _, _, _ = ATTR_OUT.unpack(told)
    assert (valid, part, size, stat.S_ISREG(mode), links) == (0, 0, len(text), True, 1)
    assert (uid, gid) == (os.geteuid(), os.getegid()) and inode
    handle, flags = greeted.open(node)
    assert flags == protocol.FOPEN_DIRECT_IO | protocol.FOPEN_NOFLUSH
    for offset, size in ((0, 1 << 17), (10, 20), (len(text), 100), (1 << 40, 100)):
        body = protocol.READ_IN.pack(handle, offset, size, protocol.FUSE_READ_LOCKOWNER, 0, 0)
        assert greeted.ask(protocol.FUSE_READ, node, body) == (0, text[offset : offset + size])
    assert greeted.ask(protocol.FUSE_RELEASE, node, _closing(handle))[0] == 0
    assert not greeted.door.files._handles


def _closing(handle: int) -> bytes:
    """fuse_release_in and fuse_flush_in."""
    return struct.pack("=QIIQ", handle, 0, 0, 0)


def test_attributes_of_folders_last(greeted: Kernel) -> None:
    told = greeted.ask(protocol.FUSE_GETATTR, ROOT, bytes(16))[1]
    assert ATTR_OUT.unpack(told)[0] == 86400


def test_requests_are_written(greeted: Kernel) -> None:
    name = greeted.ask(protocol.FUSE_READLINK, greeted.look_up("control"))[1].decode()
    node = greeted.look_up(name)
    handle, flags = greeted.open(node, os.O_WRONLY | os.O_TRUNC)
    assert flags == protocol.FOPEN_DIRECT_IO
    for line, expected in ((b"rmmod nothing\n", errno.ENOENT), (b"# nothing\n", 0)):
        body = protocol.WRITE_IN.pack(handle, 0, len(line), 0, 0, 0, 0) + line
        error, rest = greeted.ask(protocol.FUSE_WRITE, node, body)
        assert error == expected
        assert error or protocol.WRITE_OUT.unpack(rest)[0] == len(line)
    assert greeted.ask(protocol.FUSE_FLUSH, node, _closing(handle))[0] == 0


def test_a_folder_is_listed_in_pieces(greeted: Kernel) -> None:
    _, rest = greeted.ask(protocol.FUSE_OPENDIR, ROOT, bytes(8))
    handle, _, _ = OPEN_OUT.unpack(rest)
    names: list[bytes] = []
    offset = 0
    while True:
        body = protocol.READ_IN.pack(handle, offset, 100, 0, 0, 0)
        error, told = greeted.ask(protocol.FUSE_READDIR, ROOT, body)
        assert not error and len(told) <= 100
        if not told:
            break
        while told:
            _, offset, size, _ = protocol.DIRENT.unpack_from(told)
            names.append(told[protocol.DIRENT.size :][:size])
            told = told[(protocol.DIRENT.size + size + 7) // 8 * 8 :]
    assert names == [b".", b"..", *greeted.door.files.readdir(1)]
    assert greeted.ask(protocol.FUSE_RELEASEDIR, ROOT, _closing(handle))[0] == 0
    assert not greeted.server._directories


def test_a_folder_is_read_from_the_middle_first(greeted: Kernel) -> None:
    """As after seekdir(3)."""
    _, rest = greeted.ask(protocol.FUSE_OPENDIR, ROOT, bytes(8))
    handle, _, _ = OPEN_OUT.unpack(rest)
    body = protocol.READ_IN.pack(handle, 1, 4096, 0, 0, 0)
    _, told = greeted.ask(protocol.FUSE_READDIR, ROOT, body)
    _, offset, size, _ = protocol.DIRENT.unpack_from(told)
    assert (offset, told[protocol.DIRENT.size :][:size]) == (2, b"..")


def test_times_are_set_and_nothing_else(greeted: Kernel) -> None:
    node = greeted.look_up("stats")

    def set_attributes(valid: int) -> tuple[int, bytes]:
        body = protocol.SETATTR_IN.pack(valid, 0, 0, 0, 0, 1, 2, 0, 10, 20, 0, 0o777, 0, 1, 1, 0)
        return greeted.ask(protocol.FUSE_SETATTR, node, body)

    for refused in (protocol.FATTR_MODE, protocol.FATTR_UID, protocol.FATTR_GID):
        assert set_attributes(refused)[0] == errno.EPERM
    _, told = set_attributes(protocol.FATTR_ATIME | protocol.FATTR_MTIME)
    attributes = ATTR_OUT.unpack(told)
    assert (attributes[6:8], attributes[9:11]) == ((1, 2), (10, 20))
    _, told = set_attributes(protocol.FATTR_MTIME | protocol.FATTR_MTIME_NOW)
    atime, mtime = ATTR_OUT.unpack(told)[6:8]
    assert atime == 1 and mtime > 10**9


def test_what_is_forgotten_is_not_kept(greeted: Kernel) -> None:
    one, other = greeted.look_up("stats"), greeted.look_up("kmsg")
    greeted.look_up("stats")
    greeted.send(protocol.FUSE_FORGET, one, protocol.FORGET_IN.pack(1))
    assert greeted.ask(protocol.FUSE_GETATTR, one, bytes(16))[0] == 0
    pairs = protocol.FORGET_ONE.pack(one, 1) + protocol.FORGET_ONE.pack(other, 1)
    greeted.send(protocol.FUSE_BATCH_FORGET, 0, protocol.BATCH_FORGET_IN.pack(2, 0) + pairs)
    for node in (one, other):
        assert greeted.ask(protocol.FUSE_GETATTR, node, bytes(16))[0] == errno.ESTALE


def test_who_polls_is_told(greeted: Kernel) -> None:
    node = greeted.look_up("events_pipe")
    handle, _ = greeted.open(node)
    flag = protocol.FUSE_READ_LOCKOWNER
    body = protocol.READ_IN.pack(handle, 0, 1 << 16, flag, 0, 0)
    assert b'"recording":1' in greeted.ask(protocol.FUSE_READ, node, body)[1]
    poll = protocol.POLL_IN.pack(handle, 77, protocol.FUSE_POLL_SCHEDULE_NOTIFY, 0)
    _, told = greeted.ask(protocol.FUSE_POLL, node, poll)
    assert not protocol.POLL_OUT.unpack(told)[0] & select.POLLIN
    greeted.door.ask("rmmod nothing")
    unique, code, rest = greeted.answer()
    assert (unique, -code, protocol.POLL_WAKEUP_OUT.unpack(rest)[0]) == (
        0,
        protocol.FUSE_NOTIFY_POLL,
        77,
    )


# -- failures --------------------------------------------------------------------------------------


def test_what_nobody_expected_is_eio(
    greeted: Kernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node = greeted.look_up("stats")
    for error, number in ((ValueError("x"), errno.EIO), (MemoryError(), errno.ENOMEM)):

        def fail(path: bytes, flags: int, error: Exception = error) -> int:
            raise error

        monkeypatch.setattr(greeted.door.files, "open", fail)
        assert greeted.ask(protocol.FUSE_OPEN, node, bytes(8)) == (number, b"")
    assert "operation 14 failed unexpectedly" in caplog.text
    assert greeted.ask(protocol.FUSE_STATFS)[0] == 0


def test_who_opened_is_gone(greeted: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to an open that was interrupted comes too late: nobody will close it."""
    node, other = greeted.look_up("stats"), greeted.look_up("kmsg")
    write = os.write

    def refuse(device: int, data: bytes) -> int:
        if device == greeted.server.descriptor:
            write(device, OUT_HEADER.pack(OUT_HEADER.size, -errno.ENOENT, 0))
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return write(device, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", refuse)
        for opcode, body in (
            (protocol.FUSE_OPEN, bytes(8)),
            (protocol.FUSE_OPENDIR, bytes(8)),
            (protocol.FUSE_LOOKUP, b"kmsg\0"),
        ):
            greeted.send(opcode, node if opcode == protocol.FUSE_OPEN else ROOT, body)
            assert greeted.answer()[0] == 0
        # One more, so that the last was taken back before all is looked at.
        greeted.send(protocol.FUSE_STATFS)
        greeted.answer()
    assert not greeted.door.files._handles and not greeted.server._directories
    found = greeted.server._nodes.get(other)
    assert found is not None and found.lookups == 1


def test_an_operation_that_cannot_begin_is_the_end(
    greeted: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without memory, say: nobody would read any more, and nobody be told."""
    node = greeted.look_up("events_pipe")
    begin = Workers.begin

    def fail(workers: Workers, worker: Worker, unique: int) -> None:
        begin(workers, worker, unique)
        raise MemoryError

    monkeypatch.setattr(Workers, "begin", fail)
    greeted.send(protocol.FUSE_OPEN, node, protocol.OPEN_IN.pack(os.O_RDONLY, 0))
    greeted._thread.join(20)
    assert not greeted._thread.is_alive()
