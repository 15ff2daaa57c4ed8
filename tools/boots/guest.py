"""A guest that boots once: QEMU, with emulated processors, and what it printed."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from modfs.tracing.hook import hook
from tools.boots.probes import RULES, script
from tools.boots.root import lay_out
from tools.record.debian import Kernel

QEMU = "qemu-system-x86_64"
_MACHINE = ("-accel", "tcg", "-cpu", "max", "-nographic", "-no-reboot", "-net", "none")
# Locks are told by their addresses. (The option hash-ptr of tracefs shows them as well, but on 6.1
# the text of a trace loses all tasks' names by it, and some lines.)
COMMAND_LINE = (
    "console=ttyS0 loglevel=1 panic=-1 nokaslr mitigations=off no_timer_check no_hash_pointers"
)
_INIT = Path(__file__).with_name("init.sh")
_MORE_SECONDS = 400  # for what comes before udevd, and for the console


@dataclass(frozen=True, slots=True)
class Booted:
    """What a boot came to. ``printed``: by the guest, between its marks. ``seconds``: from QEMU's
    start to its end; ``used``: processor seconds of QEMU; ``loads``: of this machine, before and
    after (over a minute)."""

    printed: str
    seconds: float
    used: float
    loads: tuple[float, float]


class Guest:
    """One kernel with its root, for several boots."""

    def __init__(self, kernel: Kernel, folder: Path) -> None:
        """``folder`` is made anew. RuntimeError: see tools.boots.root.lay_out."""
        self.kernel = kernel
        self.folder = folder
        self.root = folder / "root"
        shutil.rmtree(folder, ignore_errors=True)
        lay_out(kernel, self.root)
        (self.root / "hook.sh").write_text(hook())
        (self.root / "more.sh").write_text(script())
        for name, rule in RULES.items():
            (self.root / f"lib/udev/rules.d/{name}.rules").write_text(rule)

    @property
    def tree(self) -> Path:
        """The modules as the guest has them."""
        return self.root / "lib/modules" / self.kernel.release

    def boot(
        self, processors: int, memory: int, more: str = "", blacklist: str = "", timeout: int = 180
    ) -> Booted:
        """Boot it. ``memory`` in MiB; ``more``: of the kernel's command line; ``timeout``: seconds
        for udevadm settle. RuntimeError: it did not get to its end."""
        self._write(blacklist, timeout)
        initrd = self.folder / "initrd"
        with initrd.open("wb") as file:
            packing = ["sh", "-c", "find . | cpio -o -H newc --quiet"]
            subprocess.run(packing, cwd=self.root, stdout=file, check=True)
        command = [
            *("timeout", str(timeout + _MORE_SECONDS), QEMU, *_MACHINE),
            *("-m", str(memory), "-smp", str(processors)),
            *("-kernel", str(self.kernel.image), "-initrd", str(initrd)),
            *("-append", f"{COMMAND_LINE} {more}".strip()),
        ]
        before, begun, used = os.getloadavg()[0], time.monotonic(), _used()
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        seconds = time.monotonic() - begun
        printed = _between_marks(done.stdout.decode("utf-8", "replace"))
        return Booted(printed, seconds, _used() - used, (before, os.getloadavg()[0]))

    def _write(self, blacklist: str, timeout: int) -> None:
        init = self.root / "init"
        init.write_text(_INIT.read_text().replace("@TIMEOUT@", str(timeout)))
        init.chmod(0o755)
        lines = [f"blacklist {name}\n" for name in blacklist.split()]
        (self.root / "etc/modprobe.d/boots.conf").write_text("".join(lines))


def _between_marks(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "")
    _, begun, rest = text.partition("@BEGIN\n")
    printed, over, _ = rest.partition("@OVER\n")
    if not over:
        raise RuntimeError(f"the guest ended early:\n{(rest if begun else text)[-4000:]}")
    return printed


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def qemu_release() -> str:
    """QEMU's version, such as 7.2.22."""
    told = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"version (\S+)", told.stdout)
    return found[1] if found else told.stdout.split("\n")[0]
