"""As many calls as one likes: a booted kernel's, again and again, each time later."""

from __future__ import annotations

from dataclasses import replace
from itertools import count, islice

from loader.observe.call import ObservedCall
from loader.observe.recording import Header, Recording
from modfs.tracing.record import recording_of
from tests.recordings import TRACES

_APART = 0.9  # seconds: so the boots overlap
_NAMES = 40  # sets of names


def recording(calls: int) -> Recording:
    """That many calls, for 40 times the modules, each of other tasks."""
    path = next(path for path in TRACES if path.name.startswith("udev8-early"))
    real = [item for item in recording_of(path).items if isinstance(item, ObservedCall)]
    made = (_again(call, turn) for turn in count() for call in real)
    items = [replace(call, n=n) for n, call in enumerate(islice(made, calls), 1)]
    return Recording(Header("6.12.117"), [*items], whole=True)


def _again(call: ObservedCall, turn: int) -> ObservedCall:
    later = turn * _APART
    return replace(
        call,
        begin=None if call.begin is None else call.begin + later,
        end=None if call.end is None else call.end + later,
        phases={name: at + later for name, at in call.phases.items()},
        task=call.task._replace(tid=call.task.tid + 1000 * turn),
        module=f"{call.module}_{turn % _NAMES}" if call.module else None,
        duplicate_n=None,
    )
