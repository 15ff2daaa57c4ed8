"""The measurements themselves are not tests; that ``make bench`` finds them is."""

from __future__ import annotations

import importlib

from tests.bench.__main__ import main, names
from tests.bench.harness import Row


def test_every_measurement_gives_rows() -> None:
    assert {"memory", "modules", "mount", "requests", "stats"} <= set(names())
    for name in names():
        assert callable(importlib.import_module(f"tests.bench.bench_{name}").rows)


def test_an_unknown_name_is_said() -> None:
    assert main(["nonsense"]) == 2


def test_a_target_is_a_least_or_a_greatest_figure() -> None:
    assert Row("", "", figure=1.2, target=1.2).reached
    assert not Row("", "", figure=1.3, target=1.2).reached
    assert Row("", "", figure=10, target=9, at_least=True).reached
    assert not Row("", "", figure=8, target=9, at_least=True).reached
