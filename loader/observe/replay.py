"""A recording accounted again: the statistics at a moment, or at its end."""

from __future__ import annotations

from loader.errors import UserError
from loader.observe.account import Account
from loader.observe.call import Item, ObservedCall
from loader.observe.events import Lost, Moment
from loader.observe.recording import Header, Recording
from loader.release import DEFAULT, OLDEST, Release, release
from loader.words import did_you_mean, shown


def rules(name: str | None) -> Release:
    """By whose rules a kernel of that release counts, had it the statistics.

    A kernel before 6.4 is taken to count as 6.4 does. UserError: ``name`` is no release.
    """
    if name is None:
        return release(DEFAULT)
    try:
        return release(name)
    except UserError:
        if name[:1].isdigit() and _version(name) < _version(OLDEST):
            return release(OLDEST)
        raise


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in name.split(".")[:2])


def rules_of(header: Header) -> Release:
    """By whose rules the kernel counts that was recorded. UserError: nobody knows its release."""
    known = rules(header.release or header.since)
    return release(known.name, header.without) if header.without else known


def account(recording: Recording, until: str | None = None) -> Account:
    """What was counted up to the moment ``until``; None: all. UserError: no such moment."""
    made = Account(rules_of(recording.header))
    for before in recording.before:
        made.already_loaded(before.name, before.taints)
    last = None if until is None else _moment(recording, until).n
    if not recording.whole:
        made.lost("cut", 1)
    for item in _in_order(recording):
        if last is not None and item.n > last:
            break
        if isinstance(item, ObservedCall):
            made.count(item)
        elif isinstance(item, Lost):
            made.lost(item.gap, item.times)
    return made


def _in_order(recording: Recording) -> list[Item]:
    return sorted(recording.items, key=lambda item: item.n)


def _moment(recording: Recording, name: str) -> Moment:
    moments = {item.name: item for item in recording.items if isinstance(item, Moment)}
    if name not in moments:
        known = f"; known are {', '.join(moments)}" if moments else "; none was marked"
        near = did_you_mean(name, moments) or known
        raise UserError(f"no moment {shown(name)} in the recording{near}")
    return moments[name]
