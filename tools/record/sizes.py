"""The memory of every module of a kernel, as the kernel itself laid it out.

Each module is loaded without its init and exit routines: the two relocations that put their
addresses into struct module are made void, which changes no size. So thousands load in one boot and
none of them runs. A kprobe on do_init_module tells the seven sizes in struct module, where the
kernel's own BTF says they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from loader.errors import UserError
from loader.image.elf import ElfModule
from loader.image.elf_format import RELA
from loader.image.layout import Layout
from loader.image.signature import module_length
from loader.packings import read_module
from loader.tree.tree import Tree
from loader.words import module_name
from modfs.conformance.answers import Answered
from modfs.conformance.scenario import Step
from tools.record.image import Btf

_TRACING = "/sys/kernel/tracing"
_PROBE = "modfs_sizes"
_BUFFER = 16384  # KiB for each processor
_RELOCATIONS = ".rela.gnu.linkonce.this_module"
_INFO = 8  # bytes from a relocation's start to its symbol and type: 0 is none, of no type
_SIZES = re.compile(rf' {_PROBE}: .*name="(?P<name>[^"]+)"(?P<sizes>(?: s\d=\d+){{7}})')


def without_routines(module: bytes) -> bytes:
    """The same module, unsigned, whose init and exit routines the kernel does not see."""
    data = bytearray(module[: module_length(module)])
    elf = ElfModule(bytes(data), int.from_bytes(data[18:20], "little"))
    elf.cache_indices(None)
    for index in range(1, elf.e_shnum):
        if elf.name(index) == _RELOCATIONS:
            start = elf.sh_offset[index]
            for at in range(start, start + elf.sh_size[index], RELA.size):
                data[at + _INFO : at + RELA.size - _INFO] = bytes(_INFO)
    return bytes(data)


def all_modules(tree: Tree) -> dict[str, bytes]:
    """Every module of a kernel by file name, without routines, after those that it needs."""
    found: dict[str, bytes] = {}
    for name in sorted(tree.names()):
        for path in (*tree.dependencies(name), tree.path(name)):
            file = path.name.partition(".ko")[0] + ".ko" if path else ""
            if path and file not in found:
                found[file] = without_routines(read_module(path))
    return found


def steps(files: Sequence[str], btf: Btf) -> list[Step]:
    """What a boot is asked for them."""
    return [
        {"write": f"{_TRACING}/kprobe_events", "text": probe(btf)},
        {"write": f"{_TRACING}/buffer_size_kb", "text": str(_BUFFER)},
        {"write": f"{_TRACING}/events/kprobes/{_PROBE}/enable", "text": "1"},
        *({"op": "finit_module", "file": f"modules/{file}"} for file in files),
        {"cat": f"{_TRACING}/trace"},
    ]


def probe(btf: Btf) -> str:
    """The definition of the probe, as kprobe_events takes it. UserError: before 6.4."""
    module = btf.structs["module"].members
    if "mem" not in module:
        raise UserError("this kernel has no struct module_memory: it is older than 6.4")
    start, array = module["mem"]
    memory = btf.by_number[btf.elements[array]]
    places = [start + n * memory.size + memory.members["size"][0] for n in range(7)]
    sizes = " ".join(f"s{n}=+{place}($arg1):u32" for n, place in enumerate(places))
    return f"p:{_PROBE} do_init_module name=+{module['name'][0]}($arg1):string {sizes}"


def seen(answered: Answered) -> dict[str, Layout]:
    """By module name, the sizes in bytes that the probe told of each that was loaded."""
    text = answered.answers[-1].text or ""
    return {
        match["name"]: Layout(*(int(size.partition("=")[2]) for size in match["sizes"].split()))
        for match in _SIZES.finditer(text)
    }


def refused(answered: Answered) -> Iterator[tuple[str, str]]:
    """File and errno of each that was not loaded."""
    for step in answered.lines():
        if "file" in step and step["result"] != "OK":
            yield step["file"].removeprefix("modules/"), step["result"]


def table(files: Mapping[str, bytes], sizes: Mapping[str, Layout]) -> str:
    """modules.tsv (modfs.verify.sizes)."""
    columns = ("file", "total_mod_size", "total_text_size", "core_size", *Layout._fields)
    lines = ["\t".join(columns)]
    for file in sorted(files):
        if layout := sizes.get(module_name(file)):
            row = (layout.total, layout.text_total, layout.core, *layout)
            lines.append("\t".join((file, *map(str, row))))
    return "\n".join(lines) + "\n"
