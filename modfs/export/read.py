"""A SOURCE, measured: a directory with the kernel's statistics, their text, or a recording."""

from __future__ import annotations

import json
from collections import Counter
from operator import attrgetter
from pathlib import Path

from loader.errors import UserError
from loader.observe.account import Account
from loader.observe.call import ObservedCall
from loader.observe.recording import Recording
from loader.observe.replay import account, rules_of
from loader.observe.wasted import wasted
from modfs.export import measures
from modfs.export.measures import Measured
from modfs.mount.aside import Silent, aside
from modfs.mount.mountinfo import STATUS
from modfs.sources.source import is_folder, read_source
from modfs.texts_read import read_stats, read_unloaded_tainted

_STATS_BEGIN = b"         Mods ever loaded\t"
_STATS, _UNLOADED, _FAILED_INITS = "stats", "unloaded_tainted", "failed_inits"
_MOST = 16 << 20  # bytes of a text in a directory; the kernel's has at most 8 KiB


def measure(source: Path, top: int) -> Measured:
    """All measures of a source. OSError, UserError: it cannot be read, or is none."""
    measured = Measured(top)
    measured.set(measures.UP, 1)
    if is_folder(source):
        _of_directory(measured, source)
    elif _is_stats(source):
        measures.of_snapshot(measured, read_stats(_text(source), str(source)).snapshot)
    else:
        of_recording(measured, read_source(source))
    return measured


def _is_stats(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_STATS_BEGIN)) == _STATS_BEGIN


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.read(_MOST).decode("utf-8", "surrogateescape")


# -- a directory ---------------------------------------------------------------------------------


def _of_directory(measured: Measured, folder: Path) -> None:
    """/sys/kernel/debug/modules, or a mount of modfs with what it has beside that."""
    texts = _texts(folder)
    if texts.get(_STATS) is None:
        raise UserError(f"{folder}: there is no file {_STATS} in it")
    name = str(folder / _STATS)
    measures.of_snapshot(measured, read_stats(texts[_STATS] or "", name).snapshot)
    if unloaded := texts[_UNLOADED]:
        rows = read_unloaded_tainted(unloaded, str(folder / _UNLOADED))
        measures.of_unloaded(measured, rows)
    if inits := texts[_FAILED_INITS]:
        _failed_inits(measured, inits)
    if status := texts[STATUS]:
        said = json.loads(status)
        measured.set(measures.REQUESTS, said["requests"])
        measured.set(measures.WAITING, len(said["waiting"]))


def _texts(folder: Path) -> dict[str, str | None]:
    """The files of a directory whose server may have gone to sleep."""

    def ask() -> dict[str, str | None]:
        found: dict[str, str | None] = {_STATS: _text(folder / _STATS)}
        for name in (_UNLOADED, _FAILED_INITS, STATUS):
            try:
                found[name] = _text(folder / name)
            except FileNotFoundError:
                found[name] = None
        return found

    try:
        said: dict[str, str | None] = aside(ask)
    except Silent:
        raise UserError(f"{folder}: its server does not answer") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder / _STATS)) from None
    return said


def _failed_inits(measured: Measured, text: str) -> None:
    """The table that modfs.observed writes: module, error, times, and more."""
    rows = (line.split("\t") for line in text.splitlines()[1:])
    found: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        if len(row) >= 3 and row[2].strip().isdigit():
            found[row[0].strip(), row[1].strip()] += int(row[2])
    measured.set_all(measures.INIT_FAILURES, found)


# -- a recording ---------------------------------------------------------------------------------


def of_recording(measured: Measured, recording: Recording) -> None:
    """What a recording amounts to at its end. UserError: nobody knows its kernel."""
    counted = account(recording)
    snapshot = counted.snapshot()
    measures.of_snapshot(measured, snapshot)
    measures.of_unloaded(measured, snapshot.unloaded_tainted)
    measured.set_all(measures.WASTED_BY_MODULE, _by_module(recording))
    _account_only(measured, counted)


def _by_module(recording: Recording) -> Counter[tuple[str, ...]]:
    """Bytes wasted, by module; of some the file's name is all that is known."""
    release = rules_of(recording.header)
    found: Counter[tuple[str, ...]] = Counter()
    for item in sorted(recording.items, key=attrgetter("n")):
        if isinstance(item, ObservedCall) and (lost := wasted(item, release).total) > 0:
            found[(item.module or item.file.name or "?",)] += lost
    return found


def _account_only(measured: Measured, counted: Account) -> None:
    """What the kernel's own statistics do not have."""
    failed: Counter[tuple[str, ...]] = Counter()
    for row in counted.failed_inits.values():
        failed[row.module, row.error] += row.count
    measured.set_all(measures.INIT_FAILURES, failed)
    measured.set_all(
        measures.NOT_SEEN, {(gap,): times for gap, times in counted.gaps.counts().items()}
    )
