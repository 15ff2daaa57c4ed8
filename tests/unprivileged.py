"""What an ordinary user can do, tried out by root: as nobody, in a mount namespace of the test."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.conftest import PROJECT

NOBODY, GAMES = 65534, 5
SCRIPT = r"""
mknod "$1/fuse" c 10 229; chmod 666 "$1/fuse"; mount --bind "$1/fuse" /dev/fuse
chown -R "$2:$2" "$1"
setpriv --reuid="$2" --regid="$2" --clear-groups sh -ec "$3" sh "$1"
cd "$1"
exec sh -ec "$4"
"""


def run_as_nobody(
    script: str,
    folder: Path,
    environment: dict[str, str],
    then: str = "",
    user: int = NOBODY,
    first: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a shell script as nobody, who may open /dev/fuse; its $1 is ``folder``, made nobody's.

    ``then``: a shell script for root to run in that folder afterwards. ``user``: another than
    nobody, for what counts all that a user has (RLIMIT_NPROC): tests run side by side. ``first``:
    a shell script for root before, in the same mount namespace.
    """
    prepare = f"set -e\n{first}\n" + _opened(Path(sys.base_prefix), PROJECT) + SCRIPT
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", prepare, "sh", folder, str(user), script, then],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )


def _opened(*folders: Path) -> str:
    """Commands that show ``folders`` again where others may not enter a folder above them, as
    /root: that folder is covered by an empty one, and they are put back into it."""
    hidden = {folder: closed for folder in folders if (closed := _closed_above(folder))}
    kept = {folder: f'"$1/kept{number}"' for number, folder in enumerate(hidden)}
    quoted = {path: shlex.quote(str(path)) for path in (*hidden, *hidden.values())}
    lines = [f"mkdir {kept[it]}; mount --bind {quoted[it]} {kept[it]}" for it in hidden]
    lines += [f"mount -t tmpfs -o mode=755 none {quoted[it]}" for it in set(hidden.values())]
    lines += [f"mkdir -p {quoted[it]}; mount --move {kept[it]} {quoted[it]}" for it in hidden]
    return "".join(f"{line}\n" for line in lines)


def _closed_above(folder: Path) -> Path | None:
    """The outermost folder above that others may not enter."""
    above = reversed(folder.parents)
    return next((path for path in above if not os.stat(path).st_mode & 1), None)
