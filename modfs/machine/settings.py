"""Small texts of a machine: what processors, memory and udev's limits they tell of."""

from __future__ import annotations

import re

_RANGES = re.compile(r"\d{1,7}(?:-\d{1,7})?(?:,\d{1,7}(?:-\d{1,7})?)*")
_MODULES = re.compile(r"(?m)^(\w+) (\d{1,12}) ")
_MOST = 1_000_000


def count_of(ranges: str) -> int | None:
    """How many numbers "0-3,8" stands for, as in /sys/devices/system/cpu/online."""
    if not _RANGES.fullmatch(ranges.strip()):
        return None
    total = 0
    for part in ranges.strip().split(","):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total if 0 < total <= _MOST else None


def processors_of(cpuinfo: str) -> int | None:
    """By /proc/cpuinfo."""
    return len(re.findall(r"(?m)^processor\s*:", cpuinfo)) or None


def memory_of(meminfo: str) -> int | None:
    """Bytes, by the line MemTotal of /proc/meminfo."""
    found = re.search(r"(?m)^MemTotal:\s+(\d{1,15}) kB$", meminfo)
    return int(found[1]) << 10 if found and int(found[1]) else None


def uname_of(text: str) -> tuple[str | None, str | None]:
    """Release and machine, by a line of `uname -a`."""
    for line in text.splitlines():
        if found := re.match(r"Linux \S+ (\d{1,3}\.\d{1,3}[\w.+~-]{0,57}) ", line):
            machine = re.search(r" (x86_64|aarch64)(?: |$)", line)
            return found[1], machine[1] if machine else None
    return None, None


def children_max_of(udev_conf: str) -> int | None:
    """udev.conf(5)."""
    found = None
    for line in udev_conf.splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip() == "children_max":
            found = _number(value.strip().strip("\"'")) or found
    return found


def children_max_at_boot(command_line: str) -> int | None:
    """systemd-udevd.service(8): udev.children_max= on the kernel's command line. What is for the
    initrd alone (rd.udev.children_max=) is not meant."""
    found = None
    for word in command_line.split():
        key, _, value = word.partition("=")
        if key in ("udev.children_max", "udev.children-max"):
            found = _number(value) or found
    return found


def blacklisted_at_boot(command_line: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What modprobe leaves alone (modprobe.blacklist=), and what the kernel refuses
    (module_blacklist=)."""
    found: dict[str, list[str]] = {"modprobe.blacklist": [], "module_blacklist": []}
    for word in command_line.split():
        key, _, value = word.partition("=")
        if key in found:
            found[key] += [name for name in value.split(",") if name]
    return tuple(found["modprobe.blacklist"]), tuple(found["module_blacklist"])


def core_sizes(proc_modules: str) -> dict[str, int]:
    """Bytes in memory of each module that /proc/modules lists; init's are gone by then."""
    return {name: int(size) for name, size in _MODULES.findall(proc_modules)}


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9]\d{0,5}", text) else None
