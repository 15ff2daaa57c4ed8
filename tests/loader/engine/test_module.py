"""One module as /proc/modules and /sys/module show it (behaviour.md section 5)."""

from __future__ import annotations

import pytest

from loader.engine.module import COMING, GOING, LIVE, UNFORMED, Module, taint_letters
from loader.image.parameters import Parameter
from tests.loader.engine.images import CLEAN, PAGE, image, module


def test_taints_are_in_the_kernels_order() -> None:
    assert taint_letters(set("NKEOCFP")) == "PFCOEKN"
    assert taint_letters({"E", "O"}) == "OE"
    assert taint_letters(set()) == ""


def test_a_new_one_is_unformed_and_clean() -> None:
    made = Module(image("m"))
    assert (made.name, made.state, made.refcount, made.taints) == ("m", UNFORMED, 0, set())


@pytest.mark.parametrize(("state", "count"), [(UNFORMED, 3), (COMING, 4), (LIVE, 3), (GOING, 3)])
def test_users_other_references_and_a_running_init_hold_it(state: str, count: int) -> None:
    made = module(state=state)
    made.sources = [module("a"), module("b")]
    made.references = 1
    assert made.refcount == count


@pytest.mark.parametrize(
    ("init", "exit_", "permanent"),
    [(True, True, False), (True, False, True), (False, False, False), (False, True, False)],
)
def test_init_without_exit_is_permanent(init: bool, exit_: bool, permanent: bool) -> None:
    made = module(has_init=init, has_exit=exit_)
    assert made.permanent is made.as_loaded().permanent is permanent


def test_init_memory_counts_until_it_is_freed() -> None:
    made = module(state=COMING)
    assert (made.as_loaded().core_size, made.as_loaded().init_size) == (4 * PAGE, 4 * PAGE)
    made.init_freed = True
    assert (made.as_loaded().core_size, made.as_loaded().init_size) == (4 * PAGE, 0)


def test_users_are_shown_newest_first() -> None:
    made = module()
    made.sources = [module("first"), module("second")]
    assert made.as_loaded().users == ("second", "first")


def test_parameters_have_their_value_or_the_one_they_began_with() -> None:
    parameters = {
        "set_one": Parameter("set-one", "int", mode=0o644, default="1"),
        "left": Parameter("left", "int", mode=0o444, default="2"),
        "hidden": Parameter("hidden", "int", mode=0, default="3"),
    }
    made = module(parameters=parameters)
    made.values = {"set-one": "7", "hidden": "8"}
    expected = (("set_one", "7", 0o644), ("left", "2", 0o444))
    assert made.as_loaded().parameters == expected


def test_versions_are_those_of_modinfo() -> None:
    told = module(modinfo={**CLEAN, "version": ["1.2"], "srcversion": ["ABC"]}).as_loaded()
    assert (told.version, told.srcversion) == ("1.2", "ABC")
    silent = module().as_loaded()
    assert (silent.version, silent.srcversion) == (None, None)
