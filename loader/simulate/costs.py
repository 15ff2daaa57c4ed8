"""How long single operations take on the machine whose boot is simulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

SECONDS = "seconds"
RATE = "bytes a second"
FRACTION = "of 1"


@dataclass(frozen=True, slots=True)
class Costs:
    """How long single operations take on the machine: each with its unit and what it is.

    The defaults are those of a guest with 255 processors. Those marked * were fitted, all at once,
    on its published report and on nothing else (examples/255-vcpu.toml, tools/fit_costs.py,
    docs/simulate.md). Of the others, "here" means measured on a guest with 2 processors (Xeon,
    Linux 6.18) and rounded; the rest are estimates. They matter little: see docs/simulate.md.
    """

    dispatch: Annotated[float, SECONDS, "* udevd hands a device to a worker that is idle."] = 30e-6
    fork: Annotated[
        float, SECONDS, "* udevd starts a worker. All that udevd does is one after the other."
    ] = 1.2e-3
    rules: Annotated[
        float, SECONDS, "A worker applies its rules up to the one that loads modules."
    ] = 100e-6
    look: Annotated[
        float, SECONDS, "kmod reads one initstate; the three system calls alone take 2 µs here."
    ] = 20e-6
    open: Annotated[
        float, SECONDS, "From there to finit_module: dependencies looked up, the file opened."
    ] = 60e-6
    helper: Annotated[
        float,
        SECONDS,
        "The kernel starts modprobe for a request, up to its first look: 2.4 ms here.",
    ] = 2.5e-3
    read: Annotated[
        float, RATE, "Copy a file from the page cache to fresh memory: 2.6 to 3.2 GB/s here."
    ] = 2e9
    shared_read: Annotated[
        float,
        RATE,
        "* The same for all readers of one file together: they all count on the same pages.",
    ] = 6.5e9
    check: Annotated[
        float,
        RATE,
        "Check signature and tables: 0.8 GB/s here for SHA-512, 1.9 for SHA-256 (openssl speed).",
    ] = 1e9
    form: Annotated[
        float,
        SECONDS,
        "From its place in the list to its init: symbols, relocations, permissions, sysfs.",
    ] = 100e-6
    self_test: Annotated[
        float, SECONDS, "* The kernel tests one algorithm that a crypto module's init registers."
    ] = 7.2e-3
    visit: Annotated[
        float,
        SECONDS,
        "Init does something on one processor (cpuhp_setup_state): there and back between two "
        "processes takes 40 µs here.",
    ] = 30e-6
    settle: Annotated[
        float,
        SECONDS,
        "* From Live, as sysfs shows it, to the loader's return and to the wake-up of those "
        "who wait. do_init_module first waits for all probes that are under way "
        "(async_synchronize_full).",
    ] = 18e-3
    shootdown: Annotated[
        float,
        SECONDS,
        "* For each processor, at most, until one that was woken is back in userspace. It "
        "gives memory back, and every processor has to be interrupted to forget where that "
        "was (flush_tlb_kernel_range). Half of it on average.",
    ] = 95e-6
    free: Annotated[float, RATE, "Give memory back, besides. One after the other."] = 100e9
    decompress_zstd: Annotated[
        float, RATE, "Unpacked bytes a second of one processor, here, for modules of Debian."
    ] = 1000e6
    decompress_gzip: Annotated[float, RATE, "The same."] = 400e6
    decompress_xz: Annotated[float, RATE, "The same."] = 80e6
    jitter: Annotated[
        float, FRACTION, "Times that nobody shares are longer or shorter by up to this fraction."
    ] = 0.05

    def decompress(self, compression: str) -> float:
        """Unpacked bytes a second for one of loader.packings.NAMES."""
        rates = {
            "zstd": self.decompress_zstd,
            "gzip": self.decompress_gzip,
            "xz": self.decompress_xz,
        }
        return rates[compression]


# A guest such as the one whose report was published.
GUEST = Costs()

# Real hardware. Nothing is fitted here; these are estimates of their order: forks and copies of a
# large server, an interrupt that no hypervisor has to pass on, cpuhp that goes from socket to
# socket, tests of algorithms that nothing interrupts, no probe under way that a load waits for.
SERVER = replace(
    GUEST,
    fork=150e-6,
    read=4e9,
    shared_read=20e9,
    self_test=1e-3,
    visit=100e-6,
    settle=100e-6,
    shootdown=2e-6,
)

# Compressed bytes of a byte of module: 150 modules of Debian's kernel 6.1, at the levels that
# kernels are built with (scripts/Makefile.modinst).
RATIOS: Mapping[str, float] = {"zstd": 0.233, "gzip": 0.274, "xz": 0.209}
