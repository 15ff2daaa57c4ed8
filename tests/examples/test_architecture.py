"""docs/architecture.md shows the house as it is: its rooms, and what each imports."""

from __future__ import annotations

import re

import grimp

from tests.conftest import PROJECT

DOORS = ("loader", "modfs.__main__")
"""Where one comes in: they lead to other rooms, and nothing in the house imports them."""

ROW = re.compile(r"^\| ((?:loader|modfs)[a-z.]*) \|.*\| ([a-z., ]*)\|$", re.MULTILINE)


def room(module: str) -> str:
    """The folder that a module is in."""
    package, _, rest = module.partition(".")
    name = rest.partition(".")[0]
    return f"{package}.{name}" if (PROJECT / package / name).is_dir() and name else package


def imports() -> dict[str, set[str]]:
    """Each room, and the rooms that its modules import."""
    graph = grimp.build_graph("loader", "modfs", cache_dir=None)
    rooms: dict[str, set[str]] = {room(module): set() for module in graph.modules}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            if room(imported) != room(module) and module not in DOORS:
                rooms[room(module)].add(room(imported))
    return rooms


def test_the_table_of_rooms() -> None:
    text = (PROJECT / "docs/architecture.md").read_text()
    rows = ROW.findall(text)
    table = {name: set(filter(None, map(str.strip, cell.split(",")))) for name, cell in rows}
    assert table == imports()


def test_no_circle() -> None:
    left = imports()
    while left:
        free = [name for name, needs in left.items() if not needs & left.keys()]
        assert free, f"a circle among {sorted(left)}"
        for name in free:
            del left[name]
