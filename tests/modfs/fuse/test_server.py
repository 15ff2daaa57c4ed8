"""libfuse from Python: what a server does around its operations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import PROJECT

# Serves a mount until it is taken away, and is told to end only after that.
_TOLD_LATE = """
import subprocess, sys
from modfs.fuse.files import DIRECTORY, Nature
from modfs.fuse.server import make_server

class Files:
    uid = gid = 0
    def text(self, path):
        return None

    def nature(self, path):
        return Nature()

    def getattr(self, path):
        return DIRECTORY

place = sys.argv[1]
server = make_server(("fsname=modfs",))
server.run(place, Files(), lambda: subprocess.run(["fusermount", "-u", place], check=True))
server.exit()
"""


def test_a_server_that_is_told_to_end_when_it_has_ended(tmp_path: Path) -> None:
    """The connection's end and the word to end may come at one moment. libfuse's session is freed
    by then; MALLOC_PERTURB_ (mallopt(3)) makes nonsense of what was freed."""
    done = subprocess.run(
        [sys.executable, "-c", _TOLD_LATE, str(tmp_path)],
        env=os.environ | {"MALLOC_PERTURB_": "165"},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
