"""Writes whole trees of made modules, with depmod's indexes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from loader.errors import UserError
from loader.packings import compress, named
from loader.synthesize import depmod
from loader.synthesize.builder import build_module
from loader.synthesize.spec import SYMBOL_BYTES, ModuleSpec
from loader.synthesize.spec_file import read_specs
from loader.words import canonical


def linked(specs: Iterable[ModuleSpec]) -> list[ModuleSpec]:
    """The specs of a whole tree, with ``depends``, imports and exports made to agree.

    A module that depends on another imports a symbol of it, which is made up where need be; one
    that imports a symbol depends on its exporter. UserError: a name or symbol that is there twice,
    a dependency that is not there.
    """
    modules: dict[str, ModuleSpec] = {}
    exporters: dict[str, str] = {}
    for spec in specs:
        if modules.setdefault(spec.module_name, spec) is not spec:
            raise UserError(f"two modules have the name {spec.module_name}")
        for symbol in (*spec.exports, *spec.exports_gpl):
            if exporters.setdefault(symbol, spec.module_name) != spec.module_name:
                raise UserError(f"{exporters[symbol]} and {spec.name} both export {symbol}")
    imports = {name: list(spec.imports) for name, spec in modules.items()}
    made_up: dict[str, str] = {}
    for name, spec in modules.items():
        for needed in map(canonical, spec.depends):
            if needed not in modules:
                raise UserError(f"{spec.name} depends on {needed}, which is not in the tree")
            if any(exporters.get(symbol) == needed for symbol in spec.imports):
                continue
            exported = (*modules[needed].exports, *modules[needed].exports_gpl)
            if not exported:
                exported = (made_up.setdefault(needed, f"use_{needed}"[:SYMBOL_BYTES]),)
            imports[name].append(exported[0])
    for name, symbol in made_up.items():
        modules[name] = replace(modules[name], exports=(symbol,))
        exporters[symbol] = name
    result = []
    for name, spec in modules.items():
        depends = {canonical(needed): needed for needed in spec.depends}
        for symbol in imports[name]:
            if symbol in exporters:
                depends.setdefault(exporters[symbol], modules[exporters[symbol]].name)
        result.append(replace(spec, imports=tuple(imports[name]), depends=tuple(depends.values())))
    return result


def write_tree(
    root: Path | str,
    specs: Iterable[ModuleSpec],
    *,
    compression: str | None = None,
    builtin: Sequence[ModuleSpec] = (),
) -> list[ModuleSpec]:
    """Make ``root`` a /lib/modules/RELEASE folder of these modules; gives them as `linked` did.

    Written are the modules' files and, as text, depmod's indexes. ``compression`` is that of all
    files (see loader.packings); ``builtin`` are only listed, as parts of the kernel. Files that are
    there are replaced, others stay. OSError; UserError as of `linked`, for a circle of
    dependencies, and for a module that cannot be as short as its ``file_bytes``.
    """
    root = Path(root)
    modules = linked(specs)
    packing = named(compression)
    suffix = packing.suffix if packing else ""
    indexes = depmod.indexes(modules, builtin, suffix)
    for spec in modules:
        path = root / f"{spec.path}{suffix}"
        data = compress(build_module(spec), packing)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    root.mkdir(parents=True, exist_ok=True)
    for name, text in indexes.items():
        (root / name).write_text(text)
    return modules


def demo_specs() -> tuple[list[ModuleSpec], list[ModuleSpec]]:
    """The modules of the demo tree, and what is built into its kernel (demo_tree.toml)."""
    return read_specs(Path(__file__).with_name("demo_tree.toml"))


def demo_tree(root: Path | str, *, compression: str | None = None) -> list[ModuleSpec]:
    """Write the demo tree: modules of a small server, sized like Debian's, to ``root``."""
    modules, builtin = demo_specs()
    return write_tree(root, modules, compression=compression, builtin=builtin)
