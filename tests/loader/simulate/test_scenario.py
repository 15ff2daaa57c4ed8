"""Scenarios: the two published reports, and the rules of the file."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from loader.calls import FinitModule
from loader.engine.threads import LiveKernel
from loader.errors import UserError
from loader.simulate.real_time import replay_in_real_time
from loader.simulate.replay import replay_virtual
from loader.simulate.scenario import Scenario, parse_scenario
from modfs.texts import stats
from tests.conftest import PROJECT
from tests.recordings import SEEDS

EXAMPLES = PROJECT / "examples"

REPORTS = {
    "255-vcpu-report.jsonl": "255-vcpu-without-early-check.stats",
    "8-vcpu-report.jsonl": "8-vcpu-with-early-check.stats",
}


def scenario(*lines: Mapping[str, object]) -> Scenario:
    return parse_scenario(map(json.dumps, lines), Path())


@pytest.mark.parametrize("example", REPORTS)
def test_published_reports_come_out_byte_for_byte(example: str) -> None:
    snapshot, _ = replay_virtual(Scenario.read(EXAMPLES / example))
    assert stats(snapshot) == (SEEDS / REPORTS[example]).read_text()


@pytest.mark.parametrize("example", REPORTS)
def test_the_text_is_not_in_the_scenario(example: str) -> None:
    text = (EXAMPLES / example).read_text()
    for word in ("Mods", "Reason", "14588526272", "228959096", "8578080", "11464704", "4194304"):
        assert word not in text


def test_the_schedule_decides_who_is_first() -> None:
    """The early check of 6.4 finds those who come after the first is listed, not those with it."""
    head = {"kernel": "6.4", "steps": {"read": 1.0, "check": 1.0, "copy": 1.0}}
    module = {"module": "one", "size": 100000, "init": 10.0}
    first = {"at": 0.0, "actor": "first", "load": "one"}
    with_it = {"at": 0.5, "actor": "second", "load": "one"}
    after_it = {"at": 2.0, "actor": "third", "load": "one"}
    early, _ = replay_virtual(scenario(head, module, first, with_it))
    late, _ = replay_virtual(scenario(head, module, first, after_it))
    assert (early.failed_becoming, early.failed_load_modules) == (0, 1)
    assert (late.failed_becoming, late.failed_load_modules) == (1, 0)
    assert (early.invalid_mod_bytes, late.invalid_becoming_bytes) == (200000, 100000)


def test_answers_and_unloading() -> None:
    head = {"kernel": "6.12"}
    module = {"module": "one", "init": 1.0}
    _, answers = replay_virtual(
        scenario(
            head,
            module,
            {"at": 0.0, "actor": "a", "load": "one"},
            {"at": 0.5, "actor": "b", "load": "one"},
            {"at": 0.5, "actor": "c", "unload": "one"},
            {"at": 2.0, "actor": "c", "load": "one"},
            {"at": 2.0, "actor": "c", "unload": "one"},
            {"at": 2.0, "actor": "d", "load": "not-there.ko"},
        )
    )
    found = {
        (timed.actor, timed.at, isinstance(timed.call, FinitModule)): number
        for timed, number in answers
    }
    assert found["a", 0.0, True] == found["b", 0.5, True] == found["c", 2.0, False] == 0
    assert found["c", 0.5, False] == errno.EBUSY
    assert found["c", 2.0, True] == errno.EEXIST
    assert found["d", 2.0, True] == errno.ENOENT


def test_one_actor_asks_for_one_thing_after_the_other() -> None:
    lines = (
        {"kernel": "6.4"},
        {"module": "slow", "init": 5.0},
        {"module": "quick"},
        {"at": 0.0, "actor": "a", "load": "slow"},
        {"at": 0.0, "actor": "a", "load": "quick"},
        {"at": 0.0, "actor": "b", "load": "quick", "times": 3},
    )
    snapshot, _ = replay_virtual(scenario(*lines))
    assert [module.name for module in snapshot.modules] == ["quick", "slow"]
    assert snapshot.duplicates[0].count == 3  # a's own request came last, to a module long there


def test_on_threads() -> None:
    lines = (
        {"kernel": "6.4", "without": ["early-check"]},
        {"module": "one", "size": 60000, "init": 0.3},
        {"at": 0.0, "actor": "a", "load": "one"},
        {"at": 0.1, "actor": "b", "load": "one", "times": 5, "every": 0.001},
    )
    described = scenario(*lines)
    live = LiveKernel(described.config, init_routines=described.init_routines)
    answers = replay_in_real_time(described, live)
    in_no_time, _ = replay_virtual(described)
    assert stats(live.snapshot()) == stats(in_no_time)
    assert sorted(number for _, number in answers) == [0] + [errno.EEXIST] * 5


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"at": 0.0, "actor": "a"}', "a request loads, unloads"),
        (
            '{"at": 0.0, "actor": "a", "load": "x", "lod": 1}',
            "lod: is not known; did you mean load",
        ),
        ('{"module": "x", "size": 100}', "100"),
        ('{"kernel": "5.10"}', "5.10"),
        ('{"steps": {"sleep": 1}}', "steps.sleep: is not known; known are read, "),
        ("[1]", "object"),
        ("nonsense", "not JSON: Expecting value"),
    ],
)
def test_a_wrong_line_is_told(line: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        parse_scenario(["", line], Path())
    assert str(caught.value).startswith("line 2: ")


# -- requests of the kernel's own ------------------------------------------------------------------

REQUESTS = (
    {"kernel": "6.4", "steps": {"read": 1e-4, "helper": 0.0025}},
    {"module": "base"},
    {"module": "overlay", "depends": ["base"], "aliases": ["fs-overlay"], "init": 0.01},
    {"at": 0, "actor": "container", "request": "fs-overlay", "times": 4},
    {"at": 1, "actor": "other", "request": "fs-nope"},
    {"at": 1, "actor": "other", "request": "nope", "wait": False},
)


def test_requests() -> None:
    snapshot, answers = replay_virtual(scenario(*REQUESTS))
    assert [number for _, number in answers] == [0, 0, 0, 0, 256, 0]
    assert snapshot.modcount == 2
    found = scenario({"autoload_dups": True}, *REQUESTS[1:])
    assert replay_virtual(found)[0].failed_becoming == 0


def test_requests_in_real_time() -> None:
    made = scenario(*REQUESTS)
    answers = replay_in_real_time(made, LiveKernel(made.config))
    assert sorted(number for _, number in answers) == [0, 0, 0, 0, 0, 256]


@pytest.mark.parametrize(
    "line",
    [
        {"at": 0, "request": "a", "load": "b"},
        {"at": 0, "request": "a", "unload": "b"},
        {"at": 0},
        {"at": 0, "load": "a", "wait": True},
        {"at": 0, "request": 5},
    ],
)
def test_mistakes_in_requests(line: Mapping[str, object]) -> None:
    with pytest.raises(UserError):
        scenario(line)
