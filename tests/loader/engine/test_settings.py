"""The files of auto-loading: what the transcript's kernel shows and takes."""

from __future__ import annotations

import errno

import pytest

from loader.config import Config
from loader.engine.settings import ENABLE_DUPS_TRACE, MODPROBE, MODULES_DISABLED, Setting, settings
from loader.engine.threads import LiveKernel
from loader.errors import LoadError


def made(path: str, **config: bool) -> tuple[LiveKernel, Setting]:
    live = LiveKernel(Config(**config))  # type: ignore[arg-type]
    return live, settings(live.kmod)[path]


def written(setting: Setting, data: bytes, offset: int = 0) -> int:
    """The errno, 0 for success."""
    try:
        setting.write(data, offset)
    except LoadError as error:
        return error.errno or -1
    return 0


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b"/h/exit3\n", "/h/exit3"),
        (b"/h/exit3", "/h/exit3"),
        (b"/h/exit3 -x\nmore", "/h/exit3 -x"),
        (b"\n", ""),
        (b"", "/sbin/modprobe"),
        (b"a\0b", "a"),
        (b"x" * 300, "x" * 255),
        (b"/\xff\n", "/\udcff"),
    ],
)
def test_modprobe(data: bytes, path: str) -> None:
    """[E2] At most 255 bytes; a write of no bytes changes nothing."""
    live, setting = made(MODPROBE)
    assert setting.read() == "/sbin/modprobe\n"
    assert written(setting, data) == 0
    assert live.kmod.modprobe_path == path and setting.read() == f"{path}\n"


def test_a_second_write_goes_on_where_the_first_ended() -> None:
    live, setting = made(MODPROBE)
    setting.write(b"/h/", 0)
    setting.write(b"exit3", 3)
    setting.write(b"x", 100)
    assert live.kmod.modprobe_path == "/h/exit3"


@pytest.mark.parametrize("data", [b"0", b"2", b"-1", b"x", b" ", b"1x", b"0x", b"01x", b"9" * 50])
def test_modules_disabled_takes_nothing_but_1(data: bytes) -> None:
    """[E6m, F8] Before and after."""
    live, setting = made(MODULES_DISABLED)
    assert written(setting, data) == errno.EINVAL and setting.read() == "0\n"
    assert written(setting, b"1\n") == 0 and setting.read() == "1\n"
    assert written(setting, data) == errno.EINVAL and live.kernel.modules_disabled


@pytest.mark.parametrize("data", [b"1", b" 1\n", b"0x1", b"01", b"1 2"])
def test_modules_disabled(data: bytes) -> None:
    live, setting = made(MODULES_DISABLED)
    assert written(setting, data) == 0 and live.kernel.modules_disabled


def test_enable_dups_trace() -> None:
    """[E11] 0 while it is off changes nothing, 1 stays, then 0 is EROFS."""
    _, setting = made(ENABLE_DUPS_TRACE, autoload_dups=True)
    assert setting.read() == "N\n"
    assert written(setting, b"0\n") == 0 and setting.read() == "N\n"
    assert written(setting, b"maybe") == errno.EINVAL
    assert written(setting, b"1\n") == 0 and setting.read() == "Y\n"
    assert written(setting, b"0\n") == errno.EROFS and setting.read() == "Y\n"
    assert ENABLE_DUPS_TRACE not in settings(LiveKernel().kmod)
