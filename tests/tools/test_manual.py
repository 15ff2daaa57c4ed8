"""The manual pages and completions tell what the command has."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from modfs.cli import VERBS
from modfs.cli.statuses import STATUSES
from modfs.cli.verbs import modfs as group
from tests.conftest import PROJECT
from tools.manual.share import share


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A page as a reader sees it on 80 columns."""
    folder = tmp_path_factory.mktemp("share")
    for place, text in share("1.2.3").items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def read(name: str) -> str:
        page = folder / f"man/man{name[-1]}" / name
        words = ["mandoc", "-T", "lint", "-W", "error", str(page)]
        lint = subprocess.run(words, capture_output=True)
        assert lint.returncode == 0, lint.stdout
        words = ["mandoc", "-T", "utf8", "-O", "width=80", str(page)]
        shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        return "".join(_plain(line) for line in shown.splitlines(keepends=True))

    return read


def _plain(line: str) -> str:
    """Without the overstriking that makes it bold."""
    while "\b" in line:
        at = line.index("\b")
        line = line[: at - 1] + line[at + 1 :]
    return line


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_s_page(pages: Callable[[str], str], verb: str) -> None:
    shown = pages(f"modfs-{verb}.1")
    command = group.get_command(click.Context(group), verb)
    assert command is not None
    assert VERBS[verb].rstrip(".") in " ".join(shown.split())
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert all(option in shown for option in parameter.opts)
    assert max(map(len, shown.splitlines())) <= 100  # examples keep their lines


def test_the_command_s_page(pages: Callable[[str], str]) -> None:
    shown = pages("modfs.1")
    assert "modfs 1.2.3" in shown
    words = " ".join(shown.split())
    assert all(f"{number} {' '.join(text.split())}" in words for number, text in STATUSES)
    assert all(f"modfs-{verb}(1)" in words for verb in VERBS)


def test_pages_of_files(pages: Callable[[str], str], environment: dict[str, str]) -> None:
    assert "finit_module [--open N]" in pages("modfs-control.5")
    words = ["modfs", "schema", "machine"]
    printed = subprocess.run(words, env=environment, capture_output=True, check=True).stdout
    shown = pages("modfs-machine.5")
    for table in json.loads(printed)["$defs"].values():
        assert all(f" {key}" in shown for key in table.get("properties", ()))


def complete(environment: dict[str, str], *words: str) -> set[str]:
    """What bash would be offered for the last word."""
    told = {
        "_MODFS_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(["modfs"], env=environment | told, capture_output=True, text=True)
    return {line.partition(",")[2] for line in done.stdout.splitlines()}


def test_completion(mounted: Callable[..., Path], environment: dict[str, str]) -> None:
    assert complete(environment, "modfs", "um") == {"umount"}
    assert "--kernel" in complete(environment, "modfs", "mount", "--k")
    assert {"6.4", "6.12"} <= complete(environment, "modfs", "mount", "--kernel", "6.")
    mount = str(mounted())
    assert mount in complete(environment, "modfs", "umount", mount[:-1])
    assert mount in complete(environment, "modfs", "status", mount[:-1])


def test_the_unit(tmp_path: Path) -> None:
    """As systemd reads it, where the command is installed."""
    unit = (PROJECT / "tools/systemd/modfs@.service").read_text()
    command = tmp_path / "modfs"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    there = tmp_path / "modfs@.service"
    there.write_text(unit.replace("=modfs ", f"={command} "))
    words = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "modfs@mnt-m.service")]
    (tmp_path / "modfs@mnt-m.service").symlink_to(there)
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ)
    assert "modfs" not in done.stderr, done.stderr
