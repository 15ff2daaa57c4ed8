"""Run the loading cases of kmod's own test suite with `modfs run` for a kernel.

    .venv/bin/python -m tools.kmod_suite KMOD KERNEL              under modfs run
    .venv/bin/python -m tools.kmod_suite KMOD KERNEL --booted     also in that kernel, under QEMU

KMOD is a folder of kmod's sources (34 or later), KERNEL one in which a kernel has been built, such
as those of `make record KERNEL=source:6.12`: the suite's modules are built for it. kmod is built in
a folder of its own that is gone afterwards, with its libraries that stand for init_module(2) and
delete_module(2) replaced by empty ones. Those for paths and for uname(2) stay, and /sys/module and
/proc/modules are put where these look for them. As root, with meson, ninja, gcc and the headers of
zlib, liblzma, libzstd and libcrypto; QEMU, cpio and busybox for --booted.

A line for each case: the suite's verdict, the program's exit status, what is loaded then.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROGRAMS = ("test-init", "test-remove", "test-modprobe", "test-weakdep")
CASE = re.compile(r"DEFINE_TEST(?:_WITH_FUNC)?\(\s*(\w+)(.*?)\);", re.DOTALL)
LOADS = re.compile(r"TC_(INIT|DELETE)_MODULE_RETCODES")
ROOT = re.compile(r"\[TC_ROOTFS\]\s*=\s*TESTSUITE_ROOTFS\s*\"([^\"]*)\"")
UNAME = re.compile(r"\[TC_UNAME_R\]\s*=\s*\"([^\"]*)\"")
FIRST = {("test-init", "test_remove"): "mod-simple"}
"""What is loaded already there, as files of the suite's pretend."""
OPTIONS = ("-Dbuild-tests=true", "-Dmanpages=false", "-Dmbedtls=disabled", "-Ddlopen=[]")
REPLACED = ("init_module", "delete_module")
SECONDS = 900  # for a boot and all cases, on a busy machine
# $1 the build, $2 the program, $3 the case, $4 its root, $5 uname -r, $6 what is loaded first
SCRIPT = r"""
root=$1/testsuite/rootfs/$4
mkdir -p "$root/sys/module" "$root/proc"
[ -e "$root/proc/modules" ] || : >"$root/proc/modules"
touch "$1/testsuite/stamp-rootfs"
mount -o bind /sys/module "$root/sys/module"
mount -o bind /proc/modules "$root/proc/modules"
first() { [ -z "$6" ] || "$1/insmod" "$1/testsuite/module-playground/$6.ko"; }
empty() { while read -r name rest; do "$1/rmmod" "$name"; done </proc/modules; }
first "$@"
echo "== $2 $3"
(
    export TESTSUITE_ROOTFS="$root/" MODPROBE="$1/modprobe"
    LD_PRELOAD="$1/testsuite/path.so"
    if [ "$5" ]; then
        export TESTSUITE_UNAME_R="$5"
        LD_PRELOAD="$LD_PRELOAD $1/testsuite/uname.so"
    fi
    export LD_PRELOAD
    exec "$1/testsuite/$2" -n "$3"
)
echo "status $?"
echo "modules" $(cut -d' ' -f1 /proc/modules)
empty "$@"
if [ -z "$BOOTED" ]; then
    first "$@"
    "$1/testsuite/$2" "$3" | grep -E 'PASSED|FAILED|not loaded|should not'
fi
umount "$root/sys/module" "$root/proc/modules"
"""


class Case(NamedTuple):
    """One of the suite's. ``root``: below its rootfs; ``uname``: what uname -r says, or ""."""

    program: str
    name: str
    root: str
    uname: str


class Came(NamedTuple):
    """Of a case: the exit status, what is loaded then, the symbols that the kernel told it missed,
    and the suite's verdict if that was asked."""

    status: int
    modules: tuple[str, ...]
    missing: tuple[str, ...]
    verdict: str = ""


def cases(sources: Path) -> Iterator[Case]:
    """Those that load or remove modules."""
    for program in PROGRAMS:
        for name, text in CASE.findall((sources / f"testsuite/{program}.c").read_text()):
            if LOADS.search(text):
                root, uname = ROOT.search(text), UNAME.search(text)
                yield Case(program, name, root[1] if root else "", uname[1] if uname else "")


def built(sources: Path, kernel: Path, folder: Path) -> Path:
    """kmod and its suite, with the suite's own results printed. CalledProcessError."""
    build = folder / "build"
    environment = os.environ | {"KDIR": str(kernel)}

    def run(*words: str | Path) -> None:
        with (folder / "log").open("a") as log:
            subprocess.run(words, check=True, env=environment, stdout=log, stderr=log)

    run("meson", "setup", *OPTIONS, build, sources)
    run("ninja", "-C", build)
    try:
        run("meson", "test", "-C", build)
        print("kmod's suite with its own stand-ins: passed")
    except subprocess.CalledProcessError:
        print("kmod's suite with its own stand-ins: failed")
    shutil.rmtree(build / "testsuite/rootfs")
    run("ninja", "-C", build, "testsuite/stamp-rootfs")
    for name in REPLACED:
        run("gcc", "-shared", "-x", "c", os.devnull, "-o", build / f"testsuite/{name}.so")
    return build


def words(build: Path, case: Case) -> list[str]:
    """The script's arguments."""
    return [str(build), *case, FIRST.get((case.program, case.name), "")]


def came(text: str) -> Came:
    """What the script and then the kernel have said of a case."""
    status = re.search(r"^status (\d+)$", text, re.MULTILINE)
    modules = re.search(r"^modules(.*)$", text, re.MULTILINE)
    if status is None or modules is None:
        raise SystemExit(f"a case did not come to its end:\n{text}")
    missing = dict.fromkeys(re.findall(r"(\w+: Unknown symbol .*)", text))
    verdict = re.search(r"(PASSED|FAILED)", text)
    return Came(
        int(status[1]), tuple(modules[1].split()), tuple(missing), verdict[1] if verdict else ""
    )


def under_modfs(build: Path, case: Case, kernel: Path) -> tuple[Came, str]:
    """What came of it, and all that was printed."""
    modfs = str(Path(sys.executable).with_name("modfs"))
    release = (kernel / "include/config/kernel.release").read_text().strip()
    options = ["--kernel", release, "--config", kernel / ".config", "--compression", "none"]
    options += ["--symbols", kernel / "Module.symvers"]
    script = f"{SCRIPT}\ncat /sys/kernel/debug/modules/kmsg"
    command = [modfs, "run", *map(str, options), "--", "sh", "-c", script, "sh"]
    done = subprocess.run([*command, *words(build, case)], capture_output=True, text=True)
    said = done.stdout + done.stderr
    return came(said), said


# -- in the kernel itself -------------------------------------------------------------------------


def libraries(programs: list[Path]) -> set[str]:
    """All that these are linked with."""
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    return {path for path in re.findall(r"(/\S+\.so\S*)(?: \(|:)", said) if not Path(path).is_dir()}


def booted(build: Path, wanted: list[Case], kernel: Path, folder: Path) -> list[Came]:
    """What comes of them there, in one boot."""
    root = folder / "root"
    place = Path(f"{root}{build}")
    shutil.copytree(build, place, symlinks=True, ignore=shutil.ignore_patterns("*.p", "meson-*"))
    programs = [build / "kmod", *(build / "testsuite" / name for name in PROGRAMS)]
    for library in libraries([*programs, build / "testsuite/path.so"]):
        target = Path(f"{root}{library}")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    for name in ("bin", "proc", "sys", "dev"):
        (root / name).mkdir(exist_ok=True)
    shutil.copy(shutil.which("busybox") or "busybox", root / "bin/busybox")
    (root / "bin/sh").symlink_to("busybox")
    script = ["/bin/busybox --install -s /bin", "export BOOTED=1 PATH=/bin"]
    script += ["mount -t proc none /proc", "mount -t sysfs none /sys"]
    script += [f"case_() {{\n{SCRIPT}\n}}"]
    for case in wanted:
        quoted = " ".join(f"'{word}'" for word in words(build, case))
        script.append(f"case_ {quoted} 2>&1\ndmesg -c | grep 'Unknown symbol'")
    (root / "cases.sh").write_text("\n".join([*script, "poweroff -f", ""]))
    with (folder / "initrd").open("wb") as file:
        packing = ["sh", "-c", "find . | cpio -o -H newc --quiet | gzip -1"]
        subprocess.run(packing, cwd=root, stdout=file, check=True)
    said = subprocess.run(
        [
            *("timeout", str(SECONDS), "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max"),
            *("-m", "1000", "-display", "none", "-no-reboot", "-net", "none", "-serial", "stdio"),
            *("-kernel", kernel / "arch/x86/boot/bzImage", "-initrd", folder / "initrd"),
            "-append",
            "console=ttyS0 no_timer_check loglevel=1 panic=-1 rdinit=/bin/busybox -- sh /cases.sh",
        ],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
    ).stdout  # fmt: skip
    parts = said.replace("\r", "").split("== ")[1:]
    if len(parts) != len(wanted):
        raise SystemExit(f"{len(parts)} of {len(wanted)} cases came to be:\n{said[-4000:]}")
    return [came(part) for part in parts]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("kmod", type=Path)
    parser.add_argument("kernel", type=Path)
    parser.add_argument("--booted", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="print all that is said")
    given = parser.parse_args()
    sources, kernel = given.kmod.resolve(), given.kernel.resolve()
    with tempfile.TemporaryDirectory(prefix="modfs-kmod-") as name:
        folder = Path(name)
        try:
            build = built(sources, kernel, folder)
        except subprocess.CalledProcessError:
            raise SystemExit((folder / "log").read_text()[-4000:]) from None
        wanted = list(cases(sources))
        ours = [under_modfs(build, case, kernel) for case in wanted]
        theirs = booted(build, wanted, kernel, folder) if given.booted else []
    different = 0
    for number, (case, (found, said)) in enumerate(zip(wanted, ours, strict=True)):
        row: list[str] = [found.verdict, case.program, case.name, f"status {found.status}"]
        row += [*found.modules, *found.missing]
        if theirs and theirs[number] != found._replace(verdict=""):
            different += 1
            row.append(f"BUT BOOTED: {theirs[number]}")
        print(*row)
        if given.verbose:
            print(said)
    passed = sum(found.verdict == "PASSED" for found, _ in ours)
    print(f"{passed} of {len(wanted)} passed", end="")
    print(f", {different} differ from the booted kernel" if theirs else "")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
