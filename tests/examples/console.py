"""Runs the sessions that documents show.

A session is a fenced block marked ``console``: a line that begins with ``$ `` is typed, lines that
begin with ``> `` continue it, the others are what it printed. ``…`` in the output stands for
anything, for what differs from day to day or machine to machine.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import PROJECT

FENCE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
END = "end of command"


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a session and what the document says that it prints."""

    command: str
    output: str

    def agrees(self, printed: str) -> bool:
        parts = (re.escape(part) for part in self.output.strip().split("…"))
        return re.fullmatch(".*".join(parts), printed.strip(), re.DOTALL) is not None


def sessions(document: str) -> list[list[Step]]:
    """Of a Markdown text, in order."""
    return [list(_steps(block)) for block in FENCE.findall(document)]


def _steps(block: str) -> Iterator[Step]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        more = [line for line in lines[1:] if line.startswith("> ")]
        command = "\n".join([lines[0], *(line[2:] for line in more)])
        yield Step(command, "\n".join(lines[1 + len(more) :]))


class Shell:
    """A bash that one types into, and reads from until the command is done."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def type(self, command: str) -> str:
        """What ``command`` prints, on both streams, as a person at a terminal would see it."""
        assert self._bash.stdin and self._bash.stdout
        self._bash.stdin.write(f"{{ {command}\n}} </dev/null\necho; echo {END}\n")
        self._bash.stdin.flush()
        printed = ""
        while not printed.endswith(f"\n{END}\n"):
            line = self._bash.stdout.readline()
            if not line:
                raise EOFError(f"the shell ended in: {command}\n{printed}")
            printed += line
        # Only a bash that reads a script gives line numbers in what it reports.
        return re.sub(r"^bash: line \d+: ", "bash: ", printed[: -len(END) - 2], flags=re.MULTILINE)

    def close(self) -> None:
        assert self._bash.stdin and self._bash.stdout
        self._bash.stdin.close()
        self._bash.wait()
        self._bash.stdout.close()


def type_all(document: Path, folder: Path, environment: dict[str, str]) -> None:
    """All sessions of a document in order, as one person would type them in a clone of the project.

    AssertionError: something prints what the document does not say.
    """
    for name in ("examples", "tests"):
        (folder / name).symlink_to(PROJECT / name)
    shell = Shell(folder, environment)
    try:
        for step in (step for session in sessions(document.read_text()) for step in session):
            printed = shell.type(step.command)
            assert step.agrees(printed), f"$ {step.command}\n{printed}\ninstead of\n{step.output}"
    finally:
        shell.close()
