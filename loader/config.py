"""What one running kernel is: release, build and boot options. Facts only."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from loader import packings
from loader.keyring import Keyring
from loader.release import Release, release

MODULE_NAME_LEN = 56  # bytes, with the NUL (include/linux/moduleparam.h)
PAGE_SIZE = 4096  # bytes; x86-64, and arm64 as distributions build it
EM_X86_64 = 62
EM_AARCH64 = 183
MACHINES: dict[str, int] = {"x86_64": EM_X86_64, "aarch64": EM_AARCH64, "arm64": EM_AARCH64}


@dataclass(frozen=True, slots=True)
class BuiltFor:
    """What a module must have been built for. None: not known, so not checked.

    ``vermagic`` is the whole string (include/linux/vermagic.h); ``struct_module_size`` is
    sizeof(struct module) in bytes; ``module_layout_crc`` the version of that structure
    (CONFIG_MODVERSIONS).
    """

    vermagic: str | None = None
    struct_module_size: int | None = None
    module_layout_crc: int | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """One kernel: its release, how it was built and with what it was booted.

    ``compression``: the one format that the kernel itself unpacks (CONFIG_MODULE_COMPRESS_*), or
    "none". ``keyring``: None trusts every well-formed signature, as a kernel trusts its own
    build's. ``blacklist``: the boot option module_blacklist. ``decompress_limit``: bytes above
    which an unpacked module is ENOMEM. ``memory_limit``: bytes of vmalloc space for modules, None
    without limit. ``force_load``, ``force_unload``: CONFIG_MODULE_FORCE_LOAD, _UNLOAD.
    ``kallsyms_all``: CONFIG_KALLSYMS_ALL. ``autoload_dups``: CONFIG_MODULE_DEBUG_AUTOLOAD_DUPS.
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
    kallsyms_all: bool = True
    autoload_dups: bool = False
    machine: int = MACHINES.get(os.uname().machine, EM_X86_64)

    def __post_init__(self) -> None:
        packing = packings.named(self.compression)
        object.__setattr__(self, "compression", packing.name if packing else packings.NOT_PACKED)
