"""Which measures there are, and what they are of a source: names, units and labels.

Names and units follow https://prometheus.io/docs/practices/naming/: a prefix, base units, `_total`
for what only grows. Labels have few values: of modules the first so many, the rest is "other".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from loader.engine.stats import Snapshot, UnloadedTainted

OTHER = "other"
LONGEST = 64
"""Characters of a label's value: a kernel's module name has at most 55."""

COUNTER, GAUGE = "counter", "gauge"

_STEPS = ("kread", "decompress", "becoming", "load")
_FAILED = ("failed_kreads", "failed_decompress", "failed_becoming", "failed_load_modules")
_WASTED = (
    "invalid_kread_bytes",
    "invalid_decompress_bytes",
    "invalid_becoming_bytes",
    "invalid_mod_bytes",
)

Labels = tuple[str, ...]


class Measure(NamedTuple):
    """What there is: without `_total`, which a counter's samples have at the end of their name."""

    name: str
    kind: str
    about: str
    labels: Labels = ()


LOADED = Measure("modfs_modules_loaded", COUNTER, "Modules that went live.")
FAILURES = Measure(
    "modfs_module_load_failures", COUNTER, "Loads that failed, by the step at which.", ("step",)
)
WASTED = Measure(
    "modfs_module_load_wasted_bytes",
    COUNTER,
    "Virtual memory that failed loads had taken, by the step at which they failed.",
    ("step",),
)
LOADED_BYTES = Measure(
    "modfs_modules_loaded_bytes", COUNTER, "Memory of the modules that went live."
)
TEXT_BYTES = Measure("modfs_modules_loaded_text_bytes", COUNTER, "Of that, their code.")
DUPLICATES = Measure(
    "modfs_module_duplicate_loads",
    COUNTER,
    "Loads of modules that were there or on their way, by module.",
    ("module",),
)
UNLOADED_TAINTED = Measure(
    "modfs_modules_unloaded_tainted",
    COUNTER,
    "Removals of modules with taints, by module and the taints' letters.",
    ("module", "taints"),
)
WASTED_BY_MODULE = Measure(
    "modfs_module_wasted_bytes",
    COUNTER,
    "Virtual memory that failed loads had taken, by module.",
    ("module",),
)
INIT_FAILURES = Measure(
    "modfs_module_init_failures",
    COUNTER,
    "Loads whose init routine failed, which the kernel counts nowhere.",
    ("module", "error"),
)
NOT_SEEN = Measure(
    "modfs_source_gaps", COUNTER, "What of a recorded kernel was not seen, by kind.", ("gap",)
)
REQUESTS = Measure("modfs_requests", COUNTER, "Requests that the mount has done.")
WAITING = Measure("modfs_requests_waiting", GAUGE, "Requests that somebody waits for now.")
UP = Measure("modfs_source_up", GAUGE, "1 if the source could be read, else 0.")

ALL = (
    UP, LOADED, FAILURES, WASTED, LOADED_BYTES, TEXT_BYTES, DUPLICATES, UNLOADED_TAINTED,
    WASTED_BY_MODULE, INIT_FAILURES, NOT_SEEN, REQUESTS, WAITING,
)  # fmt: skip


@dataclass(slots=True)
class Measured:
    """Samples of one source, by measure. ``top``: how many values of a label are kept."""

    top: int
    samples: dict[Measure, dict[Labels, int]] = field(default_factory=dict)

    def set(self, measure: Measure, value: int, *labels: str) -> None:
        """One sample; what has the same labels is added up."""
        known = self.samples.setdefault(measure, {})
        known[labels] = known.get(labels, 0) + value

    def set_all(self, measure: Measure, values: Mapping[Labels, int]) -> None:
        """Many, of labels that anybody may make up: the most are kept, the rest is one."""
        named: dict[Labels, int] = {}
        for labels, value in values.items():
            key = tuple(map(label, labels))
            named[key] = named.get(key, 0) + value
        ordered = sorted(named.items(), key=lambda item: (-item[1], item[0]))
        self.samples.setdefault(measure, {})
        for labels, value in ordered[: self.top]:
            self.set(measure, value, *labels)
        if rest := ordered[self.top :]:
            self.set(measure, sum(value for _, value in rest), *[OTHER] * len(measure.labels))


def label(text: str) -> str:
    """A label's value: UTF-8, on one line, and not longer than LONGEST."""
    clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in clean)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


def of_snapshot(measured: Measured, snapshot: Snapshot) -> None:
    """What a ``stats`` text has."""
    measured.set(LOADED, snapshot.modcount)
    measured.set(LOADED_BYTES, snapshot.total_mod_size)
    measured.set(TEXT_BYTES, snapshot.total_text_size)
    for step, failed, wasted in zip(_STEPS, _FAILED, _WASTED, strict=True):
        measured.set(FAILURES, getattr(snapshot, failed), step)
        measured.set(WASTED, getattr(snapshot, wasted), step)
    measured.set_all(DUPLICATES, {(row.name,): row.count for row in snapshot.duplicates})


def of_unloaded(measured: Measured, rows: Iterable[UnloadedTainted]) -> None:
    """What ``unloaded_tainted`` has."""
    measured.set_all(UNLOADED_TAINTED, {(row.name, row.taints): row.count for row in rows})
