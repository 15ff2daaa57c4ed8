"""What would help a machine whose boot is simulated: it boots once more for each remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from loader.config import Config
from loader.observe.recording import Recording
from loader.simulate.machine import Devices, Machine, check_names
from loader.simulate.machine_file import read_machine
from loader.simulate.udev import boot, config_for
from modfs.blame import savings as remedies
from modfs.blame.events import Told
from modfs.blame.savings import Saving, Savings

Change = Callable[[Devices], Devices]


class Booted(NamedTuple):
    """A machine, and its boot."""

    machine: Machine
    config: Config
    recording: Recording
    wasted: int


def boot_told(path: Path) -> Booted:
    """The boot of the machine in a file. OSError, UserError."""
    machine = read_machine(path)
    check_names(machine)
    config, told = config_for(machine), Told()
    outcome = boot(machine, config, listener=told.listener)
    recording = told.recording(config.release)
    return Booted(machine, config, recording, outcome.snapshot.wasted_bytes)


def savings(made: Booted) -> Savings:
    """What would help it."""
    rows = [row for row in _rows(made) if row.bytes > 0 or row.uncounted > 0]
    return Savings(made.wasted, tuple(sorted(rows, key=lambda row: (-row.bytes, -row.uncounted))))


def _rows(made: Booted) -> Iterator[Saving]:
    for remedy, release in remedies.better_kernels(made.config.release):
        yield _saving(made, remedy, made.machine, replace(made.config, release=release))
    for remedy, machine, names in _less(made):
        if machine != made.machine:
            yield _saving(made, remedy, machine, made.config, names)


def _less(made: Booted) -> Iterator[tuple[str, Machine, tuple[str, ...]]]:
    machine = made.machine
    once = _with_devices(machine, lambda one: replace(one, count=1) if one.modules else one)
    yield remedies.ONCE_ALIAS, once, _shared(machine)
    failing = {name for name, module in machine.modules.items() if module.fails}
    spared = _with_devices(machine, lambda devices: _without(devices, failing))
    yield remedies.NO_FAILING, spared, tuple(sorted(failing))
    strings = tuple(dict.fromkeys(requests.string for requests in machine.requests))
    yield remedies.NO_KERNEL, replace(machine, requests=()), strings
    looks = replace(machine.userspace, looks_for="coming")
    yield LOOKS, replace(machine, userspace=looks), ()


def _shared(machine: Machine) -> tuple[str, ...]:
    """What more than one device has, the most frequent first."""
    counts: dict[str, int] = {}
    for devices in _devices(machine):
        name, count = devices.alias or devices.name, devices.count or machine.processors
        if name and count > 1 and devices.modules:
            counts[name] = max(count, counts.get(name, 0))
    return tuple(sorted(counts, key=lambda name: (-counts[name], name)))


LOOKS = "udev leaving alone what is on its way"


def _devices(machine: Machine) -> Iterator[Devices]:
    return (devices for coldplug in machine.coldplug for devices in coldplug.devices)


def _without(devices: Devices, names: set[str]) -> Devices:
    return replace(devices, modules=tuple(m for m in devices.modules if m not in names))


def _with_devices(machine: Machine, change: Change) -> Machine:
    coldplug = tuple(
        replace(one, devices=tuple(map(change, one.devices))) for one in machine.coldplug
    )
    return replace(machine, coldplug=coldplug)


def _saving(
    made: Booted, remedy: str, machine: Machine, config: Config, names: tuple[str, ...] = ()
) -> Saving:
    outcome = boot(machine, config)
    left = outcome.snapshot.wasted_bytes
    before = sum(1 for _ in made.recording.items)
    uncounted = remedies.uncounted(made.recording) if remedy == remedies.NO_FAILING else 0
    return Saving(remedy, before - outcome.requests, made.wasted - left, left, uncounted, names)
