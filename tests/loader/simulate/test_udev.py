"""Boots in virtual time: what they predict of published machines, and how they behave."""

from __future__ import annotations

import errno
import tomllib
from dataclasses import replace
from statistics import median

import pytest
import simpy

from loader.simulate.machine import Machine, Requests, Userspace
from loader.simulate.machine_file import machine_from, read_machine
from loader.simulate.processors import Processors
from loader.simulate.udev import Outcome, _Boot, boot, config_for
from tests.conftest import PROJECT
from tests.recordings import SEEDS

EXAMPLES = PROJECT / "examples"

STORM = """
processors = 64
kernel = "6.4"
[modules.big]
size = "1 MB"
memory = "64 KiB"
depends = ["small"]
seconds = 0.02
[modules.small]
size = "50 kB"
[[coldplug]]
[[coldplug.devices]]
count = "processors"
modules = ["big"]
"""


def storm(**changes: object) -> Machine:
    return replace(machine_from(tomllib.loads(STORM)), **changes)  # type: ignore[arg-type]


def counts(outcome: Outcome) -> dict[str, int]:
    return {row.name: row.count for row in outcome.snapshot.duplicates}


def published(report: str) -> dict[str, int]:
    """The rows of a published report: module and how many times."""
    rows = (SEEDS / report).read_text().partition("Reason\n")[2].splitlines()
    return {row.split()[0]: int(row.split()[1]) for row in rows}


# -- predictions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("example", "failed", "wasted"),
    [
        ("8-vcpu", 99, 237_537_176),
        ("255-vcpu", 1411, 14_588_526_272),
        ("448-cpu", 8583, 20_358_550_424),
    ],
)
def test_published_machines(example: str, failed: int, wasted: int) -> None:
    outcomes = [boot(read_machine(EXAMPLES / f"{example}.toml"), seed=seed) for seed in range(1, 6)]
    assert median(one.failed for one in outcomes) == pytest.approx(failed, rel=0.25)
    assert median(one.snapshot.wasted_bytes for one in outcomes) == pytest.approx(wasted, rel=0.25)


def test_who_never_gets_a_module_is_told_by_the_order() -> None:
    """Of the 255-vCPU guest: those with a long init all failed, irqbypass hardly ever did."""
    found = counts(boot(read_machine(EXAMPLES / "255-vcpu.toml")))
    wanted = published("255-vcpu-without-early-check.stats")
    for name in ("aesni_intel", "kvm", "kvm_intel"):
        assert found[name] == wanted[name] == 249
    assert found["irqbypass"] < 40


def test_one_load_for_one_file_since_6_5() -> None:
    """Published for the same kind of guest with 6.5's loader: none, or one."""
    guest = read_machine(EXAMPLES / "255-vcpu.toml")
    outcome = boot(guest, config_for(guest, "6.5"))
    assert outcome.failed <= 5
    assert outcome.snapshot.modcount == 67


# -- what it is made of ---------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_boot() -> None:
    one, same, other = boot(storm()), boot(storm()), boot(storm(), seed=2)
    assert one == same
    assert one.boot != other.boot


def test_everybody_loads_once_or_finds_it_there() -> None:
    outcome = boot(storm())
    assert outcome.snapshot.modcount == 2
    assert outcome.requests == outcome.failed + 2
    assert counts(outcome)["big"] <= 63


def test_kernels_differ_as_they_should() -> None:
    late = boot(storm(), config_for(storm(), "6.4", ["early-check"])).snapshot
    early = boot(storm()).snapshot
    merged = boot(storm(), config_for(storm(), "6.12")).snapshot
    assert late.failed_becoming == 0 and late.failed_load_modules > 0
    assert early.failed_becoming > 0
    assert late.wasted_bytes > early.wasted_bytes > merged.wasted_bytes


def test_peak_is_at_least_what_stays_and_one_buffer() -> None:
    outcome = boot(storm())
    assert outcome.peak >= outcome.snapshot.total_mod_size + 1_000_000
    assert outcome.peak <= 64 * (1_000_000 + 65536) + outcome.snapshot.total_mod_size


def test_a_limit_is_kept_and_loads_fail_with_enomem() -> None:
    free = boot(storm())
    assert free.out_of_memory == 0
    limited = boot(storm(module_space=free.peak // 4))
    assert limited.out_of_memory > 0
    assert limited.peak <= free.peak // 4


def test_compressed_files_waste_more_and_take_longer() -> None:
    alone = storm(processors=1)
    assert boot(replace(alone, compression="xz")).boot > boot(alone).boot
    outcome = boot(storm(compression="xz"), config_for(storm(), "6.4", ["early-check"], "xz"))
    assert outcome.snapshot.invalid_mod_bytes == sum(
        count * (2 * size + compressed)
        for name, size, compressed in (("big", 1_000_000, 209_000), ("small", 50_000, 10_450))
        for count in (counts(outcome)[name],)
    )


def test_what_userspace_looks_for() -> None:
    failed = {
        looks_for: boot(storm(userspace=Userspace(looks_for=looks_for))).failed
        for looks_for in ("coming", "live", "nothing")
    }
    assert failed["coming"] <= failed["live"] < failed["nothing"] == 2 * 63


def test_init_module_is_not_merged() -> None:
    made = storm(userspace=Userspace(call="init_module"), compression="xz")
    outcome = boot(made, config_for(made, "6.12"))
    assert outcome.failed > 0
    assert outcome.snapshot.invalid_becoming_bytes % 50_000 == 0  # no compressed bytes counted


def test_no_more_workers_than_allowed() -> None:
    """Those that come when all workers are busy come later, and find more modules there."""
    few = boot(storm(userspace=Userspace(workers=4)))
    assert counts(few)["small"] <= 3
    assert few.snapshot.modcount == 2


@pytest.mark.parametrize("kernel", ["6.4", "6.12"])
def test_work_grows_in_proportion(kernel: str) -> None:
    """Counted in events of the clock, which is what takes time here."""

    def events(processors: int) -> int:
        made = storm(processors=processors, memory=processors << 30)
        one = _Boot(made, config_for(made, kernel), 1, None)
        one.run()
        return next(one.env._eid)

    assert events(1600) < 2.3 * events(800)
    assert events(20000) < 2.3 * events(10000)


# -- requests of the kernel's own ------------------------------------------------------------------


def containers(**changes: object) -> Outcome:
    made = read_machine(EXAMPLES / "400-containers.toml")
    return boot(replace(made, **changes))  # type: ignore[arg-type]


def test_400_mounts_are_50_modprobes_at_a_time() -> None:
    """One string has at most 49 duplicates at a time, and with dups.c none (autoload.md, 9)."""
    old, merged = containers(kernel="6.4"), containers()
    assert [len(one.autoload) for one in (old, merged)] == [400, 400]
    assert {request.result for one in (old, merged) for request in one.autoload} == {0}
    assert (old.requests, old.failed) == (50, 49)
    assert (merged.requests, merged.failed) == (50, 0)
    found = containers(kernel="6.4", autoload_dups=True)
    assert (found.requests, found.failed) == (1, 0)


def test_a_slow_init_makes_the_others_fail() -> None:
    """400 waiters on 50 places for 7 s: ETIME for those that found none in five."""
    made = read_machine(EXAMPLES / "400-containers.toml")
    slow = replace(made.modules["overlay"], seconds=7.0)
    results = [one.result for one in containers(modules={"overlay": slow}).autoload]
    assert (results.count(0), results.count(-errno.ETIME)) == (50, 350)


def test_what_nobody_has_is_256() -> None:
    made = Requests("fs-nope", count=0), Requests("overlay", 1.0, 2, 0.5, wait=False)
    told = containers(requests=made).autoload
    assert [one.result for one in told] == [256] * 32 + [0, 0]
    assert [round(one.at, 6) for one in told[32:]] == [1.0, 1.5]


# -- processors and workers -----------------------------------------------------------------------


def test_processors_are_shared_in_turns() -> None:
    """Three who compute 10 s on two processors: the first keeps its own, two take turns."""
    env = simpy.Environment()
    processors = Processors(env, 2, turn=1.0)
    ends: dict[str, float] = {}

    def task(name: str) -> simpy.events.ProcessGenerator:
        yield processors.compute(10.0)
        ends[name] = env.now

    for name in "abc":
        env.process(task(name))
    env.run()
    assert ends == {"a": 10.0, "b": 15.0, "c": 15.0}


def test_who_sleeps_has_no_processor() -> None:
    """An init that waits for a device holds up nobody else."""
    slow = storm(processors=1)
    asleep = boot(
        replace(slow, modules={**slow.modules, "big": replace(slow.modules["big"], seconds=5.0)})
    )
    assert asleep.boot == pytest.approx(boot(slow).boot + 5.0, rel=0.3)


def test_a_guest_with_more_processors_than_its_host_is_slower() -> None:
    assert boot(storm(host_processors=2)).boot > 2 * boot(storm()).boot


def test_an_init_that_fails_is_asked_for_again() -> None:
    made = storm()
    failing = replace(made.modules["big"], fails=errno.ENODEV)
    outcome = boot(
        replace(made, modules={**made.modules, "big": failing}, coldplug=made.coldplug * 2)
    )
    assert outcome.snapshot.modcount == 1
    inits = outcome.requests - outcome.failed - 1
    assert inits >= 2  # in each of the two coldplugs


def test_a_worker_that_takes_too_long_is_killed() -> None:
    """udevd's 180 s: those who wait for the module end with EINTR; who runs its init goes on."""
    made = storm(processors=8)
    stuck = replace(made.modules["big"], seconds=600.0)
    outcome = boot(replace(made, modules={**made.modules, "big": stuck}))
    assert outcome.killed == 8
    assert outcome.snapshot.modcount == 2
    assert counts(outcome).get("big", 0) == 0  # who is killed leaves no record
    assert outcome.failed >= 7
