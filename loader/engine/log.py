"""The kernel's log: what it would have printed about modules, in a bounded ring."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

LINES = 4096
# Bytes of a line. Of PRINTKRB_RECORD_MAX, 1024, its level takes two and a NUL one (printk_sprint).
LINE_MAX = 1021


class KernelLog:
    """The newest lines; older ones are forgotten. Written under the kernel's lock."""

    def __init__(self, lines: int = LINES) -> None:
        self._lines: deque[str] = deque(maxlen=lines)
        self.listener: Callable[[str], None] | None = None

    def write(self, line: str) -> None:
        """Add one line (without newline) and tell the listener, who must not block."""
        if len(line) > LINE_MAX or not line.isascii():
            kept = line.encode("utf-8", "surrogateescape")[:LINE_MAX]
            line = kept.decode("utf-8", "surrogateescape")
        self._lines.append(line)
        if self.listener is not None:
            self.listener(line)

    def lines(self) -> tuple[str, ...]:
        """All lines kept, oldest first."""
        return tuple(self._lines)

    def text(self) -> str:
        """The lines as dmesg -t would print them."""
        return "".join(f"{line}\n" for line in self._lines)
