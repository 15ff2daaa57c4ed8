"""Everything one file says about itself: a ModuleImage, and the bounded cache of them.

All questions that need only the file's bytes and the kernel's configuration are asked here, once:
does it decompress, is it signed, is it valid, what memory does it take. The load sequence then
acts on the answers. What only a real load needs (symbols, parameters) is read on first use.
"""

from __future__ import annotations

import errno

from loader.calls import (
    MANGLED,
    MODULE_INIT_COMPRESSED_FILE,
    MODULE_INIT_IGNORE_MODVERSIONS,
    MODULE_INIT_IGNORE_VERMAGIC,
)
from loader.config import Config
from loader.errors import Failure
from loader.image import signature
from loader.image.compression import DecompressError, decompress
from loader.image.contents import Contents, read_contents, versions
from loader.image.elf import ElfError, ElfModule
from loader.image.elf_format import ELF_MAGIC, SHF_EXECINSTR, SHF_WRITE
from loader.image.layout import Layout, layout


class ModuleImage:
    """What the kernel finds in one file, for one set of flags.

    ``read_bytes``: length of the file. ``len``: bytes of module, without its signature; at an early
    failure what the kernel had counted by then. ``clen``: bytes of the compressed file if the
    kernel itself unpacked it, else 0. ``vmalloc_bytes``: unpacked bytes with the signature.
    ``decompress_failure``, ``becoming_failure`` (signature, ELF, early_mod_check) and
    ``layout_failure`` end the load at their step. ``log``: lines that are printed in any case.
    ``forced``: reasons that taint with F, where the kernel is built to force.
    """

    __slots__ = (
        "_contents",
        "_elf",
        "becoming_failure",
        "clen",
        "decompress_failure",
        "forced",
        "layout",
        "layout_failure",
        "len",
        "log",
        "name",
        "read_bytes",
        "signed",
        "vmalloc_bytes",
    )

    def __init__(
        self,
        name: str,
        *,
        read_bytes: int,
        length: int | None = None,
        clen: int = 0,
        vmalloc_bytes: int | None = None,
        layout: Layout = Layout(),  # noqa: B008 - a frozen value
        signed: bool = True,
        contents: Contents | None = None,
    ) -> None:
        """An image from plain numbers, in bytes: how the simulator describes a module."""
        self.name = name
        self.read_bytes = read_bytes
        self.len = read_bytes if length is None else length
        self.clen = clen
        self.vmalloc_bytes = self.len if vmalloc_bytes is None else vmalloc_bytes
        self.layout = layout
        self.signed = signed
        self.decompress_failure: Failure | None = None
        self.becoming_failure: Failure | None = None
        self.layout_failure: Failure | None = None
        self.log: tuple[str, ...] = ()
        self.forced: tuple[str, ...] = ()
        self._contents = contents
        self._elf: ElfModule | None = None

    @property
    def contents(self) -> Contents:
        """Symbols and parameters; read from the file's tables on first use."""
        elf = self._elf  # before _contents: another thread sets them the other way round
        contents = self._contents
        if contents is None:
            contents = self._contents = Contents() if elf is None else read_contents(elf)
            self._elf = None  # the file's bytes are no longer needed
        return contents

    def drop_bytes(self) -> None:
        """Hold the file's bytes no longer: what may be needed of them is read."""
        if self._elf is not None:
            _ = self.contents


def read_image(data: bytes, flags: int, config: Config) -> ModuleImage:
    """What a kernel of this ``config`` finds in the file ``data``, loaded with ``flags``."""
    image = ModuleImage("", read_bytes=len(data))
    if flags & MODULE_INIT_COMPRESSED_FILE:
        image.clen = len(data)
        try:
            strict = not config.release.zstd_lenient
            data = decompress(
                config.compression,
                data,
                config.decompress_limit,
                strict,
                start=ELF_MAGIC,
                end=signature.MARKER,
            )
        except DecompressError as error:
            image.decompress_failure = error.failure
            return image
    image.vmalloc_bytes = len(data)
    verdict = signature.check(data, bool(flags & MANGLED), config.keyring, config.sig_enforce)
    image.len, image.signed, image.log = verdict.length, verdict.signed, verdict.log
    if verdict.failure:
        image.becoming_failure = verdict.failure
        return image
    try:
        elf = ElfModule(data, config.machine, verdict.length)
        elf.cache_indices(config.built_for.struct_module_size)
        if config.release.symbol_names_checked:
            elf.check_symbol_names()
        if flags & MODULE_INIT_IGNORE_MODVERSIONS:
            elf.index_vers = 0
        _check_extendedversions(elf, config)
    except ElfError as error:
        image.becoming_failure = error.failure
        return image
    image.name = elf.module_name
    image.becoming_failure = _early_mod_failure(image, elf, flags, config)
    if image.becoming_failure is None:
        image.layout_failure = _rwx_failure(elf)
        image.layout = layout(elf, config.release, config.kallsyms_all)
        image._elf = elf
    return image


# -- early_mod_check, but for the duplicates ------------------------------------------------------


def _check_extendedversions(elf: ElfModule, config: Config) -> None:
    """6.14 and later: CRCs and names of long symbols come together or not at all."""
    if config.release.extended_modversions:
        crcs, names = elf.find("__version_ext_crcs"), elf.find("__version_ext_names")
        if bool(crcs) != bool(names):
            raise ElfError("extended modversions: only one of crcs and names")


def _early_mod_failure(
    image: ModuleImage, elf: ElfModule, flags: int, config: Config
) -> Failure | None:
    """Blacklist, version of struct module, vermagic (early_mod_check, check_modinfo)."""
    name = elf.log_name
    if name in config.blacklist:
        return Failure(errno.EPERM, (f"Module {name} is blacklisted",))
    magic = elf.tag("vermagic")
    wanted = config.built_for.vermagic
    forced = []
    if "modversions" in (wanted or magic or ""):
        if not elf.index_vers:
            forced.append("module_layout")
        elif failure := _layout_version_failure(elf, config.built_for.module_layout_crc):
            return failure
    if flags & MODULE_INIT_IGNORE_VERMAGIC or magic is None:
        forced.append("bad vermagic")
    elif wanted is not None and not _same_magic(magic, wanted, bool(elf.index_vers)):
        line = f"{name}: version magic '{magic}' should be '{wanted}'"
        return Failure(errno.ENOEXEC, (line,))
    if forced and not config.force_load:
        return Failure(errno.ENOEXEC)
    image.forced = tuple(forced)
    return None


def _same_magic(magic: str, wanted: str, has_crcs: bool) -> bool:
    """same_magic: with symbol versions the first word, the release, is not compared."""
    if has_crcs:
        return magic.partition(" ")[2] == wanted.partition(" ")[2]
    return magic == wanted


def _layout_version_failure(elf: ElfModule, crc: int | None) -> Failure | None:
    if crc is None:
        return None
    known = versions(elf)
    if known is None:
        return None
    name = elf.log_name
    if "module_layout" not in known:
        return Failure(errno.ENOEXEC, (f"{name}: no symbol version for module_layout",))
    if known["module_layout"] != crc:
        line = f"{name}: disagrees about version of symbol module_layout"
        return Failure(errno.ENOEXEC, (line,))
    return None


def _rwx_failure(elf: ElfModule) -> Failure | None:
    """module_enforce_rwx_sections: nothing may be both written and run."""
    both = SHF_WRITE | SHF_EXECINSTR
    for index, flags in enumerate(elf.sh_flags):
        if flags & both == both:
            where = f"section {elf.name(index)} (index {index})"
            line = f"{elf.module_name}: {where} has invalid WRITE|EXEC flags"
            return Failure(errno.ENOEXEC, (line,))
    return None
