"""modfs verify: does the engine answer as the recorded kernel did?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loader.config import Config
from loader.engine.init_routines_file import read_init_routines
from loader.keyring import Keyring
from loader.release import choose_release
from modfs.cli.options import (
    FILE,
    environment_option,
    kernel_option,
    keys_option,
    modules_option,
    without_option,
)
from modfs.cli.statuses import DONE, FAILED, MISUSED, ending_with
from modfs.verify.compare import Report, settings, verify
from modfs.verify.corpus import corpus
from modfs.verify.transcript import Transcript

if TYPE_CHECKING:
    from loader.engine.threads import LiveKernel
    from modfs.verify.answerers import Mounted

    Mounting = Callable[[LiveKernel], AbstractContextManager[Mounted]]

_EXAMPLE = """
\b
Example:
  modfs verify --files files.tar.zst --modules modules.tar.zst \\
      --environment environment.json --key signing_key.x509 *.jsonl
"""

_INPUT = click.Path(exists=True, path_type=Path)


@click.command(epilog=_EXAMPLE)
@click.argument("transcripts", nargs=-1, required=True, type=FILE, metavar="TRANSCRIPT...")
@click.option("--files", type=_INPUT, metavar="DIR-OR-ARCHIVE", help="What files/X names.")
@modules_option("What modules/X names.", _INPUT, "DIR-OR-ARCHIVE")
@environment_option()
@keys_option("The kernel's signing key, X.509.")
@kernel_option()
@without_option()
@click.option("--through-mount", is_flag=True, help="Ask a real mount instead of the engine.")
def command(
    transcripts: tuple[Path, ...],
    files: Path | None,
    modules: Path | None,
    environment: Path | None,
    keys: tuple[Path, ...],
    kernel: str | None,
    without: tuple[str, ...],
    through_mount: bool,
) -> int:
    """Replay recordings of booted kernels and report every step that differs.

    Release, features and compression are those of each transcript's header. The exit status is 0
    if all steps agree, 1 if any differs, 2 if the replay cannot be done.
    """
    replay = Replay(keys, environment, kernel, without, _mounting(through_mount))
    reports = []
    for report in _reports(replay, transcripts, files, modules):
        _print(report)
        reports.append(report)
    if len(reports) > 1:
        agreed, steps = sum(r.agreed for r in reports), sum(r.steps for r in reports)
        whole = sum(r.agreed == r.steps for r in reports)
        print(f"{whole} of {len(reports)} transcripts, {agreed} of {steps} steps agree")
    return FAILED if any(report.differences for report in reports) else DONE


@dataclass(frozen=True, slots=True)
class Replay:
    """How transcripts are to be replayed."""

    keys: tuple[Path, ...]
    environment: Path | None
    kernel: str | None
    without: tuple[str, ...]
    mounting: Mounting | None

    def config(self, transcript: Transcript, keyring: Keyring | None) -> Config:
        """The kernel of one transcript, or what was asked for instead. UserError."""
        chosen = choose_release(self.kernel, self.without, transcript.release, transcript.without)
        return replace(settings(transcript, Config(keyring=keyring)), release=chosen)


def _reports(
    replay: Replay, transcripts: Iterable[Path], files: Path | None, modules: Path | None
) -> Iterator[Report]:
    """One replay after the other. UserError: it cannot be done."""
    with ending_with(MISUSED), corpus(files, modules) as found:
        keyring = Keyring.load(*replay.keys) if replay.keys else None
        init = read_init_routines(replay.environment) if replay.environment else None
        for path in transcripts:
            transcript = Transcript.load(path)
            config = replay.config(transcript, keyring)
            yield verify(transcript, found, config, init, replay.mounting)


def _mounting(wanted: bool) -> Mounting | None:
    if not wanted:
        return None
    from modfs.verify.through_mount import through_mount

    return through_mount


def _print(report: Report) -> None:
    for difference in report.differences:
        print(f"{report.transcript.path}: {difference}")
    notes = (
        (report.by_sums, "compared by sums, as timing divides Becoming and Load"),
        (report.need_key, "not compared: a signature needs --key"),
        (report.past_the_mount, "answered by the engine behind the mount"),
    )
    told = "".join(f"; {count} {note}" for count, note in notes if count)
    print(f"{report.transcript.path}: {report.agreed} of {report.steps} steps agree{told}")
