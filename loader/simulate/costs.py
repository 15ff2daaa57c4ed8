"""How long single operations take on the machine whose boot is simulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Costs:
    """How long single operations take on the machine. Seconds, or bytes a second.

    The defaults are those of a guest with 255 processors. Those marked * were fitted, all at once,
    on its published report and on nothing else (examples/255-vcpu.toml, tools/fit_costs.py,
    docs/simulate.md). Of the others, "here" means measured on a guest with 2 processors (Xeon,
    Linux 6.18) and rounded; the rest are estimates. They matter little: see docs/simulate.md.
    """

    dispatch: float = 30e-6
    """* udevd hands a device to a worker that is idle."""
    fork: float = 1.2e-3
    """* udevd starts a worker. All that udevd does is one after the other."""
    rules: float = 100e-6
    """A worker applies its rules up to the one that loads modules."""
    look: float = 20e-6
    """kmod reads one initstate; the three system calls alone take 2 µs here."""
    open: float = 60e-6
    """From there to finit_module: dependencies looked up, the file opened."""
    read: float = 2e9
    """Copy a file from the page cache to fresh memory: 2.6 to 3.2 GB/s here."""
    shared_read: float = 6.5e9
    """* The same for all readers of one file together: they all count on the same pages."""
    check: float = 1e9
    """Check signature and tables: 0.8 GB/s here for SHA-512, 1.9 for SHA-256 (openssl speed)."""
    form: float = 100e-6
    """From its place in the list to its init: symbols, relocations, permissions, sysfs."""
    self_test: float = 7.2e-3
    """* The kernel tests one algorithm that a crypto module's init registers."""
    visit: float = 30e-6
    """Init does something on one processor (cpuhp_setup_state): there and back between two
    processes takes 40 µs here."""
    settle: float = 18e-3
    """* From Live, as sysfs shows it, to the loader's return and to the wake-up of those who wait.

    do_init_module first waits for all probes that are under way (async_synchronize_full)."""
    shootdown: float = 95e-6
    """* For each processor, at most, until one that was woken is back in userspace.

    It gives memory back, and every processor has to be interrupted to forget where that was
    (flush_tlb_kernel_range). Half of it on average."""
    free: float = 100e9
    """Give memory back, besides. One after the other."""
    decompress_zstd: float = 1000e6
    """Unpacked bytes a second of one processor, here, for modules of Debian; so the next two."""
    decompress_gzip: float = 400e6
    decompress_xz: float = 80e6
    jitter: float = 0.05
    """Times that nobody shares are longer or shorter by up to this fraction."""

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
