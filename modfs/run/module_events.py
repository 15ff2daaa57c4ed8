"""Events of modules: "add" once one is live, "remove" when it goes (do_init_module in
kernel/module/main.c since 5.6, and __kobject_del)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from loader.calls import DeleteModule
from loader.engine.course import Course
from loader.engine.outcomes import LIVE, REMOVED
from loader.engine.state import Kernel
from modfs.devices.description import Device
from modfs.devices.uevents import Synthetic

_ACTIONS = {LIVE: "add", REMOVED: "remove"}


def send_events(kernel: Kernel, send: Callable[[Device, Synthetic], None]) -> None:
    """From now on. Who listens to the kernel already still does."""
    told = kernel.listener

    def listener(item: Any) -> None:
        if told is not None:
            told(item)
        action = _ACTIONS.get(item.outcome) if isinstance(item, Course) else None
        if action is not None:
            with suppress(OSError):  # nobody could hear it
                send(module(_name(item)), Synthetic(action, ()))

    kernel.listener = listener


def _name(course: Course) -> str:
    if isinstance(course.call, DeleteModule):
        return course.call.name or ""
    return course.facts.name if course.facts is not None else ""


def module(name: str) -> Device:
    """One as the kernel tells of it."""
    return Device(f"/module/{name}", "module", (), {}, {})
