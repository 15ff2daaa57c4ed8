"""`modfs inspect`: what modules or whole trees take in memory, and what a duplicate of them costs.

The numbers are those that the kernel would count: the layout's (layout_sections) and, for a load
that fails as a duplicate, the bytes it adds to invalid_becoming_bytes or invalid_mod_bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from loader.calls import MODULE_INIT_COMPRESSED_FILE
from loader.config import MACHINES, Config
from loader.errors import UserError, in_words
from loader.image.layout import Layout
from loader.image.module_image import ModuleImage, read_image
from loader.packings import NOT_PACKED, by_suffix, compress, named
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


@dataclass(frozen=True, slots=True)
class Row:
    """One module. ``bytes``: its file unpacked and without signature; ``compressed``: its file as
    the kernel reads it if it unpacks by itself, None where there is no such file.
    """

    name: str
    path: str
    file: int
    bytes: int
    compressed: int | None
    layout: Layout


Column = tuple[str, str, Callable[[Row], int | None]]

# Key in --json and for --sort, heading, and value. All are bytes; None is not known.
_NUMBERS: tuple[Column, ...] = (
    ("file", "FILE", lambda row: row.file),
    ("bytes", "MODULE", lambda row: row.bytes),
    ("text", "TEXT", lambda row: row.layout.text),
    ("data", "DATA", lambda row: row.layout.data),
    ("rodata", "RODATA", lambda row: row.layout.rodata),
    ("ro_after_init", "RO-AFTER", lambda row: row.layout.ro_after_init),
    ("init_text", "INIT-TEXT", lambda row: row.layout.init_text),
    ("init_data", "INIT-DATA", lambda row: row.layout.init_data),
    ("init_rodata", "INIT-RO", lambda row: row.layout.init_rodata),
    ("total", "TOTAL", lambda row: row.layout.total),
    ("core", "CORE", lambda row: row.layout.core),
    ("becoming", "BECOMING", lambda row: row.bytes),
    ("load", "LOAD", lambda row: 2 * row.bytes),
    ("becoming_compressed", "BECOMING+", lambda row: _more(row, 1)),
    ("load_compressed", "LOAD+", lambda row: _more(row, 2)),
)


def _more(row: Row, times: int) -> int | None:
    return None if row.compressed is None else times * row.bytes + row.compressed


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
    rows, refused = _inspect_all(files, config, tuple(dict.fromkeys(machines)), compression)
    for message in refused:
        complain(message)
    _sort(rows, key, reverse)
    if as_json:
        _print_json(rows, rows[:limit])
    elif rows:
        _print_table(rows, rows[:limit], key)
    return FAILED if refused else DONE


def _inspect_all(
    files: Sequence[Path], config: Config, machines: tuple[int, ...], compression: str | None
) -> tuple[list[Row], list[str]]:
    """Of each file either its row or what is wrong with it."""
    rows: list[Row] = []
    refused: list[str] = []
    with Progress("Reading modules", len(files)) as progress:
        for number, path in enumerate(files, 1):
            try:
                rows.append(_inspect(path, config, machines, compression))
            except OSError as error:
                refused.append(f"{path}: {in_words(error)}")
            except UserError as error:
                refused.append(f"{path}: {error}")
            progress.reached(number)
    return rows, refused


def _sort(rows: list[Row], key: str, reverse: bool) -> None:
    if key == "name":
        rows.sort(key=lambda row: (row.name, row.path), reverse=reverse)
        return
    value = next(value for number, _, value in _NUMBERS if number == key)
    rows.sort(key=lambda row: (-(value(row) or 0), row.name), reverse=reverse)


def _module_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files themselves, and all modules in and below the folders."""
    for path in paths:
        if not path.is_dir():
            yield path
        for folder, _, names in os.walk(path):
            yield from (Path(folder, name) for name in names if MODULE_FILE.fullmatch(name))


def _inspect(path: Path, config: Config, machines: tuple[int, ...], compression: str | None) -> Row:
    """OSError: the file cannot be read; UserError: no kernel would take it."""
    data = path.read_bytes()
    packed = by_suffix(path)
    compressed = len(data) if packed else None
    config = replace(config, compression=packed.name if packed else NOT_PACKED)
    image = _image(data, config, machines)
    if not packed and compression:
        compressed = len(compress(data, named(compression)))
    return Row(image.name, str(path), len(data), image.len, compressed, image.layout)


def _image(data: bytes, config: Config, machines: tuple[int, ...]) -> ModuleImage:
    """For the first of these machines whose kernel takes it. UserError: none does."""
    flags = MODULE_INIT_COMPRESSED_FILE if config.compression != NOT_PACKED else 0
    failure = None
    for machine in machines:
        image = read_image(data, flags, replace(config, machine=machine))
        found = image.decompress_failure or image.becoming_failure or image.layout_failure
        if found is None:
            return image
        failure = failure or found
    assert failure is not None
    why = f", and would log: {'; '.join(failure.log)}" if failure.log else ""
    raise UserError(f"the kernel would refuse it with {failure.name}{why}")


def _sums(rows: list[Row]) -> dict[str, int | None]:
    """Each number's sum; None where one of them is not known."""
    sums: dict[str, int | None] = {}
    for key, _, value in _NUMBERS:
        values = [found for row in rows if (found := value(row)) is not None]
        sums[key] = sum(values) if len(values) == len(rows) else None
    return sums


def _print_json(rows: list[Row], shown: list[Row]) -> None:
    modules = [
        {"name": row.name, "path": row.path} | {key: value(row) for key, _, value in _NUMBERS}
        for row in shown
    ]
    print(json.dumps({"count": len(rows), "sum": _sums(rows), "modules": modules}, indent=1))


def _print_table(rows: list[Row], shown: list[Row], key: str) -> None:
    """Columns, with the sums of all modules at the end; those without any number are left out.

    Whoever watches gets as many as the terminal is wide, what they sort by and what matters most
    first, in units; everybody else gets all of them, in bytes.
    """
    columns = [column for column in _NUMBERS if any(column[2](row) is not None for row in rows)]
    if not sys.stdout.isatty():
        print(*_table(rows, shown, columns, str), sep="\n")
        return
    columns.sort(key=lambda column: (column[0] != key, _rank(column[0])))
    width = shutil.get_terminal_size().columns
    fitting = max(range(1, len(columns) + 1), key=lambda n: _fits(rows, shown, columns[:n], width))
    print(*_table(rows, shown, columns[:fitting], readable_size), sep="\n")
    if fitting < len(columns):
        print(f"{len(columns) - fitting} more columns in a wider terminal, or with --json")


_FIRST = ("total", "core", "becoming", "load", "file", "text")
"""What matters most, in this order; then the others."""


def _rank(key: str) -> int:
    return _FIRST.index(key) if key in _FIRST else len(_FIRST)


def _fits(rows: list[Row], shown: list[Row], columns: Sequence[Column], width: int) -> int:
    """The number of columns if they fit, else 0."""
    lines = _table(rows, shown, columns, readable_size)
    return len(columns) if max(map(len, lines)) <= width else 0


def _table(
    rows: list[Row], shown: list[Row], columns: Sequence[Column], told: Callable[[int], str]
) -> list[str]:
    def cell(value: int | None) -> str:
        return "-" if value is None else told(value)

    sums = _sums(rows)
    table = [["NAME", *(heading for _, heading, _ in columns)]]
    for row in shown:
        table.append([row.name, *(cell(value(row)) for _, _, value in columns)])
    table.append([f"{len(rows)} modules", *(cell(sums[key]) for key, _, _ in columns)])
    return list(aligned(table))
