"""modfs simulate and modfs replay, as a user types them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PROJECT

EXAMPLES = PROJECT / "examples"

MACHINE = """
processors = 16
kernel = "6.4"
[modules.one]
size = "1 MB"
seconds = 0.05
[[coldplug]]
[[coldplug.devices]]
count = "processors"
modules = ["one"]
"""

Modfs = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def modfs(environment: dict[str, str], tmp_path: Path) -> Modfs:
    (tmp_path / "machine.toml").write_text(MACHINE)

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["modfs", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


def test_one_boot_prints_the_stats_text(modfs: Modfs) -> None:
    done = modfs("simulate", "machine.toml")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("         Mods ever loaded\t1\n     Mods failed on kread\t0\n")
    assert "                      one\t             15\t" in done.stdout
    assert modfs("simulate", "machine.toml").stdout == done.stdout


def test_many_seeds_are_told_by_their_median_beside_the_simplest_prediction(modfs: Modfs) -> None:
    done = modfs("simulate", "machine.toml", "--seeds", "9", "--kernel", "6.4", "--kernel", "6.12")
    assert done.returncode == 0, done.stderr
    heading, *rows = (line.split() for line in done.stdout.splitlines())
    assert " ".join(heading) == "KERNEL CPUS FAILED 5% 95% ALL-BUT-ONE WASTED 5% 95%"
    one_by_one = json.loads(modfs("simulate", "machine.toml", "--seeds", "9", "--json").stdout)
    assert [one["seed"] for one in one_by_one] == [*range(1, 10)]
    failed = sorted(one["failed"] for one in one_by_one)
    assert [int(word) for word in rows[0][1:6]] == [16, failed[4], failed[0], failed[8], 15]
    assert rows[1][1:6] == ["16", "0", "0", "0", "0"]
    assert modfs("simulate", "machine.toml", "--seeds", "2", "--events", "e").returncode == 2


def test_several_make_a_table(modfs: Modfs) -> None:
    done = modfs(
        "simulate", "machine.toml", "--cpus", "4,32", "--kernel", "6.12",
        "--kernel", "6.4 without early-check",
    )  # fmt: skip
    assert done.returncode == 0
    heading, *rows = (line.split("  ") for line in done.stdout.splitlines())
    assert [word.strip() for word in heading if word.strip()][:4] == [
        "KERNEL", "CPUS", "FAILED", "WASTED",
    ]  # fmt: skip
    assert [row[0] for row in rows] == ["6.12"] * 2 + ["6.4 without early-check"] * 2
    assert "0 B" in rows[0] or " 0 B" in "  ".join(rows[0])


def test_json(modfs: Modfs) -> None:
    done = modfs("simulate", "machine.toml", "--json", "--seed", "3")
    (found,) = json.loads(done.stdout)
    assert found["kernel"] == "6.4" and found["seed"] == 3 and found["processors"] == 16
    assert found["failed"] == found["failed_becoming"] + found["failed_load_modules"] == 15
    assert found["peak_bytes"] > 1_000_000
    assert found["duplicates"][0]["name"] == "one"


def test_without_and_compression(modfs: Modfs) -> None:
    words = ("simulate", "machine.toml", "--json", "--without", "early-check")
    (found,) = json.loads(modfs(*words, "--compression", "zstd").stdout)
    assert found["kernel"] == "6.4 without early-check"
    assert (found["failed_becoming"], found["failed_load_modules"]) == (0, 15)
    assert found["invalid_mod_bytes"] == 15 * (2 * 1_000_000 + 233_000)


@pytest.mark.parametrize(
    ("words", "kernels"),
    [
        ((), ["6.12 without idempotent"]),
        (("--without", "early-check"), ["6.12 without idempotent, early-check"]),
        (("--kernel", "6.12"), ["6.12"]),
        (("--kernel", "6.12", "--without", "early-check"), ["6.12 without early-check"]),
        (
            ("--kernel", "6.12 without idempotent", "--kernel", "6.4", "--without", "early-check"),
            ["6.12 without idempotent, early-check", "6.4 without early-check"],
        ),
    ],
)
def test_kernel_replaces_and_without_takes_away_more(
    modfs: Modfs, tmp_path: Path, words: tuple[str, ...], kernels: list[str]
) -> None:
    lacking = MACHINE.replace('"6.4"', '"6.12"\nwithout = ["idempotent"]')
    (tmp_path / "lacking.toml").write_text(lacking)
    found = json.loads(modfs("simulate", "lacking.toml", "--json", *words).stdout)
    assert [run["kernel"] for run in found] == kernels


# One module asked for twice at once: the kernel that is missing a check fails later, or not at all.
TWICE = """\
{"kernel": "6.12", "without": ["idempotent"], "steps": {"read": 0.1}}
{"module": "one", "size": 60000}
{"at": 0.0, "actor": "a", "load": "one"}
{"at": 0.0, "actor": "b", "load": "one"}
"""


@pytest.mark.parametrize(
    ("words", "becoming", "load"),
    [
        ((), 1, 0),
        (("--without", "early-check"), 0, 1),
        (("--kernel", "6.12"), 0, 0),
        (("--kernel", "6.4"), 1, 0),
        (("--kernel", "6.4 without early-check"), 0, 1),
        (("--kernel", "6.4", "--without", "early-check"), 0, 1),
    ],
)
def test_replay_takes_the_same_kernels(
    modfs: Modfs, tmp_path: Path, words: tuple[str, ...], becoming: int, load: int
) -> None:
    (tmp_path / "twice.jsonl").write_text(TWICE)
    lines = modfs("replay", *words, "twice.jsonl").stdout.splitlines()
    assert lines[3:5] == [
        f"  Mods failed on becoming\t{becoming}",
        f"      Mods failed on load\t{load}",
    ]


def test_module_space(modfs: Modfs) -> None:
    (found,) = json.loads(
        modfs("simulate", "machine.toml", "--json", "--module-space", "3 MB").stdout
    )
    assert found["out_of_memory"] > 0
    assert found["peak_bytes"] <= 3_000_000


@pytest.mark.parametrize(("name", "start"), [("w.svg", b"<?xml"), ("w.png", b"\x89PNG")])
def test_plot(modfs: Modfs, tmp_path: Path, name: str, start: bytes) -> None:
    pytest.importorskip("matplotlib")
    words = ("simulate", "machine.toml", "--cpus", "4,8", "--kernel", "6.4", "--plot", name)
    assert modfs(*words).returncode == 0
    drawn = (tmp_path / name).read_bytes()
    assert drawn.startswith(start)
    modfs(*words)
    assert (tmp_path / name).read_bytes() == drawn


def test_modules_from_a_tree(modfs: Modfs, tmp_path: Path) -> None:
    assert modfs("mkmod", "--demo", "tree").returncode == 0
    machine = MACHINE.replace('["one"]', '["nvme"]')
    (tmp_path / "of-tree.toml").write_text(machine)
    tree = next((tmp_path / "tree").rglob("modules.dep")).parent
    (found,) = json.loads(modfs("simulate", "of-tree.toml", "--modules", tree, "--json").stdout)
    assert {row["name"] for row in found["duplicates"]} >= {"nvme", "nvme_core"}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the modules are of that machine")
def test_each_kernel_lays_a_trees_modules_out(
    modfs: Modfs, tmp_path: Path, recorded_tree: Path
) -> None:
    """Of irqbypass, 6.16 has one page more than 6.12: .static_call_sites is of a kind alone."""
    (tmp_path / "of-tree.toml").write_text(MACHINE.replace('["one"]', '["irqbypass"]'))
    words = ("--kernel", "6.12", "--kernel", "6.16", "--json", "--modules", recorded_tree)
    old, new = json.loads(modfs("simulate", "of-tree.toml", *words).stdout)
    assert new["total_mod_size"] == old["total_mod_size"] + 4096


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("simulate", "machine.toml", "--cpus", "many"), "--cpus"),
        (("simulate", "machine.toml", "--kernel", "5.10"), "6.4 is the first"),
        (("simulate", "machine.toml", "--kernel", "6.4 without sleep"), "sleep"),
        (("simulate", "machine.toml", "--module-space", "much"), "--module-space"),
        (("simulate", "nowhere.toml"), "nowhere.toml"),
        (("simulate", "wrong.toml"), "wrong.toml"),
        (("replay", "wrong.toml"), "line 1"),
        (("replay", "--live", "--mount", ".", "wrong.toml"), "exclude"),
    ],
)
def test_mistakes_are_one_line(
    modfs: Modfs, tmp_path: Path, words: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "wrong.toml").write_text("processors = ")
    done = modfs(*words)
    assert done.returncode == 2 and done.stdout == ""
    assert reason in done.stderr and done.stderr.count("\n") == 1


def test_a_plot_that_cannot_be_made_is_told(modfs: Modfs) -> None:
    done = modfs("simulate", "machine.toml", "--plot", "w.gif")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert ".svg or .png" in done.stderr


def test_replay_prints_only_the_text(modfs: Modfs) -> None:
    done = modfs("replay", "--kernel", "6.12", EXAMPLES / "8-vcpu-report.jsonl")
    assert done.stderr == ""
    assert "Mods failed on load\t0\n" in done.stdout
    told = modfs("replay", "-v", EXAMPLES / "8-vcpu-report.jsonl")
    assert told.stdout.startswith("         Mods ever loaded\t67\n")
    assert " load kvm: ok\n" in told.stderr and " load kvm: EEXIST\n" in told.stderr


def test_replay_through_a_mount(modfs: Modfs, mounted: Callable[..., Path], tmp_path: Path) -> None:
    lines = (
        {"kernel": "6.4"},
        {"module": "one", "size": 60000},
        {"at": 0.0, "actor": "a", "load": "one"},
        {"at": 0.0, "actor": "a", "load": "one"},
        {"at": 0.0, "actor": "a", "unload": "one"},
    )
    (tmp_path / "three.jsonl").write_text("\n".join(map(json.dumps, lines)))
    mount = mounted("--kernel", "6.4")
    done = modfs("replay", "--mount", mount, "three.jsonl")
    assert done.stdout == (mount / "stats").read_text()
    assert "Mods failed on becoming\t1\n" in done.stdout


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"at":"soon","load":"x"}', "at: a time such as"),
        ('{"at":-1,"load":"x"}', "at: a time such as"),
        ('{"at":1e400,"load":"x"}', "at: a number is needed, not inf"),
        ('{"at":0,"load":"x","flags":"4"}', "flags: a whole number"),
        ('{"at":0,"load":"x","flags":-1}', "flags: a whole number from 0"),
        ('{"at":0,"load":"x","params":5}', "params: a text is needed, not 5"),
        ('{"at":0,"load":"x","actor":["x"]}', "actor: a text is needed, not a list"),
        ('{"at":0,"load":"x\\u0000"}', "load: a text cannot have a null character"),
        ('{"at":0,"load":"x","times":1e9}', "times: a whole number from 1"),
        ('{"at":0,"load":"x","load":"y"}', "load: is there twice"),
        ('{"load":"x"}', "at is missing"),
        ('{"steps":[1]}', "steps: a table or object"),
        ('{"steps":{"raed":1}}', "did you mean read?"),
        ('{"module":"x","size":"20 kX"}', "size: a size such as"),
        ('{"module":"x","size":"3 GB"}', "size: at most"),
        ('{"module":"x","init":"1 day"}', "init: a time"),
        ('{"without":["early_check"]}', "without[0]: no feature 'early_check'"),
        ('{"kernel":6.4}', "kernel: a kernel release such as"),
        ("\udc80", "not UTF-8"),
    ],
)
def test_a_wrong_scenario_is_told_in_one_line(
    modfs: Modfs, tmp_path: Path, line: str, reason: str
) -> None:
    content = f'{{"kernel": "6.4"}}\n{line}\n{{"at": 0, "load": "x.ko"}}\n'
    (tmp_path / "s.jsonl").write_bytes(content.encode("utf-8", "surrogateescape"))
    done = modfs("replay", "s.jsonl")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "s.jsonl, line 2: " in done.stderr and reason in done.stderr


def test_a_scenario_without_requests(modfs: Modfs, tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"kernel": "6.4"}\n')
    done = modfs("replay", "s.jsonl")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "s.jsonl: there is no request in it" in done.stderr


def test_a_scenario_spells_modules_as_people_do(modfs: Modfs, tmp_path: Path) -> None:
    """insmod and rmmod take - for _; so does a scenario, with units as everywhere."""
    lines = (
        {"module": "crc32c-intel", "size": "20 MB", "init": "1 ms"},
        {"at": 0, "load": "crc32c_intel"},
        {"at": "2 ms", "load": "crc32c-intel"},
        {"at": "0.5 s", "unload": "crc32c-intel"},
    )
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = modfs("replay", "-v", "s.jsonl")
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ["ok", "EEXIST", "ok"]
    assert "Invalid becoming bytes" not in done.stdout and "\t20000000\n" in done.stdout


def test_a_machine_that_asks_for_what_it_does_not_describe(modfs: Modfs, tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(MACHINE.replace('["one"]', '["on"]'))
    done = modfs("simulate", "m.toml")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "m.toml: " in done.stderr and "did you mean one?" in done.stderr
