"""The file that a sweep's results are kept in, and found again by a sweep that goes on with it.

JSON lines are written one by one. Parquet has its index at its end, so rows first go to a journal
of JSON lines beside it, FILE.partial; now and then, and at the end, the file is made anew of both
and takes the place of the old one. Whenever a sweep is killed, FILE is whole, and no row is lost.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from loader.errors import UserError
from modfs.sweep.plan import Key
from modfs.sweep.rows import Row, key_of

if TYPE_CHECKING:
    import pyarrow

LINES, PARQUET = (".jsonl", ".ndjson"), (".parquet",)
_PAUSE, _PART = 5.0, 20  # seconds between two new Parquet files, and times what one takes


class Results(Protocol):
    """A file of rows."""

    def rows(self) -> Iterator[Row]:
        """All that are in it."""

    def add(self, row: Row) -> None:
        """One more. OSError."""

    def close(self) -> None:
        """Nothing more comes. OSError."""


class NoResults:
    """For those who want the table alone."""

    def rows(self) -> Iterator[Row]:
        return iter(())

    def add(self, row: Row) -> None:
        pass

    def close(self) -> None:
        pass


def open_results(path: Path | None) -> Results:
    """By the end of its name. OSError. UserError: no such kind; somebody else's file; in use."""
    if path is None:
        return NoResults()
    if path.suffix in LINES:
        return JsonLines(path)
    if path.suffix in PARQUET:
        return Parquet(path)
    raise UserError(f"{path}: a name that ends with .jsonl or .parquet is needed")


class JsonLines:
    """One row a line. Whoever was killed while writing has left half a line: it is cut off."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UserError(f"{path}: another sweep writes there") from None
        whole = 0
        try:
            for line in self._lines():
                self._read(line)
                whole += len(line)
        except UserError:
            self._file.close()
            raise
        self._file.truncate(whole)

    def _lines(self) -> Iterator[bytes]:
        """Those that are whole."""
        with self._path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line

    def _read(self, line: bytes) -> Row:
        try:
            row: Row = json.loads(line)
            key_of(row)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UserError(f"{self._path}: there are no results of a sweep in it") from None
        return row

    def rows(self) -> Iterator[Row]:
        return map(self._read, self._lines())

    def add(self, row: Row) -> None:
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        while line:
            line = line[self._file.write(line) :]

    def close(self) -> None:
        self._file.close()


class Parquet:
    """A Parquet file and its journal."""

    def __init__(self, path: Path) -> None:
        _pyarrow()
        self._path = path
        self._partial = path.with_name(f"{path.name}.partial")
        self._journal = JsonLines(self._partial)
        try:
            self._old = self._read()
        except BaseException:
            self._journal.close()
            raise
        self._new = 0
        self._pause, self._written = _PAUSE, time.monotonic()

    def _read(self) -> pyarrow.Table | None:
        if not self._path.exists():
            return None
        import pyarrow.parquet

        try:
            table = pyarrow.parquet.read_table(self._path, schema=_schema())
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError):
            raise UserError(f"{self._path}: there are no results of a sweep in it") from None
        # Of a sweep that was killed the journal has rows that had come into the file already.
        again = set(map(key_of, self._journal.rows()))
        columns = (table.column(name).to_pylist() for name in Key._fields)
        return table.filter(
            pyarrow.array([Key(*key) not in again for key in zip(*columns, strict=True)])
        )

    def rows(self) -> Iterator[Row]:
        for batch in self._old.to_batches() if self._old is not None else ():
            yield from batch.to_pylist()
        yield from self._journal.rows()

    def add(self, row: Row) -> None:
        self._journal.add(row)
        self._new += 1
        if time.monotonic() - self._written > self._pause:
            self._write()

    def _write(self) -> None:
        """The file anew, with all rows that there are."""
        import pyarrow
        import pyarrow.parquet

        began = time.monotonic()
        table = pyarrow.Table.from_pylist(list(map(_flat, self._journal.rows())), _schema())
        if self._old is not None:
            table = pyarrow.concat_tables([self._old, table])
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            pyarrow.parquet.write_table(table, new, compression="zstd")
            os.replace(new, self._path)
        finally:
            new.unlink(missing_ok=True)
        self._written = time.monotonic()
        self._pause = max(_PAUSE, _PART * (self._written - began))

    def close(self) -> None:
        self._write()
        self._partial.unlink(missing_ok=True)
        self._journal.close()


def _pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError:
        raise UserError(
            "results as Parquet need the package pyarrow: pip install 'modfs[parquet]';"
            " .jsonl needs nothing"
        ) from None


def _flat(row: Row) -> Row:
    """As the columns have it."""
    if "autoload_results" in row:
        row = row | {"autoload_results": list(row["autoload_results"].items())}
    return row


def _schema() -> pyarrow.Schema:
    import pyarrow as pa

    duplicate = pa.struct(
        [("name", pa.string()), ("count", pa.int64()), ("becoming", pa.bool_()),
         ("load", pa.bool_())]
    )  # fmt: skip
    kinds: dict[str, Any] = {
        **dict.fromkeys(("machine", "digest", "modfs", "kernel", "compression"), pa.string()),
        **dict.fromkeys(
            ("processors", "memory", "workers", "seed", "failed", "baseline", "wasted_bytes",
             "peak_bytes", "out_of_memory", "killed", "requests"),
            pa.int64(),
        ),
        **dict.fromkeys(("boot_seconds", "waiting_seconds"), pa.float64()),
        "autoload_results": pa.map_(pa.string(), pa.int64()),
        **dict.fromkeys(
            ("autoload_slot_wait_seconds", "autoload_slot_wait_longest"), pa.float64()
        ),
        **dict.fromkeys(_COUNTERS, pa.uint64()),
        "duplicates": pa.list_(duplicate),
    }  # fmt: skip
    return pa.schema(list(kinds.items()))


_COUNTERS = (
    "modcount", "failed_kreads", "failed_decompress", "failed_becoming", "failed_load_modules",
    "total_mod_size", "total_text_size", "invalid_kread_bytes", "invalid_decompress_bytes",
    "invalid_becoming_bytes", "invalid_mod_bytes",
)  # fmt: skip
