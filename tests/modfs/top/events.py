"""Events as lines, as a mount gives them."""

from __future__ import annotations

from loader.calls import Task
from loader.engine.outcomes import BECOMING, LIVE
from loader.observe.call import ObservedCall
from loader.observe.recording_write import item_line


def live(n: int, module: str, who: str = "modprobe") -> bytes:
    """A load that went well, of half a second."""
    call = ObservedCall(n, "finit_module", Task(who, n), LIVE, n, n + 0.5, 0, module=module)
    return item_line(call).rstrip(b"\n")


def duplicate(n: int, module: str, length: int, who: str = "(udev-worker)") -> bytes:
    """A load that was a duplicate, and waited a quarter of a second."""
    call = ObservedCall(
        n, "finit_module", Task(who, n), BECOMING, n, n + 0.25, 17, length=length, module=module,
        duplicate=True, duplicate_n=n, waited=0.25, waited_for=1,
    )  # fmt: skip
    return item_line(call).rstrip(b"\n")
