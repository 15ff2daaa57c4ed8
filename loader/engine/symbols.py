"""Exported symbols of the modules that are there, and who may use them.

All methods are called with the kernel's lock held.
"""

from __future__ import annotations

import errno

from loader.engine.log import KernelLog
from loader.engine.module import COMING, LIVE, Module
from loader.errors import LoadError
from loader.image.contents import Export


class Symbols:
    """The symbols that modules export, by name."""

    def __init__(self, log: KernelLog) -> None:
        self._log = log
        self._exports: dict[str, tuple[Module, Export]] = {}

    def add(self, module: Module) -> None:
        """verify_exported_symbols, and they are visible. LoadError: ENOEXEC exported twice."""
        for export in module.image.contents.exports:
            if owner := self._exports.get(export.name):
                self._log.write(
                    f"{module.name}: exports duplicate symbol {export.name}"
                    f" (owned by {owner[0].name})"
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
        versions = module.image.contents.versions
        if export.crc is None or versions is None:
            return True
        crc = versions.get(export.name)
        if crc == export.crc:
            return True
        problem = "no symbol version for" if crc is None else "disagrees about version of symbol"
        self._log.write(f"{module.name}: {problem} {export.name}")
        return False

    def _check_namespace(self, module: Module, export: Export) -> bool:
        imported = module.image.contents.modinfo.get("import_ns", ())
        if not export.namespace or export.namespace in imported:
            return True
        self._log.write(
            f"{module.name}: module uses symbol ({export.name}) from namespace {export.namespace},"
            " but does not import it."
        )
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
