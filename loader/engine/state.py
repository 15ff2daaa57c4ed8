"""The state of one kernel, and its changes as small atomic steps.

One lock guards everything here: the list of modules, the duplicates, the counters, the log. Each
method is one step that the kernel takes under module_mutex (or with one atomic operation); none
waits, none knows of files or threads. The order of the steps is in loader.engine.sequence.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from loader.config import MODULE_NAME_LEN, Config
from loader.engine.log import KernelLog
from loader.engine.module import COMING, GOING, LIVE, UNFORMED, InitResult, Module
from loader.engine.params import parse_args, store, warning_of
from loader.engine.stats import (
    STATS_ROWS,
    Counters,
    LoadedModule,
    Snapshot,
    duplicate_rows,
    try_add_failed_module,
)
from loader.engine.symbols import MODULE_NAMESPACE, Symbols
from loader.engine.taints import Taints, UnloadedTaints
from loader.errors import Duplicate, Failure, LoadError
from loader.image.contents import Export
from loader.image.module_image import ModuleImage
from loader.image.parameters import page_of

# Bytes of per-cpu memory kept for modules' own variables (PERCPU_MODULE_RESERVE, x86 and arm64).
_PERCPU_RESERVE = 8 << 10


Listener = Callable[[Any], None]
"""Takes a loader.engine.course.Course or a loader.engine.kmod.Requested."""


class Idempotent:
    """One load of an inode that is under way, and its result for those who came meanwhile."""

    __slots__ = ("done", "errno", "task")

    def __init__(self, task: int) -> None:
        self.done = False
        self.errno = 0
        self.task = task  # the number of whoever loads


class Memory:
    """Bytes of vmalloc space that loads and modules hold: now, at most so far, allowed.

    ``freed(size)`` is called when some are given back: a driver may want to take time for that.
    Called with the kernel's lock held.
    """

    __slots__ = ("freed", "limit", "now", "peak")

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.now = 0
        self.peak = 0
        self.freed: Callable[[int], None] | None = None

    def take(self, size: int) -> None:
        """LoadError: ENOMEM where that passes the limit."""
        now = self.now + size
        if self.limit is not None and now > self.limit:
            raise LoadError(errno.ENOMEM)
        self.now = now
        if now > self.peak:
            self.peak = now

    def give(self, size: int) -> None:
        """Give ``size`` bytes back."""
        self.now -= size
        if self.freed is not None and size:
            self.freed(size)


class Kernel:
    """All the state, behind ``lock``.

    ``wakeup(key)`` is called, with the lock held, when what was waited for under ``key`` may have
    happened; the driver sets it. ``exporter(symbol)`` names the module that exports a symbol, None
    if the kernel itself does.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.release = config.release
        self.lock = threading.Lock()
        self.log = KernelLog()
        self.log.watchers[self] = lambda: self.wakeup(self.log)
        self.modules_disabled = False  # /proc/sys/kernel/modules_disabled: once set, for ever
        self.counters = Counters()
        self.memory = Memory(config.memory_limit)
        self.wakeup: Callable[[Hashable], None] = lambda key: None
        self.exporter: Callable[[str], str | None] = lambda symbol: None
        self.listener: Listener | None = None
        """Told by the driver of each call's Course at its end, without the lock; it must be
        quick, and not wait."""
        self.next_n = itertools.count(1).__next__
        """Numbers of the moments when something was counted, so that these have an order."""
        self._modules: dict[str, Module] = {}  # oldest first
        self._taints = Taints(self.log, config.module_sig)
        self._symbols = Symbols(self.log, config, self._taints)
        self._unloaded_tainted = UnloadedTaints()
        # name -> times << 2 | mask, oldest first: there may be a million
        self._duplicates: dict[str, int] = {}
        self._idempotent: dict[Hashable, Idempotent | int] = {}  # a task: nobody waits yet
        self._percpu = 0

    # -- what failed, and how much it had taken ---------------------------------------------------

    def kread_failed(self, count: int) -> int:
        """A file or buffer could not be read; ``count`` bytes are lost. The number of that
        moment."""
        with self.lock:
            self.counters.kread_failed(count)
            return self.next_n()

    def decompress_failed(self, image: ModuleImage) -> int:
        """A compressed file did not unpack. The number of that moment."""
        with self.lock:
            self.counters.decompress_failed(image.clen)
            return self.next_n()

    def mod_stat_bump_becoming(self, image: ModuleImage) -> int:
        """A load failed before it had memory of its own. The number of that moment."""
        with self.lock:
            self.counters.becoming_failed(image.len, image.clen)
            return self.next_n()

    def mod_stat_bump_invalid(self, image: ModuleImage) -> int:
        """A load failed after it had memory of its own. The number of that moment."""
        with self.lock:
            self.counters.load_failed(image.len, image.clen)
            return self.next_n()

    def counted(self) -> tuple[int, ...]:
        """What changes whenever the statistics do: how often each thing was counted."""
        with self.lock:
            now = self.counters
            return (
                now.modcount,
                now.failed_kreads,
                now.failed_decompress,
                now.failed_becoming,
                now.failed_load_modules,
            )

    def say(self, lines: Sequence[str]) -> None:
        """Log ``lines``."""
        if lines:
            with self.lock:
                for line in lines:
                    self.log.write(line)

    def failed(self, failure: Failure) -> LoadError:
        """The error for a check that failed, once its lines are logged."""
        self.say(failure.log)
        return LoadError(failure.errno).because(" ".join(failure.log))

    # -- memory -----------------------------------------------------------------------------------

    def vmalloc(self, size: int) -> None:
        """Take ``size`` bytes. LoadError: ENOMEM where that passes the limit."""
        with self.lock:
            self.memory.take(size)

    def vfree(self, size: int) -> None:
        """Give ``size`` bytes back."""
        with self.lock:
            self.memory.give(size)

    # -- one load for one inode (6.5 and later) ---------------------------------------------------

    def idempotent(self, cookie: Hashable, task: int = 0) -> Idempotent | None:
        """The load under way for this inode; None if there was none: that of ``task`` is the
        one."""
        with self.lock:
            found = self._idempotent.get(cookie)
            if found is None:
                self._idempotent[cookie] = task
                return None
            if isinstance(found, int):
                found = self._idempotent[cookie] = Idempotent(found)
            return found

    def idempotent_complete(self, cookie: Hashable, number: int) -> None:
        """The load of this inode ended with errno ``number``, 0 for success."""
        with self.lock:
            found = self._idempotent.pop(cookie)
            if type(found) is Idempotent:
                found.errno = number
                found.done = True
                self.wakeup(found)

    # -- duplicates -------------------------------------------------------------------------------

    def finished_loading(self, name: str) -> bool:
        """No module of that name is still on its way. Called with the lock held."""
        module = self._modules.get(name)
        return module is None or module.state in (LIVE, GOING)

    def module_patient_check_exists(
        self, name: str, reason: int, insert: Module | None = None
    ) -> bool:
        """True if the name is free, and then ``insert`` is in the list; False: wait, look again.

        LoadError: EEXIST or EBUSY for a duplicate, which is recorded with ``reason``.
        """
        with self.lock:
            old = self._modules.get(name)
            if old is None:
                if insert is not None:
                    self._modules[name] = insert
                return True
            if old.state in (COMING, UNFORMED):
                return False
            # Not kept in a name: the error has this frame in its traceback, and a ring of the two
            # is left to the garbage collector.
            raise self._duplicate(name, reason, old)

    def duplicate_failed(self, name: str, reason: int) -> LoadError:
        """The end of a wait: the load fails, whatever became of the other one."""
        with self.lock:
            return self._duplicate(name, reason, self._modules.get(name))

    def _duplicate(self, name: str, reason: int, old: Module | None) -> LoadError:
        """try_add_failed_module, and the errno that the duplicate gets."""
        try_add_failed_module(self._duplicates, name, reason)
        error = Duplicate(errno.EEXIST if old is not None and old.state == LIVE else errno.EBUSY)
        error.noticed = self.next_n()
        return error

    def loader_of(self, name: str) -> int | None:
        """The number of the task that loads, or has loaded, the module of that name."""
        with self.lock:
            module = self._modules.get(name)
            return None if module is None else module.task

    # -- taints and symbols -----------------------------------------------------------------------

    def module_augment_kernel_taints(self, module: Module) -> None:
        """What the module's licence, origin and signature say about the kernel from now on."""
        with self.lock:
            self._taints.augment(module)

    def try_to_force_load(self, image: ModuleImage) -> None:
        """The kernel is tainted by what a module lacks, whatever becomes of the load."""
        with self.lock:
            for reason in image.forced:
                self._taints.force(image.name, reason)

    def check_export_symbol_sections(self, module: Module) -> None:
        """LoadError: ENOEXEC exports without flags (7.1), or without versions and not forced."""
        contents = module.image.contents
        if contents.flags_missing:
            self.say((f"{module.name}: no flags for exported symbols",))
            raise LoadError(errno.ENOEXEC)
        if contents.crcs_missing and self.config.checks_versions(contents.tag("vermagic")):
            if not self.config.force_load:
                raise LoadError(errno.ENOEXEC)
            with self.lock:
                self._taints.force(module.name, "no versions for exported symbols", module)

    def setup_modinfo(self, module: Module) -> None:
        """LoadError: EPERM a namespace is imported that is given to modules by name (6.16)."""
        imported = module.image.contents.modinfo.get("import_ns", ())
        for namespace in imported:
            if self.release.module_namespaces and namespace.startswith(MODULE_NAMESPACE):
                text = f"module tries to import module namespace: {namespace}"
                self.say((f"{module.name}: {text}",))
                raise LoadError(errno.EPERM).because(text)
        if imported and self.release.import_ns_shown:
            module.import_ns = page_of("\n".join(imported))

    def percpu_modalloc(self, module: Module) -> None:
        """Per-cpu memory for the module's own variables. LoadError: ENOMEM."""
        size, align = module.image.contents.percpu
        if not size:
            return
        with self.lock:
            if align > (page := self.config.page_size):
                self.log.write(f"{module.name}: per-cpu alignment {align} > {page}")
            if self._percpu + size > _PERCPU_RESERVE:
                self.log.write(f"{module.name}: Could not allocate {size} bytes percpu data")
                raise LoadError(errno.ENOMEM)
            self._percpu += size
            module.percpu = size

    def resolve_symbol(self, module: Module, name: str) -> Module | int | None:
        """Find an exported symbol and record its use (resolve_symbol).

        None: found. An errno: it cannot be used (ENOENT: nobody exports it). A Module: its owner,
        which is still coming.
        """
        with self.lock:
            kernels = self._symbols.kernels
            if kernels and name in kernels:
                return self._symbols.use_kernels(module, kernels[name])
            found = self._symbols.find(name)
            if found is not None:
                return self._symbols.use(module, *found)
            if kernels:
                return errno.ENOENT
        # No loaded module exports it: is it some other module's, or the kernel image's own? That
        # may have to be read from a file, so not with the lock held.
        return errno.ENOENT if self.exporter(name) not in (None, module.name) else None

    def is_exported(self, name: str) -> bool:
        """A loaded module, or the kernel itself as far as that is known, exports it."""
        with self.lock:
            return bool(self._symbols.find(name) or name in (self._symbols.kernels or ()))

    def depends_missing(self, module: Module) -> bool:
        """A module that this one was built to need is not loaded."""
        with self.lock:
            return any(name not in self._modules for name in module.image.contents.depends)

    def export_kernels(self, exports: Mapping[str, Export] | None) -> None:
        """What the kernel itself exports is known; None: it is whatever no module exports."""
        with self.lock:
            self._symbols.kernels = exports

    # -- a module on its way ----------------------------------------------------------------------

    def complete_formation(self, module: Module) -> None:
        """Its exports become visible, its state Coming. LoadError: ENOEXEC exported twice."""
        with self.lock:
            self._symbols.add(module)
            module.state = COMING

    def parse_args(self, module: Module, arguments: str) -> None:
        """Set its parameters. LoadError: EINVAL, ERANGE or ENOSPC for a value it cannot take."""
        known, dynamic = module.image.contents.parameters, self.config.dynamic_debug
        parsed = parse_args(module.name, arguments, known, dynamic)
        with self.lock:
            for line in parsed.log:
                self.log.write(line)
            if parsed.unsafe:
                self._taints.user()
            if parsed.errno:
                module.state = GOING
                raise LoadError(parsed.errno).because(" ".join(parsed.log))
            module.values = parsed.values

    def set_parameter(self, name: str, parameter: str, text: str) -> None:
        """/sys/module/NAME/parameters/PARAMETER is written to. LoadError: see loader.engine.params;
        ENODEV, it is not there."""
        with self.lock:
            module = self._modules.get(name)
            if module is None or not module.in_sysfs:
                raise LoadError(errno.ENODEV)
            found = module.image.contents.parameters[parameter]
            if found.unsafe:
                self.log.write(warning_of(found))
                self._taints.user()
            shown = store(found, text, module.values.get(found.name, found.default))
            module.values = {**module.values, found.name: shown}

    def tainted(self) -> int:
        """As /proc/sys/kernel/tainted shows it."""
        with self.lock:
            return self._taints.mask

    def sysfs_setup(self, module: Module) -> None:
        """From now on it is in /sys/module."""
        with self.lock:
            module.in_sysfs = True

    def went_live(self, module: Module, result: InitResult) -> int:
        """Init succeeded: state Live, init memory freed, waiters woken, totals raised. The number
        of that moment.

        What could fail for want of memory comes first, so that it is done or not begun.
        """
        layout = module.image.layout
        with self.lock:
            if result.returns > 0:
                self._warn_of_positive(module.name, result.returns)
            holds = [self._modules[name] for name in result.holds if name in self._modules]
            module.holds = holds
            for held in holds:
                held.references += 1
            module.state = LIVE
            module.init_freed = True
            module.references += result.references
            self.memory.give(layout.init)
            self.wakeup(module.name)
            self.counters.went_live(layout.total, layout.text_total)
            return self.next_n()

    def _warn_of_positive(self, name: str, returns: int) -> None:
        told = f"init suspiciously returned {returns}, it should follow 0/-E convention"
        if self.release.init_warning_short:
            self.log.write(f"{name}: {told}")
        else:
            place = "do_init_module"
            self.log.write(f"{place}: '{name}'->{told}\n{place}: loading module anyway...")

    def unlink(self, module: Module) -> None:
        """A load that failed after its module was listed: it was never there."""
        with self.lock:
            self._remove(module)

    def free_module(self, module: Module) -> int:
        """A module goes for good: after its exit routine, or because its init failed. The number of
        that moment."""
        layout = module.image.layout
        with self.lock:
            self._remove(module)
            if self.config.unload_taint_tracking:
                self._unloaded_tainted.add(module)
            self.memory.give(layout.core if module.init_freed else layout.total)
            return self.next_n()

    def _remove(self, module: Module) -> None:
        self._symbols.remove(module)
        for target in module.targets:
            if module in target.sources:
                target.sources.remove(module)
        for held in module.holds:
            held.references -= 1
        self._percpu -= module.percpu
        del self._modules[module.name]
        self.wakeup(module.name)

    # -- removal ----------------------------------------------------------------------------------

    def try_stop_module(self, name: str | None, flags: int) -> Module:
        """The module, now Going (delete_module up to its exit routine).

        LoadError: EFAULT no name; ENOENT unknown; EAGAIN in use; EBUSY not live, or it has no exit
        routine; ENOSYS the kernel removes no modules.
        """
        if not self.config.module_unload:
            raise LoadError(errno.ENOSYS)
        if name is None:
            raise LoadError(errno.EFAULT)
        if not 0 < len(os.fsencode(name)) < MODULE_NAME_LEN:
            raise LoadError(errno.ENOENT)
        force = bool(flags & os.O_TRUNC) and self.config.force_unload
        with self.lock:
            module = self._modules.get(name)
            if module is None or module.state == UNFORMED:
                raise LoadError(errno.ENOENT)
            if module.sources:
                users = ", ".join(source.name for source in module.sources)
                raise LoadError(errno.EAGAIN).because(f"in use by {users}")
            if module.state != LIVE or (module.permanent and not force):
                raise LoadError(errno.EBUSY)
            if module.references and not force:
                raise LoadError(errno.EAGAIN)
            if force and (module.permanent or module.references):
                self._taints.force_removal()
            module.state = GOING
            module.references -= 1  # MODULE_REF_BASE is gone
            return module

    # -- what can be read -------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Everything at one moment."""
        with self.lock:
            return replace(self._statistics(None, True), modules=self._loaded())

    def statistics(self, unloaded: bool = False) -> Snapshot:
        """What ``stats`` shows: no modules, and no more duplicates than it prints.

        ``unloaded``: also the tainted modules that were removed, of which there may be any number.
        """
        with self.lock:
            return self._statistics(STATS_ROWS, unloaded)

    def _statistics(self, rows: int | None, unloaded: bool) -> Snapshot:
        return Snapshot.of(
            self.counters,
            duplicate_rows(self._duplicates, rows),
            self._unloaded_tainted.rows() if unloaded else (),
        )

    def _loaded(self) -> tuple[LoadedModule, ...]:
        modules = reversed(self._modules.values())
        return tuple(self._as_loaded(module) for module in modules if module.state != UNFORMED)

    def _as_loaded(self, module: Module) -> LoadedModule:
        loaded = module.as_loaded()
        if self.config.module_unload:
            return loaded
        return replace(loaded, refcount=None, users=(), permanent=False)

    def names(self) -> tuple[str, ...]:
        """Names of the modules that are listed, newest first."""
        with self.lock:
            return tuple(m.name for m in reversed(self._modules.values()) if m.state != UNFORMED)

    def loaded(self, name: str) -> LoadedModule | None:
        """One module as a snapshot has it, None if it is not listed."""
        with self.lock:
            module = self._modules.get(name)
            return None if module is None or module.state == UNFORMED else self._as_loaded(module)

    def is_live(self, name: str) -> bool:
        """Is a module of that name live? Called with the lock held."""
        module = self._modules.get(name)
        return module is not None and module.state == LIVE
