"""Run the kernel's own selftest of module auto-loading under modfs run: kmod.sh, as it is.

    .venv/bin/python -m tools.kmod_selftest            every test once
    .venv/bin/python -m tools.kmod_selftest all        as often as the script recommends
    .venv/bin/python -m tools.kmod_selftest 0008 0009

The script comes from Debian's package linux-source-6.12, which apt fetches (150 MB) into a folder
that is gone afterwards; nothing is installed. KMOD_SH=FILE takes a script that is there. As root,
with kmod and capsh (libcap2-bin).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.run.kmod_tree import write_kmod_tree

PACKAGE = "linux-source-6.12"
SCRIPT = f"{PACKAGE}/tools/testing/selftests/kmod/kmod.sh"
TESTS = [f"{number:04}" for number in range(1, 14)]


def fetched(folder: Path) -> Path:
    """The script, from its package."""
    subprocess.run(["apt-get", "-qq", "download", PACKAGE], cwd=folder, check=True)
    package = next(folder.glob("*.deb"))
    unpack = (
        f"dpkg-deb --fsys-tarfile {package} | tar xO ./usr/src/{PACKAGE}.tar.xz | tar xJ {SCRIPT}"
    )
    subprocess.run(["sh", "-c", unpack], cwd=folder, check=True)
    return folder / SCRIPT


def main(wanted: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="modfs-kmod-") as name:
        folder = Path(name)
        script = os.environ.get("KMOD_SH") or str(fetched(folder))
        write_kmod_tree(folder / "tree")
        command = ["modfs", "run", "--modules", str(folder / "tree"), "--", "bash", script]
        command[0] = str(Path(sys.executable).with_name("modfs"))
        runs = [[]] if wanted == ["all"] else [["-s", test] for test in wanted or TESTS]
        failed = 0
        for run in runs:
            began = time.monotonic()
            # Without it the script leaves auto-loading switched off.
            environment = os.environ | {"MODPROBE": "/sbin/modprobe"}
            done = subprocess.run([*command, *run], env=environment, capture_output=True, text=True)
            told = [line for line in done.stdout.splitlines() if ": OK!" in line or "FAIL" in line]
            took = time.monotonic() - began
            print(*run[1:], f"exit {done.returncode}, {took:.1f} s, {len(told)} checks", flush=True)
            if done.returncode:
                failed += 1
                print(*told[-3:], done.stderr, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
