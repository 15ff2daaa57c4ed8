"""The machine file of what was seen, as TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from loader.documents.document import MANY
from loader.simulate.machine import PROCESSORS_MOST, DescribedModule
from modfs.machine.devices import Device
from modfs.machine.seen import Init, Pass, Seen
from modfs.machine.tree import Loaded, Lookup

_NAME = re.compile(r"[A-Za-z0-9_]{1,55}")
_NO_TREE = (
    "tree: none was there, so modules are not known; modfs simulate FILE --modules TREE looks"
    " modaliases up"
)
# How it is known what a module takes whose file was not there.
_SOURCES = {
    "estimated": "# estimated: by its size in /proc/modules, as it is with modules of Debian's.",
    "recorded": "# recorded: what its load took; of its code, where that was not seen, a third.",
}
_SHOWN = 100  # characters of a line of comment


@dataclass(slots=True)
class Entry:
    """Devices one after the other that ask for the same. ``of_processors``: the folder of those
    that there is one of for each processor."""

    modules: tuple[str, ...]
    alias: str | None
    name: str
    of_processors: str = ""
    count: int = 1


@dataclass(slots=True)
class MachineText:
    """What will be written. ``lookup`` None: there is no tree, so modaliases stay as they are."""

    seen: Seen
    lookup: Lookup | None = None
    coldplugs: list[tuple[str, list[Entry]]] = field(default_factory=list)
    loaded: Loaded | None = None

    def __post_init__(self) -> None:
        asked = [(each, [self._asked_by(one) for one in each.devices]) for each in self.seen.passes]
        if self.lookup is not None:
            names = dict.fromkeys(n for _, lists in asked for names in lists for n in names)
            self.loaded = self.lookup.loaded(names, self.seen)
        for each, lists in asked:
            self.coldplugs.append((each.name, list(self._entries(each, lists))))

    def _asked_by(self, device: Device) -> tuple[str, ...]:
        if device.alias is None or self.lookup is None:
            return ()
        return self.lookup.asked_for(device.alias)

    def _entries(self, each: Pass, lists: Sequence[tuple[str, ...]]) -> Iterator[Entry]:
        current: Entry | None = None
        for device, asked in zip(each.devices, lists, strict=True):
            names = tuple(filter(self._is_known, asked))
            alias = device.alias if names or self.lookup is None else None
            folder = device.folder if device.is_processor else ""
            entry = Entry(names, alias, device.kind, folder)
            if current and _is_alike(current, entry) and current.count < MANY:
                current.count += 1
            else:
                if current:
                    yield current
                current = entry
        if current:
            yield current

    def _is_known(self, name: str) -> bool:
        return self.loaded is None or name in self.loaded.modules

    # -- the text ---------------------------------------------------------------------------------

    def text(self) -> str:
        """The file."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield from self._head()
        yield from self._kernel()
        yield from self._userspace()
        for name, entries in self.coldplugs:
            yield from ("", "[[coldplug]]", f"name = {_toml(name)}")
            for entry in entries:
                yield from ("", "[[coldplug.devices]]", *self._entry(entry))
        if not self.coldplugs:
            yield from ("", "[[coldplug]] # no device was seen")
        yield from self._modules()

    def _head(self) -> Iterator[str]:
        yield f"# {_comment(self.seen.source)}, written by modfs machine."
        notes = list(self.seen.notes)
        if self.lookup is None:
            notes.append(_NO_TREE)
        elif self.loaded:
            missing = self.loaded.missing
            notes += [f"{name}: left out: {why}" for name, why in sorted(missing.items())]
        if notes:
            yield "#"
            yield "# What was not seen, and what to know:"
            yield from (f"# - {_comment(note)}" for note in notes)
        yield ""

    def _kernel(self) -> Iterator[str]:
        seen = self.seen
        processors = seen.processors
        if processors is None:
            yield "processors = 1 # not seen"
        elif processors > PROCESSORS_MOST:
            yield f"processors = {PROCESSORS_MOST} # of {processors}: Linux has no more"
        else:
            yield f"processors = {processors}"
        yield f"memory = {seen.memory}" if seen.memory else "# memory: not seen"
        if seen.speed is not None:
            yield f"speed = {seen.speed:.2f} # SHA-512, measured"
        if seen.host_processors:
            yield f"host_processors = {seen.host_processors}"
        kernel = seen.kernel()
        if kernel is None:
            yield "# kernel: not seen"
        elif kernel[1]:
            yield f"kernel = {_toml(kernel[0])} # {_comment(seen.release or '')} is older"
            yield f"without = {_toml(kernel[1])}"
        else:
            yield f"kernel = {_toml(seen.release)}"
        if self.loaded:
            yield f"compression = {_toml(self.loaded.compression)}"

    def _userspace(self) -> Iterator[str]:
        lines = []
        if self.seen.workers:
            lines.append(f"workers = {self.seen.workers} # children_max")
        if self._userspace_unpacks():
            lines.append('call = "init_module" # this kernel does not unpack such files itself')
        if lines:
            yield from ("", "[userspace]", *lines)

    def _userspace_unpacks(self) -> bool:
        if self.lookup is None or self.loaded is None or self.loaded.compression == "none":
            return False
        return self.lookup.unpacks() not in (None, self.loaded.compression)

    def _entry(self, entry: Entry) -> Iterator[str]:
        if entry.name:
            yield f"name = {_toml(entry.name)}"
        if self._scales(entry):
            listed = "" if entry.count == self.seen.processors else f" # listed were {entry.count}"
            yield f'count = "processors"{listed}'
        elif entry.count > 1:
            yield f"count = {entry.count}"
        if entry.alias is not None:
            yield f"alias = {_toml(entry.alias)}"
        yield f"modules = {_toml(entry.modules)}"

    def _scales(self, entry: Entry) -> bool:
        """Is there one for each processor? ACPI has more where more could be plugged in; a list of
        devices may have been cut short, but no processor is without one of its own."""
        if not entry.of_processors or self.seen.processors is None:
            return False
        if entry.of_processors == "/devices/system/cpu":
            return entry.count <= self.seen.processors
        return entry.count == self.seen.processors

    def _modules(self) -> Iterator[str]:
        if self.loaded is None or not self.loaded.modules:
            return
        yield from ("", "[modules]")
        for source in sorted(set(self.loaded.sources.values())):
            yield _SOURCES[source]
        for name, module in sorted(self.loaded.modules.items()):
            source = self.loaded.sources.get(name, "")
            note = f" # {source}" if source else ""
            init = self.seen.inits.get(name, Init())
            yield f"{name} = {_inline(self._fields(module, init))}{note}"

    def _fields(self, module: DescribedModule, init: Init) -> dict[str, Any]:
        layout = module.layout
        assert self.loaded is not None
        depends = [name for name in module.depends if name in self.loaded.modules]
        fields = {
            "size": module.size,
            "compressed": module.compressed,
            "memory": layout.total,
            "text": layout.text,
            "init_memory": layout.init,
            "depends": depends or None,
            "seconds": None if init.seconds is None else round(init.seconds, 6),
            "fails": init.errno_name or None,
        }
        return {key: value for key, value in fields.items() if value is not None}


def _is_alike(one: Entry, other: Entry) -> bool:
    """Are they one entry? Those that ask for nothing are, whatever they are, but for processors."""
    if one.of_processors != other.of_processors or one.modules != other.modules:
        return False
    if one.of_processors or one.alias or other.alias:
        return one.alias == other.alias
    one.name = one.name if one.name == other.name else ""
    return True


def _inline(fields: dict[str, Any]) -> str:
    return "{ " + ", ".join(f"{key} = {_toml(value)}" for key, value in fields.items()) + " }"


def _toml(value: object) -> str:
    """A value; JSON's strings are TOML's, for what is printable."""
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str) -> str:
    """On one line, and not all of what is long."""
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return clean if len(clean) <= 2 * _SHOWN else f"{clean[: 2 * _SHOWN]}…"
