"""Who answers a transcript's steps: the engine, or the files of a mount."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from loader.calls import InitModule
from loader.engine.threads import LiveKernel
from loader.keyring import SignatureError
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from modfs import texts
from modfs.verify.answerers import AssumedKeyring, Direct, Mounted


def test_files_of_the_engine() -> None:
    live = LiveKernel()
    live.call(InitModule(build_module(ModuleSpec("m", modinfo=(("version", "1.2"),)))))
    direct = Direct(live)
    assert direct.kernel is live
    assert direct.cat("modcount") == "1\n"
    assert direct.cat("stats") == texts.stats(live.snapshot())
    assert direct.cat("/sys/module/m/initstate") == "live\n"
    assert direct.cat("/sys/module/m/version") == "1.2\n"
    shown = direct.cat("/proc/modules")
    assert shown is not None and shown.startswith("m ") and " 0x0" in shown


@pytest.mark.parametrize(
    "path",
    ["nothing", "/sys/module/absent/initstate", "/sys/module/m", "/proc/cpuinfo", "/sys/module/"],
)
def test_files_that_are_not_there(path: str) -> None:
    live = LiveKernel()
    live.call(InitModule(build_module(ModuleSpec("m"))))
    assert Direct(live).cat(path) is None


def test_addresses_are_of_one_boot_and_not_compared() -> None:
    """The recordings have 0x0 in their place (tests/oracle/data)."""
    live = LiveKernel()
    live.call(InitModule(build_module(ModuleSpec("m"))))
    shown = Direct(live).cat("/proc/modules") or ""
    assert shown.split()[5:6] == ["0x0"]


def test_files_of_a_mount(tmp_path: Path) -> None:
    (tmp_path / ".control").mkdir()
    (tmp_path / ".control/compression").write_text("zstd\n")
    (tmp_path / ".control/proc_modules").write_text("m 8192 0 - Live 0xffffffffa0000000\n")
    (tmp_path / ".control/sys_module").write_text('{"m": {"taint": "E\\n"}}')
    (tmp_path / "modcount").write_text("7\n")
    (tmp_path / "total_mod_size").write_text("8192\n")
    (tmp_path / "total_text_size").write_text("4096\n")
    mounted = Mounted(tmp_path)
    try:
        assert mounted.cat("modcount") == "7\n"
        assert mounted.cat("nothing") is mounted.cat("/sys/module/n/taint") is None
        assert mounted.cat("/proc/modules") == "m 8192 0 - Live 0x0\n"
        assert mounted.cat("/sys/module/m/taint") == "E\n"
        assert mounted.shows("stats") and not mounted.shows("/proc/modules")
        assert mounted.sizes() == (8192, 4096)
    finally:
        mounted.kernel.close()


def test_sizes_of_the_engine() -> None:
    live = LiveKernel()
    live.call(InitModule(build_module(ModuleSpec("m"))))
    found = live.statistics()
    assert Direct(live).sizes() == (found.total_mod_size, found.total_text_size) != (0, 0)
    assert Direct(live).shows("/proc/modules")


# -- without a key --------------------------------------------------------------------------------


def test_signatures_are_believed_as_they_were_recorded() -> None:
    keyring = AssumedKeyring()
    keyring.verify(b"module", ())
    keyring.expect(rejected=True)
    assert not keyring.rejected()  # nobody has asked yet
    with pytest.raises(SignatureError) as caught:
        keyring.verify(b"module", ())
    assert caught.value.errno == errno.EKEYREJECTED
    assert keyring.rejected()
    keyring.expect(rejected=False)
    keyring.verify(b"module", ())
    assert not keyring.rejected()


def test_signatures_are_believed_in_a_server_that_was_forked_off() -> None:
    keyring = AssumedKeyring()
    keyring.expect(rejected=True)
    child = os.fork()
    if not child:
        try:
            keyring.verify(b"module", ())
        except SignatureError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert keyring.rejected()
