"""Some inputs of every fuzzer, the same at each run; `make fuzz` tries as many as one has time for.

What fails is made as small as can be by hypothesis, and kept in tests/fuzz/findings.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.fuzz.findings import saved
from tests.fuzz.guard import limited_memory
from tests.fuzz.mutate import Chance
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    with limited_memory():
        yield


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_input_is_answered_as_a_kernel_would(target: Target) -> None:
    @settings(
        max_examples=target.examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    @given(st.randoms(use_true_random=False))
    def one(chance: Chance) -> None:
        value = target.make(chance)
        try:
            target.check(value)
        except Exception as error:
            note(saved(target, value, error, "make test").text)
            raise

    one()
