"""One task's call while it is under way: what each event adds to what is known of it.

All that a call is judged by is gathered here; loader.observe.judge says what it amounts to. No
order is relied on but the kernel's own, and nothing is lost by an event that comes twice (two
probes of one function) or not at all.
"""

from __future__ import annotations

from collections.abc import Callable

from loader.calls import Task
from loader.observe.events import (
    ALLOCATORS,
    EXECMEM_MODULE_DATA,
    EXECMEM_MODULE_TEXT,
    READING_MODULE,
    RETURN,
    Event,
)

_MOST_ALLOCATIONS = 64  # seven kinds of memory; whatever more there is, is not the layout's


class Underway:
    """A call that has begun. None stands for what was not seen."""

    __slots__ = (
        "allocating",
        "allocations",
        "argument", "asked_for",
        "begin",
        "call",
        "dev",
        "entered",
        "failed_allocation",
        "file",
        "find_n",
        "finds",
        "first_n",
        "flags",
        "found",
        "from_file",
        "from_file_seen",
        "init_entered",
        "init_n",
        "init_return",
        "ino",
        "laid_out",
        "laid_out_name",
        "listed",
        "load_n",
        "load_return",
        "loaded_name",
        "module_freed",
        "module_freed_n",
        "module_loaded",
        "n",
        "params",
        "phases",
        "raw",
        "read",
        "read_id",
        "read_n",
        "resolved",
        "result",
        "shared",
        "size",
        "stripped",
        "taints",
        "task",
        "unpacked",
        "unpacked_n",
        "unpacked_seen",
    )  # fmt: skip

    def __init__(self, event: Event, call: str | None, who: Task) -> None:
        self.task = who
        self.call = call
        self.begin: float | None = event.at if call else None
        self.n = self.first_n = event.n
        self.flags: int | None = None
        self.params: str | None = None
        self.argument: int | None = None
        self.result: int | None = None
        self.read: int | None = None
        self.read_n: int | None = None
        self.read_id: int | None = None
        self.file: str | None = None
        self.dev: int | None = None
        self.ino: int | None = None
        self.size: int | None = None
        self.unpacked_seen = False
        self.unpacked: int | None = None
        self.unpacked_n: int | None = None
        self.entered = self.laid_out = self.init_entered = False
        self.listed = self.resolved = False
        self.raw: int | None = None
        self.stripped: int | None = None
        self.found: str | None = None
        self.finds = 0
        self.find_n: int | None = None
        self.laid_out_name: str | None = None
        self.loaded_name: str | None = None
        self.allocating = False
        self.allocations: dict[int, tuple[int | None, int]] = {}
        self.asked_for: list[tuple[int | None, int]] = []  # where only that can be seen
        self.failed_allocation = False
        self.load_return: int | None = None
        self.load_n: int | None = None
        self.init_return: int | None = None
        self.init_n: int | None = None
        self.from_file: int | None = None
        self.from_file_seen = self.shared = False
        self.module_loaded: str | None = None
        self.taints = ""
        self.module_freed: str | None = None
        self.module_freed_n: int | None = None
        self.phases: dict[str, float] = {}

    def see(self, event: Event) -> None:
        """What ``event``, of this task, tells."""
        handler = _HANDLERS.get(event.kind)
        if handler is not None:
            self.n = event.n
            handler(self, event)

    def is_load(self) -> bool:
        """Is it, as far as was seen, a load of a module and not a removal?"""
        return self.call in ("finit_module", "init_module")

    @property
    def has_memory(self) -> bool:
        """It got memory of its own: from here on a failure is one of load.

        The second search for its name (add_unformed_module) comes after that.
        """
        return self.listed or (bool(self.memory) and not self.failed_allocation)

    @property
    def memory(self) -> tuple[tuple[int | None, int], ...]:
        """The types and sizes of what it got, or at least asked for."""
        return tuple(self.allocations.values() or self.asked_for)

    # -- what the events tell ---------------------------------------------------------------------

    def _phase(self, name: str, event: Event) -> None:
        self.phases.setdefault(name, event.at)

    def _saw_read(self, event: Event) -> None:
        """kernel_read_file has returned: the bytes read, or an errno."""
        kind = event.number("id")
        if self.entered or (kind is not None and kind not in READING_MODULE):
            return  # a firmware's file, say, that the module's init asks for
        result = event.number("ret")
        if result is not None and self.read is None:
            self.read, self.read_n = result, event.n
            self.read_id = kind
        self._saw_file(event)
        self._phase("read", event)

    def _saw_file(self, event: Event) -> None:
        kind = event.number("id")
        if self.entered or (kind is not None and kind not in READING_MODULE):
            return
        self.file = event.text("file") or event.text("name") or self.file
        for name in ("dev", "ino", "size"):
            value = event.number(name)
            if value is not None:
                setattr(self, name, value)

    def _saw_unpacked(self, event: Event) -> None:
        self.unpacked_seen = True
        self.unpacked = event.number("ret")
        self.unpacked_n = event.n
        self._phase("unpacked", event)

    def _saw_load(self, event: Event) -> None:
        """load_module is entered: bytes with signature, in memory."""
        self.entered = True
        length = event.number("len")
        self.raw = self.raw if length is None else length
        if not self.laid_out:
            self.allocating = True  # layout_symtab may not have been seen
        flags = event.number("flags")
        if self.flags is None and flags is not None:
            self.flags = flags
        self._phase("checked", event)

    def _saw_find(self, event: Event) -> None:
        """find_module_all, in load_module: somebody of that name is looked for."""
        if self.init_entered or self.load_n is not None:
            return
        self.found = event.text("name") or self.found
        if self.call == "delete_module":
            return
        self.entered = True
        self.finds += 1
        self.find_n = event.n
        if self.laid_out or self.memory:
            self.allocating = False
            self.listed = True

    def _saw_laid_out(self, event: Event) -> None:
        """layout_symtab is entered: the early checks are over."""
        if not self.laid_out and not self.listed:
            self.allocating = True
        self.entered = self.laid_out = True
        self.laid_out_name = event.text("name") or self.laid_out_name
        length = event.number("len")
        if length is not None:
            self.stripped = length
        self._phase("laid_out", event)

    def _saw_allocation(self, event: Event) -> None:
        """Memory, between layout_symtab and add_unformed_module: the module's own."""
        if not self.allocating or len(self.allocations) >= _MOST_ALLOCATIONS:
            return
        kind, size, address = event.number("type"), event.number("size"), event.number("ret")
        if kind not in (None, EXECMEM_MODULE_TEXT, EXECMEM_MODULE_DATA):
            return
        if address == 0:
            self.failed_allocation = True
        elif size is not None:
            self.allocations[event.n if address is None else address] = (kind, size)
            self._phase("allocated", event)

    def _saw_asking(self, event: Event) -> None:
        """The same, where the allocator's entry is probed."""
        kind, size = event.number("type"), event.number("size")
        is_module = kind in (None, EXECMEM_MODULE_TEXT, EXECMEM_MODULE_DATA)
        if self.allocating and is_module and size and len(self.asked_for) < _MOST_ALLOCATIONS:
            self.asked_for.append((kind, size))
            self._phase("allocated", event)

    def _saw_resolve(self, event: Event) -> None:
        """A reference on another module, for its symbols: this one is in the list."""
        if event.fields.get("call_site") == "resolve_symbol":
            self.resolved = True

    def _saw_module_load(self, event: Event) -> None:
        self.entered = True
        self.module_loaded = event.text("name")
        self.taints = event.text("taints") or ""
        self.allocating = False

    def _saw_init(self, event: Event) -> None:
        self.entered = self.init_entered = True
        self.allocating = False
        self.laid_out_name = event.text("name") or self.laid_out_name
        self._phase("init", event)

    def _saw_init_return(self, event: Event) -> None:
        self.entered = self.init_entered = True
        self.init_return = event.number("ret")
        self.init_n = event.n
        self._phase("initialized", event)

    def _saw_load_return(self, event: Event) -> None:
        self.entered = True
        self.allocating = False
        result = event.number("ret")
        if result is not None:
            self.load_return = result
        if self.load_n is None:
            self.load_n = event.n
        length = event.number("len")
        if length is not None:
            self.stripped = length
        self.loaded_name = event.text("name") or self.loaded_name

    def _saw_from_file(self, event: Event) -> None:
        self.from_file_seen = True
        self.from_file = event.number("ret")

    def _saw_idempotent(self, event: Event) -> None:
        self.shared = True

    def _saw_free(self, event: Event) -> None:
        self.module_freed = event.text("name")
        self.module_freed_n = event.n


_HANDLERS: dict[str, Callable[[Underway, Event], None]] = {
    "kernel_read_file": Underway._saw_file,
    "kernel_read_file" + RETURN: Underway._saw_read,
    "module_decompress" + RETURN: Underway._saw_unpacked,
    "load_module": Underway._saw_load,
    "find_module_all": Underway._saw_find,
    "layout_symtab": Underway._saw_laid_out,
    "module_get": Underway._saw_resolve,
    "module_load": Underway._saw_module_load,
    "do_init_module": Underway._saw_init,
    "do_init_module" + RETURN: Underway._saw_init_return,
    "load_module" + RETURN: Underway._saw_load_return,
    "init_module_from_file" + RETURN: Underway._saw_from_file,
    "idempotent_init_module" + RETURN: Underway._saw_idempotent,
    "module_free": Underway._saw_free,
    **dict.fromkeys(ALLOCATORS, Underway._saw_asking),
    **{name + RETURN: Underway._saw_allocation for name in ALLOCATORS},
}
