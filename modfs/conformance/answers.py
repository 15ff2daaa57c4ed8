"""What came of a scenario, put together to a transcript."""

from __future__ import annotations

import errno
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

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
        for step in answered.lines():
            file, result = str(step.get("file") or ""), step.get("result", "OK")
            if file.startswith("modules/") and result != "OK" and result not in known:
                name = file.removeprefix("modules/").removesuffix(".ko").replace("-", "_")
                found.setdefault(name, {"returns": result})
    return found
