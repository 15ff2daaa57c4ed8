"""What one running kernel is: release, build and boot options. Facts only."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from loader import packings
from loader.keyring import Keyring
from loader.release import Release, release

MODULE_NAME_LEN = 56  # bytes, with the NUL (include/linux/moduleparam.h)
PAGE_SIZE = 4096  # bytes; x86-64, and arm64 as distributions build it
EM_X86_64 = 62
EM_AARCH64 = 183
_VERSION = re.compile(r"([0-9]{1,6})\.([0-9]{1,6})")  # at the start of a vermagic
_EXPORT_FLAGS = (7, 1)
MACHINES: dict[str, int] = {"x86_64": EM_X86_64, "aarch64": EM_AARCH64, "arm64": EM_AARCH64}
HOST_MACHINE = MACHINES.get(os.uname().machine, EM_X86_64)


@dataclass(frozen=True, slots=True)
class BuiltFor:
    """What a module must have been built for. None: not known, so not checked.

    ``vermagic`` is the whole string (include/linux/vermagic.h); ``struct_module_size`` is
    sizeof(struct module) in bytes; ``module_layout_crc`` the version of that structure
    (CONFIG_MODVERSIONS); ``machine`` is e_machine.
    """

    vermagic: str | None = None
    struct_module_size: int | None = None
    module_layout_crc: int | None = None
    machine: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Config:
    """One kernel: its release, how it was built and with what it was booted.

    ``compression``: the one format that the kernel itself unpacks (CONFIG_MODULE_COMPRESS_*), or
    "none". ``keyring``: None trusts every well-formed signature, as a kernel trusts its own
    build's. ``blacklist``: the boot option module_blacklist. ``decompress_limit``: bytes above
    which an unpacked module is ENOMEM. ``memory_limit``: bytes of vmalloc space for modules, None
    without limit. ``page_size``: bytes. ``modversions``: None where only the modules tell. The rest
    are the options of the kernel's configuration that have these names, with the values of
    Debian's kernels where these do not differ; loader.kconfig reads them from a file.
    """

    release: Release = field(default_factory=release)
    compression: str = "zstd"
    built_for: BuiltFor = BuiltFor()
    keyring: Keyring | None = None
    sig_enforce: bool = False
    blacklist: frozenset[str] = frozenset()
    decompress_limit: int = 1 << 30
    memory_limit: int | None = None
    force_load: bool = False
    force_unload: bool = False
    module_unload: bool = True
    modversions: bool | None = None
    module_sig: bool = True
    kallsyms: bool = True
    kallsyms_all: bool = True
    strict_module_rwx: bool = True
    unload_taint_tracking: bool = True
    livepatch: bool = True
    missing_namespace_imports: bool = False
    ima_appraise: bool = False
    smp: bool = True
    autoload_dups: bool = False
    dynamic_debug: bool = True
    page_size: int = PAGE_SIZE
    machine: int = HOST_MACHINE

    def __post_init__(self) -> None:
        packing = packings.named(self.compression)
        object.__setattr__(self, "compression", packing.name if packing else packings.NOT_PACKED)

    def checks_versions(self, vermagic: str | None, unknown: bool = False) -> bool:
        """CONFIG_MODVERSIONS, as far as it is known; else by a module's ``vermagic``."""
        if self.modversions is not None:
            return self.modversions
        magic = self.built_for.vermagic or vermagic
        return unknown if magic is None else "modversions" in magic

    @property
    def export_flags(self) -> bool:
        """Exports are as 7.1 has them; modules that are all of an older kernel keep their own."""
        built = _VERSION.match(self.built_for.vermagic or "")
        older = built is not None and (int(built[1]), int(built[2])) < _EXPORT_FLAGS
        return self.release.export_flags and not older
