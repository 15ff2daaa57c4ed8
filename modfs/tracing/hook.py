"""A shell script that begins to watch in the initramfs, before udev, where there is no Python.

It leaves the events in an instance that modfs picks up later (tracefs.BOOT). For initramfs-tools
as for dracut: the first asks with the word "prereqs" what has to run before, the other sources it.
"""

from __future__ import annotations

import shlex

from modfs.tracing.probes import BOUND, PROBES, TRACEPOINTS, Probe
from modfs.tracing.tracefs import BOOT

_BUFFER = 4096  # KiB a processor

_SCRIPT = """\
#!/bin/sh
# Made by modfs record --hook: watches module loads from here on. modfs mount --host or modfs record
# picks it up; to end it without them, remove the instance and the group {name} in tracefs.
[ "$1" = prereqs ] && exit 0

modfs_define() {{
    for modfs_definition; do
        echo "$modfs_definition" >> dynamic_events && return
    done
}} 2>/dev/null

modfs_watch() {{
    [ -d /sys/kernel/tracing/instances ] || mount -t tracefs nodev /sys/kernel/tracing || return
    cd /sys/kernel/tracing && mkdir instances/{name} || return
{defines}
    cd instances/{name} || return
    for modfs_clock in boot mono global; do echo $modfs_clock > trace_clock && break; done
    echo {buffer} > buffer_size_kb
    echo 0 > options/record-cmd
    for modfs_event in {events}; do echo 1 > events/$modfs_event/enable; done
}} 2>/dev/null

(modfs_watch)
:
"""


def hook() -> str:
    """The script."""
    return _SCRIPT.format(
        name=BOOT,
        defines="\n".join(f"    modfs_define {_forms(probe)}" for probe in PROBES),
        buffer=_BUFFER,
        events=" ".join((BOOT, *TRACEPOINTS)),
    )


def _forms(probe: Probe) -> str:
    """Its definitions as words for the shell, the best first."""
    definitions = (
        form.definition(BOOT, probe.name, bound) for form in probe.forms for bound in (BOUND, 0)
    )
    return " \\\n        ".join(shlex.quote(each) for each in dict.fromkeys(definitions))
