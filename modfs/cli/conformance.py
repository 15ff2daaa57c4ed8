"""modfs record --conformance: does this machine's kernel answer as the engine does?"""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from loader.config import Config
from loader.errors import UserError
from modfs.cli.statuses import DONE, FAILED, MISUSED, ending_with

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def conformance(output: Path | None) -> int:
    """Ask the kernel that runs here, write the recording to ``output`` and compare."""
    from modfs.cli.verify import Replay, show
    from modfs.conformance.host import check, record_here
    from modfs.verify.folder import read_folder

    if output is not None and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is there already: -o names a new folder", status=MISUSED)
    check()
    with _folder(output) as name, ending_with(FAILED):
        print("This kernel loads modules now, and has taint E (unsigned) then.", file=sys.stderr)
        record_here(Path(name))
        replay = Replay(Config(), None, (), None)
        reports = list(replay.reports(read_folder(Path(name))))
        for report in reports:
            show(report)
    return FAILED if any(report.differences for report in reports) else DONE


def _folder(output: Path | None) -> AbstractContextManager[str]:
    if output is not None:
        return nullcontext(str(output))
    return tempfile.TemporaryDirectory(prefix="modfs-conformance-")
