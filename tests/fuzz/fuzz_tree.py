"""Module trees: every index file damaged, and every question asked."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from loader.synthesize.depmod import indexes
from loader.synthesize.trees import demo_specs, linked
from loader.tree.tree import Tree
from loader.words import module_name
from tests.fuzz.mutate import Chance, damaged_text
from tests.fuzz.target import Target

Indexes = dict[str, bytes]

_WORDS = (
    *(" ", "\n", "\t", "\0", ":", "=", "-", "_", "*", "?", "[", "]", "[!", "[z-a]", "[a-", "\\"),
    *("alias ", "softdep ", "pre:", "post:", "symbol:", "xfs", "libcrc32c", "kernel/a.ko:", ".ko"),
    *("/abs/x.ko.zst: y.ko", "../up.ko:", "\udcff", "é", "\x85", "\x1c", "#", "x.alias=*"),
)


@functools.cache
def _texts() -> dict[str, str]:
    modules, builtin = demo_specs()
    return indexes(linked(modules), builtin)


def make(chance: Chance) -> Indexes:
    texts = dict(_texts())
    texts.pop("modules.order")
    for name in chance.sample(sorted(texts), chance.choice((1, 1, 2, 6))):
        texts[name] = damaged_text(chance, _fewer_lines(chance, texts[name]), _WORDS)
    if chance.random() < 0.05:
        texts["modules.softdep"] = _chain(chance, list(_texts()["modules.dep"].split("\n")))
    return {name: text.encode("utf-8", "surrogateescape") for name, text in texts.items()}


def _fewer_lines(chance: Chance, text: str) -> str:
    """Part of it: damage in a short text hits more."""
    lines = text.split("\n")
    start = chance.randrange(len(lines))
    return "\n".join(lines[start : start + chance.choice((1, 3, 10, len(lines)))])


def _chain(chance: Chance, lines: list[str]) -> str:
    """Soft dependencies one after the other, in a circle."""
    names = [module_name(line.partition(":")[0]) for line in lines if line]
    chance.shuffle(names)
    pairs = zip(names, [*names[1:], names[0]], strict=True)
    return "".join(f"softdep {name} pre: {after} post: {after}\n" for name, after in pairs)


def check(files: Indexes) -> str:
    with tempfile.TemporaryDirectory(prefix="modfs-fuzz-") as folder:
        for name, data in files.items():
            Path(folder, name).write_bytes(data)
        return _ask(Tree.open(folder))


def _ask(tree: Tree) -> str:
    """Nothing is raised: lines that make no sense are skipped."""
    names = list(tree.names())
    for name in names:
        path = tree.path(name)
        assert path is not None and "\0" not in str(path)
        for needed in tree.dependencies(name):
            assert needed.is_relative_to(tree.root) or needed.is_absolute()
        probes = tree.probe_list(name)
        assert path in {probe.path for probe in probes}
    for alias in (
        "pci:v00008086d00001533sv0sd0bc02sc00i00",
        "fs-xfs",
        "symbol:crc32c",
        "a[-]b",
        "",
    ):
        for found in tree.resolve(alias):
            tree.softdeps(found)
            assert tree.path(found) or tree.is_builtin(found) or True
    assert all(isinstance(data, bytes) for data in tree.sample())
    return "ok" if names else "no module"


TARGETS = (Target("tree", make, check, 300),)
