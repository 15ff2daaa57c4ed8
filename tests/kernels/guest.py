"""A guest: a kernel with an initramfs that holds busybox, Python, modfs and modules; under QEMU.

Emulated (TCG): /dev/kvm is on some machines there and does not work. What a guest is to do is a
shell script; all that it prints comes back as text.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from loader.kconfig import find_kconfig
from tests.conftest import PROJECT
from tools.record.debian import Kernel

_NOT_NEEDED = ("test", "idlelib", "tkinter", "ensurepip", "lib2to3", "site-packages", "turtledemo",
               "pydoc_data", "unittest")  # fmt: skip
_PACKAGES = ("click", "fuse.py", "msgspec", "elftools", "simpy", "zstandard", "cffi",
             "_cffi_backend*")  # fmt: skip
_PROGRAMS = ("fusermount", "ldconfig")
_SECONDS = 900  # for a boot on a busy machine; one takes 30 to 60
_COUNTED_SECONDS = 1500

_INIT = r"""#!/bin/sh
export PATH=/bin:/sbin HOME=/ PYTHONHOME=@HOME@ PYTHONPATH=/modfs LC_ALL=C.UTF-8
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev
mkdir -p /dev/pts /mnt /tmp; mount -t tmpfs none /tmp
mount -t tracefs none /sys/kernel/tracing; mount -t debugfs none /sys/kernel/debug
[ -e /m/fuse.ko ] && insmod /m/fuse.ko
echo "@""BEGIN"
modfs() { python3 -m modfs "$@"; }
. /script
echo "@""OVER"
reboot -f
"""


class Guest:
    """What is in the initramfs; ``run`` boots it."""

    def __init__(self, kernel: Kernel, modules: Iterable[str], folder: Path) -> None:
        """``modules``: names of those that stand in /m, unpacked, with what they depend on."""
        self.kernel = kernel
        self.root = folder / "root"
        self.folder = folder
        for name in ("bin", "sbin", "proc", "sys", "dev", "m", "lib", "lib64", "etc", "run"):
            (self.root / name).mkdir(parents=True)
        self._busybox()
        self._python()
        self.modules = {name: self._module(name) for name in modules}
        if any(kernel.modules.rglob("fuse.ko*")):  # else it is in the kernel itself
            self._module("fuse")

    def _busybox(self) -> None:
        busybox = shutil.which("busybox")
        assert busybox
        shutil.copy(busybox, self.root / "bin/busybox")
        applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
        for applet in {*applets.stdout.split()} - {"busybox"}:
            (self.root / "bin" / applet).symlink_to("busybox")
        (self.root / "sbin/modprobe").symlink_to("/bin/busybox")  # kernel.modprobe

    def _python(self) -> None:
        """The interpreter that runs this test, its library, the packages, modfs itself."""
        real = Path(sys.executable).resolve()
        self._program(real, "bin/python3")
        library = Path(sysconfig.get_path("stdlib"))
        ignore = shutil.ignore_patterns(*_NOT_NEEDED, "*.a", "config-*")
        shutil.copytree(library, self.root / library.relative_to("/"), ignore=ignore, symlinks=True)
        home = self.root / "modfs"
        for name in ("loader", "modfs"):
            shutil.copytree(PROJECT / name, home / name)
        site = Path(sysconfig.get_path("purelib"))
        for pattern in _PACKAGES:
            for path in site.glob(pattern):
                (shutil.copytree if path.is_dir() else shutil.copy2)(path, home / path.name)
        for path in self.root.rglob("*.so"):
            self._libraries(path)
        for name in ("libfuse.so.2", "libgcc_s.so.1"):  # loaded when they are needed
            path = next(Path("/").glob(f"*lib/x86_64-linux-gnu/{name}"), None) or next(
                Path("/usr/lib/x86_64-linux-gnu").glob(name)
            )
            self._file(path, str(path))
        for name in _PROGRAMS:
            found = shutil.which(name, path=f"{os.environ['PATH']}:/sbin:/usr/sbin")
            if found:
                (self.root / "bin" / name).unlink(missing_ok=True)
                self._program(Path(found), f"bin/{name}")
        self.home = str(library.parent.parent)

    def _program(self, path: Path, name: str) -> None:
        self._file(path, name)
        self._libraries(path)

    def _libraries(self, path: Path) -> None:
        told = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+)", told):
            self._file(Path(library), library)

    def _file(self, path: Path, name: str) -> None:
        place = self.root / name.lstrip("/")
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path.resolve(), place)

    def _module(self, name: str) -> Path:
        """Unpack a module into /m; its path there."""
        (path,) = self.kernel.modules.rglob(f"{name}.ko*")
        data = path.read_bytes()
        place = self.root / "m" / f"{name}.ko"
        place.write_bytes(lzma.decompress(data) if path.suffix == ".xz" else data)
        return place

    def lay_out_tree(self, names: Iterable[str]) -> None:
        """Some of the kernel's modules, as packed as they are, in /lib/modules, and its
        configuration where Debian has it."""
        modules = self.kernel.modules
        place = self.root / "lib/modules" / self.kernel.release / "kernel"
        place.mkdir(parents=True)
        for name in names:
            for path in modules.rglob(f"{name}.ko*"):
                shutil.copy(path, place)
        config = find_kconfig(modules)
        assert config
        (self.root / "boot").mkdir()
        shutil.copy(config, self.root / f"boot/config-{self.kernel.release}")

    def compile(self, source: Path, name: str) -> None:
        """A program in C, as /bin/NAME."""
        subprocess.run(
            ["gcc", "-O2", "-static", "-o", self.root / "bin" / name, source], check=True
        )

    def run(
        self,
        script: str,
        processors: int = 2,
        memory: int = 1500,
        counted: bool = False,
        more: str = "",
    ) -> str:
        """Boot, run ``script`` with /bin/sh, and give what it printed. RuntimeError: it did not
        get to its end.

        ``counted``: a nanosecond there is an instruction, so that times do not depend on what else
        this machine does. ``more``: of the kernel's command line.
        """
        (self.root / "script").write_text(script)
        init = self.root / "init"
        init.write_text(_INIT.replace("@HOME@", self.home))
        init.chmod(0o755)
        image = self.folder / "initrd"
        packing = "find . | cpio -o -H newc --quiet | gzip -1"
        with image.open("wb") as file:
            subprocess.run(["sh", "-c", packing], cwd=self.root, stdout=file, check=True)
        command = [
            *("timeout", str(_COUNTED_SECONDS if counted else _SECONDS)),
            *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max"),
            *(("-icount", "shift=0,sleep=off") if counted else ()),
            *("-m", str(memory), "-smp", str(processors), "-nographic", "-no-reboot"),
            *("-kernel", str(self.kernel.image), "-initrd", str(image), "-append"),
            f"console=ttyS0 loglevel=1 panic=-1 nokaslr mitigations=off no_timer_check {more}",
        ]
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
        text = done.stdout.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "")
        _, begun, rest = text.partition("@BEGIN\n")
        printed, over, _ = rest.partition("@OVER\n")
        if not over:
            raise RuntimeError(f"the guest ended early:\n{(rest if begun else text)[-4000:]}")
        return printed
