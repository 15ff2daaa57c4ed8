"""What of tracefs is ours, and whose process has gone; and the script for the initramfs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from modfs.tracing.hook import hook
from modfs.tracing.probes import PROBES
from modfs.tracing.tracefs import groups, is_left, own_name, started


def test_whose_it_is() -> None:
    own = own_name()
    assert own.startswith(f"modfs_{os.getpid()}_")
    assert not is_left(own)
    assert is_left(f"modfs_{os.getpid()}_1")  # another process had that number
    assert started(2**22 + 1) is None and is_left(f"modfs_{2**22 + 1}_5")
    for other in ("modfs", "modfs_boot", "modfs_1", "kprobes", f"x{own}"):
        assert not is_left(other)


def test_groups(tmp_path: Path) -> None:
    (tmp_path / "dynamic_events").write_text(
        "f500:modfs_1_2/read kernel_read_file%return ret=$retval:s64\n"
        "p:modfs_1_2/load load_module len=+24(%di):u64\np:kprobes/x y\n"
    )
    assert groups(tmp_path) == {"modfs_1_2": ["read", "load"], "kprobes": ["x"]}
    assert groups(tmp_path / "nowhere") == {}


def test_the_hook_is_a_script_for_any_shell(tmp_path: Path) -> None:
    """Where there is no tracefs it does nothing, and says nothing."""
    path = tmp_path / "hook"
    path.write_text(hook())
    for shell in (["sh"], ["busybox", "sh"]):
        subprocess.run([*shell, "-n", path], check=True)
    done = subprocess.run(["sh", path, "prereqs"], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    for probe in PROBES:
        assert f"modfs_boot/{probe.name} " in hook()
