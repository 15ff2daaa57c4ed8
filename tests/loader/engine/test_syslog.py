"""The kernel's log as programs read it (kernel/printk/printk.c of 6.12, by hand)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

import pytest

from loader.config import Config
from loader.engine.log import BUFFER_BYTES, KernelLog, Record
from loader.engine.printk import MESSAGE_MAX, extended, plain, plain_size
from loader.engine.settings import DMESG_RESTRICT, PRINTK, PRINTK_DEVKMSG, log_settings
from loader.engine.state import Kernel
from loader.engine.syslog import Action, Answer, DevKmsg, Syslog
from loader.errors import LoadError

ONE_SECOND = 10**9


@pytest.fixture
def syslog() -> Syslog:
    """Of a kernel that says one thing each second, from the first on."""
    kernel = Kernel(Config())
    seconds = iter(range(1, 10_000))
    kernel.log = KernelLog(now=lambda: next(seconds) * ONE_SECOND)
    return Syslog(kernel, now=lambda: 0.0)


def never(ready: Callable[[], bool]) -> None:
    """How somebody waits who does not want to."""
    if not ready():
        raise LoadError(errno.EAGAIN)


def call(syslog: Syslog, action: int, size: int = 4096, address: int = 4096) -> Answer:
    return syslog.call(action, address, size, True, never)


def error_of(step: Callable[[], object]) -> int:
    with pytest.raises(LoadError) as caught:
        step()
    return caught.value.errno or 0


# -- one message ----------------------------------------------------------------------------------


def record(text: str, facility: int = 0, level: int | None = None) -> Record:
    return Record(7, 1_234_567_890, facility, level, text)


def test_a_message_of_dev_kmsg() -> None:
    assert extended(record("m: Unknown symbol x (err -2)")) == (
        b"4,7,1234567,-;m: Unknown symbol x (err -2)\n"
    )
    assert extended(record("a\\b\nc\u00e9", 3, 6)) == b"30,7,1234567,-;a\\x5cb\\x0ac\\xc3\\xa9\n"


def test_a_message_of_dev_kmsg_is_cut() -> None:
    """PRINTK_MESSAGE_MAX; of what is escaped scnprintf writes a byte less than there is room."""
    head = len(b"12,7,1234567,-;")
    assert len(extended(record("\n" * 1000, 1, 4))) == head + 4 * ((MESSAGE_MAX - head) // 4) + 1
    assert len(extended(record("\n" * 508, 1, 4))) == head + 4 * 508 + 1


def test_a_message_of_syslog() -> None:
    found = record("one\ntwo", 1, 5)
    assert plain(found) == b"<13>[    1.234567] one\n<13>[    1.234567] two\n"
    assert plain_size(found) == len(plain(found))
    assert plain(record("")) == b"<3>[    1.234567] \n"


def test_lines_of_a_message_that_do_not_fit_are_left_out() -> None:
    """record_print_text: each line of "\\n" takes 19 bytes with its prefix, the NUL one."""
    text = plain(record("\n" * 1000))
    assert len(text) <= MESSAGE_MAX - 1
    assert text == b"<3>[    1.234567] \n" * (len(text) // 19)


# -- the buffer -----------------------------------------------------------------------------------


def test_the_buffer_is_bounded_by_bytes() -> None:
    """A text of 1000 bytes takes 8 + 1004, to the next multiple of 8."""
    log = KernelLog()
    for _ in range(1000):
        log.write("x" * 1000)
    assert len(log.lines()) == BUFFER_BYTES // 1016
    assert (log.next_seq, log.first_seq) == (1000, 1000 - BUFFER_BYTES // 1016)
    found = log.at(0)
    assert found is not None and found.seq == log.first_seq


# -- syslog(2) ------------------------------------------------------------------------------------


def test_read_all_gives_the_newest_that_fit(syslog: Syslog) -> None:
    for text in ("first", "second", "third"):
        syslog.log.write(text)
    third, second = b"<3>[    3.000000] third\n", b"<3>[    2.000000] second\n"
    assert call(syslog, Action.READ_ALL, len(third)) == (len(third), third)
    assert call(syslog, Action.READ_ALL, len(third + second)).data == second + third
    assert call(syslog, Action.READ_ALL, 5) == (0, b"")


def test_clear(syslog: Syslog) -> None:
    syslog.log.write("first")
    assert b"first" in call(syslog, Action.READ_CLEAR).data
    assert call(syslog, Action.READ_ALL) == (0, b"")
    syslog.log.write("second")
    assert call(syslog, Action.CLEAR) == (0, b"")
    assert call(syslog, Action.READ_ALL) == (0, b"")
    assert syslog.log.lines() == ("first", "second")  # it is not gone


def test_read_takes_away_and_goes_on_in_the_middle(syslog: Syslog) -> None:
    syslog.log.write("first")
    syslog.log.write("second")
    whole = b"<3>[    1.000000] first\n<3>[    2.000000] second\n"
    assert call(syslog, Action.SIZE_UNREAD).value == len(whole)
    assert call(syslog, Action.READ, 10).data == whole[:10]
    assert call(syslog, Action.SIZE_UNREAD).value == len(whole) - 10
    assert call(syslog, Action.READ, 20).data == whole[10:24]  # only whole ones after the first
    assert call(syslog, Action.READ).data == whole[24:]
    assert call(syslog, Action.SIZE_UNREAD).value == 0
    assert error_of(lambda: call(syslog, Action.READ)) == errno.EAGAIN


def test_what_was_lost_is_skipped(syslog: Syslog) -> None:
    for _ in range(200):
        syslog.log.write("x" * 1000)
    assert call(syslog, Action.READ, 4).data == b"<3>["
    assert call(syslog, Action.SIZE_UNREAD).value == len(syslog.log.lines()) * 1019 - 4


def test_console_levels(syslog: Syslog) -> None:
    levels = []
    for action, size in ((6, 0), (6, 0), (7, 0), (7, 0), (6, 0), (8, 3), (7, 0)):
        call(syslog, action, size)
        levels.append(syslog.console_loglevel)
    assert levels == [1, 1, 7, 7, 1, 3, 3]


@pytest.mark.parametrize(
    ("action", "size", "address"),
    [(2, 1, 0), (3, -1, 1), (4, 1, 0), (8, 0, 1), (8, 9, 1), (11, 1, 1), (-1, 1, 1)],
)
def test_what_is_invalid(syslog: Syslog, action: int, size: int, address: int) -> None:
    assert error_of(lambda: call(syslog, action, size, address)) == errno.EINVAL


def test_who_may(syslog: Syslog) -> None:
    """All need CAP_SYSLOG where dmesg_restrict is set; else two need none."""

    def refused() -> set[int]:
        found = set()
        for action in range(12):
            try:
                syslog.call(action, 0, 0, False, never)
            except LoadError as error:
                if error.errno == errno.EPERM:
                    found.add(action)
        return found

    assert refused() == set(range(12))
    log_settings(syslog)[DMESG_RESTRICT].write(b"0\n", 0)
    assert refused() == set(range(12)) - {Action.READ_ALL, Action.SIZE_BUFFER}
    assert call(syslog, Action.SIZE_BUFFER).value == 1 << 17  # Debian's CONFIG_LOG_BUF_SHIFT


# -- /dev/kmsg ------------------------------------------------------------------------------------


def device(syslog: Syslog) -> DevKmsg:
    return DevKmsg(syslog, True, True, "shell")


def test_one_message_a_read(syslog: Syslog) -> None:
    syslog.log.write("first")
    syslog.log.write("second")
    file = device(syslog)
    assert file.read(8192, never) == b"3,0,1000000,-;first\n"
    assert error_of(lambda: file.read(5, never)) == errno.EINVAL  # and it is skipped
    assert error_of(lambda: file.read(5, never)) == errno.EAGAIN


def test_what_was_overwritten_is_told_once(syslog: Syslog) -> None:
    syslog.log.write("first")
    file = device(syslog)
    for _ in range(200):
        syslog.log.write("x" * 1000)
    assert file.lost()
    assert error_of(lambda: file.read(8192, never)) == errno.EPIPE
    assert file.read(8192, never).startswith(b"3,%d," % syslog.log.first_seq)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"plain\n", b"12,0,1000000,-;plain\n"),
        (b"<30>daemon", b"30,0,1000000,-;daemon\n"),
        (b"<3>not the kernel's", b"11,0,1000000,-;not the kernel's\n"),
        (b"<>none", b"8,0,1000000,-;none\n"),
        (b"<x>text\n\n", b"12,0,1000000,-;<x>text\\x0a\n"),
        (b"two\0words", b"12,0,1000000,-;two\n"),
        (b"x" * 1024, b"12,0,1000000,-;" + b"x" * 1023 + b"\n"),
    ],
)
def test_what_a_program_writes(syslog: Syslog, written: bytes, told: bytes) -> None:
    file = device(syslog)
    assert file.write(written) == len(written)
    assert file.read(8192, never) == told


def test_too_long(syslog: Syslog) -> None:
    assert error_of(lambda: device(syslog).write(b"x" * 1025)) == errno.EINVAL


def test_ten_lines_in_five_seconds(syslog: Syslog) -> None:
    file = device(syslog)
    for _ in range(13):
        file.write(b"x")
    file.close()
    *lines, last = syslog.log.lines()
    assert lines == ["x"] * 10
    assert last == "shell: 3 output lines suppressed due to ratelimiting"


def test_settings(syslog: Syslog) -> None:
    found = log_settings(syslog)
    assert found[PRINTK].read() == "7\t4\t1\t7\n"
    found[PRINTK].write(b"3 5\n", 0)
    assert found[PRINTK].read() == "3\t5\t1\t7\n"
    found[PRINTK_DEVKMSG].write(b"off\n", 0)
    assert error_of(lambda: device(syslog)) == errno.EPERM
    for path, text in ((PRINTK, b"many"), (PRINTK_DEVKMSG, b"offline"), (DMESG_RESTRICT, b"2")):
        assert error_of(partial(found[path].write, text, 0)) == errno.EINVAL
