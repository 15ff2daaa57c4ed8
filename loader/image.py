"""Everything one file says about itself: a ModuleImage, and the bounded cache of them.

All questions that need only the file's bytes and the kernel's configuration are asked here, once:
does it decompress, is it signed, is it valid, what memory does it take. The load sequence then
acts on the answers. What only a real load needs (symbols, parameters) is read on first use.
"""

from __future__ import annotations

import errno
import struct
import threading
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from loader import signature
from loader.compression import DecompressError, decompress
from loader.config import Config
from loader.elf import (
    SHF_EXECINSTR,
    SHF_WRITE,
    SHN_ABS,
    SHN_COMMON,
    SHN_LIVEPATCH,
    STB_WEAK,
    ElfError,
    ElfModule,
)
from loader.errors import Failure
from loader.kernel_param import read_parameters
from loader.layout import Layout, layout
from loader.params import Parameter

# include/uapi/linux/module.h
MODULE_INIT_IGNORE_MODVERSIONS = 1
MODULE_INIT_IGNORE_VERMAGIC = 2
MODULE_INIT_COMPRESSED_FILE = 4
_MANGLED = MODULE_INIT_IGNORE_MODVERSIONS | MODULE_INIT_IGNORE_VERMAGIC
KNOWN_FLAGS = _MANGLED | MODULE_INIT_COMPRESSED_FILE

_VERSION = struct.Struct("<Q56s")  # struct modversion_info
_CRC = struct.Struct("<I")

_CACHE_IMAGES = 4096
_CACHE_BYTES = 256 << 20


class Export(NamedTuple):
    """A symbol that a module exports. ``crc`` None: not known. ``namespace`` "" for none."""

    name: str
    gpl: bool = False
    namespace: str = ""
    crc: int | None = None


class Need(NamedTuple):
    """One symbol that simplify_symbols has to settle.

    ``problem``: set for what can never be settled, the kernel's log line without module name.
    """

    name: str
    weak: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """What the load needs beyond the layout: symbols, versions, parameters, licence.

    ``versions``: CRC by symbol from __versions, None if it holds none. ``percpu``: bytes and
    alignment of .data..percpu. ``crcs_missing``: exports without __kcrctab.
    """

    modinfo: dict[str, list[str]] = field(default_factory=dict)
    has_init: bool = True
    has_exit: bool = True
    needs: tuple[Need, ...] = ()
    exports: tuple[Export, ...] = ()
    versions: dict[str, int] | None = None
    parameters: dict[str, Parameter] = field(default_factory=dict)
    percpu: tuple[int, int] = (0, 0)
    crcs_missing: bool = False

    def tag(self, name: str) -> str | None:
        """The first value of a .modinfo tag, None if it is not there (get_modinfo)."""
        values = self.modinfo.get(name)
        return values[0] if values else None

    @property
    def depends(self) -> tuple[str, ...]:
        """Names of the modules that modpost found this one to need."""
        return tuple(
            name.replace("-", "_") for name in (self.tag("depends") or "").split(",") if name
        )


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


def read_image(data: bytes, flags: int, config: Config) -> ModuleImage:
    """What a kernel of this ``config`` finds in the file ``data``, loaded with ``flags``."""
    image = ModuleImage("", read_bytes=len(data))
    if flags & MODULE_INIT_COMPRESSED_FILE:
        image.clen = len(data)
        try:
            strict = not config.release.zstd_lenient
            data = decompress(config.compression, data, config.decompress_limit, strict)
        except DecompressError as error:
            image.decompress_failure = error.failure
            return image
    image.vmalloc_bytes = len(data)
    verdict = signature.check(data, bool(flags & _MANGLED), config.keyring, config.sig_enforce)
    image.len, image.signed, image.log = verdict.length, verdict.signed, verdict.log
    if verdict.failure:
        image.becoming_failure = verdict.failure
        return image
    try:
        elf = ElfModule(data, config.machine, verdict.length)
        elf.cache_indices(config.build.struct_module_size)
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
    wanted = config.build.vermagic
    forced = []
    if "modversions" in (wanted or magic or ""):
        if not elf.index_vers:
            forced.append("module_layout")
        elif failure := _layout_version_failure(elf, config.build.module_layout_crc):
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


# -- contents -------------------------------------------------------------------------------------


def read_contents(elf: ElfModule) -> Contents:
    """Symbols, versions and parameters of a module that passed every check."""
    values: dict[str, tuple[int, int]] = {}  # the symbols that describe others: shndx, value
    needs: list[Need] = []
    defined: set[str] = set()
    count = elf.e_shnum
    symbols = list(elf.symbols())
    for symbol in symbols[1:]:
        if 0 < symbol.shndx < count:
            if symbol.name.startswith("__"):
                values[symbol.name] = symbol.shndx, symbol.value
            defined.add(symbol.name)
        elif need := _need(symbol.name, symbol.info, symbol.shndx, count):
            needs.append(need)
    exports = tuple(_exports(elf, values))
    pcpu = elf.index_pcpu
    return Contents(
        modinfo=elf.modinfo,
        has_init="init_module" in defined,
        has_exit="cleanup_module" in defined,
        needs=tuple(needs),
        exports=exports,
        versions=versions(elf),
        parameters=read_parameters(elf, symbols),
        percpu=(elf.sh_size[pcpu], elf.sh_addralign[pcpu]) if pcpu else (0, 0),
        crcs_missing=any(
            elf.find(table) and not elf.find(crcs)
            for table, crcs in (("__ksymtab", "__kcrctab"), ("__ksymtab_gpl", "__kcrctab_gpl"))
        ),
    )


def _need(name: str, info: int, shndx: int, count: int) -> Need | None:
    """What simplify_symbols does with a symbol that is not defined in a section."""
    if shndx == 0:
        return Need(name, weak=info >> 4 == STB_WEAK or name == "_GLOBAL_OFFSET_TABLE_")
    if shndx == SHN_COMMON:
        if name.startswith("__gnu_lto"):
            return None
        return Need(name, problem="please compile with -fno-common")
    if shndx in (SHN_ABS, SHN_LIVEPATCH):
        return None
    problem = f"Symbol {name} has an invalid section index {shndx} (max {count - 1})"
    return Need(name, problem=problem)


def _exports(elf: ElfModule, values: dict[str, tuple[int, int]]) -> list[Export]:
    exports = []
    for symbol, (shndx, _) in values.items():
        if not symbol.startswith("__ksymtab_"):
            continue
        name = symbol.removeprefix("__ksymtab_")
        gpl = elf.name(shndx).startswith(("__ksymtab_gpl", "___ksymtab_gpl"))
        namespace = _string_at(elf, values.get(f"__kstrtabns_{name}"))
        exports.append(Export(name, gpl, namespace, _crc_at(elf, values.get(f"__crc_{name}"))))
    return exports


def _string_at(elf: ElfModule, place: tuple[int, int] | None) -> str:
    if place is None:
        return ""
    content = elf.content(place[0])
    return content[place[1] :].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _crc_at(elf: ElfModule, place: tuple[int, int] | None) -> int | None:
    """The version of an export; None where the section was emptied."""
    if place is None:
        return None
    content = elf.content(place[0])
    if place[1] + _CRC.size > len(content) or not any(content):
        return None
    return int(_CRC.unpack_from(content, place[1])[0])


def versions(elf: ElfModule) -> dict[str, int] | None:
    """CRC of every symbol that the module was built against; None if nothing is recorded.

    A section of zeros records nothing: modules stripped to their tables have one.
    """
    content = elf.content(elf.index_vers) if elf.index_vers else b""
    if not any(content):
        return None
    whole = content[: len(content) // _VERSION.size * _VERSION.size]
    crcs: dict[str, int] = {}
    for crc, name in _VERSION.iter_unpack(whole):
        text = name.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
        crcs.setdefault(text, crc)
    return crcs


# -- the cache ------------------------------------------------------------------------------------


class ImageCache:
    """Images of files seen before, the oldest forgotten first.

    Bounded by number and by the bytes of the files. Safe for threads. The key must change when the
    file does: device, inode, size, modification time, and the flags.
    """

    def __init__(self, images: int = _CACHE_IMAGES, size: int = _CACHE_BYTES) -> None:
        self._images: dict[Hashable, ModuleImage] = {}
        self._limit = images
        self._room = size  # bytes left
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> ModuleImage | None:
        """The image kept for ``key``, or None."""
        return self._images.get(key)  # one step for other threads too

    def put(self, key: Hashable, image: ModuleImage) -> None:
        """Keep ``image``; forget the oldest ones as needed."""
        with self._lock:
            if key in self._images:
                return
            self._images[key] = image
            self._room -= image.vmalloc_bytes
            while self._room < 0 or len(self._images) > self._limit:
                oldest = self._images.pop(next(iter(self._images)))
                self._room += oldest.vmalloc_bytes
