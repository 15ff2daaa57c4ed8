"""Whatever is wrong with the words of a command, it ends with one line that a person can use.

Every verb is given every kind of wrong file and wrong argument. What is told must say what is
wrong with what; neither the C library's texts nor Python's exceptions are for people.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import click
import pytest

from loader.synthesize.trees import demo_tree
from modfs import cli
from modfs.cli import VERBS
from modfs.cli.verbs import modfs
from tests.conftest import PROJECT

# strerror(3) of what can be met here, and what Python says of itself.
_NOT_FOR_PEOPLE = re.compile(
    r"Traceback|\[Errno|Error:|Errno \d"
    r"|(?-i:No such file|Permission denied|Is a directory|Not a directory|No space left"
    r"|Bad file descriptor|Invalid argument|Exec format error|File exists|Input/output error)"
)
_KINDS = (
    "nothing",
    "empty",
    "damaged",
    "random",
    "folder",
    "tree",
    "scenario",
    "module.ko",
    "null",
)


_RISCV = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + b"\x01\0\xf3\0" + bytes(44)  # EM_RISCV is 243


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of each kind, in a folder that is worked in."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "empty").touch()
    (folder / "damaged").write_text('{"format": 1, "kernel"')
    (folder / "random").write_bytes(bytes(range(256)) * 8)
    (folder / "folder").mkdir()
    (folder / "m.ko").write_bytes(b"\x7fELF" + bytes(60))
    (folder / "null").write_bytes(b"\0" * 512)
    demo_tree(folder / "tree")
    (folder / "riscv").mkdir()
    (folder / "riscv/m.ko").write_bytes(_RISCV)
    report = (PROJECT / "examples/255-vcpu-report.jsonl").read_text().splitlines()
    (folder / "scenario").write_text(f"{report[0]}\n{{}}\n")
    return folder


class Answer(NamedTuple):
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def run(folder: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """With a second at most for what would go on, such as a shell or a recording."""
    return subprocess.run(
        ["timeout", "--signal=INT", "20", "modfs", *words],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )


def _commands() -> Iterator[tuple[str, ...]]:
    """Wrong in one word each: a file of a wrong kind as the argument or after an option; a number
    that is none or is absurd; an option and a verb that are not there."""
    yield ("moutn",)
    yield ("",)
    yield ("--nothing",)
    for verb in VERBS:
        command = modfs.get_command(click.Context(modfs), verb)
        assert command is not None
        yield (verb, "--nothing")
        yield (verb, "--kernle", "6.4", "tree")
        for kind in _KINDS:
            if verb not in ("mkmod", "run", "record", "mount"):
                yield (verb, kind)
        for option in command.params:
            if not isinstance(option, click.Option) or option.is_flag or option.hidden:
                continue
            if option.name in ("output", "log", "pid_file", "stats", "plot", "options"):
                continue
            if verb == "run" and option.name in _FREE:
                continue  # such words are never wrong: it would run
            values = (*_KINDS[:4], "-1", "1e999", "9" * 30, "\x1b[31m", "a\nb")
            for value in values[-5:-1] if verb == "mkmod" else values:
                # "nothing" is no verb's argument, and no folder to mount on either.
                yield (verb, option.opts[-1], value, "nothing")


_FREE = ("blacklist", "keys", "modules")
COMMANDS = list(dict.fromkeys(_commands()))


def _mistakes(words: tuple[str, ...], done: Answer) -> Iterator[str]:
    if done.returncode not in (0, 1, 2, 32, 125, 126, 127):
        yield f"status {done.returncode}"
    if found := _NOT_FOR_PEOPLE.search(done.stderr):
        yield f"{found[0]!r} is told"
    if done.returncode == 2:
        if done.stderr.count("\n") != 1:
            yield "not one line"
        if done.stdout:
            yield "something on standard output"
    if done.returncode and not done.stderr:
        yield "nothing is told"
    if done.stderr and not done.stderr.startswith("modfs"):
        yield "who speaks?"


def answered(folder: Path, words: tuple[str, ...]) -> Answer:
    """What the command says, in a process that has all modules already: there are hundreds."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if not child:
            _become(folder, words, output.fileno(), errors.fileno())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Answer(status, *texts)


def _become(folder: Path, words: tuple[str, ...], output: int, errors: int) -> NoReturn:
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - as long as the process
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        status = 70
        status = cli.carry_out(list(words))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_every_verb(verb: str, files: Path) -> None:
    commands = [words for words in COMMANDS if (words[0] if words[0] in VERBS else "") == verb]
    wrong = []
    for words in commands:
        answer = answered(files, words)
        wrong += [f"{words}: {what}: {answer.stderr[-300:]!r}" for what in _mistakes(words, answer)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ("moutn x", 2, "modfs: there is no verb 'moutn'; did you mean mount? try modfs --help"),
        ("mount --kernle 6.4 x", 2, "did you mean --kernel? try modfs mount --help"),
        ("run --mount folder true", 125, "folder: modfs is not mounted here; try modfs status"),
        ("replay --mount folder scenario-of-none", 2, "scenario-of-none"),
        ("mount -o modules=/nosuch folder", 2, "-o modules=/nosuch: "),
        ("mount -o compression=zip folder", 2, "-o compression=zip: "),
        ("mount --environment damaged folder", 2, "damaged, line 1: not JSON"),
        ("verify empty", 2, "empty: the file is empty"),
        ("replay empty", 2, "empty: the file is empty"),
        ("simulate empty", 2, "empty: the file is empty"),
        ("inspect folder", 2, "folder: no module is in there"),
        ("inspect empty", 1, "empty: the kernel would refuse it with ENOEXEC"),
        ("mkmod big.ko --text 9999TB", 2, "--text: at most 2147483647 bytes"),
        ("mkmod /nosuch/big.ko", 1, "/nosuch/big.ko: there is no such file or folder"),
        ("run -- /nosuch", 127, "/nosuch: there is no such command"),
        ("mount --modules riscv folder", 2, "riscv: its modules are for RISC-V (64 bits,"),
        ("run --modules riscv -- true", 2, "riscv: its modules are for RISC-V (64 bits,"),
        ("run --stats /dev/full -- true", 1, "no space is left there"),
    ],
)
def test_what_is_told(
    words: str, status: int, told: str, files: Path, environment: dict[str, str]
) -> None:
    done = run(files, environment, *words.split())
    assert done.returncode == status and told in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1


def test_processors_that_no_linux_has(files: Path, environment: dict[str, str]) -> None:
    machine = str(PROJECT / "examples/255-vcpu.toml")
    done = run(files, environment, "simulate", machine, "--cpus", "99999999999")
    assert done.returncode == 2
    assert done.stderr == (
        "modfs simulate: --cpus: Linux has at most 8192 processors, not 99999999999\n"
    )


@pytest.mark.parametrize(
    ("kernel", "told"),
    [
        ("6.7", "6.7 is taken as 6.6: no difference is known"),
        ("9.9", "9.9 is newer than all that is known: it is taken as 7.3"),
        ("6.12.9-amd64", ""),
    ],
)
def test_releases_between(kernel: str, told: str, files: Path, environment: dict[str, str]) -> None:
    done = run(files, environment, "inspect", "--kernel", kernel, "tree")
    assert done.returncode == 0
    assert done.stderr == (f"modfs inspect: {told}\n" if told else "")


def test_which_kernel_was_taken(
    workshop: Path, mounted: Callable[..., Path], environment: dict[str, str]
) -> None:
    """That of the tree's modules, where nobody names one."""
    from loader.synthesize.builder import build_module
    from loader.synthesize.spec import ModuleSpec

    for magic, row in (("7.2.1-amd64 SMP", "7.2"), ("6.1.0-56 SMP", "6.4"), (None, "6.12")):
        tree, mount = workshop / f"tree{row}", workshop / f"on{row}"
        tree.mkdir()
        mount.mkdir()
        fields = {"vermagic": magic} if magic else {}
        (tree / "m.ko").write_bytes(build_module(ModuleSpec("m", **fields)))  # type: ignore[arg-type]
        done = run(workshop, environment, "mount", "--modules", tree.name, mount.name)
        assert done.stdout.startswith(f"kernel {row}, as "), done.stderr
        assert ("6.1.0-56 has no module statistics" in done.stderr) == (row == "6.4")
        status = run(workshop, environment, "status", str(mount))
        assert status.stdout.splitlines()[1].split()[1] == row
