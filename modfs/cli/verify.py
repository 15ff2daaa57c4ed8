"""modfs verify: does the engine answer as the recorded kernel did?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loader.config import BuiltFor, Config
from loader.engine.init_routines_file import read_init_routines
from loader.image.symvers import read_kernel_exports
from loader.kconfig import Kconfig, as_distributed
from loader.keyring import Keyring
from loader.observe.recording import is_recording
from loader.release import DEFAULT, choose_release
from modfs.cli.engine import blacklisted
from modfs.cli.options import (
    blacklist_option,
    config_option,
    configuration,
    environment_option,
    kernel_option,
    keys_option,
    modules_option,
    without_option,
)
from modfs.cli.statuses import FAILED, MISUSED, ending_with
from modfs.cli.table import put
from modfs.cli.verify_observed import verify_observed
from modfs.verify.compare import Report, settings, verify
from modfs.verify.corpus import Corpus, corpus
from modfs.verify.folder import Recordings, read_folder
from modfs.verify.sizes import SizesReport, compare_sizes
from modfs.verify.transcript import Transcript

if TYPE_CHECKING:
    from loader.engine.threads import LiveKernel
    from loader.release import Release
    from modfs.verify.answerers import Mounted

    Mounting = Callable[[LiveKernel], AbstractContextManager[Mounted]]

_EXAMPLE = """
\b
Examples:
  modfs verify tests/oracle/data/linux-7.3
  modfs verify --files files.tar.zst --modules modules.tar.zst \\
      --environment environment.json --key signing_key.x509 *.jsonl
  modfs record --from trace.txt -o boot.jsonl; modfs verify boot.jsonl
"""

_INPUT = click.Path(exists=True, path_type=Path)


@click.command(epilog=_EXAMPLE)
@click.argument("paths", nargs=-1, required=True, type=_INPUT, metavar="FILE-OR-FOLDER...")
@click.option("--files", type=_INPUT, metavar="DIR-OR-ARCHIVE", help="What files/X names.")
@modules_option("What modules/X names.", _INPUT, "DIR-OR-ARCHIVE")
@environment_option()
@keys_option("The kernel's signing key, X.509.")
@kernel_option()
@without_option()
@config_option("Of the recorded kernel, as far as the headers do not say.")
@blacklist_option()
@click.option("--through-mount", is_flag=True, help="Ask a real mount instead of the engine.")
def command(
    paths: tuple[Path, ...],
    files: Path | None,
    modules: Path | None,
    environment: Path | None,
    keys: tuple[Path, ...],
    kernel: str | None,
    without: tuple[str, ...],
    config_file: Path | None,
    blacklist: tuple[str, ...],
    through_mount: bool,
) -> int:
    """Replay recordings of booted kernels and report every step that differs.

    A FOLDER holds transcripts/ and what they need under the names of tests/oracle/data; its
    modules.tsv, the memory that modules took, is compared as well. Release, features, compression,
    architecture and what of the kernel's configuration a transcript needs are those of its header.
    The exit status is 0 if all agree, 1 if any differs, 2 if the replay cannot be done.

    A FILE is a transcript; or a recording of a kernel that has the statistics (modfs record), with
    its own texts beside it: those are compared with what the recording amounts to, and with
    --modules the memory that was seen with the layout of the files. The exit status is then 1 also
    if not all was seen.
    """
    with ending_with(MISUSED):
        observed = [path for path in paths if not path.is_dir() and is_recording(path)]
    status = verify_observed(observed, modules, kernel, without)
    paths = tuple(path for path in paths if path not in observed)
    given = Recordings((), files, modules, environment, keys, config_file)
    base = Config(blacklist=blacklisted(blacklist))
    replay = Replay(base, kernel, without, _mounting(through_mount))
    reports: list[Report] = []
    failed = False
    with ending_with(MISUSED):
        for recordings in _groups(paths, given):
            for report in replay.reports(recordings):
                show(report)
                failed |= bool(report.differences)
                if isinstance(report, Report):
                    reports.append(report)
    if len(reports) > 1:
        agreed, steps = sum(r.agreed for r in reports), sum(r.steps for r in reports)
        whole = sum(r.agreed == r.steps for r in reports)
        print(f"{whole} of {len(reports)} transcripts, {agreed} of {steps} steps agree")
    return FAILED if failed else status


def _groups(paths: Iterable[Path], given: Recordings) -> Iterator[Recordings]:
    """What belongs together: each folder, with what was ``given`` instead; and all transcripts."""
    transcripts = tuple(path for path in paths if not path.is_dir())
    if transcripts:
        yield replace(given, transcripts=transcripts)
    for folder in (path for path in paths if path.is_dir()):
        found = read_folder(folder)
        yield replace(
            found,
            files=given.files or found.files,
            modules=given.modules or found.modules,
            environment=given.environment or found.environment,
            keys=given.keys or found.keys,
            config=given.config or found.config,
        )


@dataclass(frozen=True, slots=True)
class Replay:
    """How recordings are to be replayed."""

    base: Config
    kernel: str | None
    without: tuple[str, ...]
    mounting: Mounting | None

    def reports(self, recordings: Recordings) -> Iterator[Report | SizesReport]:
        """One transcript after the other, then the sizes. UserError, OSError."""
        keyring = Keyring.load(*recordings.keys) if recordings.keys else None
        base = replace(self.base, keyring=keyring)
        init = read_init_routines(recordings.environment) if recordings.environment else None
        kconfig = configuration(recordings.config)
        exports = read_kernel_exports(recordings.symbols) if recordings.symbols else None
        config = None
        with corpus(recordings.files, recordings.modules) as found:
            for path in recordings.transcripts:
                transcript = Transcript.load(path)
                config = settings(transcript, base, found.built_for, kconfig)
                config = replace(config, release=self._release(transcript))
                yield verify(transcript, found, config, init, self.mounting, exports)
            if recordings.sizes:
                config = config or self._of_modules(base, found.built_for, kconfig)
                yield self._sizes(recordings.sizes, found, config)

    def _release(self, transcript: Transcript) -> Release:
        described, lacking = transcript.release, transcript.without
        return choose_release(self.kernel, self.without, described, lacking)

    def _of_modules(self, base: Config, built_for: BuiltFor, kconfig: Kconfig | None) -> Config:
        """The kernel where no transcript tells it: by its configuration or by its modules."""
        config = as_distributed(replace(base, built_for=built_for))
        told = (built_for.vermagic or DEFAULT).partition(" ")[0]
        if kconfig:
            config, told = kconfig.applied(replace(config, built_for=built_for)), kconfig.release
        return replace(config, release=choose_release(self.kernel, self.without, told, ()))

    def _sizes(self, table: Path, found: Corpus, config: Config) -> SizesReport:
        """By the kernel of the last transcript or of the modules; without signatures."""
        machine = found.built_for.machine or config.machine
        return compare_sizes(table, found, replace(config, keyring=None, machine=machine))


def _mounting(wanted: bool) -> Mounting | None:
    if not wanted:
        return None
    from modfs.verify.through_mount import through_mount

    return through_mount


def show(report: Report | SizesReport) -> None:
    """How one of them compares, on standard output."""
    if isinstance(report, SizesReport):
        _tell(report.path, report.differences, f"{report.agreed} of {report.modules} modules")
        if report.missing:
            print(f"{report.path}: {report.missing} more, whose files are not there")
        return
    notes = (
        (report.by_sums, "compared by sums, as timing divides Becoming and Load"),
        (report.need_key, "not compared: a signature needs --key"),
        (report.past_the_mount, "answered by the engine behind the mount"),
    )
    told = "".join(f"; {count} {note}" for count, note in notes if count)
    path, result = report.transcript.path, f"{report.agreed} of {report.steps} steps"
    _tell(path, report.differences, result, told)


def _tell(path: Path, differences: Iterable[str], result: str, more: str = "") -> None:
    put(f"{path}: {difference}" for difference in differences)
    print(f"{path}: {result} agree{more}")
