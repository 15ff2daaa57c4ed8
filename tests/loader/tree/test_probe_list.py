"""What one modprobe inserts, in its order: small trees, each with one thing in it.

That modprobe itself does the same with a larger tree is in test_tree.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.tree.probe_list import Probe
from loader.tree.tree import Tree

DEP = "a.ko:\nb.ko: a.ko\nc.ko: b.ko a.ko\nd.ko:\ne-f.ko:\n"


def probes(folder: Path, name: str, softdeps: str = "", aliases: str = "") -> list[str]:
    """The names, with a ? behind those that need not succeed."""
    (folder / "modules.dep").write_text(DEP)
    (folder / "modules.softdep").write_text(softdeps)
    (folder / "modules.alias").write_text(aliases)
    found = Tree.open(folder).probe_list(name)
    return [probe.path.stem + "?" * (not probe.required) for probe in found]


def test_dependencies_come_first(tmp_path: Path) -> None:
    assert probes(tmp_path, "c") == ["a", "b", "c"]


def test_a_module_that_is_not_there(tmp_path: Path) -> None:
    assert probes(tmp_path, "absent") == []


def test_names_are_the_kernels(tmp_path: Path) -> None:
    assert probes(tmp_path, "e_f") == probes(tmp_path, "e-f") == ["e-f"]


@pytest.mark.parametrize(
    ("softdeps", "order"),
    [
        ("softdep b pre: d", ["a", "d?", "b"]),
        ("softdep b post: d", ["a", "b", "d?"]),
        ("softdep a pre: d\n", ["d?", "a", "b"]),  # of a dependency, too
        ("softdep b pre: d e_f post: absent", ["a", "d?", "e-f?", "b"]),
        ("softdep b pre: a", ["a", "b"]),  # needed anyway
        ("softdep b pre: b", ["a", "b"]),  # of itself
    ],
)
def test_softdeps(tmp_path: Path, softdeps: str, order: list[str]) -> None:
    assert probes(tmp_path, "b", softdeps) == order


def test_softdeps_may_be_aliases_of_several(tmp_path: Path) -> None:
    aliases = "alias x-* d\nalias x-1 e_f\n"
    assert probes(tmp_path, "a", "softdep a pre: x-1", aliases) == ["d?", "e-f?", "a"]


def test_a_probe_is_its_path_and_whether_it_must_succeed() -> None:
    assert Probe(Path("m.ko"), True) == (Path("m.ko"), True)
