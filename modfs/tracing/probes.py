"""The probes that tell of module loads, each in the forms that kernels take: the best one first.

By name from BTF where the kernel has fprobe events (6.4 and later, CONFIG_FPROBE_EVENTS), else by
registers and offsets (x86-64). What is not there in a kernel, or inlined, is refused with EINVAL:
then another probe, or nothing, tells of it. Strings are fetched only where they are the module's
own: info->name is freed memory once load_module returns.

A bound of 500 on the calls under way (``f500:``, ``r500:``) is more than any storm has of tasks in
one function; without one it is twice the processors, and what is above that is lost in silence.
"""

from __future__ import annotations

from typing import NamedTuple

BOUND = 500


class Form(NamedTuple):
    """One way to define a probe: ``kind`` f, p or r; ``fields`` as the kernel parses them."""

    kind: str
    function: str
    fields: str = ""

    def definition(self, group: str, name: str, bound: int = BOUND) -> str:
        """The line for dynamic_events."""
        returns = self.kind == "r" or self.function.endswith("%return")
        kind = f"{self.kind}{bound}" if returns and bound else self.kind
        return f"{kind}:{group}/{name} {self.function} {self.fields}".rstrip()


class Probe(NamedTuple):
    """``name``: of the event. ``tells``: what is not known without it."""

    name: str
    tells: str
    forms: tuple[Form, ...]


_FILE = (
    "file=file->f_path.dentry->d_name.name:string dev=file->f_inode->i_sb->s_dev"
    " ino=file->f_inode->i_ino size=file->f_inode->i_size"
)

PROBES: tuple[Probe, ...] = (
    Probe(
        "read",
        "what was read, from which file",
        (
            Form("f", "kernel_read_file%return", f"ret=$retval:s64 id=id {_FILE}"),
            Form("f", "kernel_read_file%return", "ret=$retval:s64 id=id"),
            Form("r", "kernel_read_file", "ret=$retval:s64"),
        ),
    ),
    Probe(
        "decompress",
        "files that the kernel unpacked",
        (
            Form("f", "module_decompress%return", "ret=$retval:s32"),
            Form("r", "module_decompress", "ret=$retval:s32"),
        ),
    ),
    Probe(
        "laid_out",
        "which failures come after the early checks",
        (
            Form("f", "layout_symtab", "name=mod->name:string len=info->len"),
            Form("p", "layout_symtab", "name=+24(%di):string len=+24(%si):u64"),
        ),
    ),
    Probe(
        "alloc",
        "the modules' memory",
        (
            Form("f", "execmem_alloc%return", "ret=$retval size=size type=type"),
            Form("r", "execmem_alloc", "ret=$retval size=$arg2:u64 type=$arg1:s32"),
            Form("p", "module_alloc", "size=%di:u64"),
        ),
    ),
    Probe(
        "find",
        "duplicates' names",
        (
            Form("f", "find_module_all", "name=name:string"),
            Form("p", "find_module_all", "name=+0(%di):string"),
        ),
    ),
    Probe(
        "load",
        "lengths",
        (
            Form("f", "load_module", "len=info->len flags=flags"),
            Form("p", "load_module", "len=+24(%di):u64 flags=%dx:s32"),
        ),
    ),
    Probe(
        "loaded",
        "how loads ended, and lengths without signature",
        (
            Form("f", "load_module%return", "ret=$retval:s32 len=info->len"),
            Form("r", "load_module", "ret=$retval:s32 len=+24($arg1):u64"),
            Form("r", "load_module", "ret=$retval:s32"),
        ),
    ),
    Probe(
        "init",
        "when init began",
        (
            Form("f", "do_init_module", "name=mod->name:string"),
            Form("p", "do_init_module", "name=+24(%di):string"),
        ),
    ),
    Probe(
        "inited",
        "how init ended",
        (
            Form("f", "do_init_module%return", "ret=$retval:s32"),
            Form("r", "do_init_module", "ret=$retval:s32"),
        ),
    ),
    Probe(
        "shared",
        "loads that were waited for",
        (
            Form("f", "idempotent_init_module%return", "ret=$retval:s32"),
            Form("r", "idempotent_init_module", "ret=$retval:s32"),
        ),
    ),
    Probe(
        "from_file",
        "loads that were waited for",
        (
            Form("f", "init_module_from_file%return", "ret=$retval:s32"),
            Form("r", "init_module_from_file", "ret=$retval:s32"),
        ),
    ),
    Probe(
        "request",
        "how the kernel's own requests ended",
        (
            Form("f", "__request_module%return", "ret=$retval:s32"),
            Form("r", "__request_module", "ret=$retval:s32"),
        ),
    ),
)

NEEDED = ("load", "loaded")
"""Without these nothing can be counted."""

SPARE = ("decompress", "shared", "from_file", "request")
"""What these tell others tell as well, or the kernel does not do it where they cannot be probed."""

TRACEPOINTS: tuple[str, ...] = (
    "module/module_load",
    "module/module_free",
    "module/module_request",
    *(
        f"syscalls/sys_{side}_{call}_module"
        for call in ("finit", "init", "delete")
        for side in ("enter", "exit")
    ),
    "sched/sched_process_exit",
    "sched/sched_process_exec",
    "sched/sched_process_fork",
    "task/task_rename",
)
