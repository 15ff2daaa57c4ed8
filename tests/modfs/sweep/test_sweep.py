"""modfs sweep, as a user types it: the same rows whoever does the work, and nothing left over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from modfs.sweep.summary import Spread
from tests.conftest import PROJECT

SMALL = PROJECT / "examples/8-vcpu.toml"
LARGE = PROJECT / "examples/448-cpu.toml"
Modfs = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def modfs(environment: dict[str, str], tmp_path: Path) -> Modfs:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = ["modfs", *map(str, words)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


def rows(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted(found, key=lambda row: (row["machine"], row["kernel"], row["seed"]))


def test_one_process_or_many_or_simulate(modfs: Modfs, tmp_path: Path) -> None:
    words = (SMALL, "--seeds", "1-6", "--kernel", "6.4", "--kernel", "6.12")
    one = modfs("sweep", *words, "--jobs", "1", "--out", "one.jsonl")
    many = modfs("sweep", *words, "--jobs", "3", "--out", "many.jsonl")
    assert one.returncode == many.returncode == 0 and one.stdout == many.stdout
    assert one.stderr == many.stderr == ""
    found = rows(tmp_path / "one.jsonl")
    assert found == rows(tmp_path / "many.jsonl") and len(found) == 12
    assert len({row["failed"] for row in found if row["kernel"] == "6.4"}) > 1
    single = json.loads(modfs("simulate", SMALL, "--kernel", "6.4", "--seed", "3", "--json").stdout)
    [same] = [row for row in found if row["seed"] == 3 and row["kernel"] == "6.4"]
    assert single == [{key: same[key] for key in single[0]}]


def test_a_cluster(modfs: Modfs, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    modfs("sweep", SMALL, "--seeds", "1-5", "--jobs", "1", "--out", "one.jsonl")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as cluster:
        address = cluster.scheduler_address
        done = modfs("sweep", SMALL, "--seeds", "1-5", "--scheduler", address, "--out", "d.jsonl")
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "d.jsonl") == rows(tmp_path / "one.jsonl")


@pytest.mark.parametrize(
    ("address", "told"), [("nowhere", "missing port"), ("nope://1:2", "unknown address scheme")]
)
def test_no_cluster(modfs: Modfs, address: str, told: str) -> None:
    pytest.importorskip("distributed")
    done = modfs("sweep", SMALL, "--scheduler", address)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"modfs sweep: --scheduler {address}: ") and told in done.stderr


def test_the_table(modfs: Modfs, tmp_path: Path) -> None:
    done = modfs("sweep", SMALL, "--seeds", "1-7", "--cpus", "8,16", "--out", "r.jsonl")
    heading, first, second = (line.split() for line in done.stdout.splitlines())
    assert heading[:6] == ["MACHINE", "KERNEL", "CPUS", "SEEDS", "ALL-BUT-ONE", "FAILED"]
    assert (first[:4], second[:4]) == (["8-vcpu", "6.4", "8", "7"], ["8-vcpu", "6.4", "16", "7"])
    small = [row for row in rows(tmp_path / "r.jsonl") if row["processors"] == 8]
    failed = [row["failed"] for row in small]
    assert first[4:6] == [str(small[0]["baseline"]), f"{median(failed):.0f}"]


def test_what_is_done_is_not_done_again(modfs: Modfs, tmp_path: Path) -> None:
    whole = modfs("sweep", SMALL, "--seeds", "1-8", "--out", "whole.jsonl")
    modfs("sweep", SMALL, "--seeds", "3-5", "--out", "part.jsonl")
    part = tmp_path / "part.jsonl"
    lines = part.read_text().splitlines()
    marked = [line.replace('"modfs": "', '"modfs": "old ') for line in lines]
    part.write_text("\n".join(marked) + "\n" + lines[0][:50])
    done = modfs("sweep", SMALL, "--seeds", "1-8", "--out", "part.jsonl")
    assert done.stdout == whole.stdout
    old = [row["seed"] for row in rows(part) if row["modfs"].startswith("old ")]
    assert old == [3, 4, 5] and len(rows(part)) == 8


def test_another_machine_of_the_same_name_is_another(modfs: Modfs, tmp_path: Path) -> None:
    text = SMALL.read_text()
    (tmp_path / "m.toml").write_text(text)
    modfs("sweep", "m.toml", "--seeds", "1-2", "--out", "r.jsonl")
    (tmp_path / "m.toml").write_text(text.replace("processors = 8", "processors = 9", 1))
    modfs("sweep", "m.toml", "--seeds", "1-2", "--out", "r.jsonl")
    assert [row["processors"] for row in rows(tmp_path / "r.jsonl")] == [8, 9, 8, 9]


# -- how it ends ----------------------------------------------------------------------------------


@contextmanager
def begun(
    tmp_path: Path, environment: dict[str, str], out: str
) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A sweep that would take an hour, once it has written something; and its workers."""
    command = ["modfs", "sweep", str(LARGE), "--seeds", "1-9999", "--jobs", "2", "--out", out]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        journal = tmp_path / (out if out.endswith(".jsonl") else f"{out}.partial")
        while not (journal.exists() and journal.stat().st_size):
            assert process.poll() is None
            time.sleep(0.05)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) >= 2
        yield process, list(map(int, children))
    finally:
        process.kill()
        process.communicate()


def wait_until_gone(pids: list[int]) -> None:
    while any(_runs(pid) for pid in pids):
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("out", ["r.jsonl", "r.parquet"])
def test_ctrl_c_ends_all(
    tmp_path: Path, environment: dict[str, str], modfs: Modfs, out: str
) -> None:
    """The terminal's Ctrl-C goes to all processes."""
    if out.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with begun(tmp_path, environment, out) as (process, workers):
        for pid in (*workers, process.pid):
            os.kill(pid, signal.SIGINT)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 130 and output == "" and errors.strip() == ""
        wait_until_gone(workers)
    assert _count(tmp_path / out) > 0 and [file.name for file in tmp_path.iterdir()] == [out]


@pytest.mark.parametrize("out", ["r.jsonl", "r.parquet"])
def test_kill_leaves_no_worker_and_no_half_file(
    tmp_path: Path, environment: dict[str, str], modfs: Modfs, out: str
) -> None:
    if out.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with begun(tmp_path, environment, out) as (process, workers):
        process.kill()
        process.wait()
        wait_until_gone(workers)
    kept = next(file for file in tmp_path.iterdir() if file.stat().st_size)
    before = len(kept.read_bytes().splitlines())
    done = modfs("sweep", LARGE, "--seeds", "1-2", "--out", out)
    assert done.returncode == 0, done.stderr
    assert _count(tmp_path / out) >= before
    assert [file.name for file in tmp_path.iterdir()] == [out]


def _count(path: Path) -> int:
    if path.suffix == ".jsonl":
        return len(rows(path))
    parquet = pytest.importorskip("pyarrow.parquet")
    count: int = parquet.read_table(path).num_rows
    return count


def test_a_worker_that_is_killed(tmp_path: Path, environment: dict[str, str]) -> None:
    with begun(tmp_path, environment, "r.jsonl") as (process, workers):
        os.kill(workers[0], signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert errors.startswith("modfs sweep: a worker was killed") and errors.count("\n") == 1
        wait_until_gone(workers)


@pytest.mark.parametrize(
    ("values", "spread"),
    [
        ([5.0], (5.0, 5.0, 5.0)),
        ([0.0, 100.0], (5.0, 50.0, 95.0)),
        ([float(n) for n in range(101)], (5.0, 50.0, 95.0)),
    ],
)
def test_spread(values: list[float], spread: tuple[float, float, float]) -> None:
    assert Spread.of(values) == spread
