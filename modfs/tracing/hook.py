"""What begins to watch before there is any Python: in the initramfs, or on the kernel's own command
line.

The script for the initramfs is for /bin/sh, to be run before udev.

It leaves the events in an instance that modfs picks up later (tracefs.BOOT). For initramfs-tools
as for dracut: the first asks with the word "prereqs" what has to run before, the other sources it.
"""

from __future__ import annotations

import shlex

from modfs.tracing.probes import BOUND, PROBES, SPARE, TRACEPOINTS, Form, Probe
from modfs.tracing.tracefs import BEFORE, BOOT

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
    while read -r modfs_line; do echo "$modfs_line"; done < /proc/modules > {before}
    for modfs_event in {events}; do echo 1 > events/$modfs_event/enable; done
}} 2>/dev/null

(modfs_watch)
:
"""


def hook() -> str:
    """The script."""
    return _SCRIPT.format(
        name=BOOT,
        defines="\n".join(map(_define, PROBES)),
        buffer=_BUFFER,
        before=BEFORE,
        events=" ".join((BOOT, *TRACEPOINTS)),
    )


def command_line() -> str:
    """Words for the kernel's command line: all is in the first instance then, whose text is
    /sys/kernel/tracing/trace. System calls cannot be watched so early.

    Where it takes no arguments by name (before 6.4), or cannot probe a function, the kernel leaves
    that probe out.
    """
    probes = ";".join(
        _early(probe.forms[0], probe.name) for probe in PROBES if probe.name not in SPARE
    )
    events = ",".join(
        event.replace("/", ":") for event in TRACEPOINTS if not event.startswith("syscalls/")
    )
    return f"trace_buf_size={_BUFFER}k trace_event={events} kprobe_event={probes}\n"


def _early(form: Form, name: str) -> str:
    """As a kprobe, which is all that can be defined there; its words parted by commas."""
    function = form.function.removesuffix("%return")
    kind = "p" if function == form.function else "r"
    return form._replace(kind=kind, function=function).definition("modfs", name).replace(" ", ",")


def _define(probe: Probe) -> str:
    """Its line of the script; one that another spares is defined where that one was not."""
    line = f"modfs_define {_forms(probe)}"
    return (
        f"    [ -e events/{BOOT}/{probe.spared_by} ] || {line}"
        if probe.spared_by
        else f"    {line}"
    )


def _forms(probe: Probe) -> str:
    """Its definitions as words for the shell, the best first."""
    definitions = (
        form.definition(BOOT, probe.name, bound) for form in probe.forms for bound in (BOUND, 0)
    )
    return " \\\n        ".join(shlex.quote(each) for each in dict.fromkeys(definitions))
