"""What of tracefs is ours, and whose process has gone; and the script for the initramfs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from modfs.tracing.definitions import probed
from modfs.tracing.hook import command_line, hook
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


def test_the_kernels_command_line() -> None:
    """Words without blanks or quotes; a reader of texts knows its definitions."""
    size, events, probes = command_line().split()
    assert size == "trace_buf_size=4096k"
    assert events.startswith("trace_event=module:module_load,") and "syscalls" not in events
    definitions = probes.removeprefix("kprobe_event=").split(";")
    named = dict(filter(None, (probed(each.replace(",", " ")) for each in definitions)))
    assert named["load"] == "load_module" and named["loaded"] == "load_module%return"
    assert not any(each.startswith(("f", "t")) for each in definitions)
    assert len(command_line()) < 1024  # of 2,048 that x86 has for all
