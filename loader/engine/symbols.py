"""Exported symbols of the modules that are there, and who may use them.

All methods are called with the kernel's lock held.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

from loader.config import Config
from loader.engine.log import KernelLog
from loader.engine.module import COMING, LIVE, Module
from loader.engine.taints import Taints
from loader.errors import LoadError
from loader.image.contents import Export

MODULE_NAMESPACE = "module:"
"""How the namespace of an export begins that is for modules of certain names (6.16)."""


class Symbols:
    """The symbols that modules export, by name."""

    def __init__(
        self, log: KernelLog, config: Config | None = None, taints: Taints | None = None
    ) -> None:
        self._log = log
        self._config = config or Config()
        self._taints = taints or Taints(log)
        self._said_unextended = False
        self._exports: dict[str, tuple[Module, Export]] = {}
        self.kernels: Mapping[str, Export] | None = None
        """What the kernel itself exports; None: whatever no module does."""

    def add(self, module: Module) -> None:
        """verify_exported_symbols, and they are visible. LoadError: ENOEXEC exported twice."""
        for export in module.image.contents.exports:
            owner = self._exports.get(export.name)
            if owner or (self.kernels and export.name in self.kernels):
                self._log.write(
                    f"{module.name}: exports duplicate symbol {export.name}"
                    f" (owned by {owner[0].name if owner else 'kernel'})"
                )
                raise LoadError(errno.ENOEXEC)
        for export in module.image.contents.exports:
            self._exports[export.name] = (module, export)

    def remove(self, module: Module) -> None:
        """Nobody finds them any more."""
        for export in module.image.contents.exports:
            if self._exports.get(export.name, (None,))[0] is module:
                del self._exports[export.name]

    def find(self, name: str) -> tuple[Module, Export] | None:
        """Who exports ``name``; None where no module does."""
        return self._exports.get(name)

    def use_kernels(self, module: Module, export: Export) -> int | None:
        """resolve_symbol of what the kernel itself exports. An errno: it may not be used."""
        if export.gpl and "P" in module.taints:
            return errno.ENOENT
        module.using_gplonly_symbols |= export.gpl
        agree = self._check_version(module, export) and self._check_namespace(module, export)
        return None if agree else errno.EINVAL

    def use(self, module: Module, owner: Module, export: Export) -> Module | int | None:
        """resolve_symbol, once it is found: record its use by ``module``.

        None: done. An errno: it may not be used. A Module: its owner, which is still coming.
        """
        if export.gpl and "P" in module.taints:
            return errno.ENOENT
        if export.gpl:
            module.using_gplonly_symbols = True
        if not self._inherit_taint(module, owner, export.name):
            return errno.ENOENT
        if not self._check_version(module, export):
            return errno.EINVAL
        if not self._check_namespace(module, export):
            return errno.EINVAL
        return _ref_module(module, owner)

    def _inherit_taint(self, module: Module, owner: Module, name: str) -> bool:
        if "P" not in owner.taints:
            return True
        if module.using_gplonly_symbols:
            self._log.write(
                f"{module.name}: module using GPL-only symbols uses symbols {name} from proprietary"
                f" module {owner.name}."
            )
            return False
        if "P" not in module.taints:
            module.taints.add("P")
            self._log.write(
                f"{module.name}: module uses symbols {name} from proprietary module {owner.name},"
                " inheriting taint."
            )
        return True

    def _check_version(self, module: Module, export: Export) -> bool:
        contents = module.image.contents
        magic = contents.tag("vermagic")
        if export.crc is None or not self._config.checks_versions(magic, unknown=True):
            return True
        if contents.unversioned:
            return self._without_versions(module, export.name)
        extended = contents.extended_versions
        known = contents.versions if extended is None else extended
        if known is None:
            return True
        crc = known.get(export.name)
        if crc == export.crc:
            return True
        if crc is None and extended is not None:
            self._say_once(f"{module.name}: no extended symbol version for {export.name}")
            return True
        problem = "no symbol version for" if crc is None else "disagrees about version of symbol"
        self._log.write(f"{module.name}: {problem} {export.name}")
        return False

    def _without_versions(self, module: Module, name: str) -> bool:
        if self._config.force_load:
            self._taints.force(module.name, name, module)
        return self._config.force_load

    def _say_once(self, line: str) -> None:
        if not self._said_unextended:
            self._said_unextended = True
            self._log.write(line)

    def _check_namespace(self, module: Module, export: Export) -> bool:
        """verify_namespace_is_imported."""
        imported = module.image.contents.modinfo.get("import_ns", ())
        if not export.namespace or export.namespace in imported:
            return True
        if self._config.release.module_namespaces and is_for(export.namespace, module.name):
            return True
        self._log.write(
            f"{module.name}: module uses symbol ({export.name}) from namespace {export.namespace},"
            " but does not import it."
        )
        return self._config.missing_namespace_imports


def is_for(namespace: str, name: str) -> bool:
    """verify_module_namespace: does "module:a,b-*" name this module? "-" and "_" are the same."""
    if not namespace.startswith(MODULE_NAMESPACE):
        return False
    name = name.replace("-", "_")
    for pattern in namespace.removeprefix(MODULE_NAMESPACE).replace("-", "_").split(","):
        if name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern:
            return True
    return False


def _ref_module(module: Module, owner: Module) -> Module | int | None:
    """A reference on the owner, one for each user (ref_module, strong_try_module_get)."""
    if owner in module.targets:
        return None
    if owner.state == COMING:
        return owner
    if owner.state != LIVE:
        return errno.ENOENT
    module.targets.append(owner)  # first, so that what is undone in between finds it
    owner.sources.append(module)
    return None
