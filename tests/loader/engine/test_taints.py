"""Which modules taint the kernel, with which letter and line; and those that are gone.

Lines are those of a recorded kernel (tests/oracle/data) where one of its modules tainted so; the
letters are behaviour.md's, section 5.
"""

from __future__ import annotations

import pytest

from loader.engine.log import KernelLog
from loader.engine.module import Module, taint_letters
from loader.engine.taints import Taints, UnloadedTaints
from tests.loader.engine.images import CLEAN, module

UNSIGNED = "m: module verification failed: signature and/or required key missing - tainting kernel"
OUT_OF_TREE = "m: loading out-of-tree module taints kernel."
PROPRIETARY = (
    "m: module license 'Proprietary' taints kernel.",
    "Disabling lock debugging due to kernel taint",
    "m: module license taints kernel.",
)


def tainted(made: Module, log: KernelLog) -> str:
    Taints(log).augment(made)
    return taint_letters(made.taints)


@pytest.mark.parametrize(
    ("modinfo", "letters", "lines"),
    [
        (CLEAN, "", ()),
        ({"license": ["GPL"]}, "O", (OUT_OF_TREE,)),
        ({**CLEAN, "license": ["Proprietary"]}, "P", PROPRIETARY),
        ({**CLEAN, "test": ["Y"]}, "N", ("m: loading test module taints kernel.",)),
        ({**CLEAN, "livepatch": ["Y"]}, "K", ("m: tainting kernel with TAINT_LIVEPATCH",)),
    ],
)
def test_what_a_module_says_of_itself(
    modinfo: dict[str, list[str]], letters: str, lines: tuple[str, ...]
) -> None:
    log = KernelLog()
    assert tainted(module("m", modinfo=modinfo), log) == letters
    assert log.lines() == lines


def test_staging() -> None:
    log = KernelLog()
    assert tainted(module("m", modinfo={**CLEAN, "staging": ["Y"]}), log) == "C"
    assert "staging" in log.text()


@pytest.mark.parametrize(
    "text",  # include/linux/module.h, MODULE_LICENSE: what each of these words means
    ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"],
)
def test_free_licences(text: str) -> None:
    assert tainted(module(modinfo={**CLEAN, "license": [text]}), KernelLog()) == ""


@pytest.mark.parametrize("text", ["gpl", "GPLv2", "MIT", "BSD", "GPL ", ""])
def test_a_licence_is_free_to_the_letter_only(text: str) -> None:
    assert tainted(module(modinfo={**CLEAN, "license": [text]}), KernelLog()) == "P"


def test_no_licence_is_unspecified() -> None:
    log = KernelLog()
    assert tainted(module(modinfo={"intree": ["Y"]}), log) == "P"
    assert log.lines()[0] == "m: module license 'unspecified' taints kernel."


def test_unsigned_and_forced() -> None:
    made, log = module(), KernelLog()
    made.image.signed = False
    made.image.forced = ("bad vermagic",)
    taints = Taints(log)
    taints.force(made.name, "bad vermagic")
    taints.augment(made)
    assert taint_letters(made.taints) == "FE"
    disabling = "Disabling lock debugging due to kernel taint"
    assert log.lines() == ("m: bad vermagic: kernel tainted.", disabling, UNSIGNED)


def test_the_kernel_says_each_only_once_but_marks_each_module() -> None:
    log = KernelLog()
    taints = Taints(log)
    said = None
    for name in ("first", "second"):
        made = module(name, modinfo={"license": ["Proprietary"], "test": ["1"]})
        made.image.signed = False
        taints.augment(made)
        assert taint_letters(made.taints) == "POEN"
        said = said or log.lines()
    assert log.lines() == said
    assert all("second" not in line for line in log.lines())


@pytest.mark.parametrize(("name", "letters"), [("ndiswrapper", ""), ("driverloader", "P")])
def test_modules_that_are_taken_for_proprietary(name: str, letters: str) -> None:
    """The kernel is tainted by both; ndiswrapper itself may go on to use GPL-only symbols."""
    log = KernelLog()
    assert tainted(module(name), log) == letters
    assert log.lines()[-1] == f"{name}: module license taints kernel."


# -- unloaded_tainted, behaviour.md section 1 -----------------------------------------------------


def gone(name: str, taints: str) -> Module:
    made = module(name)
    made.taints = set(taints)
    return made


def test_the_newest_line_is_first_and_clean_modules_have_none() -> None:
    unloaded = UnloadedTaints()
    for name, taints in (("a", "O"), ("clean", ""), ("b", "EO")):
        unloaded.add(gone(name, taints))
    assert [(row.name, row.taints, row.count) for row in unloaded.rows()] == [
        ("b", "OE", 1),
        ("a", "O", 1),
    ]


def test_a_taint_in_common_counts_where_the_line_stands() -> None:
    unloaded = UnloadedTaints()
    for name, taints in (("a", "OE"), ("b", "O"), ("a", "E"), ("a", "P"), ("a", "PO")):
        unloaded.add(gone(name, taints))
    found = {(row.name, row.taints): row.count for row in unloaded.rows()}
    assert list(found) == [("a", "P"), ("b", "O"), ("a", "OE")]
    assert found["a", "P"] + found["a", "OE"] == 4 and found["b", "O"] == 1


def test_a_line_keeps_the_taints_of_its_day() -> None:
    unloaded = UnloadedTaints()
    module_ = gone("a", "O")
    unloaded.add(module_)
    module_.taints.add("P")
    assert unloaded.rows()[0].taints == "O"
