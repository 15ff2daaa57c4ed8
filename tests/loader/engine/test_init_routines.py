"""What init routines return, and when."""

from __future__ import annotations

import pytest

from loader.engine.init_routines import InitRoutine, InitRoutines
from loader.engine.module import InitResult


def nothing(name: str) -> bool:
    return False


def test_one_that_is_not_named_takes_no_time_and_succeeds() -> None:
    routine = InitRoutines().of("m")
    assert (routine.seconds, routine.result({}, nothing)) == (0, InitResult(0, 0, ()))


def test_names_are_the_kernels() -> None:
    routines = InitRoutines({"crc32c-intel": InitRoutine(returns=-5)})
    assert routines.of("crc32c_intel").returns == -5
    routines.set("a-b", InitRoutine(seconds=2))
    assert (routines.of("a_b").seconds, routines.of("ab").seconds) == (2, 0)


@pytest.mark.parametrize(("value", "returns"), [("Y", -5), ("N", 0), (None, 0)])
def test_a_parameter_may_decide(value: str | None, returns: int) -> None:
    routine = InitRoutine(returns=-5, when="fail=Y")
    values = {} if value is None else {"fail": value}
    assert routine.result(values, nothing).returns == returns


@pytest.mark.parametrize(("loaded", "returns"), [((), -19), (("b",), 0), (("c",), -19)])
def test_another_module_may_decide(loaded: tuple[str, ...], returns: int) -> None:
    routine = InitRoutine(returns=-19, unless_loaded=("a", "b"))
    assert routine.result({}, loaded.__contains__).returns == returns


def test_what_it_holds_it_holds_only_if_that_is_its_result() -> None:
    routine = InitRoutine(references=2, holds=("other",), when="on=1")
    assert routine.result({"on": "1"}, nothing) == InitResult(0, 2, ("other",))
    assert routine.result({"on": "0"}, nothing) == InitResult(0, 0, ())
