"""What /proc/sys/kernel takes (kernel/sysctl.c: proc_dostring, proc_dointvec_minmax)."""

from __future__ import annotations

import errno

import pytest

from modfs.run.sysctls import Sysctls

MODPROBE, DISABLED = "sys/kernel/modprobe", "sys/kernel/modules_disabled"


def read(sysctls: Sysctls, name: str) -> bytes:
    return sysctls.files[name]().read(4096, 0)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (b"/bin/true\n", b"/bin/true\n"),
        (b"/a b\nc\n", b"/a b\n"),
        (b"\n", b"\n"),
        (b"x" * 300, b"x" * 255 + b"\n"),
        (b"/a\0b", b"/a\n"),
    ],
)
def test_modprobe(written: bytes, kept: bytes) -> None:
    sysctls = Sysctls()
    assert read(sysctls, MODPROBE) == b"/sbin/modprobe\n"
    assert sysctls.files[MODPROBE]().write(written) == len(written)
    assert read(sysctls, MODPROBE) == kept


def test_modules_disabled_is_final() -> None:
    sysctls = Sysctls()
    assert read(sysctls, DISABLED) == b"0\n"
    for wrong in (b"0\n", b"2\n", b"x", b""):
        with pytest.raises(OSError) as caught:
            sysctls.files[DISABLED]().write(wrong)
        assert caught.value.errno == errno.EINVAL
    assert not sysctls.modules_disabled
    assert sysctls.files[DISABLED]().write(b"1\n") == 2
    assert sysctls.modules_disabled
    assert read(sysctls, DISABLED) == b"1\n"
    with pytest.raises(OSError):
        sysctls.files[DISABLED]().write(b"0\n")
