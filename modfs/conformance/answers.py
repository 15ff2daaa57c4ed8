"""What came of a scenario, put together to a transcript."""

from __future__ import annotations

import errno
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from loader.words import module_name
from modfs.conformance.scenario import Step

_ADDRESS = re.compile(r"\b0x[0-9a-f]+\b")
_DELTAS = ("total_mod_size_delta", "total_text_size_delta")


@dataclass(frozen=True, slots=True)
class Answer:
    """To one step. ``results``: 0 or a negative errno, one for each thread; ``deltas``: what it
    added to total_mod_size and total_text_size; ``text``: of a file, None if there is none."""

    results: tuple[int, ...] = ()
    deltas: tuple[int, int] | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """A scenario that was performed. ``log``: the kernel's, since the first step."""

    name: str
    steps: tuple[Step, ...]
    answers: tuple[Answer, ...]
    log: str = ""
    about: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> list[Step]:
        """The steps of the transcript."""
        return [_told(step, answer) for step, answer in zip(self.steps, self.answers, strict=True)]


def result_name(result: int) -> str:
    """OK, or the errno's name."""
    return "OK" if result >= 0 else errno.errorcode.get(-result, str(result))


def _told(step: Step, answer: Answer) -> Step:
    if "cat" in step:
        is_list = step["cat"] == "/proc/modules" and answer.text
        return {**step, "text": _ADDRESS.sub("0x0", answer.text or "") if is_list else answer.text}
    if step.get("threads"):
        return {**step, "results": dict(Counter(map(result_name, answer.results)))}
    told = {**step, "result": result_name(answer.results[0])}
    if answer.deltas is not None:
        told |= dict(zip(_DELTAS, answer.deltas, strict=True))
    return told


def init_results(performed: Sequence[Answered], known: frozenset[str]) -> dict[str, Any]:
    """What init routines of the kernel's own modules gave, as environment.json tells it.

    ``known``: errnos that the loader itself gives, so that they tell nothing of a routine.
    """
    found: dict[str, Any] = {}
    for answered in performed:
        found |= _held(answered)
        for step in answered.lines():
            file, result = str(step.get("file") or ""), step.get("result", "OK")
            if file.startswith("modules/") and result != "OK" and result not in known:
                name = file.removeprefix("modules/").removesuffix(".ko").replace("-", "_")
                found.setdefault(name, {"returns": result})
    return found


def _held(answered: Answered) -> dict[str, Any]:
    """What init routines hold from then on: of the modules that were loaded with a list of modules
    before and after, by which of its counts grew, and stayed above what users account for."""
    lists = [_unaccounted(step["text"]) for step in answered.lines() if _is_list(step)]
    last = lists[-1] if lists else {}
    found: dict[str, Any] = {}
    before: dict[str, int] = {}
    loaded = None
    for step in answered.lines():
        file = str(step.get("file") or "")
        if file.startswith("modules/") and step.get("result") == "OK":
            loaded = module_name(file.rpartition("/")[2])
        elif _is_list(step):
            now = _unaccounted(step["text"])
            grown = {n: more for n, count in now.items() if (more := count - before.get(n, 0)) > 0}
            stayed = {name: more for name, more in grown.items() if last.get(name, 0) > 0}
            if loaded and stayed:
                found[loaded] = _told_of(loaded, stayed)
            before, loaded = now, None
    return found


def _told_of(loaded: str, grown: dict[str, int]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if own := grown.pop(loaded, 0):
        told["references"] = own
    if grown:
        told["holds"] = sorted(grown)
    return told


def _is_list(step: Step) -> bool:
    return step.get("cat") == "/proc/modules" and step["text"] is not None


def _unaccounted(text: str) -> dict[str, int]:
    """By module, how many references it has beyond those of the modules that use its symbols."""
    found = {}
    for name, _, count, users, *_ in map(str.split, text.splitlines()):
        using = [user for user in users.split(",") if user not in ("", "-", "[permanent]")]
        found[name] = (int(count) if count.isdigit() else 0) - len(using)
    return found
