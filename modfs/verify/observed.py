"""Recordings of traced kernels: the statistics that were accounted, against the kernel's own."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from loader.config import Config
from loader.engine.stats import Snapshot
from loader.image.module_image import ModuleImage, read_image
from loader.observe.call import LIVE, ObservedCall
from loader.observe.events import EXECMEM_MODULE_TEXT
from loader.observe.gaps import Gaps
from loader.observe.recording import KernelText, Recording
from loader.observe.replay import account
from loader.packings import read_module
from loader.release import Release
from loader.words import module_name
from modfs.texts import FILES


@dataclass(slots=True)
class ObservedReport:
    """How one recording compares. ``gaps``: what of all of it is not known.

    ``laid_out`` of ``modules`` had the memory that the engine's layout of their files says.
    """

    path: Path
    gaps: Gaps
    agreed: int = 0
    texts: int = 0
    laid_out: int = 0
    modules: int = 0
    differences: list[str] = field(default_factory=list)


def verify_recording(path: Path, recording: Recording) -> ObservedReport:
    """Compare each text of the kernel's own. UserError: a text is of a moment that was not
    marked."""
    report = ObservedReport(path, account(recording).gaps, texts=len(recording.texts))
    for text in recording.texts:
        snapshot = account(recording, text.moment).snapshot()
        difference = _difference(text, snapshot)
        if difference:
            where = f" at {text.moment}" if text.moment else ""
            report.differences.append(f"{text.file}{where}: {difference}")
        else:
            report.agreed += 1
    return report


def verify_sizes(
    report: ObservedReport, recording: Recording, folder: Path, release: Release
) -> None:
    """Compare the memory of each module that went live with the layout of its file in ``folder``,
    where one of the same length is there. Names of files are modules' by custom."""
    config = Config(release=release)
    files = {module_name(path): path for path in folder.rglob("*.ko*") if path.is_file()}
    checked: set[tuple[str, int | None]] = set()
    for call in recording.items:
        if not isinstance(call, ObservedCall) or call.outcome != LIVE or call.module is None:
            continue
        path = files.get(call.module)
        if path is None or not call.memory or (call.module, call.read) in checked:
            continue
        image = read_image(read_module(path), 0, config)
        if image.len != call.length:
            continue
        checked.add((call.module, call.read))
        report.modules += 1
        difference = _layout_differs(call, image)
        report.laid_out += not difference
        report.differences += [difference] if difference else []


def _layout_differs(call: ObservedCall, image: ModuleImage) -> str:
    text = sum(size for kind, size in call.memory if kind == EXECMEM_MODULE_TEXT)
    has_kinds = all(kind is not None for kind, _ in call.memory)
    layout = image.layout
    if call.memory_size == layout.total and (text == layout.text_total or not has_kinds):
        return ""
    seen = f"{call.memory_size} bytes, {text} of them code" if has_kinds else call.memory_size
    return f"{call.module}: {seen}; by its file {layout.total}, {layout.text_total}"


def _difference(text: KernelText, snapshot: Snapshot) -> str:
    make: Callable[[Snapshot], str] = FILES[text.file].text
    ours = make(snapshot)
    if ours == text.text:
        return ""
    lines = difflib.unified_diff(
        text.text.splitlines(), ours.splitlines(), "the kernel's", "here", lineterm=""
    )
    return "\n" + "\n".join(f"    {line}" for line in lines)
