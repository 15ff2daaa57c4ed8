"""The measurements themselves are not tests; that ``make bench`` finds them is."""

from __future__ import annotations

import errno
import importlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import comparison
from tests.bench.__main__ import main, names, table
from tests.bench.comparison import changes, read, write
from tests.bench.counted_work import WORKS
from tests.bench.harness import Pair, Row, Spread, in_turn, made_modules


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


def test_a_row_without_a_target_is_only_told() -> None:
    assert Row("", "", figure=1e9, target=None).reached
    (_, line) = table([Row("what", "nothing", 7.0, None, unit="instructions")])
    assert line.split() == ["what", "nothing", "7", "instructions"]


def test_a_pair_has_the_spread_of_its_rounds() -> None:
    ours, theirs = iter([9.0, 2.0, 3.0, 4.0, 6.0]), iter([9.0, 1.0, 1.0, 2.0, 2.0])
    pair = in_turn(lambda: next(ours), lambda: next(theirs), rounds=4)
    assert pair.ratios == [2.0, 3.0, 2.0, 3.0]
    assert pair.ratio == 3.5 / 1.5  # of the medians
    row = pair.row("what", "against", 2.5)
    assert row.spread == Spread(2.0, 3.0) and row.reached
    (_, line) = table([row])
    assert "2 to 3" in line


BASE = Row("a", "b", 2.0, 3.0, spread=Spread(1.9, 2.2))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (replace(BASE, figure=2.3, spread=Spread(2.1, 2.4)), None),  # their middles overlap
        (
            replace(BASE, figure=2.3, spread=Spread(2.21, 2.4)),
            "WORSE    a: 2 to 2.3 times (+15.0%)",
        ),
        (replace(BASE, figure=1.5, spread=Spread(1.4, 1.6)), "better   a: 2 to 1.5 times (-25.0%)"),
        (replace(BASE, figure=1.5, at_least=True, spread=Spread(1.4, 1.6)), "WORSE"),
        (replace(BASE, figure=2.15, spread=None), None),
        (replace(BASE, figure=2.5, spread=None), "WORSE"),
        (replace(BASE, what="other"), "new      other"),
    ],
)
def test_what_moved_is_what_lies_apart(tmp_path: Path, row: Row, told: str | None) -> None:
    file = tmp_path / "base.json"
    write(file, [BASE])
    lines = changes([row], read(file))
    assert len(lines) == (told is not None)
    assert not told or lines[0].startswith(told)


def test_counts_are_nearly_exact() -> None:
    base = Row("a", "b", 100_000, None, exact=True)
    run = comparison.Run("m", 1, "3", (base,))
    assert changes([replace(base, figure=100_100)], run) == []
    assert changes([replace(base, figure=101_000)], run)[0].startswith("WORSE")
    assert changes([replace(base, figure=99_000)], run)[0].startswith("better")


def test_a_file_that_no_run_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.json"
    for text in ("", "[]", '{"rows": [{}]}'):
        bad.write_text(text)
        assert main(["memory", "--base", str(bad)]) == 2
    assert main(["memory", "--base", str(tmp_path / "none")]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and os.strerror(errno.ENOENT) in lines[-1]


def test_json_is_for_others_too(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    write(file, [Pair(1.0, 2.0, [0.4, 0.6]).row("what", "against", 1)])
    found = json.loads(file.read_text())
    assert found["rows"][0]["figure"] == 0.5
    assert found["rows"][0]["spread"] == [0.4, 0.6]


@pytest.mark.parametrize("name", WORKS)
def test_the_work_that_is_counted_can_be_done(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from modfs.run import seccomp

    monkeypatch.setattr(seccomp, "is_valid", seccomp.is_valid)  # put back afterwards
    with made_modules() as [module]:
        work = WORKS[name](str(module))
        work()
        work()
