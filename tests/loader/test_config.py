"""One kernel's settings."""

from __future__ import annotations

import os
import resource

import pytest

from loader.config import MACHINES, MODULE_NAME_LEN, PAGE_SIZE, BuiltFor, Config
from loader.errors import UserError
from tests.headers import numbers


def test_a_kernel_of_which_nothing_is_said() -> None:
    plain = Config()
    assert plain.release.name == "6.12"
    assert plain.built_for == BuiltFor(None, None, None)  # nothing known, so nothing checked
    assert (plain.keyring, plain.memory_limit, plain.blacklist) == (None, None, frozenset())
    assert not (plain.sig_enforce or plain.force_load or plain.force_unload)


@pytest.mark.parametrize(
    ("given", "name"),
    [("zst", "zstd"), ("zstd", "zstd"), ("gz", "gzip"), ("xz", "xz"), ("none", "none")],
)
def test_compression_has_one_name(given: str, name: str) -> None:
    assert Config(compression=given).compression == name


def test_compression_that_no_kernel_has() -> None:
    with pytest.raises(UserError, match="known are zstd, gzip, xz, none"):
        Config(compression="lz4")


@pytest.mark.skipif(os.uname().machine not in MACHINES, reason="another machine")
def test_machines_are_those_of_the_header_and_this_one_is_the_default() -> None:
    theirs = numbers("linux/elf-em.h", "EM_X86_64", "EM_AARCH64")
    assert [MACHINES["x86_64"], MACHINES["aarch64"]] == list(theirs.values())
    assert Config().machine == MACHINES[os.uname().machine]


def test_sizes() -> None:
    """include/linux/moduleparam.h: MAX_PARAM_PREFIX_LEN is 64 bytes, a pointer's 8 less a name."""
    assert MODULE_NAME_LEN == 64 - 8
    assert PAGE_SIZE == 4096
    if os.uname().machine == "x86_64":
        assert resource.getpagesize() == PAGE_SIZE
