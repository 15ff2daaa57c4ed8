"""The state of one kernel, and its changes as small atomic steps.

One lock guards everything here: the list of modules, the duplicates, the counters, the log. Each
method is one step that the kernel takes under module_mutex (or with one atomic operation); none
waits, none knows of files or threads. The order of the steps is in loader.sequence.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

from loader.config import PAGE_SIZE, Config
from loader.engine.log import KernelLog
from loader.engine.params import parse_args
from loader.engine.stats import Counters, Duplicate, LoadedModule, Snapshot, UnloadedTainted
from loader.errors import Failure, LoadError
from loader.image.contents import Export
from loader.image.elf_format import MODULE_NAME_LEN
from loader.image.module_image import ModuleImage

# enum module_state
LIVE, COMING, GOING, UNFORMED = "live", "coming", "going", "unformed"

# enum fail_dup_mod_reason, as the bits of dup_fail_mask
BECOMING, LOAD = 1, 2

# Taints that a module can carry, in the order of their bits (kernel/panic.c, taint_flags).
TAINTS = "PFCOEKN"

# Bytes of per-cpu memory kept for modules' own variables (PERCPU_MODULE_RESERVE, x86 and arm64).
_PERCPU_RESERVE = 8 << 10

# license_is_gpl_compatible (include/linux/license.h)
_GPL_COMPATIBLE = frozenset(
    ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
)

# Modules that taint as proprietary whatever they say: does the module itself carry the taint?
_MARKED_PROPRIETARY = {"ndiswrapper": False, "driverloader": True, "lve": True}


class InitResult(NamedTuple):
    """What an init routine did: its return value (0, -errno or positive), and what it holds.

    ``references``: references taken on the module itself; ``holds``: other modules it holds.
    """

    returns: int = 0
    references: int = 0
    holds: tuple[str, ...] = ()


class Module:
    """struct module: one entry of the list. Changed only under the kernel's lock."""

    __slots__ = (
        "holds",
        "image",
        "in_sysfs",
        "init_freed",
        "init_started",
        "name",
        "percpu",
        "references",
        "sources",
        "state",
        "taints",
        "targets",
        "using_gplonly_symbols",
        "values",
    )

    def __init__(self, image: ModuleImage) -> None:
        self.image = image
        self.name = image.name
        self.state = UNFORMED
        self.taints: set[str] = set()
        self.sources: list[Module] = []  # who uses this one, oldest first
        self.targets: list[Module] = []  # whom this one uses
        self.references = 0  # beyond those of the sources
        self.holds: list[Module] = []
        self.values: dict[str, str] = {}
        self.percpu = 0  # bytes
        self.in_sysfs = False
        self.init_freed = False
        self.init_started = 0.0  # seconds, on the driver's clock
        self.using_gplonly_symbols = False

    @property
    def refcount(self) -> int:
        """module_refcount: users, other references, and one while init runs."""
        return len(self.sources) + self.references + (self.state == COMING)

    @property
    def permanent(self) -> bool:
        """It has an init but no exit routine, so it cannot be removed."""
        contents = self.image.contents
        return contents.has_init and not contents.has_exit

    @property
    def taint_letters(self) -> str:
        """Its taints in the kernel's order, such as "OE"."""
        return "".join(letter for letter in TAINTS if letter in self.taints)


class Idempotent:
    """One load of an inode that is under way, and its result for those who came meanwhile."""

    __slots__ = ("done", "errno")

    def __init__(self) -> None:
        self.done = False
        self.errno = 0


class Memory:
    """Bytes of vmalloc space that loads and modules hold: now, at most so far, allowed.

    Only kept by a kernel that accounts for it: one with a limit, or a simulated one.
    """

    __slots__ = ("limit", "now", "peak")

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.now = 0
        self.peak = 0


class Kernel:
    """All the state, behind ``lock``.

    ``wakeup(key)`` is called, with the lock held, when what was waited for under ``key`` may have
    happened; the driver sets it. ``exporter(symbol)`` names the module that exports a symbol, None
    if the kernel itself does.
    """

    def __init__(self, config: Config, *, accounts: bool = False) -> None:
        """``accounts``: keep account of memory, and let sequences yield their work in memory."""
        self.config = config
        self.release = config.release
        self.lock = threading.Lock()
        self.log = KernelLog()
        self.counters = Counters()
        self.memory = Memory(config.memory_limit)
        self.accounts = accounts or config.memory_limit is not None
        self.wakeup: Callable[[Hashable], None] = lambda key: None
        self.exporter: Callable[[str], str | None] = lambda symbol: None
        self._modules: dict[str, Module] = {}  # oldest first
        self._exports: dict[str, tuple[Module, Export]] = {}
        self._duplicates: dict[str, list[int]] = {}  # name -> [count, mask], oldest first
        self._unloaded_tainted: list[tuple[str, set[str], list[int]]] = []  # oldest first
        self._idempotent: dict[Hashable, Idempotent | None] = {}  # None: nobody waits yet
        self._taints: set[str] = set()
        self._said_unsigned = False
        self._said_livepatch = False
        self._lock_debugging = True
        self._percpu = 0

    # -- what failed, and how much it had taken ---------------------------------------------------

    def kread_failed(self, count: int) -> None:
        """A file or buffer could not be read; ``count`` bytes are lost."""
        with self.lock:
            self.counters.failed_kreads += 1
            self.counters.invalid_kread_bytes += count

    def decompress_failed(self, image: ModuleImage) -> None:
        """A compressed file did not unpack."""
        with self.lock:
            self.counters.failed_decompress += 1
            self.counters.invalid_decompress_bytes += image.clen

    def mod_stat_bump_becoming(self, image: ModuleImage) -> None:
        """A load failed before it had memory of its own."""
        with self.lock:
            self.counters.failed_becoming += 1
            self.counters.invalid_becoming_bytes += image.len + image.clen

    def mod_stat_bump_invalid(self, image: ModuleImage) -> None:
        """A load failed after it had memory of its own."""
        with self.lock:
            self.counters.failed_load_modules += 1
            self.counters.invalid_mod_bytes += 2 * image.len + image.clen

    def say(self, lines: Sequence[str]) -> None:
        """Log ``lines``."""
        if lines:
            with self.lock:
                for line in lines:
                    self.log.write(line)

    def failed(self, failure: Failure) -> LoadError:
        """The error for a check that failed, once its lines are logged."""
        self.say(failure.log)
        return LoadError(failure.errno)

    # -- memory -----------------------------------------------------------------------------------

    def vmalloc(self, size: int) -> None:
        """Take ``size`` bytes. LoadError: ENOMEM where that passes the limit."""
        if not self.accounts:
            return
        memory = self.memory
        with self.lock:
            now = memory.now + size
            if memory.limit is not None and now > memory.limit:
                raise LoadError(errno.ENOMEM)
            memory.now = now
            if now > memory.peak:
                memory.peak = now

    def vfree(self, size: int) -> None:
        """Give ``size`` bytes back."""
        if self.accounts:
            with self.lock:
                self.memory.now -= size

    # -- one load for one inode (6.5 and later) ---------------------------------------------------

    def idempotent(self, cookie: Hashable) -> Idempotent | None:
        """The load under way for this inode; None if there was none: the caller's is the one."""
        with self.lock:
            if cookie not in self._idempotent:
                self._idempotent[cookie] = None
                return None
            found = self._idempotent[cookie]
            if found is None:
                found = self._idempotent[cookie] = Idempotent()
            return found

    def idempotent_complete(self, cookie: Hashable, number: int) -> None:
        """The load of this inode ended with errno ``number``, 0 for success."""
        with self.lock:
            found = self._idempotent.pop(cookie)
            if found is not None:
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
            error = self._duplicate(name, reason)
        raise error

    def duplicate_failed(self, name: str, reason: int) -> LoadError:
        """The end of a wait: the load fails, whatever became of the other one."""
        with self.lock:
            return self._duplicate(name, reason)

    def _duplicate(self, name: str, reason: int) -> LoadError:
        """try_add_failed_module, and the errno that the duplicate gets."""
        entry = self._duplicates.get(name)
        if entry is None:
            self._duplicates[name] = [1, reason]
        else:
            entry[0] += 1
            entry[1] |= reason
        old = self._modules.get(name)
        return LoadError(errno.EEXIST if old is not None and old.state == LIVE else errno.EBUSY)

    # -- taints -----------------------------------------------------------------------------------

    def _taint(self, module: Module, letter: str, *lines: str) -> None:
        """add_taint_module; ``lines`` are logged when the kernel was not yet tainted so."""
        if letter not in self._taints:
            for line in lines:
                self.log.write(f"{module.name}: {line}")
        self._taints.add(letter)
        module.taints.add(letter)
        if letter in "PF" and self._lock_debugging:
            self._lock_debugging = False
            self.log.write("Disabling lock debugging due to kernel taint")

    def module_augment_kernel_taints(self, module: Module) -> None:
        """What the module's licence, origin and signature say about the kernel from now on."""
        contents = module.image.contents
        with self.lock:
            proprietary_before = "P" in self._taints
            for reason in module.image.forced:
                self._taint(module, "F", f"{reason}: kernel tainted.")
            if contents.tag("intree") is None:
                self._taint(module, "O", "loading out-of-tree module taints kernel.")
            if contents.tag("staging") is not None:
                self._taint(module, "C")
                self.log.write(
                    f"{module.name}: module is from the staging directory, the quality is unknown,"
                    " you have been warned."
                )
            if contents.tag("livepatch") is not None:
                self._taint_livepatch(module)
            license_ = contents.tag("license") or "unspecified"
            if license_ not in _GPL_COMPATIBLE:
                self._taint(module, "P", f"module license '{license_}' taints kernel.")
            if contents.tag("test") is not None:
                self._taint(module, "N", "loading test module taints kernel.")
            if not module.image.signed:
                self._taint_unsigned(module)
            self._taint_marked(module)
            if not proprietary_before and "P" in self._taints:
                self.log.write(f"{module.name}: module license taints kernel.")

    def _taint_livepatch(self, module: Module) -> None:
        self._taint(module, "K")
        if not self._said_livepatch:
            self._said_livepatch = True
            self.log.write(f"{module.name}: tainting kernel with TAINT_LIVEPATCH")

    def _taint_unsigned(self, module: Module) -> None:
        if not self._said_unsigned:
            self._said_unsigned = True
            self.log.write(
                f"{module.name}: module verification failed: signature and/or required key missing"
                " - tainting kernel"
            )
        self._taint(module, "E")

    def _taint_marked(self, module: Module) -> None:
        carries = _MARKED_PROPRIETARY.get(module.name)
        if carries:
            self._taint(module, "P")
        elif carries is not None:
            self._taints.add("P")

    # -- symbols ----------------------------------------------------------------------------------

    def percpu_modalloc(self, module: Module) -> None:
        """Per-cpu memory for the module's own variables. LoadError: ENOMEM."""
        size, align = module.image.contents.percpu
        if not size:
            return
        with self.lock:
            if align > PAGE_SIZE:
                self.log.write(f"{module.name}: per-cpu alignment {align} > {PAGE_SIZE}")
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
            found = self._exports.get(name)
            if found is not None:
                return self._use_symbol(module, *found)
        # No loaded module exports it: is it some other module's, or the kernel image's own? That
        # may have to be read from a file, so not with the lock held.
        return errno.ENOENT if self.exporter(name) not in (None, module.name) else None

    def _use_symbol(self, module: Module, owner: Module, export: Export) -> Module | int | None:
        if export.gpl and "P" in module.taints:
            return errno.ENOENT
        if export.gpl:
            module.using_gplonly_symbols = True
        if not self._inherit_taint(module, owner, export.name):
            return errno.ENOENT
        if not self._check_version(module, export):
            return errno.EINVAL
        if not self._check_namespace(module, export):
            return errno.EINVAL
        return self._ref_module(module, owner)

    def _inherit_taint(self, module: Module, owner: Module, name: str) -> bool:
        if "P" not in owner.taints:
            return True
        if module.using_gplonly_symbols:
            self.log.write(
                f"{module.name}: module using GPL-only symbols uses symbols {name} from proprietary"
                f" module {owner.name}."
            )
            return False
        if "P" not in module.taints:
            module.taints.add("P")
            self.log.write(
                f"{module.name}: module uses symbols {name} from proprietary module {owner.name},"
                " inheriting taint."
            )
        return True

    def _check_version(self, module: Module, export: Export) -> bool:
        versions = module.image.contents.versions
        if export.crc is None or versions is None:
            return True
        crc = versions.get(export.name)
        if crc == export.crc:
            return True
        problem = "no symbol version for" if crc is None else "disagrees about version of symbol"
        self.log.write(f"{module.name}: {problem} {export.name}")
        return False

    def _check_namespace(self, module: Module, export: Export) -> bool:
        imported = module.image.contents.modinfo.get("import_ns", ())
        if not export.namespace or export.namespace in imported:
            return True
        self.log.write(
            f"{module.name}: module uses symbol ({export.name}) from namespace {export.namespace},"
            " but does not import it."
        )
        return False

    def _ref_module(self, module: Module, owner: Module) -> Module | int | None:
        """A reference on the owner, one for each user (ref_module, strong_try_module_get)."""
        if owner in module.targets:
            return None
        if owner.state == COMING:
            return owner
        if owner.state != LIVE:
            return errno.ENOENT
        owner.sources.append(module)
        module.targets.append(owner)
        return None

    def depends_missing(self, module: Module) -> bool:
        """A module that this one was built to need is not loaded."""
        with self.lock:
            return any(name not in self._modules for name in module.image.contents.depends)

    # -- a module on its way ----------------------------------------------------------------------

    def complete_formation(self, module: Module) -> None:
        """Its exports become visible, its state Coming. LoadError: ENOEXEC exported twice."""
        with self.lock:
            for export in module.image.contents.exports:
                if owner := self._exports.get(export.name):
                    self.log.write(
                        f"{module.name}: exports duplicate symbol {export.name}"
                        f" (owned by {owner[0].name})"
                    )
                    raise LoadError(errno.ENOEXEC)
            for export in module.image.contents.exports:
                self._exports[export.name] = (module, export)
            module.state = COMING

    def parse_args(self, module: Module, arguments: str) -> None:
        """Set its parameters. LoadError: EINVAL, ERANGE or ENOSPC for a value it cannot take."""
        parameters = module.image.contents.parameters
        with self.lock:
            parsed = parse_args(module.name, arguments, parameters)
            for line in parsed.log:
                self.log.write(line)
            if parsed.errno:
                module.state = GOING
                raise LoadError(parsed.errno)
            module.values = parsed.values

    def sysfs_setup(self, module: Module) -> None:
        """From now on it is in /sys/module."""
        with self.lock:
            module.in_sysfs = True

    def went_live(self, module: Module, result: InitResult) -> None:
        """Init succeeded: state Live, init memory freed, waiters woken, totals raised."""
        layout = module.image.layout
        with self.lock:
            if result.returns > 0:
                self.log.write(
                    f"do_init_module: '{module.name}'->init suspiciously returned {result.returns},"
                    " it should follow 0/-E convention"
                )
                self.log.write("do_init_module: loading module anyway...")
            module.state = LIVE
            module.init_freed = True
            module.references += result.references
            for name in result.holds:
                if held := self._modules.get(name):
                    held.references += 1
                    module.holds.append(held)
            if self.accounts:
                self.memory.now -= layout.init
            self.wakeup(module.name)
            self.counters.total_text_size += layout.text_total
            self.counters.total_mod_size += layout.total
            self.counters.modcount += 1

    def unlink(self, module: Module) -> None:
        """A load that failed after its module was listed: it was never there."""
        with self.lock:
            self._remove(module)

    def free_module(self, module: Module) -> None:
        """A module goes for good: after its exit routine, or because its init failed."""
        layout = module.image.layout
        with self.lock:
            self._remove(module)
            self._track_tainted(module)
            if self.accounts:
                self.memory.now -= layout.core if module.init_freed else layout.total

    def _remove(self, module: Module) -> None:
        for export in module.image.contents.exports:
            if self._exports.get(export.name, (None,))[0] is module:
                del self._exports[export.name]
        for target in module.targets:
            target.sources.remove(module)
        for held in module.holds:
            held.references -= 1
        self._percpu -= module.percpu
        del self._modules[module.name]
        self.wakeup(module.name)

    def _track_tainted(self, module: Module) -> None:
        """try_add_tainted_module: a known name with a taint in common is counted up."""
        if not module.taints:
            return
        for name, taints, count in reversed(self._unloaded_tainted):
            if name == module.name and taints & module.taints:
                count[0] += 1
                return
        self._unloaded_tainted.append((module.name, set(module.taints), [1]))

    # -- removal ----------------------------------------------------------------------------------

    def try_stop_module(self, name: str, flags: int) -> Module:
        """The module, now Going (delete_module up to its exit routine).

        LoadError: ENOENT unknown; EAGAIN in use; EBUSY not live, or it has no exit routine.
        """
        if not 0 < len(os.fsencode(name)) < MODULE_NAME_LEN:
            raise LoadError(errno.ENOENT)
        force = bool(flags & os.O_TRUNC) and self.config.force_unload
        with self.lock:
            module = self._modules.get(name)
            if module is None or module.state == UNFORMED:
                raise LoadError(errno.ENOENT)
            if module.sources:
                raise LoadError(errno.EAGAIN)
            if module.state != LIVE or (module.permanent and not force):
                raise LoadError(errno.EBUSY)
            if module.references and not force:
                raise LoadError(errno.EAGAIN)
            module.state = GOING
            module.references -= 1  # MODULE_REF_BASE is gone
            return module

    # -- what can be read -------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Everything at one moment."""
        with self.lock:
            return replace(self._statistics(), modules=self._loaded())

    def statistics(self) -> Snapshot:
        """Everything but the modules themselves, which take longest."""
        with self.lock:
            return self._statistics()

    def _statistics(self) -> Snapshot:
        return Snapshot.of(
            self.counters,
            tuple(
                Duplicate(name, count, bool(mask & BECOMING), bool(mask & LOAD))
                for name, (count, mask) in reversed(self._duplicates.items())
            ),
            tuple(
                UnloadedTainted(name, "".join(t for t in TAINTS if t in taints), count[0])
                for name, taints, count in reversed(self._unloaded_tainted)
            ),
        )

    def _loaded(self) -> tuple[LoadedModule, ...]:
        modules = reversed(self._modules.values())
        return tuple(_loaded(module) for module in modules if module.state != UNFORMED)

    def names(self) -> tuple[str, ...]:
        """Names of the modules that are listed, newest first."""
        with self.lock:
            return tuple(m.name for m in reversed(self._modules.values()) if m.state != UNFORMED)

    def loaded(self, name: str) -> LoadedModule | None:
        """One module as a snapshot has it, None if it is not listed."""
        with self.lock:
            module = self._modules.get(name)
            return None if module is None or module.state == UNFORMED else _loaded(module)

    def is_live(self, name: str) -> bool:
        """Is a module of that name live? Called with the lock held."""
        module = self._modules.get(name)
        return module is not None and module.state == LIVE


def _loaded(module: Module) -> LoadedModule:
    layout, contents = module.image.layout, module.image.contents
    return LoadedModule(
        module.name,
        module.state,
        layout.core,
        0 if module.init_freed else layout.init,
        module.refcount,
        tuple(source.name for source in reversed(module.sources)),
        module.permanent,
        module.taint_letters,
        module.in_sysfs,
        tuple(
            (name, module.values.get(parameter.name, parameter.default), parameter.mode)
            for name, parameter in contents.parameters.items()
            if parameter.mode
        ),
        contents.tag("version"),
        contents.tag("srcversion"),
    )
