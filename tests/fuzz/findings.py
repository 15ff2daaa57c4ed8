"""Inputs that were answered wrongly, kept in files so that they can be tried again."""

from __future__ import annotations

import hashlib
import pickle
import traceback
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz.guard import guarded, limited_memory
from tests.fuzz.target import Target

FINDINGS = Path(__file__).parent / "findings"


class Finding(NamedTuple):
    """``kind``: equal for those that are likely one defect. ``text``: what there is to tell."""

    kind: str
    text: str


def saved(target: Target, given: Any, error: BaseException, where: str) -> Finding:
    """Keep an input with what came of it; one file for each place where something is raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    kind = f"{target.name} {type(error).__name__} {place}"
    FINDINGS.mkdir(exist_ok=True)
    name = f"{target.name}-{hashlib.sha256(kind.encode()).hexdigest()[:12]}"
    path = FINDINGS / f"{name}.input"
    path.write_bytes(pickle.dumps((target.name, given)))
    data = getattr(given, "data", given)
    if isinstance(data, bytes):
        path.with_suffix(".bytes").write_bytes(data)
    command = f"make fuzz REPLAY={path.relative_to(FINDINGS.parent.parent.parent)}"
    report = "".join(traceback.format_exception(error))[-8000:]
    path.with_suffix(".txt").write_text(f"{where}\n{command}\n\n{report}", errors="replace")
    message = str(error).splitlines()[:1]
    return Finding(kind, f"{kind}: {''.join(message)[:300]}\n    {where}; again: {command}")


def replay(path: str) -> str:
    """Check a kept input again; raises what it raises. Only files that these fuzzers made."""
    from tests.fuzz.targets import TARGETS

    name, given = pickle.loads(Path(path).read_bytes())
    with limited_memory():
        return guarded(TARGETS[name].check, given)
