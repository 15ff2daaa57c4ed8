"""What the measurements share: the row they give, and ways to take two figures side by side.

A measurement is a file ``bench_NAME.py`` in this folder with a function ``rows() ->
Iterable[Row]``; ``make bench`` finds it by its name, ``make bench ONLY=NAME`` runs it alone.
Nothing here is asserted: a machine's speed is no property of the code. What is compared is always
a ratio of two things measured in turn, in one run, so that a busy moment strikes both; its spread
is that of the rounds. ``make bench JSON=FILE`` writes the rows, ``make bench BASE=FILE`` says which
of them are other than they were (``comparison.py``).
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from tests.mounts import ask

HERE = Path(__file__).parent
CACHE = HERE / ".cache"
PYTHON = sys.executable
MODFS = str(Path(sys.executable).with_name("modfs"))

Command = Sequence[str | os.PathLike[str]]


class Spread(NamedTuple):
    """Between which figures the middle half of the rounds were."""

    low: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """The quartiles; of a few figures the least and the greatest."""
        if len(figures) < 4:
            return cls(min(figures), max(figures))
        low, _, high = statistics.quantiles(figures, n=4)
        return cls(low, high)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    against: str
    figure: float
    target: float | None
    """None: only told, and compared with other runs."""
    unit: str = "times"
    at_least: bool = False
    """The target is a least figure (a rate), not a greatest one (a ratio)."""
    detail: str = ""
    """The two figures that the ratio was made of, with their units."""
    spread: Spread | None = None
    exact: bool = False
    """The figure is a count, and hardly differs from run to run."""

    @property
    def reached(self) -> bool:
        if self.target is None:
            return True
        return self.figure >= self.target if self.at_least else self.figure <= self.target


@dataclass(frozen=True, slots=True)
class Pair:
    """Two things measured in turn, in seconds: their medians, and how often the one was the other
    in each round."""

    ours: float
    theirs: float
    ratios: Sequence[float] = ()

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs

    @property
    def spread(self) -> Spread | None:
        return Spread.of(self.ratios) if self.ratios else None

    def row(self, what: str, against: str, target: float) -> Row:
        """The ratio, which should be at most ``target``."""
        return Row(what, against, self.ratio, target, detail=str(self), spread=self.spread)

    def __str__(self) -> str:
        return f"{readable(self.ours)} : {readable(self.theirs)}"


def readable(seconds: float) -> str:
    """A time as a person says it: ``12.3 ms``."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def timed(work: Callable[[], object]) -> float:
    """How long ``work`` takes, in seconds."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def in_turn(
    ours: Callable[[], float], theirs: Callable[[], float], rounds: int, *, warm_up: int = 1
) -> Pair:
    """Take both figures ``rounds`` times, one after the other, and give their medians.

    Each function returns its own time in seconds, so that it can leave out what is not meant.
    """
    for _ in range(warm_up):
        ours()
        theirs()
    taken = [(ours(), theirs()) for _ in range(rounds)]
    one, other = (statistics.median(column) for column in zip(*taken, strict=True))
    return Pair(one, other, [mine / its for mine, its in taken])


def run_quietly(command: Command) -> None:
    """Run a program to its end, its output thrown away, at the least cost to the caller.

    Raises CalledProcessError.
    """
    words = [os.fspath(word) for word in command]
    silence = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawnp(words[0], words, os.environ, file_actions=silence)
    _, status = os.waitpid(child, 0)
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), words)


def resident_bytes(pid: int) -> int:
    """What a process holds in memory now (VmRSS), in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


# -- mounts ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Server:
    """A mounted file system and the process that serves it."""

    root: Path
    pid: int


@contextlib.contextmanager
def served(command: Sequence[str], answers: str) -> Iterator[Server]:
    """Run a file system in the foreground until the block ends.

    ``{}`` in ``command`` stands for the mount point; the block begins when the file ``answers`` in
    it can be opened.
    """
    root = Path(tempfile.mkdtemp(prefix="modfs-bench-"))
    process = subprocess.Popen([word.format(root) if word == "{}" else word for word in command])
    try:
        deadline = time.monotonic() + 20
        while not (root / answers).exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not mount")
            time.sleep(0.01)
        yield Server(root, process.pid)
    finally:
        subprocess.run(["fusermount", "-u", root], stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            subprocess.run(["fusermount", "-uz", root], stderr=subprocess.DEVNULL)
        root.rmdir()


def modfs_served(*options: str) -> contextlib.AbstractContextManager[Server]:
    """A modfs mount."""
    return served([MODFS, "mount", "--foreground", *options, "{}"], "stats")


@contextlib.contextmanager
def c_served(content: bytes) -> Iterator[Server]:
    """The minimal C file system, its one file named ``file`` and holding ``content``."""
    with tempfile.NamedTemporaryFile() as source:
        source.write(content)
        source.flush()
        program = str(c_program())
        with served([program, source.name, "{}", "-f", "-o", "direct_io"], "file") as server:
            yield server


def c_program() -> Path:
    """Compile fixed_file.c, if that was not done yet."""
    source, program = HERE / "fixed_file.c", CACHE / "fixed_file"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        CACHE.mkdir(exist_ok=True)
        flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "fuse"], text=True)
        subprocess.run(["gcc", "-O2", source, *flags.split(), "-o", program], check=True)
    return program


# -- modules and requests ------------------------------------------------------------------------


@contextlib.contextmanager
def made_modules(count: int = 1) -> Iterator[list[Path]]:
    """Files of small modules, gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="modfs-bench-") as folder:
        paths = [Path(folder, f"bench_{number}.ko") for number in range(count)]
        for path in paths:
            path.write_bytes(build_module(ModuleSpec(path.stem)))
        yield paths


def request(control: Path, *lines: str) -> None:
    """Write requests in one write, whether or not they are granted."""
    with contextlib.suppress(FileExistsError):
        ask(control.parent, *lines)
