"""Writes whole trees of made modules, with depmod's indexes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    modules = _by_name(specs)
    exporters = _exporters(modules)
    bare = [n for n in _needed(modules) if not _exported(modules[n])]
    for name in bare:
        symbol = f"use_{name}"[:SYMBOL_BYTES]
        modules[name] = replace(modules[name], exports=(symbol,))
        exporters[symbol] = name
    return [_linked(spec, modules, exporters) for spec in modules.values()]


def _by_name(specs: Iterable[ModuleSpec]) -> dict[str, ModuleSpec]:
    modules: dict[str, ModuleSpec] = {}
    for spec in specs:
        if modules.setdefault(spec.module_name, spec) is not spec:
            raise UserError(f"two modules have the name {spec.module_name}")
    return modules


def _exported(spec: ModuleSpec) -> tuple[str, ...]:
    return (*spec.exports, *spec.exports_gpl)


def _exporters(modules: Mapping[str, ModuleSpec]) -> dict[str, str]:
    """The name of the module that exports each symbol."""
    exporters: dict[str, str] = {}
    for name, spec in modules.items():
        for symbol in _exported(spec):
            if exporters.setdefault(symbol, name) != name:
                raise UserError(f"{exporters[symbol]} and {spec.name} both export {symbol}")
    return exporters


def _needed(modules: Mapping[str, ModuleSpec]) -> Iterator[str]:
    """The names of the modules that others say they depend on."""
    for spec in modules.values():
        for needed in map(canonical, spec.depends):
            if needed not in modules:
                raise UserError(f"{spec.name} depends on {needed}, which is not in the tree")
            yield needed


def _linked(
    spec: ModuleSpec, modules: Mapping[str, ModuleSpec], exporters: Mapping[str, str]
) -> ModuleSpec:
    """One module: a symbol of each that it depends on, a dependency for each symbol."""
    imports = list(spec.imports)
    imported_from = {exporters.get(symbol) for symbol in imports}
    depends = {canonical(needed): needed for needed in spec.depends}
    imports += [_exported(modules[name])[0] for name in depends if name not in imported_from]
    for symbol in imports:
        if owner := exporters.get(symbol):
            depends.setdefault(owner, modules[owner].name)
    return replace(spec, imports=tuple(imports), depends=tuple(depends.values()))


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
