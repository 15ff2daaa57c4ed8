"""modfs verify: does the engine answer as the recorded kernel did?"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loader.config import Config
from loader.engine.init_routines_file import read_init_routines
from loader.keyring import Keyring
from loader.release import FEATURES, RELEASES, release
from modfs.verify.compare import Report, settings, verify
from modfs.verify.corpus import VerifyError, corpus
from modfs.verify.transcript import Transcript

if TYPE_CHECKING:
    from loader.engine.threads import LiveKernel
    from modfs.verify.answerers import Mounted


_EXAMPLE = """
\b
Example:
  modfs verify --files files.tar.zst --modules modules.tar.zst \\
      --environment environment.json --key signing_key.x509 *.jsonl
"""

_INPUT = click.Path(exists=True, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog=_EXAMPLE)
@click.argument("transcripts", nargs=-1, required=True, type=_FILE, metavar="TRANSCRIPT...")
@click.option("--files", type=_INPUT, metavar="DIR-OR-ARCHIVE", help="What files/X names.")
@click.option("--modules", type=_INPUT, metavar="DIR-OR-ARCHIVE", help="What modules/X names.")
@click.option("--environment", type=_FILE, metavar="FILE", help="How init routines behave (JSON).")
@click.option("--key", type=_FILE, metavar="CERT", help="The kernel's signing key, X.509.")
@click.option("--kernel", metavar="RELEASE", help=f"Not the header's: {', '.join(RELEASES)}.")
@click.option(
    "--without",
    multiple=True,
    type=click.Choice(list(FEATURES)),
    help="Instead of what the header takes away.",
)
@click.option("--through-mount", is_flag=True, help="Ask a real mount instead of the engine.")
def command(
    transcripts: tuple[Path, ...],
    files: Path | None,
    modules: Path | None,
    environment: Path | None,
    key: Path | None,
    kernel: str | None,
    without: tuple[str, ...],
    through_mount: bool,
) -> None:
    """Replay recordings of booted kernels and report every step that differs.

    Release, features and compression are those of each transcript's header. The exit status is 0
    if all steps agree, 1 if any differs, 2 if the replay cannot be done.
    """
    try:
        config = Config(keyring=Keyring.load(key) if key else None)
        init = read_init_routines(environment) if environment else None
        reports = []
        with corpus(files, modules) as found:
            for path in transcripts:
                transcript = Transcript.load(path)
                chosen = settings(transcript, config)
                if kernel or without:
                    name = kernel or transcript.release
                    chosen = replace(chosen, release=release(name, without or transcript.without))
                report = verify(transcript, found, chosen, init, _mounting(through_mount))
                _print(report)
                reports.append(report)
    except (VerifyError, ValueError, OSError) as error:
        print(f"modfs verify: {error}", file=sys.stderr)
        sys.exit(2)
    if len(reports) > 1:
        agreed, steps = sum(r.agreed for r in reports), sum(r.steps for r in reports)
        whole = sum(r.agreed == r.steps for r in reports)
        print(f"{whole} of {len(reports)} transcripts, {agreed} of {steps} steps agree")
    sys.exit(any(report.differences for report in reports))


def _mounting(wanted: bool) -> Callable[[LiveKernel], AbstractContextManager[Mounted]] | None:
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
