"""Definitions of probes as the kernel takes them (dynamic_events), and their names.

f500:modfs/loaded load_module%return ret=$retval:s32 len=info->len
r:modfs/k_read kernel_read_file ret=$retval:s64
"""

from __future__ import annotations

import re

from loader.observe.events import RETURN

_DEFINITION = re.compile(
    r"([fpr])(\d*):(?:([\w.-]+)/)?(\w+)\s+([\w.]+)(%return)?(?:\+0)?(?:\s|,|$)"
)


def probed(definition: str) -> tuple[str, str] | None:
    """(the event's name, the function with %return if it is on its return); None for no probe."""
    match = _DEFINITION.match(definition)
    if match is None:
        return None
    form, _, _, name, function, returned = match.groups()
    return name, function + (RETURN if returned or form == "r" else "")
