"""modfs export, as a person or a timer runs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.recordings import SEEDS

REPORT = SEEDS / "8-vcpu-with-early-check.stats"


def export(environment: dict[str, str], *words: object) -> subprocess.CompletedProcess[str]:
    command = ["modfs", "export", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_to_a_file(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "modfs.prom"
    done = export(environment, REPORT, "-o", file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert file.read_text() == export(environment, REPORT).stdout
    assert "# TYPE modfs_modules_loaded_total counter\n" in file.read_text()


def test_a_source_that_is_none_leaves_the_file(environment: dict[str, str], tmp_path: Path) -> None:
    """An old file is told by its age; half a new one would be believed."""
    file = tmp_path / "modfs.prom"
    export(environment, REPORT, "-o", file)
    known = file.read_text()
    done = export(environment, tmp_path / "none", "-o", file)
    assert done.returncode == 1
    assert done.stderr == f"modfs export: {tmp_path / 'none'}: No such file or directory\n"
    assert file.read_text() == known


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--listen", "x"), "a port, or ADDRESS:PORT as 127.0.0.1:9101, is needed, not 'x'"),
        (("--listen", "1", "--json"), "--listen answers in the form that is asked for"),
        (("--top", "0"), "0 is not in the range"),
        (("--format", "xml"), "'xml' is not one of"),
    ],
)
def test_misused(environment: dict[str, str], words: tuple[str, ...], told: str) -> None:
    done = export(environment, REPORT, *words)
    assert done.returncode == 2 and told in done.stderr and done.stderr.count("\n") == 1


def test_without_the_package(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "prometheus_client.py").write_text("raise ImportError\n")
    done = export({**environment, "PYTHONPATH": str(tmp_path)}, REPORT)
    assert done.returncode == 1
    assert done.stderr == (
        "modfs export: the package prometheus-client is missing: pip install 'modfs[export]'\n"
    )
    done = export({**environment, "PYTHONPATH": str(tmp_path)}, REPORT, "--json")
    assert done.returncode == 0 and '"modfs_modules_loaded_total"' in done.stdout
