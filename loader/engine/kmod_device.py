"""lib/test_kmod.c: the device test_kmod0, by which the kernel's own selftest makes requests.

Its files are those of /sys/devices/virtual/misc/test_kmod0, as in 6.12. A run has so many threads
make one request each, for the driver's string (case 1) or a file system (case 2), and keeps the
last result in the threads' order that is not 0. (7.3 has no file system to begin with, and refuses
case 2 without one: EINVAL. Which release changed that is not known: ``start_test_fs`` None.)
"""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

from loader.errors import LoadError

NAME = "test_kmod0"
FOLDER = f"/sys/devices/virtual/misc/{NAME}"
_DRIVER, _FS_TYPE = 1, 2
_CASES = {_DRIVER: "TEST_KMOD_DRIVER", _FS_TYPE: "TEST_KMOD_FS_TYPE"}
_UINT_MAX = (1 << 32) - 1
_INFO_MAX = 1 << 24  # threads for which there is memory: more are EINVAL
_THREADS_MAX = 4096  # that can run: one more fails, as if there were no memory


class Attribute(NamedTuple):
    """A file: its mode, its text, and what a write does. None: it has no such way. LoadError."""

    mode: int
    read: Callable[[], str] | None = None
    write: Callable[[bytes], None] | None = None


class _Config:
    """struct test_config."""

    def __init__(self, fs: str | None) -> None:
        self.driver = "test_module"
        self.fs = fs
        self.threads = 50
        self.case = _DRIVER
        self.result = 0


class KmodDevice:
    """One such device, while its module is loaded."""

    def __init__(
        self,
        request_module: Callable[[str], int],
        get_fs_type: Callable[[str], bool],
        say: Callable[[Iterable[str]], None],
        start_test_fs: str | None = "xfs",
    ) -> None:
        """``say`` writes lines to the kernel's log."""
        self._request_module = request_module
        self._get_fs_type = get_fs_type
        self._say = say
        self._start_test_fs = start_test_fs
        self._config = _Config(start_test_fs)
        self._lock = threading.Lock()  # config_mutex: held while a test runs
        self._out_of_memory = False
        self.files: dict[str, Attribute] = {
            "config": Attribute(0o444, self._show_config),
            "config_test_driver": Attribute(
                0o644, lambda: self._show(self._config.driver), self._set_driver
            ),
            "config_test_fs": Attribute(0o644, lambda: self._show(self._config.fs), self._set_fs),
            "config_num_threads": Attribute(
                0o644, lambda: self._show(_signed(self._config.threads)), self._set_threads
            ),
            "config_test_case": Attribute(
                0o644, lambda: self._show(self._config.case), self._set_case
            ),
            "test_result": Attribute(
                0o644, lambda: self._show(self._config.result), self._set_result
            ),
            "trigger_config": Attribute(0o200, write=self._trigger),
            "reset": Attribute(0o200, write=self._reset),
        }
        self._info("interface ready")

    def remove(self) -> None:
        """Its module goes."""
        with self._lock:
            self._info("Ending request_module() tests", "removing interface")

    def _info(self, *texts: str) -> None:
        self._say([f"misc {NAME}: {text}" for text in texts])

    # -- files ------------------------------------------------------------------------------------

    def _show(self, value: str | int | None) -> str:
        with self._lock:
            return f"{'(null)' if value is None else value}\n"

    def _show_config(self) -> str:
        with self._lock:
            config = self._config
            return (
                f"Custom trigger configuration for: {NAME}\n"
                f"Number of threads:\t{config.threads}\n"
                f"Test_case:\t{_CASES[config.case]} ({config.case})\n"
                f"driver:\t{config.driver}\n"
                f"fs:\t{'EMPTY' if config.fs is None else config.fs}\n"
            )

    def _set_driver(self, data: bytes) -> None:
        with self._lock:
            self._config.driver = _text(data)

    def _set_fs(self, data: bytes) -> None:
        with self._lock:
            self._config.fs = _text(data)

    def _set_threads(self, data: bytes) -> None:
        value = _number(data, 0, _UINT_MAX)
        if not 0 < value <= _INFO_MAX:
            raise LoadError(errno.EINVAL)
        with self._lock:
            self._config.threads = value

    def _set_case(self, data: bytes) -> None:
        value = _number(data, 0, _UINT_MAX)
        if value not in _CASES:
            raise LoadError(errno.EINVAL)
        with self._lock:
            self._config.case = value

    def _set_result(self, data: bytes) -> None:
        value = _number(data, -(1 << 31), (1 << 31) - 1)
        with self._lock:
            self._config.result = value

    def _reset(self, data: bytes) -> None:
        with self._lock:
            self._config = _Config(self._start_test_fs)
            self._out_of_memory = False
            self._info("reset")

    # -- a run ------------------------------------------------------------------------------------

    def _trigger(self, data: bytes) -> None:
        """Any text runs the test. LoadError: it could not be set up."""
        if self._out_of_memory:
            raise LoadError(errno.ENOMEM)
        with self._lock:
            config = self._config
            if config.case == _FS_TYPE and config.fs is None:
                self._info("No fs type specified, can't run the test")
                raise LoadError(errno.EINVAL)
            what = (
                ("driver", config.driver) if config.case == _DRIVER else ("filesystem", config.fs)
            )
            self._info(
                f"Test case: {_CASES[config.case]} ({config.case})",
                f"Test {what[0]} to load: {what[1]}",
                f"Number of threads to run: {config.threads}",
                f"Thread IDs will range from 0 - {config.threads - 1}",
            )
            self._tally(self._run())
            self._info(f"General test result: {config.result}")

    def _run(self) -> list[int | bool]:
        """What each thread got. LoadError: ENOMEM, one could not be started."""
        config = self._config
        results: list[int | bool] = [0] * config.threads
        done: list[int] = []
        over = threading.Event()

        def request(index: int) -> None:
            try:
                if config.case == _DRIVER:
                    results[index] = self._request_module(config.driver)
                else:
                    results[index] = self._get_fs_type(config.fs or "")
            except LoadError as error:  # the engine ends
                results[index] = -(error.errno or errno.EIO)
            finally:
                done.append(index)  # a single step
                if len(done) == config.threads and done[-1] == index:
                    self._info(
                        f"Done: {config.threads} threads have all run now",
                        f"Last thread to run: {index}",
                    )
                    over.set()

        for index in range(config.threads):
            if index >= _THREADS_MAX or not _started(request, index):
                self._out_of_memory = True
                self._info(
                    f"Setting up thread {index} failed",
                    "At least one thread failed to start, stop all work",
                    "Ending request_module() tests",
                )
                raise LoadError(errno.ENOMEM)
        self._info("No errors were found while initializing threads")
        over.wait()
        return results

    def _tally(self, results: list[int | bool]) -> None:
        config = self._config
        config.result = 0
        lines = ["Results:"]
        for index, result in enumerate(results):
            if config.case == _DRIVER:
                config.result = int(result) or config.result
                lines.append(f"Sync thread {index} return status: {int(result)}")
            else:
                found = result is True
                config.result = config.result if found else -errno.EINVAL
                lines.append(f"Sync thread {index} fs: {config.fs if found else 'NULL'}")
        self._info(*lines)


def _started(work: Callable[[int], None], index: int) -> bool:
    try:
        threading.Thread(target=work, args=(index,), daemon=True).start()
    except RuntimeError:  # no thread can be had
        return False
    return True


def _text(data: bytes) -> str:
    """Up to the first NUL; a newline is kept."""
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _signed(number: int) -> int:
    return number - ((number & 1 << 31) << 1)


def _number(data: bytes, least: int, most: int) -> int:
    """kstrtouint, kstrtoint: decimal, one newline may follow. LoadError: EINVAL, ERANGE."""
    sign = rb"[+-]?" if least < 0 else rb"\+?"
    found = re.fullmatch(rb"(" + sign + rb")([0-9]+)\n?(?:\0.*)?", data, re.DOTALL)
    if found is None:
        raise LoadError(errno.EINVAL)
    digits = found[2].lstrip(b"0")
    value = int(digits[:20] or b"0") * (-1 if found[1] == b"-" else 1)
    if len(digits) > 20 or not least <= value <= most:
        raise LoadError(errno.ERANGE)
    return value
