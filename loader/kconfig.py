"""A kernel's configuration, as /boot/config-RELEASE and /proc/config.gz have it.

What of it decides how modules are loaded is in two tables: options that are fields of Config, and
options that are not followed. All others play no part in loading, or have played it when the
modules were built (CONFIG_FUNCTION_PADDING_BYTES, CONFIG_CALL_THUNKS, ...): the files have it.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from loader import packings
from loader.config import EM_AARCH64, EM_X86_64, MACHINES, Config
from loader.errors import UserError

_MOST = 8 << 20  # bytes of text; Debian's have 0.3 MB
_TITLE = re.compile(r"# Linux/(\S+) (\S+) Kernel Configuration")
_OPTION = re.compile(r"(?m)^(?:CONFIG_(\w+)=(.*)|# CONFIG_(\w+) is not set)$")

FIELDS: dict[str, str] = {
    "MODULE_FORCE_LOAD": "force_load",
    "MODULE_FORCE_UNLOAD": "force_unload",
    "MODULE_UNLOAD": "module_unload",
    "MODVERSIONS": "modversions",
    "MODULE_SIG": "module_sig",
    "MODULE_SIG_FORCE": "sig_enforce",
    "KALLSYMS": "kallsyms",
    "KALLSYMS_ALL": "kallsyms_all",
    "STRICT_MODULE_RWX": "strict_module_rwx",
    "MODULE_UNLOAD_TAINT_TRACKING": "unload_taint_tracking",
    "LIVEPATCH": "livepatch",
    "MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS": "missing_namespace_imports",
    "IMA_APPRAISE": "ima_appraise",
    "SMP": "smp",
    "MODULE_DEBUG_AUTOLOAD_DUPS": "autoload_dups",
    "DYNAMIC_DEBUG_CORE": "dynamic_debug",
}
"""Options that are on or off, and what they are in Config."""

# What unpacks modules in the kernel, if CONFIG_MODULE_DECOMPRESS is on.
_DECOMPRESSORS: dict[str, packings.Packing] = {
    "MODULE_COMPRESS_GZIP": packings.GZIP,
    "MODULE_COMPRESS_XZ": packings.XZ,
    "MODULE_COMPRESS_ZSTD": packings.ZSTD,
}

# Bytes of a page. Since 6.9 CONFIG_PAGE_SHIFT says it for all architectures.
_PAGES: dict[str, int] = {"ARM64_16K_PAGES": 16 << 10, "ARM64_64K_PAGES": 64 << 10}
_PAGE_SHIFTS = range(12, 17)


class Unfollowed(NamedTuple):
    """An option that, switched on, changes what modfs would have to answer."""

    option: str
    about: str


UNFOLLOWED: tuple[Unfollowed, ...] = (
    Unfollowed("MEM_ALLOC_PROFILING", "whether alloc tags take memory is not followed"),
    Unfollowed("LOCK_DOWN_KERNEL_FORCE_INTEGRITY", "lockdown of modules is not followed"),
    Unfollowed("LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY", "lockdown is not followed"),
    Unfollowed("SECURITY_LOADPIN_ENFORCE", "which file systems it allows is not followed"),
    Unfollowed("CPU_BIG_ENDIAN", "modules of big-endian kernels are not read"),
)

# The architectures of a configuration's first lines, as uname -m has them.
_ARCHITECTURES = {"x86": "x86_64", "x86_64": "x86_64", "arm64": "aarch64"}
_NAMES = {EM_X86_64: "x86_64", EM_AARCH64: "arm64"}
KNOWN_MACHINES = ", ".join(_NAMES.values())

# How Debian names its kernels.
_DEBIAN = re.compile(r"[^ ]*-(?:amd64|arm64|arm64-16k)(?: |$)")


@dataclass(frozen=True, slots=True)
class Kconfig:
    """``options``: values without the prefix CONFIG_; "n" for what is not set. ``machine``:
    e_machine. ``release``: as the kernel names it, without what a distribution adds."""

    path: Path
    options: Mapping[str, str]
    machine: int
    release: str

    def is_on(self, option: str) -> bool:
        """Is it built in?"""
        return self.options.get(option) == "y"

    def applied(self, config: Config) -> Config:
        """``config`` with all that this file decides, but for the release."""
        fields = {field: self.is_on(option) for option, field in FIELDS.items()}
        for field in ("sig_enforce", "autoload_dups"):  # which boot options switch on as well
            fields[field] |= getattr(config, field)
        return replace(
            config,
            compression=self.compression,
            machine=self.machine,
            page_size=self._page_size(),
            **fields,  # type: ignore[arg-type]
        )

    @property
    def compression(self) -> str:
        """What the kernel itself unpacks, or "none"."""
        formats = (packing for option, packing in _DECOMPRESSORS.items() if self.is_on(option))
        found = next(formats, None) if self.is_on("MODULE_DECOMPRESS") else None
        return found.name if found else packings.NOT_PACKED

    def _page_size(self) -> int:
        shift = self.options.get("PAGE_SHIFT", "")
        if shift.isdigit() and int(shift) in _PAGE_SHIFTS:
            return 1 << int(shift)
        return next((size for option, size in _PAGES.items() if self.is_on(option)), 4096)

    def unfollowed(self) -> Iterator[str]:
        """What of it modfs does not follow, a line each."""
        for option, about in UNFOLLOWED:
            if self.is_on(option):
                yield f"{self.path}: CONFIG_{option}=y: {about}"

    def check_machine(self, machine: int | None, of: str) -> None:
        """UserError: it is for another architecture than ``of``, whose e_machine is given."""
        if machine is not None and machine != self.machine:
            names = [_NAMES.get(number, f"machine {number}") for number in (self.machine, machine)]
            raise UserError(f"{self.path} is the configuration of {names[0]}; {of} is {names[1]}")


def read_kconfig(path: Path) -> Kconfig:
    """The configuration in a file, plain or packed by gzip.

    OSError: it cannot be read. UserError: it is none, or of an architecture that modfs does not
    know, or of a kernel without modules.
    """
    title = None
    text = kconfig_text(path)
    for line in text[:4096].splitlines():
        title = title or _TITLE.match(line)
    options = {on or off: value or "n" for on, value, off in _OPTION.findall(text)}
    if not title or not options:
        raise UserError(f"{path} is no kernel configuration such as /boot/config-6.12.0")
    architecture, release = title[1], title[2]
    machine = _ARCHITECTURES.get(architecture)
    if machine is None or (architecture == "x86" and options.get("64BIT") != "y"):
        told = f"{path} is the configuration of {architecture}"
        raise UserError(f"{told}; modfs knows {KNOWN_MACHINES}")
    if options.get("MODULES") != "y":
        raise UserError(f"{path}: this kernel loads no modules (no CONFIG_MODULES)")
    return Kconfig(path, options, MACHINES[machine], release)


def kconfig_text(path: Path) -> str:
    """The text of such a file, plain or packed by gzip. OSError; UserError."""
    with path.open("rb") as file:
        data = file.read(_MOST + 1)
    if data.startswith(packings.GZIP.magic):
        try:
            with gzip.open(path, "rb") as unpacked:
                data = unpacked.read(_MOST + 1)
        except (EOFError, OSError, zlib.error):
            raise UserError(f"{path} is damaged, or not all of it is there") from None
    if len(data) > _MOST:
        raise UserError(f"{path} is too long for a kernel configuration")
    return data.decode("utf-8", "replace")


def find_kconfig(tree: Path) -> Path | None:
    """The configuration of a /lib/modules/RELEASE tree, where there is one.

    In the tree (Debian since 7.2, Fedora), beside its headers, or in the /boot that belongs to it.
    """
    root = tree.parent.parent.parent
    boots = (place / "boot" / f"config-{tree.name}" for place in (root, root.parent))
    for path in (tree / "config", tree / "build/.config", *boots):
        try:
            if path.is_file():
                return path
        except OSError:
            continue
    return None


def as_distributed(config: Config) -> Config:
    """``config`` as the distribution has it whose name the modules' vermagic has.

    For trees and recordings without a configuration: better than what nobody has switched on.
    """
    if not _DEBIAN.match(config.built_for.vermagic or ""):
        return config
    return replace(config, force_load=True, force_unload=True, ima_appraise=True)
