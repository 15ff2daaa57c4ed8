"""The steps of one load and one removal, in the kernel's order.

Each function is a generator. It yields what takes time, as one of the steps below, and is told the
outcome when the driver resumes it; everything between two steps happens at once. A driver may be a
thread that really reads, waits and sleeps (loader.engine.threads) or a simulation that only moves
its clock (loader.engine.clock). What a system call answers comes out as StopIteration (success) or
as LoadError.

Mirrors kernel/module/main.c: finit_module, init_module_from_file, load_module, do_init_module,
delete_module. Releases differ by the fields of Release only.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Hashable
from typing import Any, NamedTuple, Protocol

from loader.calls import KNOWN_FLAGS, Call, DeleteModule, FinitModule, InitModule
from loader.engine import stats
from loader.engine.course import Course
from loader.engine.module import InitResult, Module, taint_letters
from loader.engine.outcomes import (
    BECOMING,
    DECOMPRESS,
    INIT_FAILED,
    KREAD,
    LIVE,
    LOAD,
    REMOVED,
    SHARED,
)
from loader.engine.state import Kernel
from loader.errors import Failure, LoadError
from loader.image.elf_format import EHDR
from loader.image.module_image import ModuleImage

_SYMBOL_WAIT = 30.0  # seconds: resolve_symbol_wait


class OpenedFile(Protocol):
    """The file behind a descriptor. ``cookie`` names its inode."""

    @property
    def cookie(self) -> Hashable: ...

    @property
    def readable(self) -> bool: ...


# -- what takes time ------------------------------------------------------------------------------


class Read(NamedTuple):
    """Read the file whole. Answered with a ModuleImage, or with the Failure to read it."""

    file: Any
    flags: int


class Decompress(NamedTuple):
    """Unpack ``image.clen`` bytes to ``image.vmalloc_bytes``."""

    image: ModuleImage


class Check(NamedTuple):
    """Check signature and tables of the module in memory."""

    image: ModuleImage


class Copy(NamedTuple):
    """Copy the sections to the module's own memory, of ``image.layout.total`` bytes."""

    image: ModuleImage


class Relocate(NamedTuple):
    """Resolve symbols and apply relocations."""

    image: ModuleImage


class Wait(NamedTuple):
    """Wait until ``done()``, which is called with the kernel's lock held after each wakeup(key).

    ``interruptible``: a signal ends the wait; the driver then throws LoadError(EINTR). ``timeout``
    in seconds, None for ever: at its end the driver resumes all the same.
    """

    key: Hashable
    done: Callable[[], bool]
    interruptible: bool = True
    timeout: float | None = None


class RunInit(NamedTuple):
    """Run the module's init routine. Answered with an InitResult."""

    module: Module


class RunExit(NamedTuple):
    """Run the module's exit routine."""

    module: Module


Step = Read | Decompress | Check | Copy | Relocate | Wait | RunInit | RunExit
Steps = Generator[Step, Any, None]


# -- system calls ---------------------------------------------------------------------------------


class Files(Protocol):
    """What a caller's paths, descriptors and addresses lead to; each driver has its own."""

    def opened(self, call: FinitModule) -> OpenedFile | None:
        """The open file; None: no such descriptor. LoadError: its path cannot be opened."""

    def memory(self, call: InitModule) -> tuple[ModuleImage | Failure | None, int]:
        """What is found at the address, None if it is not mapped, and the length in bytes."""


def system_call(kernel: Kernel, call: Call, files: Files, course: Course) -> Steps:
    """The steps of one call; ``course`` has what becomes of it."""
    return _SEQUENCES[type(call)](kernel, call, files, course)


def finit_module(kernel: Kernel, call: FinitModule, files: Files, course: Course) -> Steps:
    """finit_module(2)."""
    file = files.opened(call)
    if call.flags & ~KNOWN_FLAGS:
        raise LoadError(errno.EINVAL)
    if file is None or not file.readable:
        if not kernel.release.kread_errno_not_counted:
            # 6.4 counts what kernel_read_file_from_fd returns
            course.counted(KREAD, kernel.kread_failed(-errno.EBADF))
        raise LoadError(errno.EBADF)
    course.cookie = file.cookie
    if not kernel.release.idempotent:
        yield from init_module_from_file(kernel, file, call, course)
        return
    load = kernel.idempotent(file.cookie, course.origin.task.tid)
    if load is not None:
        course.outcome = SHARED
        interruptible = kernel.release.idempotent_wait_interruptible
        yield from wait(Wait(load, lambda: load.done, interruptible), course, load.task)
        if load.errno:
            raise LoadError(load.errno)
        return
    number = errno.EINTR  # unless the load gets to its end
    try:
        yield from init_module_from_file(kernel, file, call, course)
        number = 0
    except LoadError as error:
        number = error.errno or errno.EINTR
        raise
    except MemoryError:
        number = errno.ENOMEM
        raise
    except Exception:
        number = errno.EIO
        raise
    finally:
        kernel.idempotent_complete(file.cookie, number)


def init_module_from_file(
    kernel: Kernel, file: OpenedFile, call: FinitModule, course: Course
) -> Steps:
    """Read the file, unpack it if the caller says it is compressed, and load what is in it."""
    try:
        try:  # kernel_read_file
            image: ModuleImage | Failure = yield Read(file, call.flags)
            if isinstance(image, Failure):
                raise LoadError(image.errno)
            course.take(image.read_bytes)
        except LoadError as error:
            counted = kernel.release.kread_errno_not_counted
            course.counted(KREAD, kernel.kread_failed(0 if counted else -(error.errno or 0)))
            raise
        course.facts = image.facts or image.state_facts()
        course.read = course.now()
        if image.clen:
            yield from module_decompress(kernel, image, course)
        if image.review_failure:  # security_kernel_post_read_file
            course.counted(KREAD, kernel.kread_failed(0))
            raise kernel.failed(image.review_failure)
        yield from load_module(kernel, image, call.params, course)
    finally:
        course.give_all()


def module_decompress(kernel: Kernel, image: ModuleImage, course: Course) -> Steps:
    """The compressed file is in memory until the whole module is there as well."""
    try:
        yield Decompress(image)
        if image.decompress_failure:
            raise kernel.failed(image.decompress_failure)
        page = kernel.config.page_size
        course.take((image.vmalloc_bytes // page + 1) * page)
    except LoadError:
        course.counted(DECOMPRESS, kernel.decompress_failed(image))
        raise
    course.unpacked = course.now()
    course.give(image.read_bytes)


def init_module(kernel: Kernel, call: InitModule, files: Files, course: Course) -> Steps:
    """init_module(2)."""
    image, length = files.memory(call)
    course.argument = length
    try:
        try:
            if length < EHDR.size:
                raise LoadError(errno.ENOEXEC)
            course.take(length)
            if image is None:
                raise LoadError(errno.EFAULT)
            if isinstance(image, Failure):
                raise LoadError(image.errno)
        except LoadError:
            course.counted(KREAD, kernel.kread_failed(length))
            raise
        course.facts = image.facts or image.state_facts()
        yield from load_module(kernel, image, call.params, course)
    finally:
        course.give_all()


def delete_module(kernel: Kernel, call: DeleteModule, files: Files, course: Course) -> Steps:
    """delete_module(2)."""
    module = kernel.try_stop_module(call.name, call.flags)
    course.taints = taint_letters(module.taints)
    try:
        yield RunExit(module)
    finally:
        course.counted(REMOVED, kernel.free_module(module))


_SEQUENCES: dict[type, Callable[[Kernel, Any, Files, Course], Steps]] = {
    FinitModule: finit_module,
    InitModule: init_module,
    DeleteModule: delete_module,
}


# -- load_module ----------------------------------------------------------------------------------


def load_module(kernel: Kernel, image: ModuleImage, params: str | None, course: Course) -> Steps:
    """From the bytes in memory to a live module.

    Failures before the module has memory of its own count as becoming, later ones as load; those
    of the init routine count nowhere. Whatever ends a load on its way, a signal or an error that
    nobody expected, undoes it in the same way.
    """
    try:
        yield Check(image)
        if image.log:
            kernel.say(image.log)
        if image.forced:
            kernel.try_to_force_load(image)
        if image.becoming_failure:
            raise kernel.failed(image.becoming_failure)
        early = kernel.release.early_check
        if early and not kernel.module_patient_check_exists(image.name, stats.BECOMING):
            yield from wait_for_other(kernel, image, stats.BECOMING, course)
        if image.layout_failure:
            raise kernel.failed(image.layout_failure)
        course.laid_out = course.now()
        course.vmalloc(image.layout.total)
    except BaseException:
        course.n = kernel.mod_stat_bump_becoming(image)
        course.outcome = BECOMING
        raise
    module = Module(image)
    module.task = course.origin.task.tid
    try:
        yield Copy(image)
        course.allocated = course.now()
        # add_unformed_module
        if not kernel.module_patient_check_exists(image.name, stats.LOAD, module):
            yield from wait_for_other(kernel, image, stats.LOAD, course)
        try:
            yield from form_module(kernel, module, params, course)
        except BaseException:
            kernel.unlink(module)
            raise
    except BaseException:
        try:
            course.counted(LOAD, kernel.mod_stat_bump_invalid(image))
        finally:
            kernel.vfree(image.layout.total)
        raise
    yield from do_init_module(kernel, module, course)


def wait_for_other(kernel: Kernel, image: ModuleImage, reason: int, course: Course) -> Steps:
    """A module of that name is still on its way: wait for its end, then fail all the same."""
    name = image.name
    image.drop_bytes()  # there may be thousands that wait, each with a file of its own
    over = Wait(name, lambda: kernel.finished_loading(name))
    yield from wait(over, course, kernel.loader_of(name))
    raise kernel.duplicate_failed(name, reason)


def wait(step: Wait, course: Course, task: int | None) -> Steps:
    """Wait for the load of ``task``; the course has how long."""
    course.waited_for = task or None
    since = course.now()
    try:
        yield step
    finally:
        course.waited += course.now() - since


def form_module(kernel: Kernel, module: Module, params: str | None, course: Course) -> Steps:
    """From Unformed to late Coming: taints, symbols, relocations, parameters, sysfs."""
    contents = module.image.contents
    kernel.module_augment_kernel_taints(module)
    kernel.percpu_modalloc(module)
    if contents.obsolete:
        lines = (f"{module.name}: ignoring obsolete section {name}" for name in contents.obsolete)
        kernel.say(tuple(lines))
    kernel.check_export_symbol_sections(module)
    kernel.setup_modinfo(module)
    yield from simplify_symbols(kernel, module, course)
    yield Relocate(module.image)
    if contents.relocation_failure:
        raise kernel.failed(contents.relocation_failure)
    if params is None:
        raise LoadError(errno.EFAULT)
    kernel.complete_formation(module)
    kernel.parse_args(module, params)
    kernel.sysfs_setup(module)


def simplify_symbols(kernel: Kernel, module: Module, course: Course) -> Steps:
    """Resolve every undefined symbol; all that cannot be are logged, the last errno counts."""
    number, reason, need, all_known = 0, "", None, True
    for need in module.image.contents.needs:
        if need.problem:
            reason = need.problem
            kernel.say((f"{module.name}: {reason}",))
            number = errno.ENOEXEC
            continue
        found = kernel.resolve_symbol(module, need.name)
        if isinstance(found, Module):
            found = yield from resolve_symbol_wait(kernel, module, need.name, found, course)
        all_known &= kernel.is_exported(need.name)
        if found is None or (found == errno.ENOENT and need.weak):
            continue
        number = found
        reason = f"Unknown symbol {need.name} (err {-number})"
        kernel.say((f"{module.name}: {reason}",))
    if not number and not (need and all_known) and kernel.depends_missing(module):
        number = errno.ENOENT  # some symbol of it is missing; which one only its file could tell
        reason = "a module that it needs is not loaded"
    if number:
        raise LoadError(number).because(reason)


def resolve_symbol_wait(
    kernel: Kernel, module: Module, name: str, owner: Module, course: Course
) -> Generator[Step, Any, int | None]:
    """Wait for the init of the module that exports ``name``, 30 seconds at most."""
    over = Wait(owner.name, lambda: kernel.finished_loading(owner.name), True, _SYMBOL_WAIT)
    yield from wait(over, course, owner.task)
    found = kernel.resolve_symbol(module, name)
    if isinstance(found, Module):
        kernel.say((f"{module.name}: gave up waiting for init of module {owner.name}.",))
        return errno.EBUSY
    return found


def do_init_module(kernel: Kernel, module: Module, course: Course) -> Steps:
    """Run init; the module is then Live, or gone."""
    course.taints = taint_letters(module.taints)
    try:
        course.give_all()
        course.init = course.now()
        result: InitResult = yield RunInit(module)
        course.initialized = course.now()
        if result.returns < 0:
            number = _init_error(kernel, -result.returns)
            raise LoadError(number).because("its init routine failed")
        course.counted(LIVE, kernel.went_live(module, result))
    except BaseException:
        course.counted(INIT_FAILED, kernel.free_module(module))
        raise


def _init_error(kernel: Kernel, number: int) -> int:
    if number == errno.EEXIST and kernel.release.init_eexist_is_ebusy:
        return errno.EBUSY
    return number
