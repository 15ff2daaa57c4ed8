"""What is watched beside the loads themselves: udevd, its workers, and what kmod looks at.

Also locks of the kernel, where tasks wait for them. The loads themselves are watched by modfs's own
probes (modfs.tracing.probes), set up by its own hook.
"""

from __future__ import annotations

import shlex

from modfs.tracing.probes import Form, Probe
from modfs.tracing.tracefs import BOOT
from tools.boots.locks import LOCKS

PROBES: tuple[Probe, ...] = (
    Probe(
        "uevent",
        "when the kernel sends its next event: the functions that know which cannot be probed",
        (Form("p", "netlink_broadcast", "group=%cx:u32 sk=%di:u64"),),
    ),
    Probe(
        "state",
        "what kmod reads of initstate",
        (
            Form("f", "show_initstate", "name=mk->mod->name:string state=mk->mod->state"),
            Form("p", "show_initstate", "name=+24(+64(%si)):string state=+0(+64(%si)):u32"),
        ),
    ),
    Probe(
        "look",
        "that kmod looks for initstate, there or not",
        (Form("p", "do_sys_openat2", "path=+0(%si):ustring"),),
    ),
    Probe(
        "send",
        "events that udevd hands to idle workers, and that workers pass on when done with them",
        (Form("p", "netlink_sendmsg", "len=%dx:u64"),),
    ),
    Probe(
        "answer",
        "workers that tell udevd that they are free",
        (Form("p", "unix_dgram_sendmsg", "len=%dx:u64"),),
    ),
)

# netlink_broadcast's first group is the kernel's own; udevd's is the second.
FILTERS = {"look": 'path ~ "/sys/module/*/initstate"', "uevent": "group == 1"}

_SCRIPT = """\
define() {{
    for definition; do
        echo "$definition" >> dynamic_events && return
    done
}} 2>/dev/null
cd /sys/kernel/tracing
{defines}
cd instances/{name}/events/{name}
{filters}
for event in {events}; do echo 1 > $event/enable; done

grep -E ' ({locks})$' /proc/kallsyms > /tmp/locks
filter=
while read -r address kind lock; do
    filter="${{filter:+$filter || }}lock_addr == 0x$address"
done < /tmp/locks
for event in contention_begin contention_end; do
    echo "$filter" > ../lock/$event/filter && echo 1 > ../lock/$event/enable
done
cd /
"""

# A rule of udev can write to a file in sysfs, and by a way around to any other.
_MARKER = f"[module/kernel]../../kernel/tracing/instances/{BOOT}/trace_marker"
RULES = {
    name: f'ACTION=="?*", ATTR{{{_MARKER}}}="{text}"\n'
    for name, text in (
        ("00-begin", "uevent begin $env{SEQNUM} $env{ACTION} $env{DEVPATH}"),
        ("99-ruled", "uevent ruled $env{SEQNUM}"),
    )
}
"""Rules that mark when a worker begins with an event, and when it is through all rules: what they
want to be run, among it kmod's load, comes after that."""


def script() -> str:
    """For /bin/sh, once the hook has made the instance."""
    defines = [
        "define " + " ".join(shlex.quote(form.definition(BOOT, one.name)) for form in one.forms)
        for one in PROBES
    ]
    filters = [f"echo {shlex.quote(text)} > {name}/filter" for name, text in FILTERS.items()]
    events = " ".join(one.name for one in PROBES)
    return _SCRIPT.format(
        name=BOOT,
        defines="\n".join(defines),
        filters="\n".join(filters),
        events=events,
        locks="|".join(LOCKS),
    )
