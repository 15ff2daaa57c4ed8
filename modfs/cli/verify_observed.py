"""What modfs verify says of recordings of traced kernels."""

from __future__ import annotations

from pathlib import Path

from loader.errors import UserError
from loader.observe.recording import Recording
from loader.observe.replay import rules_of
from loader.release import choose_release
from modfs.cli.statuses import DONE, FAILED, MISUSED, ending_with
from modfs.cli.table import put
from modfs.observed import gaps
from modfs.verify.corpus import corpus
from modfs.verify.observed import ObservedReport, verify_recording, verify_sizes


def verify_observed(
    paths: list[Path], modules: Path | None, kernel: str | None, without: tuple[str, ...]
) -> int:
    """Compare recordings of traced kernels; the exit status."""
    if not paths:
        return DONE
    with ending_with(MISUSED), corpus(None, modules) as found:
        folder = found.root / "modules" if modules else None
        reports = [_report(path, folder, kernel, without) for path in paths]
    for report in reports:
        put(f"{report.path}: {difference}" for difference in report.differences)
        told = f"; {report.laid_out} of {report.modules} modules as their files" if modules else ""
        told += "; not all was seen" if report.gaps else ""
        print(f"{report.path}: {report.agreed} of {report.texts} texts agree{told}")
        if report.gaps:
            print(gaps(report.gaps), end="")
    if len(reports) > 1:
        agreed, texts = sum(r.agreed for r in reports), sum(r.texts for r in reports)
        whole = sum(r.agreed == r.texts for r in reports)
        print(f"{whole} of {len(reports)} recordings, {agreed} of {texts} texts agree")
    return FAILED if any(report.differences or report.gaps for report in reports) else DONE


def _report(
    path: Path, folder: Path | None, kernel: str | None, without: tuple[str, ...]
) -> ObservedReport:
    recording = Recording.read(path)
    if not recording.texts and folder is None:
        raise UserError(f"{path}: there is no text of the kernel's own to compare with")
    report = verify_recording(path, recording)
    if folder is not None:
        own = rules_of(recording.header)
        release = choose_release(kernel, without, own.name, own.without)
        verify_sizes(report, recording, folder, release)
    return report
