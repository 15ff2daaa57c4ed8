"""A trace text made a recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from loader.errors import UserError
from loader.observe.assemble import assemble
from loader.observe.call import Item, ModuleRequest, ObservedCall
from loader.observe.events import Lost
from loader.observe.recording import Header, KernelText, Recording
from loader.observe.replay import rules
from loader.observe.sizes import check, of_proc_modules
from modfs.tracing.text import TraceText, read_trace

# Functions that there are since a release: by them the rules are known where nothing else tells.
_SINCE = (("execmem_alloc", "6.10"), ("init_module_from_file", "6.5"))


def recording_of(path: Path, release: str | None = None) -> Recording:
    """What the trace in a file amounts to. ``release``: of the kernel, where the text has none.

    OSError: cannot be read. UserError: it is no trace, or one without anything about modules.
    """
    text = read_trace(path)
    release = release or text.release
    since = _since(text.kinds)
    assembled = assemble(text.events, rules(release or since), text.kinds)
    items = check(assembled, of_proc_modules(text.proc_modules))
    if not _is_about_modules(text, items):
        raise UserError(f"{path}: a trace without any event about modules")
    if not any(kind.startswith("sys_") for kind in text.kinds):
        items.append(Lost(0, "no-calls", 1))
    header = Header(release, since, definitions=tuple(text.definitions))
    return Recording(header, items, [], list(_texts(text)), whole=True)


def _since(kinds: set[str]) -> str | None:
    for function, release in _SINCE:
        if kinds & {function, f"{function}%return"}:
            return release
    return None


def _is_about_modules(text: TraceText, items: list[Item]) -> bool:
    return bool(text.definitions) or any(
        isinstance(item, ObservedCall | ModuleRequest) for item in items
    )


def _texts(text: TraceText) -> Iterator[KernelText]:
    for moment, stats in text.stats.items():
        yield KernelText("stats", moment, stats)
    if text.unloaded is not None:
        yield KernelText("unloaded_tainted", None, text.unloaded)
