"""The verb verify: what it takes, what it says, how it exits."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.recordings import DATA

BASIC = DATA / "transcripts/linux-6.12/basic.jsonl"
DEPS = DATA / "transcripts/linux-6.12/deps.jsonl"
ALL = (
    *("--files", DATA / "files.tar.zst", "--modules", DATA / "modules.tar.zst"),
    *("--environment", DATA / "environment.json", "--key", DATA / "signing_key.x509"),
)

Done = subprocess.CompletedProcess[str]


def verify(environment: dict[str, str], *words: object) -> Done:
    command = ["modfs", "verify", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Both archives unpacked; the modules as a tree with folders."""
    for name, folder in (("files", "files"), ("modules", "modules/kernel")):
        (tmp_path / folder).mkdir(parents=True)
        command: list[str | Path] = [
            "tar",
            "--zstd",
            "-xf",
            DATA / f"{name}.tar.zst",
            "-C",
            tmp_path / folder,
        ]
        subprocess.run(command, check=True)
    lines = (DATA / "modules.dep").read_text().splitlines()
    tree = tmp_path / "modules"
    (tree / "modules.dep").write_text("".join(f"kernel/{line}\n" for line in lines))
    (tree / "modules.symbols").write_text((DATA / "modules.symbols").read_text())
    return tmp_path


def test_summary(environment: dict[str, str]) -> None:
    done = verify(environment, *ALL, BASIC, DEPS)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"{BASIC}: 19 of 19 steps agree",
        f"{DEPS}: 23 of 23 steps agree",
        "2 of 2 transcripts, 42 of 42 steps agree",
    ]


def test_through_a_mount(environment: dict[str, str]) -> None:
    done = verify(environment, "--through-mount", *ALL, DEPS)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"{DEPS}: 23 of 23 steps agree; 2 answered by the engine behind the mount\n"
    )


def test_folders_and_trees(environment: dict[str, str], corpus: Path) -> None:
    """A transcript that names modules without their folder."""
    soak = DATA / "transcripts/linux-6.12/soak_give.jsonl"
    words = ["--files", corpus / "files", "--modules", corpus / "modules", *ALL[4:], soak]
    done = verify(environment, *words)
    assert done.stdout == f"{soak}: 419 of 419 steps agree\n"


def test_differences(environment: dict[str, str], tmp_path: Path) -> None:
    steps = BASIC.read_text().splitlines()
    wrong = json.loads(steps[2])
    wrong["result"] = "EIO"
    steps[2] = json.dumps(wrong)
    changed = tmp_path / "changed.jsonl"
    changed.write_text("\n".join(steps) + "\n")
    done = verify(environment, *ALL, changed)
    assert done.returncode == 1
    first, summary = done.stdout.splitlines()
    assert first == f"{changed}: step 2, finit_module files/ok_a.ko: OK instead of EIO"
    assert summary == f"{changed}: 18 of 19 steps agree"


def test_another_release_differs(environment: dict[str, str]) -> None:
    fds = DATA / "transcripts/linux-6.12/fds.jsonl"
    done = verify(environment, "--kernel", "6.4", *ALL, fds)
    assert done.returncode == 1
    assert "-     Mods failed on kread\t1" in done.stdout
    assert "+     Mods failed on kread\t" in done.stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty"),
        ("{}\n{}\n", "line 1: release is missing"),
        ('{"release": "6.12"}\n{}\n', "line 2: op is missing"),
        ('{"release": "6.12"}\n', "there is no step in it"),
        ('{"release": "6.12"}\nnonsense\n', "line 2"),
        (
            '{"release": "6.12"}\n{"op": "reboot", "result": "OK"}\n',
            "line 2: op: one of delete_module, finit_module, init_module is needed, not 'reboot'",
        ),
        ('{"release": "5.1"}\n', "6.4 is the first"),
        (
            '{"release": "6.12"}\n{"op": "finit_module", "file": "files/x", "result": "OK"}',
            "files/x",
        ),
    ],
)
def test_what_is_no_transcript(
    environment: dict[str, str], tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(content)
    done = verify(environment, path)
    assert done.returncode == 2
    assert done.stderr.startswith("modfs verify: ") and done.stderr.count("\n") == 1
    assert said in done.stderr


def test_what_is_no_archive(environment: dict[str, str]) -> None:
    done = verify(environment, "--files", BASIC, BASIC)
    assert done.returncode == 2
    assert "neither a folder nor a tar.zst archive" in done.stderr


@pytest.mark.parametrize(
    ("recorded", "words", "status"),
    [
        ("no-early-check", (), 0),
        ("no-early-check", ("--kernel", "6.12"), 1),
        ("no-early-check", ("--kernel", "6.12 without idempotent, early-check"), 0),
        ("no-early-check", ("--without", "early-check"), 0),
        ("early-check", ("--without", "early-check"), 1),
        ("linux-6.12", ("--without", "idempotent"), 1),
        ("linux-6.12", ("--without", "early-check"), 1),
    ],
)
def test_another_kernel_than_the_headers(
    environment: dict[str, str],
    tmp_path: Path,
    recorded: str,
    words: tuple[str, ...],
    status: int,
) -> None:
    """--kernel replaces all that the header says, --without takes more away.

    The first two races tell: many at one file, and many at copies of one.
    """
    lines = (DATA / "transcripts" / recorded / "race.jsonl").read_text().splitlines(True)
    third = [number for number, line in enumerate(lines) if '"threads"' in line][2]
    race = tmp_path / "race.jsonl"
    race.write_text("".join(lines[:third]))
    assert verify(environment, *ALL, *words, race).returncode == status


def test_modules_tell_their_kernel_where_no_transcript_does(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Of Debian's 7.3.4; as the default kernel lays them out, 3 of these 50 differ."""
    for name in ("modules.tsv", "modules.tar.zst"):
        (tmp_path / name).symlink_to(DATA / "debian-7.3-amd64" / name)
    done = verify(environment, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "50 of 50 modules agree" in done.stdout
    assert "47 of 50 modules agree" in verify(environment, "--kernel", "6.12", tmp_path).stdout
