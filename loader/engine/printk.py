"""How messages of the kernel's log are told to programs (kernel/printk/printk.c, the same in 6.12
and 7.3 for CONFIG_PRINTK_TIME without CONFIG_PRINTK_CALLER, as Debian has them)."""

from __future__ import annotations

from collections.abc import Iterator

from loader.engine.log import Record, encoded
from loader.engine.log_levels import level_of

MESSAGE_MAX = 2048  # PRINTK_MESSAGE_MAX, bytes of a message in either form


def priority(record: Record) -> int:
    """Facility and level in one number."""
    level = level_of(record.text) if record.level is None else record.level
    return record.facility << 3 | level


def _prefix(record: Record) -> bytes:
    """info_print_prefix."""
    seconds, rest = divmod(record.nanoseconds, 10**9)
    return b"<%d>[%5d.%06d] " % (priority(record), seconds, rest // 1000)


def plain_size(record: Record) -> int:
    """get_record_print_text_size: of what `plain` makes, unless that has to leave something out."""
    text = encoded(record.text)
    return len(_prefix(record)) * (text.count(b"\n") + 1) + len(text) + 1


def plain(record: Record) -> bytes:
    """As in syslog(2): each line with its prefix; lines that do not fit are left out
    (record_print_text)."""
    prefix, left = _prefix(record), encoded(record.text)
    told, cut = b"", False
    while True:
        line, newline, _ = left.partition(b"\n")
        if cut and not newline:
            return told
        room = MESSAGE_MAX - len(told) - len(prefix) - 2
        if len(left) > room:
            if len(line) > room:
                return told
            left, cut = left[:room], True
        told += prefix + line + b"\n"
        if len(left) == len(line):
            return told
        left = left[len(line) + 1 :]


def extended(record: Record) -> bytes:
    """As in /dev/kmsg: one line (info_print_ext_header, msg_print_ext_body)."""
    microseconds = record.nanoseconds // 1000
    told = bytearray(b"%d,%d,%d,-;" % (priority(record), record.seq, microseconds))
    for part in _escaped(encoded(record.text)):
        if len(part) > 1:  # scnprintf, which keeps a byte for its NUL
            part = part[: max(0, MESSAGE_MAX - len(told) - 1)]
        told += part[: MESSAGE_MAX - len(told)]
    return bytes(told)


def _escaped(text: bytes) -> Iterator[bytes]:
    """msg_add_ext_text."""
    for byte in text:
        plain = 0x20 <= byte < 0x7F and byte != 0x5C
        yield bytes((byte,)) if plain else b"\\x%02x" % byte
    yield b"\n"
