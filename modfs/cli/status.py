"""modfs status: what is mounted, and who waits there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from modfs.cli.options import mountpoints_argument
from modfs.cli.statuses import DONE, FAILED, complain, ending_with
from modfs.cli.table import aligned, put
from modfs.mount.status import ANSWERS, DEAD_SERVER, FORBIDDEN, OTHER, SILENT, ask, places

_TROUBLE = {
    SILENT: "its server does not answer; modfs umount --force ends it",
    DEAD_SERVER: "its server has died; modfs umount takes the mount away",
    FORBIDDEN: "its server does not answer this user",
    OTHER: "it is served by something else, or by another version of modfs",
}


@click.command(epilog="\b\nExample:\n  modfs status /tmp/m")
@mountpoints_argument(required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(mountpoints: tuple[str, ...], as_json: bool) -> int:
    """Ask the servers of MOUNTPOINTs, or of all mounts of modfs, what they do.

    A server that has died or does not answer is told, and is not waited for longer than ten
    seconds. The exit status is 1 if any did not answer.
    """
    with ending_with(FAILED):
        found = [ask(place) for place in mountpoints or places()]
    if as_json:
        print(*map(json.dumps, found), sep="\n", end="\n" if found else "")
    elif found:
        put(_lines(found))
    else:
        complain("modfs is mounted nowhere")
    return DONE if all(one["state"] == ANSWERS for one in found) else FAILED


def _lines(found: list[dict[str, Any]]) -> Iterator[str]:
    rows = [["MOUNT", "KERNEL", "SINCE", "LOADED", "REQUESTS", "WAITING"]]
    for one in found:
        rows.append(_row(one) if one["state"] == ANSWERS else [one["place"], "-", *["-"] * 4])
    yield from aligned(rows, left=(0, 1, 2))
    for one in found:
        if one["state"] != ANSWERS:
            yield f"{one['place']}: {_TROUBLE[one['state']]}"
        for waiting in one.get("waiting", ()):
            who = f"{waiting['command']}[{waiting['process']}]"
            yield f"{one['place']}: {who} {waiting['request']}: {waiting['seconds']:.1f} s"


def _row(one: dict[str, Any]) -> list[str]:
    counts = (str(one["loaded"]), str(one["requests"]), str(len(one["waiting"])))
    return [one["place"], one["kernel"], _moment(one["since"]), *counts]


def _moment(since: float) -> str:
    """The time for what began today, else the date."""
    begin = datetime.fromtimestamp(since)
    is_today = begin.date() == datetime.fromtimestamp(time.time()).date()
    return begin.strftime("%H:%M:%S" if is_today else "%Y-%m-%d")
