"""How long single operations take on the machine whose boot is simulated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, get_type_hints

SECONDS = "seconds"
RATE = "bytes a second"
FRACTION = "of 1"


@dataclass(frozen=True, slots=True)
class Costs:
    """How long single operations take, on a processor of speed 1: each with its unit.

    Those marked * are fitted, all at once, on boots that were recorded and reports that were
    published (tools.fit, docs/simulate.md). "Recorded" means measured in emulated guests and
    multiplied by their speed, 0.03; "here" on a guest with 2 processors (Xeon, Linux 6.18). The
    rest are estimates, and matter little.
    """

    dispatch: Annotated[float, SECONDS, "udevd hands a device to a worker that is idle."] = 10e-6
    fork: Annotated[float, SECONDS, "* udevd starts a worker."] = 85e-6
    rules: Annotated[
        float, SECONDS, "* A worker applies its rules up to the one that loads modules."
    ] = 2.5e-3
    look: Annotated[float, SECONDS, "kmod reads one initstate."] = 15e-6
    open: Annotated[
        float, SECONDS, "From there to finit_module: dependencies looked up, the file opened."
    ] = 60e-6
    helper: Annotated[
        float,
        SECONDS,
        "The kernel starts modprobe for a request, up to its first look: 2.4 ms here.",
    ] = 2.5e-3
    read: Annotated[
        float, RATE, "Copy from the page cache to fresh memory: 2.6 to 3.2 GB/s here."
    ] = 2e9
    verify: Annotated[float, SECONDS, "Check a signature, whatever is signed. Recorded."] = 50e-6
    check: Annotated[float, RATE, "Check what is signed (SHA-512), and tables. Recorded."] = 1e9
    form: Annotated[float, SECONDS, "* From its place in the list to its init, at least."] = 180e-6
    relocate: Annotated[float, RATE, "The same, by the size of the file."] = 1e9
    init: Annotated[float, SECONDS, "An init of which nothing is known."] = 100e-6
    self_test: Annotated[
        float, SECONDS, "* The kernel tests one algorithm that a crypto module's init registers."
    ] = 0.9e-3
    visit: Annotated[
        float, SECONDS, "Init does something on one processor (cpuhp_setup_state)."
    ] = 20e-6
    broadcast: Annotated[
        float, SECONDS, "* For each processor: all are interrupted to forget a mapping."
    ] = 0.056e-6
    back: Annotated[
        float, SECONDS, "It looks the module up, gives its file's memory back, and returns."
    ] = 50e-6
    decompress_zstd: Annotated[
        float, RATE, "Unpacked bytes a second of one processor, here, for modules of Debian."
    ] = 1000e6
    decompress_gzip: Annotated[float, RATE, "The same."] = 400e6
    decompress_xz: Annotated[float, RATE, "The same."] = 80e6
    turn: Annotated[
        float, SECONDS, "One computes before another has its turn, where processors are few."
    ] = 4e-3
    jitter: Annotated[
        float, FRACTION, "* Each time is longer or shorter by about this fraction."
    ] = 0.16
    unknown: Annotated[
        float, FRACTION, "Each of these is, on a machine that nobody measured, by about this."
    ] = 0.8

    def decompress(self, compression: str) -> float:
        """Unpacked bytes a second for one of loader.packings.NAMES."""
        rates = {
            "zstd": self.decompress_zstd,
            "gzip": self.decompress_gzip,
            "xz": self.decompress_xz,
        }
        return rates[compression]

    def on(self, speed: float, factor: Callable[[], float]) -> Costs:
        """Those of a machine of ``speed``; ``factor()``: how far each is off what is known."""
        changed = {}
        for field in fields(Costs):
            if field.name in ("turn", "jitter", "unknown"):
                continue
            value = getattr(self, field.name) * factor()
            changed[field.name] = value * speed if UNITS[field.name] == RATE else value / speed
        return replace(self, **changed)


UNITS: Mapping[str, str] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(Costs, include_extras=True).items()
}

# Compressed bytes of a byte of module: 150 modules of Debian's kernel 6.1, at the levels that
# kernels are built with (scripts/Makefile.modinst).
RATIOS: Mapping[str, float] = {"zstd": 0.233, "gzip": 0.274, "xz": 0.209}
