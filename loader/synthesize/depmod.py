"""The index files of a module tree in their text forms, as depmod (kmod 30) writes them.

`loader.tree` reads them. depmod itself adds binary forms (modules.dep.bin, ...), which modprobe
reads; run it on a tree to have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from loader.errors import UserError

if TYPE_CHECKING:
    from loader.synthesize.spec import ModuleSpec


def indexes(
    modules: Sequence[ModuleSpec], builtin: Sequence[ModuleSpec] = (), suffix: str = ""
) -> dict[str, str]:
    """The text of each index file by its name; ``suffix`` is that of compressed modules.

    UserError if modules depend on each other in a circle.
    """
    return {
        "modules.dep": _lines(_dependencies(modules, suffix)),
        "modules.alias": _lines(
            ["# Aliases extracted from modules themselves."],
            (f"alias {alias} {m.module_name}" for m in modules for alias in m.aliases),
        ),
        "modules.symbols": _lines(
            ["# Aliases for symbols, used by symbol_request()."],
            (
                f"alias symbol:{symbol} {m.module_name}"
                for m in modules
                for symbol in (*m.exports, *m.exports_gpl)
            ),
        ),
        "modules.softdep": _lines(
            ["# Soft dependencies extracted from modules themselves."],
            (f"softdep {m.module_name} {softdep}" for m in modules for softdep in m.softdeps),
        ),
        "modules.order": _lines(str(m.path) for m in modules),
        "modules.builtin": _lines(str(m.path) for m in builtin),
        "modules.builtin.modinfo": "".join(
            f"{m.module_name}.{tag}={value}\0" for m in builtin for tag, value in _builtin_info(m)
        ),
    }


def _lines(*parts: Sequence[str] | Iterator[str]) -> str:
    return "".join(f"{line}\n" for part in parts for line in part)


def _builtin_info(module: ModuleSpec) -> Iterator[tuple[str, str]]:
    """What the kernel image keeps of a built-in module's .modinfo."""
    for tag, value in module.modinfo_entries():
        if tag in ("license", "parm", "parmtype", "softdep", "alias"):
            yield tag, value
    yield "file", str(module.path.with_suffix("")).removeprefix("kernel/")


def _dependencies(modules: Sequence[ModuleSpec], suffix: str) -> Iterator[str]:
    """`PATH: PATH...`: all that a module needs, also indirectly; the last is loaded first."""
    exporters = {s: m.module_name for m in modules for s in (*m.exports, *m.exports_gpl)}
    needs = {
        m.module_name: list(dict.fromkeys(exporters[s] for s in m.imports if s in exporters))
        for m in modules
    }
    paths = {m.module_name: f"{m.path}{suffix}" for m in modules}
    order = _users_first(needs)
    for name, path in paths.items():
        found = sorted(_closure(name, needs), key=order.__getitem__)
        yield f"{path}:{''.join(f' {paths[needed]}' for needed in found)}"


def _closure(name: str, needs: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    pending = list(needs[name])
    while pending:
        needed = pending.pop()
        if needed not in found:
            found.add(needed)
            pending += needs[needed]
    return found


def _users_first(needs: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Each module's place in an order where every module comes before those it needs.

    Of those that could come next the one found last does, which is depmod's order
    (depmod_calculate_dependencies).
    """
    users = dict.fromkeys(needs, 0)
    for needed in needs.values():
        for name in needed:
            users[name] += 1
    ready = [name for name, count in users.items() if not count]
    order: dict[str, int] = {}
    while ready:
        name = ready.pop()
        order[name] = len(order)
        for needed in needs[name]:
            users[needed] -= 1
            if not users[needed]:
                ready.append(needed)
    if len(order) < len(needs):
        circle = ", ".join(name for name in needs if name not in order)
        raise UserError(f"a circle of dependencies among {circle}")
    return order
