"""The terminal: curses draws, keys sort; whatever ends it, the terminal is as it was before."""

from __future__ import annotations

import curses
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from modfs.top.screen import HEAD, PLAIN, TITLE, Shown, help_screen, screen
from modfs.top.session import Session
from modfs.top.state import CALLS, FAILED, NAME, RATE, SORTS, TIME, WASTED, next_of
from modfs.top.tally import VIEWS

_SORT_KEYS = {"w": WASTED, "f": FAILED, "r": RATE, "c": CALLS, "t": TIME, "n": NAME}
_SLOWEST, _FASTEST = 60.0, 0.1


def can_draw() -> bool:
    """Is there a terminal whose cursor can be moved?"""
    if not (os.isatty(0) and os.isatty(1)):
        return False
    with suppress(curses.error):
        curses.setupterm(os.environ.get("TERM", "dumb"))
        return curses.tigetstr("cup") is not None
    return False


class Top:
    """The loop: what comes, what is typed, and a screen now and then."""

    def __init__(self, session: Session, window: curses.window) -> None:
        self._session = session
        self._window = window
        self._scroll = 0
        self._stopped = self._helping = self._done = False
        self._attributes = {PLAIN: curses.A_NORMAL, HEAD: curses.A_REVERSE, TITLE: curses.A_BOLD}
        self._pages: dict[int, Callable[[], int]] = {
            curses.KEY_UP: lambda: self._scroll - 1,
            curses.KEY_DOWN: lambda: self._scroll + 1,
            curses.KEY_PPAGE: lambda: self._scroll - self._height() // 2,
            curses.KEY_NPAGE: lambda: self._scroll + self._height() // 2,
            curses.KEY_HOME: lambda: 0,
        }

    def run(self, wake: int) -> None:
        """Until q. ``wake``: readable when a signal has come. Session.Gone: the mount has."""
        session, last = self._session, 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(0, selectors.EVENT_READ)
            selector.register(wake, selectors.EVENT_READ)
            for child in session.children:
                selector.register(child, selectors.EVENT_READ)
            self.draw()
            while not self._done:
                now = time.monotonic()
                due = session.due(now)
                for key, _ in selector.select(due):
                    if key.fd == 0:
                        self._keys()
                    elif key.fd == wake:
                        os.read(wake, 4096)
                        self._resized()
                    elif not session.hear(key.fileobj):
                        selector.unregister(key.fileobj)
                if session.has_news and (not self._stopped or time.monotonic() - last > 3600):
                    session.has_news = False
                    self.draw()
                    last = time.monotonic()

    def draw(self) -> None:
        """The whole screen; curses sends what is different."""
        height, width = self._window.getmaxyx()
        for row, line in enumerate(self._lines(width, height)):
            with suppress(curses.error):  # the last column of the last row moves the cursor out
                self._window.addstr(row, 0, line.text.ljust(width), self._attributes[line.kind])
        self._window.refresh()

    def _lines(self, width: int, height: int) -> list[Shown]:
        if self._helping:
            lines = help_screen(width, height)
        else:
            most = max(0, len(self._session.state.lines()) - 1)
            self._scroll = min(max(0, self._scroll), most)
            note = "STOPPED" if self._stopped else f"every {self._session.delay:g} s"
            lines = screen(self._session.state, width, height, self._scroll, note)
        return [*lines, *[Shown("")] * (height - len(lines))]

    def _height(self) -> int:
        return int(self._window.getmaxyx()[0])

    def _resized(self) -> None:
        size = os.get_terminal_size(1)
        if (size.lines, size.columns) != self._window.getmaxyx():
            curses.resizeterm(max(1, size.lines), max(1, size.columns))
            self._window.clear()
            self.draw()

    def _keys(self) -> None:
        """All that was typed."""
        while not self._done:
            key = self._window.getch()
            if key == -1:
                break
            self._key(key)
        if not self._done:
            self.draw()

    def _key(self, key: int) -> None:
        state, session = self._session.state, self._session
        letter = chr(key) if 0 < key < 128 else ""
        if letter in ("q", "\x04"):  # and Ctrl-D: there is nothing more to come
            self._done = True
        elif letter and letter in "h?":
            self._helping = not self._helping
        elif letter == "v":
            state.show(next_of(VIEWS, state.view))
            self._scroll = 0
        elif letter == "s":
            state.sort = next_of(SORTS, state.sort)
        elif letter in _SORT_KEYS:
            state.sort = _SORT_KEYS[letter]
        elif letter == " ":
            self._stopped = not self._stopped
        elif letter == "+":
            session.delay = min(_SLOWEST, session.delay * 2)
        elif letter == "-":
            session.delay = max(_FASTEST, session.delay / 2)
        elif key in self._pages:
            self._scroll = self._pages[key]()
        elif letter == "\x0c":  # Ctrl-L
            self._window.clear()


def run_in_terminal(session: Session) -> None:
    """Show it until q, Ctrl-C, a signal that ends, or the mount's end. Session.Gone."""
    with _woken() as wake, _drawing() as window:
        Top(session, window).run(wake)


@contextmanager
def _drawing() -> Iterator[curses.window]:
    """The terminal in curses' hands, and given back whatever happens."""
    window = curses.initscr()
    try:
        curses.noecho()
        curses.cbreak()
        window.keypad(True)
        window.nodelay(True)
        with suppress(curses.error):
            curses.curs_set(0)
        yield window
    finally:
        window.keypad(False)
        with suppress(curses.error):
            curses.curs_set(1)
        curses.nocbreak()
        curses.echo()
        curses.endwin()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


@contextmanager
def _woken() -> Iterator[int]:
    """A descriptor that is readable when the terminal has another size; signals that end do so by
    an exception, so that the terminal is given back."""
    wake, woken = os.pipe()
    for end in (wake, woken):
        os.set_blocking(end, False)
    old = signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    handlers = {
        number: signal.signal(number, handler)
        for number, handler in (
            (signal.SIGTERM, _end),
            (signal.SIGHUP, _end),
            (signal.SIGWINCH, lambda number, frame: None),
        )
    }
    try:
        yield wake
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(wake)
        os.close(woken)
