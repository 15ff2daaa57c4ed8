"""What a recording shows beside the kernel's own texts, for people: what is not known, who, what.

The tables are plain text, a row a line, made to be read and cut by columns.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from loader.observe.account import FailedInit
from loader.observe.call import ModuleRequest, ObservedCall
from loader.observe.gaps import Gaps


def gaps(found: Gaps) -> str:
    """What is not known: how often, what, which numbers of the statistics it may have changed."""
    rows = [("times", "what was not seen", "may be wrong"), *found.rows()]
    width = max(len(what) for _, what, _ in rows)
    return "".join(f"{times:>8}  {what:<{width}}  {affects}\n" for times, what, affects in rows)


def failed_inits(rows: Iterable[FailedInit]) -> str:
    """Loads whose init failed, which the kernel counts nowhere: the most frequent first."""
    text = f"{'module':>25}\t{'error':>10}\t{'times':>8}\t{'seconds':>10}\t{'bytes':>12}\twho\n"
    for row in sorted(rows, key=lambda row: (-row.count, row.module, row.error)):
        who = ", ".join(f"{name} x {count}" for name, count in (row.tasks or {}).items())
        text += (
            f"{row.module:>25}\t{row.error:>10}\t{row.count:>8}\t{row.seconds:>10.6f}"
            f"\t{row.bytes:>12}\t{who}\n"
        )
    return text


def result(number: int | None) -> str:
    """ok, an errno's name, or a question mark."""
    if number is None:
        return "?"
    return errno.errorcode.get(number, str(number)) if number else "ok"


def call(item: ObservedCall) -> str:
    """One line on a call."""
    what = item.module or item.file.name or "?"
    asked = f", for the kernel's request {item.asked_by}" if item.asked_by else ""
    unknown = f" (not known: {', '.join(item.gaps)})" if item.gaps else ""
    who = item.task.command or item.task.name
    at = "?" if item.begin is None else f"{item.begin:.6f}"
    return (
        f"{at} {who}-{item.task.tid} {item.call} {what}: {result(item.result)}, {item.outcome}"
        f"{asked}{unknown}\n"
    )


def request(item: ModuleRequest) -> str:
    """One line on a request of the kernel's own."""
    answer = "?" if item.result is None else str(item.result)
    return (
        f"{item.at:.6f} {item.task.name}-{item.task.tid} request_module {item.module}"
        f" by {item.function or '?'}: {answer}\n"
    )
