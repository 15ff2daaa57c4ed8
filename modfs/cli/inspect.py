"""`modfs inspect`: what modules or whole trees take in memory, and what a duplicate of them costs.

The numbers are those that the kernel would count: the layout's (layout_sections) and, for a load
that fails as a duplicate, the bytes it adds to invalid_becoming_bytes or invalid_mod_bytes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

import click

from loader.config import MACHINES, Config
from loader.errors import UserError
from loader.release import DEFAULT, has_statistics, parse_release
from loader.words import MODULE_FILE, readable_size
from modfs.cli import inspect_parameters
from modfs.cli.options import (
    compress_option,
    config_option,
    configuration,
    kernel_option,
    without_option,
)
from modfs.cli.progress import Progress
from modfs.cli.statuses import DONE, FAILED, complain
from modfs.cli.table import aligned
from modfs.survey import Survey, Surveyed

Column = tuple[str, str, Callable[[Surveyed], int | None]]

# Key in --json and for --sort, heading, and value. All are bytes; None is not known.
_NUMBERS: tuple[Column, ...] = (
    ("file", "FILE", lambda row: row.file),
    ("bytes", "MODULE", lambda row: row.length),
    ("text", "TEXT", lambda row: row.layout.text),
    ("data", "DATA", lambda row: row.layout.data),
    ("rodata", "RODATA", lambda row: row.layout.rodata),
    ("ro_after_init", "RO-AFTER", lambda row: row.layout.ro_after_init),
    ("init_text", "INIT-TEXT", lambda row: row.layout.init_text),
    ("init_data", "INIT-DATA", lambda row: row.layout.init_data),
    ("init_rodata", "INIT-RO", lambda row: row.layout.init_rodata),
    ("total", "TOTAL", lambda row: row.layout.total),
    ("core", "CORE", lambda row: row.layout.core),
    ("becoming", "BECOMING", lambda row: row.length),
    ("load", "LOAD", lambda row: 2 * row.length),
    ("becoming_compressed", "BECOMING+", lambda row: _more(row, 1)),
    ("load_compressed", "LOAD+", lambda row: _more(row, 2)),
)


def _more(row: Surveyed, times: int) -> int | None:
    return None if row.compressed is None else times * row.length + row.compressed


@click.command("inspect")
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH...",
)
@click.option(
    "--sort",
    "key",
    type=click.Choice(["name", *(key for key, _, _ in _NUMBERS)]),
    default="total",
    show_default=True,
    help="The largest first; names in their order.",
)
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Show the first N only.")
@click.option(
    "--parameters", is_flag=True, help="Show what they can be told instead, and who checks it."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@kernel_option(default_told=f"the configuration's, else {DEFAULT}.")
@without_option()
@config_option("Default: Debian's, as far as it is about sizes.")
@compress_option("Take uncompressed modules as if they were compressed.")
def command(
    paths: tuple[Path, ...],
    key: str,
    reverse: bool,
    limit: int | None,
    parameters: bool,
    as_json: bool,
    kernel: str | None,
    without: tuple[str, ...],
    config_file: Path | None,
    compression: str | None,
) -> int:
    """Show what modules take in memory: in bytes, or to a terminal in KiB and MiB, as many columns
    as it is wide.

    PATH is a module's file (.ko, .ko.zst, .ko.gz, .ko.xz) or a folder of them, such as
    /lib/modules/RELEASE. Files that the kernel would not take are told on standard error, and the
    exit status is then 1.

    \b
      FILE       the file              MODULE     it unpacked, without its signature
      TEXT ...   the seven kinds of memory, in whole pages
      TOTAL      their sum, which a load adds to total_mod_size
      CORE       what is left of it after init, as in /proc/modules
      BECOMING   what one duplicate wastes that is found early (6.4 and later)
      LOAD       what one wastes that is found late
      BECOMING+  LOAD+   the same if the kernel unpacks the module by itself

    \b
    Examples:
      modfs inspect --limit 10 /lib/modules/6.1.0-56-amd64
      modfs inspect --sort load_compressed --compress zst xfs.ko kvm.ko
    """
    kconfig = configuration(config_file)
    if kernel is None and kconfig and has_statistics(kconfig.release):
        kernel = kconfig.release
    config = Config(release=parse_release(kernel or DEFAULT, without))
    if kconfig:
        config = kconfig.applied(config)
    machines = (kconfig.machine,) if kconfig else (config.machine, *MACHINES.values())
    files = sorted(set(_module_files(paths)))
    if not files:
        raise UserError(f"{', '.join(map(str, paths))}: no module is in there (.ko, .ko.zst, ...)")
    if parameters:
        return inspect_parameters.show(files, config, tuple(dict.fromkeys(machines)), as_json)
    rows, refused = _inspect_all(files, Survey(config, machines, compression))
    for message in refused:
        complain(message)
    _sort(rows, key, reverse)
    if as_json:
        _print_json(rows, rows[:limit])
    elif rows:
        _print_table(rows, rows[:limit], key)
    return FAILED if refused else DONE


def _inspect_all(files: Sequence[str], survey: Survey) -> tuple[list[Surveyed], list[str]]:
    """Of each file either its row or what is wrong with it."""
    with Progress("Reading modules", len(files)) as progress:
        found = survey.of(files, progress.reached)
    rows = [each for each in found if not isinstance(each, str)]
    refused = zip(files, found, strict=True) if len(rows) < len(files) else ()
    return rows, [f"{path}: {each}" for path, each in refused if isinstance(each, str)]


def _sort(rows: list[Surveyed], key: str, reverse: bool) -> None:
    if key == "name":
        rows.sort(key=lambda row: (row.name, row.path), reverse=reverse)
        return
    value = next(value for number, _, value in _NUMBERS if number == key)
    rows.sort(key=lambda row: (-(value(row) or 0), row.name), reverse=reverse)


def _module_files(paths: Iterable[Path]) -> Iterator[str]:
    """The files themselves, and all modules in and below the folders; links to folders are not
    followed, and what cannot be listed has none."""
    for path in map(str, paths):
        if not os.path.isdir(path):
            yield path
            continue
        folders = [path]
        while folders:
            with suppress(OSError), os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif MODULE_FILE.fullmatch(entry.name) and not entry.is_dir():
                        yield entry.path


def _sum(rows: list[Surveyed], column: Column) -> int | None:
    """Of all rows; None where one of the numbers is not known."""
    try:
        return sum(map(column[2], rows))  # type: ignore[arg-type]
    except TypeError:
        return None


def _print_json(rows: list[Surveyed], shown: list[Surveyed]) -> None:
    import json  # not needed for a table

    modules = [
        {"name": row.name, "path": row.path} | {key: value(row) for key, _, value in _NUMBERS}
        for row in shown
    ]
    sums = {column[0]: _sum(rows, column) for column in _NUMBERS}
    print(json.dumps({"count": len(rows), "sum": sums, "modules": modules}, indent=1))


def _print_table(rows: list[Surveyed], shown: list[Surveyed], key: str) -> None:
    """Columns, with the sums of all modules at the end; those without any number are left out.

    Whoever watches gets as many as the terminal is wide, what they sort by and what matters most
    first, in units; everybody else gets all of them, in bytes.
    """
    columns = [column for column in _NUMBERS if any(column[2](row) is not None for row in rows)]
    watched = sys.stdout.isatty()
    if watched:
        columns.sort(key=lambda column: (column[0] != key, _rank(column[0])))
    told = readable_size if watched else str
    table = [["NAME", *(row.name for row in shown), f"{len(rows)} modules"]]
    table += (_texts(rows, shown, column, told) for column in columns)
    if watched:
        table = table[: 1 + _fitting(table)]
    print(*aligned(list(zip(*table, strict=True))), sep="\n")
    if len(table) <= len(columns):
        print(f"{len(columns) + 1 - len(table)} more columns in a wider terminal, or with --json")


_FIRST = ("total", "core", "becoming", "load", "file", "text")
"""What matters most, in this order; then the others."""


def _rank(key: str) -> int:
    return _FIRST.index(key) if key in _FIRST else len(_FIRST)


def _fitting(table: Sequence[Sequence[str]]) -> int:
    """How many columns besides the names the terminal is wide enough for; one at least."""
    import shutil

    width = shutil.get_terminal_size().columns
    ends = list(accumulate(max(map(len, column)) + 2 for column in table))
    return max(1, sum(end - 2 <= width for end in ends) - 1)


def _texts(
    rows: list[Surveyed], shown: list[Surveyed], column: Column, told: Callable[[int], str]
) -> list[str]:
    """A column's heading, cells and sum."""
    values = [*map(column[2], shown), _sum(rows, column)]
    return [column[1], *("-" if value is None else told(value) for value in values)]
