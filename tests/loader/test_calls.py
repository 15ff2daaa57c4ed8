"""The three calls as values, and who makes them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from loader import calls
from loader.calls import ANYONE, Caller, DeleteModule, FinitModule, InitModule, open_here
from loader.errors import LoadError
from tests.headers import numbers

FLAGS = [name for name in vars(calls) if name.startswith("MODULE_INIT_")]


def test_flags_are_the_kernels() -> None:
    theirs = numbers("linux/module.h", *FLAGS)
    assert len(theirs) >= 2
    assert {name: getattr(calls, name) for name in theirs} == theirs


def test_each_flag_is_a_bit_and_known() -> None:
    """behaviour.md section 2.1: any flag other than 1, 2 or 4 is EINVAL."""
    assert sorted(getattr(calls, name) for name in FLAGS) == [1, 2, 4]
    assert calls.KNOWN_FLAGS == 7
    assert calls.MANGLED == 3  # section 2.6: with one of these a signature is left where it is


def test_what_is_left_out_is_what_tools_ask_for() -> None:
    assert FinitModule("m.ko") == ("m.ko", "", 0, os.O_RDONLY)
    assert InitModule(b"") == (b"", "", None)
    assert DeleteModule("m").flags == os.O_NONBLOCK  # as rmmod and kmod do


def test_a_descriptor_is_its_owners(tmp_path: Path) -> None:
    assert open_here(77) == (77, False)
    path = tmp_path / "file"
    path.write_bytes(b"text")
    fd, ours = open_here(path)
    assert ours and os.read(fd, 10) == b"text" and not os.get_inheritable(fd)
    os.close(fd)


def test_a_pipe_that_nobody_writes_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    fd, _ = open_here(tmp_path / "fifo")
    os.close(fd)


def test_what_it_is_opened_with(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    fd, _ = open_here(str(path), os.O_WRONLY)
    assert os.write(fd, b"x") == 1
    os.close(fd)
    with pytest.raises(FileNotFoundError):
        open_here(tmp_path / "absent", os.O_RDWR)


def test_anyone_may_and_has_no_signal() -> None:
    ANYONE.may_init_module()
    assert not ANYONE.signal_pending()


def test_without_the_capability_nobody_may() -> None:
    with pytest.raises(LoadError) as caught:
        Caller(capable=False).may_init_module()
    assert caught.value.errno == errno.EPERM
