"""Which cases of kmod's suite are run, and what is read of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.kmod_suite import PROGRAMS, Came, Case, came, cases

SUITE = """
DEFINE_TEST(shows, .description = "loads nothing",
    .config = { [TC_UNAME_R] = "4.4.4", [TC_ROOTFS] = TESTSUITE_ROOTFS "some/tree", });
DEFINE_TEST(loads,
    .config = {
        [TC_UNAME_R] = "4.4.4",
        [TC_ROOTFS] = TESTSUITE_ROOTFS "some/tree",
        [TC_INIT_MODULE_RETCODES] = "",
    },
    .modules_loaded = "a");
DEFINE_TEST_WITH_FUNC(
    removes, loads,
    .config = { [TC_ROOTFS] = TESTSUITE_ROOTFS "other/",
                [TC_DELETE_MODULE_RETCODES] = "a:0:0:b:-1:" STRINGIFY(ENOENT), });
"""


def test_cases_that_load_or_remove(tmp_path: Path) -> None:
    (tmp_path / "testsuite").mkdir()
    for program in PROGRAMS:
        (tmp_path / f"testsuite/{program}.c").write_text(SUITE * (program == "test-modprobe"))
    assert [*cases(tmp_path)] == [
        Case("test-modprobe", "loads", "some/tree", "4.4.4"),
        Case("test-modprobe", "removes", "other/", ""),
    ]


def test_what_came_of_one() -> None:
    text = "status 1\nmodules a b\n[ 1.0] a: Unknown symbol s (err -2)\nTESTSUITE: ERR: FAILED: x\n"
    assert came(text) == Came(1, ("a", "b"), ("a: Unknown symbol s (err -2)",), "FAILED")
    with pytest.raises(SystemExit, match="did not come to its end"):
        came("status 1\n")
