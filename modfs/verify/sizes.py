"""The memory that modules took when a kernel loaded them, compared with their layout here.

modules.tsv has a line for each module: its ``file``, and in bytes ``total_mod_size`` and
``total_text_size``, what its load added to the statistics, where the kernel has them;
``core_size``, as in /proc/modules; and where they were recorded the seven kinds of memory (text,
data, rodata, ...).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loader.config import Config
from loader.errors import UserError
from loader.image.layout import Layout
from loader.image.module_image import read_image
from loader.packings import read_module
from modfs.verify.corpus import Corpus

_SUMS = {"total_mod_size": "total", "total_text_size": "text_total", "core_size": "core"}
_NUMBERS = {**_SUMS, **{kind: kind for kind in Layout._fields}}


@dataclass(slots=True)
class SizesReport:
    """How the modules of one table compare. ``missing``: rows whose module is not there."""

    path: Path
    agreed: int = 0
    differences: list[str] = field(default_factory=list)
    missing: int = 0

    @property
    def modules(self) -> int:
        """Those that were compared."""
        return self.agreed + len(self.differences)


def compare_sizes(table: Path, corpus: Corpus, config: Config) -> SizesReport:
    """Every row whose module is in ``corpus``. OSError. UserError: it is no such table."""
    report = SizesReport(table)
    for row in _rows(table):
        path = corpus.find(f"modules/{row['file']}")
        if path is None:
            report.missing += 1
            continue
        image = read_image(read_module(path), 0, config)
        failure = image.becoming_failure or image.layout_failure
        differences = [failure.message] if failure else list(_differences(row, image.layout))
        if differences:
            report.differences.append(f"{row['file']}: {'; '.join(differences)}")
        else:
            report.agreed += 1
    return report


def _differences(row: Mapping[str, str], layout: Layout) -> Iterator[str]:
    for column, name in _NUMBERS.items():
        ours = getattr(layout, name)
        if column in row and int(row[column]) != ours:
            yield f"{column} is {ours} instead of {row[column]}"


def _rows(table: Path) -> Iterator[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        columns = set(rows.fieldnames or ())
        if not {"file", "core_size"} <= columns:
            raise UserError(f"{table} is no table of sizes: it needs the columns file, core_size")
        for row in rows:
            if not all((row[name] or "").isdigit() for name in columns & set(_NUMBERS)):
                raise UserError(f"{table}, line {rows.line_num}: a size is missing or no number")
            yield row
