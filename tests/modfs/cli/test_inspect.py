"""modfs inspect against what a real kernel measured of 117 modules (tests/oracle/data)."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import struct
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from loader.synthesize.trees import demo_tree, write_tree
from modfs import cli
from modfs.verify.corpus import corpus
from tests.recordings import DATA

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the verb, with nothing kept from before: (exit code, standard output, standard error)."""
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = cli.carry_out(["inspect", *map(str, arguments)])
        return (status, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def recorded() -> Iterator[Path]:
    with corpus(None, DATA / "modules.tar.zst") as found:
        yield found.root / "modules"


def test_numbers_are_the_kernels(inspect: Run, recorded: Path) -> None:
    with (DATA / "modules.tsv").open() as table:
        rows = {row["file"]: row for row in csv.DictReader(table, delimiter="\t")}
    code, out, err = inspect("--json", recorded)
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["count"] == len(rows) == len(report["modules"])
    sums = dict.fromkeys(("total", "core", "becoming", "load"), 0)
    for module in report["modules"]:
        row = rows[Path(module["path"]).name]
        assert module["file"] == int(row["file_bytes"])
        assert module["bytes"] == module["becoming"] == int(row["bytes_without_signature"])
        assert module["load"] == 2 * module["bytes"]
        assert module["total"] == int(row["total_mod_size"])
        assert module["text"] + module["init_text"] == int(row["total_text_size"])
        assert module["core"] == int(row["core_size"])
        for key in sums:
            sums[key] += module[key]
    assert sums == {key: report["sum"][key] for key in sums}


@pytest.mark.parametrize("compression", ["zst", "gz", "xz"])
def test_compressed_modules_cost_their_file_as_well(
    inspect: Run, tmp_path: Path, compression: str
) -> None:
    specs = [ModuleSpec(f"m{size}", text=size, symbols=size // 100) for size in (0, 9000, 50000)]
    write_tree(tmp_path / "plain", specs)
    write_tree(tmp_path / "packed", specs, compression=compression)
    (plain, packed, estimated) = (
        json.loads(inspect("--json", "--sort", "name", *arguments)[1])
        for arguments in (
            [tmp_path / "plain"],
            [tmp_path / "packed"],
            ["--compress", compression, tmp_path / "plain"],
        )
    )
    assert plain["sum"]["becoming_compressed"] is None
    for one, two in zip(plain["modules"], packed["modules"], strict=True):
        assert one["name"] == two["name"]
        assert all(one[key] == two[key] for key in ("bytes", "total", "becoming", "load"))
        assert two["becoming_compressed"] == one["bytes"] + two["file"]
        assert two["load_compressed"] == 2 * one["bytes"] + two["file"]
    keys = ("becoming_compressed", "load_compressed")
    assert [packed["sum"][key] for key in keys] == [estimated["sum"][key] for key in keys]


def columns(out: str) -> list[list[str]]:
    return [line.replace(" modules", "_modules").split() for line in out.splitlines()]


def test_table(inspect: Run, tmp_path: Path) -> None:
    demo_tree(tmp_path)
    code, out, err = inspect(tmp_path)
    assert (code, err) == (0, "")
    head, *rows, sums = columns(out)
    assert head[0] == "NAME" and head[-4:] == ["TOTAL", "CORE", "BECOMING", "LOAD"]
    assert [row[0] for row in rows[:3]] == ["xfs", "kvm", "ext4"]
    totals = [int(row[head.index("TOTAL")]) for row in rows]
    assert totals == sorted(totals, reverse=True)
    assert sums[0] == "25_modules"
    for index in range(1, len(head)):
        assert int(sums[index]) == sum(int(row[index]) for row in rows)
    assert len({len(line) for line in out.splitlines()}) == 1


def test_order_and_limit(inspect: Run, tmp_path: Path) -> None:
    demo_tree(tmp_path)

    def names(*arguments: str) -> list[str]:
        return [row[0] for row in columns(inspect(*arguments, tmp_path)[1])[1:-1]]

    assert names("--sort", "name", "--limit", "2") == ["aesni_intel", "crc16"]
    assert names("--sort", "name", "--reverse", "--limit", "1") == ["xfs"]
    assert names("--sort", "file", "--reverse", "--limit", "2") == ["crc16", "libcrc32c"]
    assert names("--limit", "0") == []
    assert "25 modules" in inspect("--limit", "0", tmp_path)[1]


def test_other_machines_modules(inspect: Run, tmp_path: Path) -> None:
    paths = []
    for machine in ("x86_64", "aarch64"):
        paths.append(tmp_path / f"{machine}.ko")
        paths[-1].write_bytes(build_module(ModuleSpec(machine, machine=machine)))
    code, out, err = inspect("--json", "--sort", "name", *paths)
    assert (code, err) == (0, "")
    assert [module["name"] for module in json.loads(out)["modules"]] == ["aarch64", "x86_64"]


def test_what_is_no_module(inspect: Run, tmp_path: Path) -> None:
    good, bad, packed = (tmp_path / name for name in ("good.ko", "bad.ko", "bad.ko.zst"))
    good.write_bytes(build_module(ModuleSpec("good")))
    bad.write_bytes(b"no module" * 10)
    packed.write_bytes(b"no module" * 10)
    code, out, err = inspect("--json", tmp_path)
    assert code == 1
    assert [module["name"] for module in json.loads(out)["modules"]] == ["good"]
    first, second = err.splitlines()
    refused = "the kernel would refuse it with"
    log = "ENOEXEC, and would log: Invalid ELF header magic"
    assert first.startswith(f"modfs inspect: {bad}: {refused} {log}")
    log = "EINVAL, and would log: not a zstd compressed module"
    assert second == f"modfs inspect: {packed}: {refused} {log}"


def test_many_files_are_read_by_several_processes(
    inspect: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same answers, of good files and of bad ones."""
    whole = build_module(ModuleSpec("m", text=9000))
    for number in range(200):
        tmp_path.joinpath(f"m{number}.ko").write_bytes(
            whole[: len(whole) - number // 9 * 400] if number % 9 == 0 else whole
        )
    answers = []
    for processors in (1, 2, 5):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, n=processors: set(range(n)))
        answers.append(inspect("--json", tmp_path))
    assert answers[1:] == answers[:1] * 2
    code, out, err = answers[0]
    assert code == 1
    refused = err.count("the kernel would refuse it with ENOEXEC")
    assert 0 < refused == len(err.splitlines()) < 200 // 9 + 1
    assert json.loads(out)["count"] == 200 - refused


def test_which_files_of_a_folder(inspect: Run, tmp_path: Path) -> None:
    """All below, also by links, but not below links to folders, and no folder of such a name."""
    data = build_module(ModuleSpec("m"))
    for name in ("a.ko", "b/c.ko", "b/d.ko/e.ko", "b/f.txt", "b/.ko", "b/g.ko.bak"):
        file = tmp_path / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    tmp_path.joinpath("tree/link.ko").symlink_to("a.ko")
    tmp_path.joinpath("tree/folder.ko").symlink_to("b")
    code, out, err = inspect("--json", "--sort", "name", tmp_path / "tree")
    assert (code, err) == (0, "")
    found = [module["path"] for module in json.loads(out)["modules"]]
    names = ("a.ko", "b/c.ko", "b/d.ko/e.ko", "link.ko")
    assert found == [str(tmp_path / "tree" / name) for name in names]


def test_a_module_may_come_through_a_pipe(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "m.ko"
    file.write_bytes(build_module(ModuleSpec("m", text=300_000)))
    command = ["modfs", "inspect", "--json"]
    with file.open("rb") as content:
        cat = subprocess.Popen(["cat"], stdin=content, stdout=subprocess.PIPE)
        out = subprocess.check_output([*command, "/dev/stdin"], stdin=cat.stdout, env=environment)
        cat.wait()
    (found,) = json.loads(out)["modules"]
    (plain,) = json.loads(subprocess.check_output([*command, file], env=environment))["modules"]
    assert found == plain | {"path": "/dev/stdin"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "'none' does not exist"),
        ([], "PATH"),
        ([".", "--sort", "beauty"], "'beauty'"),
        ([".", "--kernel", "5.4"], "5.4"),
    ],
)
def test_mistakes(
    inspect: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = inspect(*arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_an_empty_folder(inspect: Run, tmp_path: Path) -> None:
    code, out, err = inspect(tmp_path)
    assert (code, out) == (2, "")
    assert f"{tmp_path}: no module is in there" in err


def test_help_has_an_example(inspect: Run) -> None:
    code, out, _ = inspect("--help")
    assert code == 0
    assert "modfs inspect --limit 10" in out


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_on_a_terminal(environment: dict[str, str], tmp_path: Path, columns: int) -> None:
    """As many columns as fit, what matters first, in units; a pipe gets all of them, in bytes."""
    demo_tree(tmp_path / "tree")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    command = ["modfs", "inspect", "--limit", "2", "tree"]
    subprocess.run(command, cwd=tmp_path, env=environment, stdout=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode().splitlines()
    os.close(ours)
    assert max(map(len, shown)) <= max(columns, 60)
    assert shown[0].split()[:2] == ["NAME", "TOTAL"]
    # size of the memory of xfs in the demo tree: README.md has it from a pipe, 2113536 bytes
    assert shown[1].split()[:3] == ["xfs", "2.02", "MiB"]
    assert ("INIT-RO" in shown[0]) == (columns == 200)
    piped = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "INIT-RO" in piped.stdout and "2113536" in piped.stdout
