"""Names that would be markup or script if anything took them for that."""

from __future__ import annotations

from loader.calls import Task
from loader.observe.call import BECOMING, ModuleRequest, ObservedCall, ObservedFile
from loader.observe.events import Moment
from loader.observe.recording import Header, Recording

NAMES = (
    "</script><script>document.documentElement.dataset.hurt=1</script>",
    "<img src=x onerror=document.documentElement.dataset.hurt=1>",
    "<!--<script>",
    "]]><g onload='alert(1)'>",
    "&lt;b&gt;&amp;",
    "\"'`${document.documentElement.dataset.hurt=1}\\",
    "a\u2028b\u2029c\u202ed\x00e\x1bf\x7f\udc80",
    "@DATA@ @PROGRAM@ @STYLE@",
    "x" * 5000,
    "",
)


def recording() -> Recording:
    """A call for each name, with that name wherever a call has one."""
    items: list[ObservedCall | ModuleRequest | Moment] = []
    for n, name in enumerate(NAMES, 1):
        task = Task(name, n, 1, name, name, 0, name)
        items.append(
            ObservedCall(
                n,
                "finit_module",
                task,
                BECOMING,
                begin=n * 0.001,
                end=n * 0.001 + 0.0005,
                result=17,
                params=name,
                file=ObservedFile(name, 1, n, 100),
                length=100,
                module=name,
                phases={"read": n * 0.001 + 0.0001},
                duplicate=True,
                asked_by=name if n % 2 else None,
            )
        )
        items.append(ModuleRequest(100 + n, n * 0.001, task, name, True, name, -2))
        items.append(Moment(200 + n, n * 0.001, name))
    return Recording(Header(None, "6.10"), [*items], whole=True)
