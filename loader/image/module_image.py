"""Everything one file says about itself: a ModuleImage, and the bounded cache of them.

All questions that need only the file's bytes and the kernel's configuration are asked here, once:
does it decompress, is it signed, is it valid, what memory does it take. The load sequence then
acts on the answers. What only a real load needs (symbols, parameters) is read on first use.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from loader.calls import (
    MANGLED,
    MODULE_INIT_COMPRESSED_FILE,
    MODULE_INIT_IGNORE_MODVERSIONS,
    MODULE_INIT_IGNORE_VERMAGIC,
)
from loader.config import Config
from loader.errors import Failure
from loader.image import plts, signature
from loader.image.contents import Contents, extended_versions, read_contents, versions
from loader.image.elf import ElfError, ElfModule
from loader.image.elf_format import ELF_MAGIC, SHF_EXECINSTR, SHF_WRITE
from loader.image.layout import Layout, layout


class Facts(NamedTuple):
    """The name and the sizes of an image, see there."""

    name: str
    read_bytes: int
    len: int
    clen: int
    layout: Layout


class ModuleImage:
    """What the kernel finds in one file, for one set of flags.

    ``read_bytes``: length of the file. ``len``: bytes of module, without its signature; at an early
    failure what the kernel had counted by then. ``clen``: bytes of the compressed file if the
    kernel itself unpacked it, else 0. ``vmalloc_bytes``: unpacked bytes with the signature.
    ``decompress_failure``, ``review_failure`` (a security module sees what was unpacked),
    ``becoming_failure`` (signature, ELF, early_mod_check) and ``layout_failure`` end the load at
    their step. ``log``: lines that are printed in any case. ``forced``: reasons that taint with F,
    where the kernel is built to force.
    """

    __slots__ = (
        "_config",
        "_contents",
        "_elf",
        "becoming_failure",
        "clen",
        "decompress_failure",
        "facts",
        "forced",
        "layout",
        "layout_failure",
        "len",
        "log",
        "name",
        "read_bytes",
        "review_failure",
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
        self.review_failure: Failure | None = None
        self.becoming_failure: Failure | None = None
        self.layout_failure: Failure | None = None
        self.log: tuple[str, ...] = ()
        self.forced: tuple[str, ...] = ()
        self._contents = contents
        self._elf: ElfModule | None = None
        self._config: Config | None = None  # of the kernel that will ask for the contents
        self.facts: Facts | None = None

    def state_facts(self) -> Facts:
        """What can be told of it without holding it; to be asked for once it is complete."""
        size, length = int(self.read_bytes), int(self.len)  # a document's are of its own kind
        self.facts = Facts(self.name, size, length, int(self.clen), self.layout)
        return self.facts

    @property
    def contents(self) -> Contents:
        """Symbols and parameters; read from the file's tables on first use."""
        elf = self._elf  # before _contents: another thread sets them the other way round
        contents = self._contents
        if contents is None:
            contents = Contents() if elf is None else read_contents(elf, self._config)
            self._contents = contents
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
        from loader.image.compression import DecompressError, decompress  # zstd's library, lzma

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
    if not data and image.clen and config.release.unpacked_file_reviewed and config.ima_appraise:
        image.review_failure = Failure(errno.EACCES)  # ima_post_read_file: nothing to look at
        return image
    image.len = len(data)
    if config.module_sig:
        verdict = signature.check(data, bool(flags & MANGLED), config.keyring, config.sig_enforce)
        image.len, image.signed, image.log = verdict.length, verdict.signed, verdict.log
        if verdict.failure:
            image.becoming_failure = verdict.failure
            return image
    try:
        elf = _elf_validity_cache_copy(data, image.len, flags, config)
    except ElfError as error:
        image.becoming_failure = error.failure
        return image
    image.name = elf.module_name
    image.becoming_failure = _early_mod_failure(image, elf, flags, config)
    if image.becoming_failure is None:
        image.layout, image.layout_failure = layout_and_allocate(elf, config)
        image._elf, image._config = elf, config
    return image


def _elf_validity_cache_copy(data: bytes, length: int, flags: int, config: Config) -> ElfModule:
    """The module's tables. ElfError: the first check that fails, in the kernel's order."""
    elf = ElfModule(data, config.machine, length, config.release.string_tables_typed)
    elf.cache_indices(config.built_for.struct_module_size)
    if flags & MODULE_INIT_IGNORE_MODVERSIONS:
        elf.ignore_versions()
    elif config.release.extended_modversions:
        elf.cache_extended_versions()
    if not config.smp:
        elf.index_pcpu = 0
    if config.release.symbol_names_checked:
        elf.check_symbol_names()
    return elf


# -- early_mod_check, but for the duplicates ------------------------------------------------------


def _early_mod_failure(
    image: ModuleImage, elf: ElfModule, flags: int, config: Config
) -> Failure | None:
    """Blacklist, version of struct module, vermagic, livepatch (early_mod_check, check_modinfo)."""
    name = elf.log_name
    if name in config.blacklist:
        return Failure(errno.EPERM, (f"Module {name} is blacklisted",))
    magic = elf.tag("vermagic")
    versioned = config.checks_versions(magic)
    if versioned and (failure := _check_modstruct_version(image, elf, config)):
        return failure
    wanted = config.built_for.vermagic
    if flags & MODULE_INIT_IGNORE_VERMAGIC or magic is None:
        if not _try_to_force_load(image, config, "bad vermagic"):
            return Failure(errno.ENOEXEC)
    elif wanted is not None and not _same_magic(magic, wanted, versioned and bool(elf.index_vers)):
        line = f"{name}: version magic '{magic}' should be '{wanted}'"
        return Failure(errno.ENOEXEC, (line,))
    if not config.livepatch and elf.tag("livepatch") is not None:
        text = "module is marked as livepatch module, but livepatch support is disabled"
        return Failure(errno.ENOEXEC, (f"{elf.module_name}: {text}",))
    return None


def _try_to_force_load(image: ModuleImage, config: Config, reason: str) -> bool:
    """Whether the kernel is built to go on all the same; it is then tainted."""
    if config.force_load:
        image.forced = (*image.forced, reason)
    return config.force_load


def _same_magic(magic: str, wanted: str, has_crcs: bool) -> bool:
    """same_magic: with symbol versions the first word, the release, is not compared."""
    if has_crcs:
        return magic.partition(" ")[2] == wanted.partition(" ")[2]
    return magic == wanted


def _check_modstruct_version(image: ModuleImage, elf: ElfModule, config: Config) -> Failure | None:
    """check_version of module_layout; where the kernel's is not known, only that there is one."""
    crc, name = config.built_for.module_layout_crc, elf.log_name
    if not elf.index_vers and not elf.index_vers_ext_crc:
        forced = _try_to_force_load(image, config, "module_layout")
        return None if forced else Failure(errno.ENOEXEC)
    if crc is None:
        return None  # before the table is read: it has a line for each symbol
    known = extended_versions(elf) if elf.index_vers_ext_crc else versions(elf)
    if known is None:
        return None
    found = known.get("module_layout", crc if elf.index_vers_ext_crc else None)
    if found == crc:
        return None
    if found is None:
        return Failure(errno.ENOEXEC, (f"{name}: no symbol version for module_layout",))
    line = f"{name}: disagrees about version of symbol module_layout"
    return Failure(errno.ENOEXEC, (line,))


# -- layout_and_allocate --------------------------------------------------------------------------


def layout_and_allocate(elf: ElfModule, config: Config) -> tuple[Layout, Failure | None]:
    """The memory that the module takes, or why it gets none."""
    if problem := plts.missing(elf):
        return Layout(), Failure(errno.ENOEXEC, (f"{elf.module_name}: {problem}",))
    failure = _rwx_failure(elf) if config.strict_module_rwx else None
    return layout(elf, config), failure


def _rwx_failure(elf: ElfModule) -> Failure | None:
    """module_enforce_rwx_sections: nothing may be both written and run."""
    both = SHF_WRITE | SHF_EXECINSTR
    for index, flags in enumerate(elf.sh_flags):
        if flags & both == both:
            where = f"section {elf.name(index)} (index {index})"
            line = f"{elf.module_name}: {where} has invalid WRITE|EXEC flags"
            return Failure(errno.ENOEXEC, (line,))
    return None
