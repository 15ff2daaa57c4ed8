"""How important the kernel's own messages are: KERN_ERR and the like of each.

As in kernel/module, kernel/params.c and lib/test_kmod.c of 6.12; 7.3 has the same for all that both
have. What is not listed is an error: most of what is said of a module is why it is refused.
"""

from __future__ import annotations

import re
from functools import cache

ERR, WARNING, NOTICE, INFO = 3, 4, 5, 6
_LEVELS: tuple[tuple[int, str], ...] = (
    # main.c
    (WARNING, "%s: per-cpu alignment %s > %s"),
    (WARNING, "%s: Could not allocate %s bytes percpu data"),
    (WARNING, "%s: %s: kernel tainted."),
    (WARNING, "%s: module uses symbols %s from proprietary module %s, inheriting taint."),
    (WARNING, "%s: gave up waiting for init of module %s."),
    (WARNING, "%s: please compile with -fno-common"),
    (WARNING, "%s: Unknown symbol %s (err %s)"),
    (WARNING, "%s: module license '%s' taints kernel."),
    (WARNING, "%s: module license taints kernel."),
    (WARNING, "%s: module has no symbols (stripped?)"),
    (WARNING, "%s: loading module not compiled with retpoline compiler."),
    (WARNING, "%s: loading out-of-tree module taints kernel."),
    (WARNING, "%s: module is from the staging directory, the quality %s"),
    (WARNING, "%s: loading test module taints kernel."),
    (WARNING, "%s: ignoring obsolete section %s"),
    (WARNING, "%s: has both .ctors and .init_array."),
    (WARNING, "%s: Ignoring obsolete parameters"),
    (WARNING, "%s: '%s'->init suspiciously returned %s"),
    (WARNING, "%s: init suspiciously returned %s"),
    (WARNING, "%s: unknown parameter '%s' ignored"),
    (WARNING, "%s: parameters '%s' after `--' ignored"),
    (NOTICE, "%s: module verification failed: signature %s"),
    (NOTICE, "%s: tainting kernel with TAINT_LIVEPATCH"),
    # signing.c, version.c, dups.c, kmod.c
    (NOTICE, "Loading of %s is rejected"),
    (WARNING, "%s: no symbol version for %s"),
    (WARNING, "%s: no extended symbol version for %s"),
    (WARNING, "%s: disagrees about version of symbol %s"),
    (WARNING, "module-autoload: duplicate request for module %s"),
    (WARNING, "request_module: modprobe %s cannot be processed, kmod busy with %s"),
    (WARNING, "request_module %s succeeded, but still no fs?"),
    (WARNING, "%s: %s callbacks suppressed"),
    (WARNING, "%s: %s output lines suppressed due to ratelimiting"),
    # kernel/panic.c, kernel/params.c, lib/test_kmod.c
    (WARNING, "Disabling lock debugging due to kernel taint"),
    (NOTICE, "Setting dangerous option %s - tainting kernel"),
    (INFO, "misc test_kmod%s: %s"),
)


@cache
def _patterns() -> tuple[tuple[int, re.Pattern[str]], ...]:
    """Of each form, which is as in printf(3)."""
    return tuple(
        (level, re.compile(".*".join(map(re.escape, form.split("%s"))), re.DOTALL))
        for level, form in _LEVELS
    )


def level_of(text: str) -> int:
    """That of a message of the kernel's own."""
    return next((level for level, form in _patterns() if form.fullmatch(text)), ERR)
