"""The command itself: help, version, mistakes."""

from __future__ import annotations

import array
import fcntl
import io
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

import modfs as package
from loader.synthesize.trees import demo_tree
from modfs import cli
from modfs.cli import VERBS, _arguments
from modfs.cli.progress import Progress
from modfs.cli.statuses import STATUSES
from tests.conftest import PROJECT
from tests.recordings import DATA

TRANSCRIPT = DATA / "transcripts/linux-6.12/initfail.jsonl"


def modfs(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["modfs", *words], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_has_an_example(verb: str, environment: dict[str, str]) -> None:
    done = modfs(environment, verb, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert f"modfs {verb} " in done.stdout


def test_help_lists_every_verb(environment: dict[str, str]) -> None:
    for words in ([], ["--help"]):
        done = modfs(environment, *words)
        assert all(f"  {verb} " in done.stdout + done.stderr for verb in VERBS)


def test_exit_statuses_are_documented(environment: dict[str, str]) -> None:
    """One table: modfs --help shows it, and README.md has it."""
    shown = modfs(environment, "--help").stdout.partition("Exit status:\n")[2].split()
    assert shown == [word for number, text in STATUSES for word in (str(number), *text.split())]
    readme = (PROJECT / "README.md").read_text()
    assert "".join(f"| {number} | {text} |\n" for number, text in STATUSES) in readme


def test_version_of_the_package() -> None:
    assert package.__version__ == version("modfs")
    with pytest.raises(AttributeError, match="__version_info__"):
        _ = package.__version_info__


def test_run_as_a_module(environment: dict[str, str]) -> None:
    words = ["python3", "-m", "modfs", "--version"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, modfs(environment, "--version").stdout)


# What Python has imported before anything of ours is run, and what that needs.
ENGINE = {"loader.engine.state", "loader.engine.threads"}
SLOW = {"subprocess", "importlib.metadata", "email", "json", "socket", "logging", "zstandard"}
PARSER = {"click", "inspect", "dataclasses", "pathlib", "datetime", "importlib.util"}


@pytest.mark.parametrize(
    ("words", "without"),
    [
        (["--version"], ENGINE | SLOW | PARSER),
        (["mount", "-f", "/nowhere"], ENGINE | SLOW),
        (["umount", "/nowhere"], ENGINE | SLOW - {"logging"}),
    ],
)
def test_what_is_not_needed_to_start(
    environment: dict[str, str], words: list[str], without: set[str]
) -> None:
    """Each takes a good part of what Python takes to start, some many times as long."""
    command = ["python3", "-X", "importtime", "-c", "from modfs.cli import main; main()", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "modfs.cli" in imported
    assert not without & imported


# As a server starts, which is forked before anything else is known.
SERVER = """
import sys
import modfs.cli
from modfs.mount import background_server
for name in modfs.cli._SERVES:
    __import__(name)
from modfs.cli.engine import EngineOptions
EngineOptions().live()
print(*sys.modules)
"""


def test_what_a_server_does_without(environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["python3", "-c", SERVER], env=environment, capture_output=True, text=True, check=True
    )
    imported = set(done.stdout.split())
    assert imported >= ENGINE | {"modfs.fuse.direct"}
    others = {"click", "fuse", "mfusepy", "modfs.fuse.through_libfuse", "msgspec", "numpy", "lzma"}
    assert not imported & (others | SLOW - {"logging"})


def test_version(environment: dict[str, str]) -> None:
    done = modfs(environment, "--version")
    version = next(
        line for line in (PROJECT / "pyproject.toml").read_text().splitlines() if "version" in line
    )
    assert done.stdout.split()[1] == version.split('"')[1]
    host = os.uname()
    assert done.stdout.splitlines()[1].endswith(f", {host.sysname} {host.release}")
    assert ", FUSE 7." in done.stdout
    done = modfs(environment | {"MODFS_FUSE": "libfuse"}, "--version")
    assert ", libfuse 2." in done.stdout and " by fusepy 3." in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["mount"],
        ["mount", "--nothing", "x"],
        ["verify", "/nowhere"],
        ["inspect", "/nowhere"],
        ["inspect", ".", "--kernel", "5.4"],
        ["mount", "--kernel", "6.12 without speed", "/nowhere"],
        ["run", "--without", "speed", "--", "true"],
        ["verify", "--kernel", "six", str(TRANSCRIPT)],
        ["verify", "--without", "speed", str(TRANSCRIPT)],
        ["verify", "--files", str(TRANSCRIPT), str(TRANSCRIPT)],
        ["mkmod", "--from", "/nowhere", "x"],
    ],
)
def test_mistakes_are_one_line(words: list[str], environment: dict[str, str]) -> None:
    done = modfs(environment, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("modfs")
    assert done.stderr.count("\n") == 1


REPORTS = (
    "inspect tree",
    "inspect --json tree",
    "mkmod x.ko",
    "simulate 8.toml",
    "--version",
    "--help",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    demo_tree(tmp_path / "tree")
    (tmp_path / "8.toml").symlink_to(PROJECT / "examples/8-vcpu.toml")
    return tmp_path


@pytest.mark.parametrize("report", REPORTS)
@pytest.mark.parametrize(
    ("to", "status", "reason"),
    [
        (">/dev/full", 1, "standard output: no space is left there"),
        (">&-", 1, "standard output: it is closed"),
    ],
)
def test_a_report_that_cannot_be_written(
    folder: Path, environment: dict[str, str], report: str, to: str, status: int, reason: str
) -> None:
    words = ["sh", "-c", f"modfs {report} {to}"]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    verb = report.split()[0].removeprefix("--")
    command = f"modfs {verb}" if verb in VERBS else "modfs"
    assert (done.returncode, done.stderr) == (status, f"{command}: {reason}\n")


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_that_nobody_reads(folder: Path, environment: dict[str, str], report: str) -> None:
    words = ["bash", "-c", f"(sleep 0.1; modfs {report}; echo $? >status) | true"]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.stderr, (folder / "status").read_text()) == ("", "141\n")


def test_errors_that_cannot_be_told(folder: Path, environment: dict[str, str]) -> None:
    for to in ("2>/dev/full", "2>&-", ">&- 2>&- <&-"):
        words = ["sh", "-c", f"modfs inspect nowhere {to}"]
        done = subprocess.run(words, cwd=folder, env=environment, stdout=subprocess.PIPE)
        assert (done.returncode, done.stdout) == (2, b"")


def test_control_c(folder: Path, environment: dict[str, str]) -> None:
    words = ["modfs", "mkmod", "--from", "-", "x.ko"]
    with subprocess.Popen(
        words, cwd=folder, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as started:
        assert started.stdin is not None and started.stderr is not None
        started.stdin.write(b"[[module]]\n")
        started.stdin.flush()
        unread = array.array("i", [1])
        while unread[0]:  # it has begun to read, and waits for the rest
            fcntl.ioctl(started.stdin, termios.FIONREAD, unread)
        started.send_signal(signal.SIGINT)
        assert started.wait() == 130
        assert started.stderr.read().strip() == b""


def test_what_the_system_refuses_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert cli.carry_out(["mkmod", f"{tmp_path}/file/x.ko"]) == 1
    told = f"modfs mkmod: {tmp_path}/file/x.ko: a part of this path is no folder\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--kernel", "6.12"), "Becoming"),
        (("--kernel", "6.12 without early-check"), "Load"),
        (("--kernel", "6.12", "--without", "early-check"), "Load"),
        (("-o", "kernel=6.12 without early-check"), "Load"),
    ],
)
def test_a_mounts_kernel(
    folder: Path, mounted: Callable[..., Path], options: tuple[str, ...], reason: str
) -> None:
    mount = mounted(*options, "--modules", folder / "tree")
    crc16 = folder / "tree/kernel/lib/crc16.ko"
    control = os.open(mount / "control", os.O_WRONLY)
    os.write(control, b"insmod %s\n" % bytes(crc16))
    with pytest.raises(FileExistsError):
        os.write(control, b"insmod %s\n" % bytes(crc16))
    os.close(control)
    assert (mount / "stats").read_text().splitlines()[-1].split() == ["crc16", "1", reason]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--kernel", "6.12 without early-check"), "Load"),
        (("--without", "early-check"), "Load"),
        ((), "Becoming"),
    ],
)
def test_a_programs_kernel(
    folder: Path, environment: dict[str, str], words: tuple[str, ...], reason: str
) -> None:
    twice = "insmod tree/kernel/lib/crc16.ko; insmod tree/kernel/lib/crc16.ko 2>&-; true"
    command = ["modfs", "run", *words, "--stats", "stats", "--", "sh", "-c", twice]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    assert (folder / "stats").read_text().splitlines()[-1].split() == ["crc16", "1", reason]


class Terminal(io.StringIO):
    """What is shown on a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("screen", "patience", "shown"),
    [(Terminal(), 0, True), (Terminal(), 3600, False), (io.StringIO(), 0, False)],
)
def test_progress_is_for_those_who_wait_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, screen: io.StringIO, patience: int, shown: bool
) -> None:
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("modfs.cli.progress._PATIENCE", patience)
    with Progress("Reading", 200) as progress:
        progress.reached(50)
        assert ("Reading" in screen.getvalue() and " 25%" in screen.getvalue()) == shown
        progress.reached(200)
    assert ("100%" in screen.getvalue()) == shown
    assert shown or not screen.getvalue()


def test_mistakes_in_modfs_are_not_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for error in (ValueError, KeyError, AssertionError):

        def fail(*_: object, error: type[Exception] = error) -> None:
            raise error("a mistake")

        monkeypatch.setattr("modfs.cli.mkmod.build_module", fail)
        with pytest.raises(error, match="a mistake"):
            cli.carry_out(["mkmod", str(tmp_path / "x.ko")])


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["modfs", "/mnt", "-o", "rw"], ["mount", "/mnt", "-o", "rw"]),
        (["none", "/mnt"], ["mount", "/mnt"]),
        (["mount", "/mnt"], ["mount", "/mnt"]),
        (["verify", "/x"], ["verify", "/x"]),
        (["nonsense", "x"], ["nonsense", "x"]),
    ],
)
def test_called_as_mount_8_does(words: list[str], meant: list[str]) -> None:
    assert _arguments(words) == meant


@pytest.mark.parametrize("where", ["standard.prepare", "_mounts_in_background"])
def test_ctrl_c_before_the_command_begins_is_no_traceback(where: str) -> None:
    program = f"""
import sys
from modfs import cli
from modfs.cli import standard
def interrupted(*_):
    raise KeyboardInterrupt
cli.{where} = interrupted
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", program, "mount", "x"], capture_output=True)
    assert (done.returncode, done.stderr) == (130, b"")
