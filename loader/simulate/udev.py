"""A boot in virtual time: the load sequence on SimPy's clock, for a described machine.

The kernel is the same as everywhere (loader.kernel, loader.sequence); this driver answers each of
its steps after the time that loader.machine.Costs says, instead of doing it. Around it stands udev
as systemd runs it at a coldplug: one process hands devices to workers, as many as there may be; a
worker asks kmod for the modules of its device, and kmod looks at /sys/module/NAME/initstate before
each load. What is shared has a queue: udevd, the pages of one file, the giving back of memory, the
wake-ups of those who wait for one module.

Time and memory grow in proportion to the number of devices: a wake-up concerns nobody but those who
wait for that very thing, and no more workers exist than udev allows.
"""

from __future__ import annotations

import errno
import gc
import random
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any

import simpy

from loader.calls import MODULE_INIT_COMPRESSED_FILE, Call, FinitModule, InitModule, Origin, Task
from loader.config import Config
from loader.engine import sequence
from loader.engine.clock import Events, Later, VirtualKernel
from loader.engine.course import Course
from loader.engine.kmod import ModuleRequest
from loader.engine.module import InitResult
from loader.engine.outcomes import LOAD
from loader.engine.state import Listener
from loader.engine.stats import Snapshot
from loader.engine.tree_modprobe import helper_origin, modprobe_of
from loader.engine.umh import Usermodehelper, exited
from loader.errors import LoadError
from loader.image.module_image import ModuleImage
from loader.release import choose_release
from loader.simulate.described import DescribedModules
from loader.simulate.machine import Coldplug, Devices, Machine, Requests, check_names
from loader.simulate.processors import Processors

_UDEVD = 1  # its number
_FACTORS = 2039  # of chance, one after the other
_TIMEOUT = 180.0  # seconds for one device: event_timeout of udev.conf
_FORM_BROADCASTS = 6  # set_memory_* of each kind of memory
_SETTLE_BROADCASTS = 2
Loads = tuple[tuple[str, ...], ...]  # for each module asked for: what to load, in order


class _Worker:
    """A worker of udevd with one device."""

    __slots__ = ("done", "killed", "process")

    def __init__(self) -> None:
        self.process: simpy.Process
        self.done = False
        self.killed = False


class _File:
    """A module's file of ``size`` bytes on its disk (sequence.OpenedFile)."""

    __slots__ = ("cold_until", "cookie", "image", "size")
    readable = True

    def __init__(self, image: ModuleImage, size: int) -> None:
        self.image = image
        self.size = size
        self.cookie = image.name
        self.cold_until: float | None = None  # when storage has brought it; None: never asked


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one boot came to. Memory in bytes, times in virtual seconds.

    ``peak``: most vmalloc space that modules and loads held at one moment. ``boot``: from the first
    device to the last. ``waiting``: of all callers together, in the kernel, for others' loads.
    ``requests``: system calls. ``out_of_memory``: those that failed with ENOMEM.
    ``killed``: workers that udevd killed. ``autoload``: the
    requests of the kernel's own, as they ended; those of a machine may end after its boot.
    """

    snapshot: Snapshot
    peak: int
    boot: float
    waiting: float
    requests: int
    out_of_memory: int
    killed: int = 0
    autoload: tuple[ModuleRequest, ...] = ()

    @property
    def failed(self) -> int:
        """Loads that failed, on becoming and on load."""
        return self.snapshot.failed_becoming + self.snapshot.failed_load_modules


def config_for(
    machine: Machine,
    kernel: str | None = None,
    without: Iterable[str] = (),
    compression: str | None = None,
) -> Config:
    """The kernel that ``machine`` runs, or another one on it; ``without`` takes features
    away from either. UserError: no such release."""
    return Config(
        release=choose_release(kernel, without, machine.kernel, machine.without),
        compression=compression or machine.compression,
        memory_limit=machine.module_space,
        autoload_dups=machine.autoload_dups,
    )


def boot(
    machine: Machine,
    config: Config | None = None,
    *,
    seed: int = 1,
    progress: Callable[[int], None] | None = None,
    listener: Listener | None = None,
) -> Outcome:
    """Simulate the boot of ``machine`` with the kernel of ``config``.

    The same ``seed`` gives the same boot. ``progress`` is told now and then how many devices have
    been handled. ``listener``: see Kernel.listener. UserError: the machine asks for modules that
    are not described.
    """
    check_names(machine)
    booted = _Boot(machine, config or config_for(machine), seed, progress)
    booted.kernel.listener = listener
    with _no_collection():
        return booted.run()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without looks for rings of objects: a boot makes as few as it has workers and modules, and
    the looks take a seventh of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Boot(VirtualKernel):
    """One simulated boot."""

    def __init__(
        self,
        machine: Machine,
        config: Config,
        seed: int,
        progress: Callable[[int], None] | None,
    ) -> None:
        super().__init__(config)
        self.handlers = {
            sequence.Read: self._read,
            sequence.Decompress: self._decompress,
            sequence.Check: self._check,
            sequence.Copy: self._copy,
            sequence.Relocate: self._relocate,
            sequence.RunInit: self._run_init,
        }
        random_ = random.Random(seed)
        lognormal, costs = random_.lognormvariate, machine.costs
        self._factors = cycle([lognormal(0.0, costs.jitter) for _ in range(_FACTORS)])
        self.machine = machine
        self.costs = costs.on(machine.speed, lambda: lognormal(0.0, costs.unknown))
        self.processors = Processors(self.env, machine.computing, self.costs.turn)
        self.timeout = self.env.timeout
        self.progress = progress
        self.requests = 0
        self.out_of_memory = 0
        self._opens_first = config.release.idempotent or machine.userspace.call == "init_module"
        self._by_user = machine.userspace.call == "init_module"
        by_kernel = "none" if self._by_user else config.compression
        self._flags = 0 if by_kernel == "none" else MODULE_INIT_COMPRESSED_FILE
        self._images = {
            name: (module.image(by_kernel), module.image(config.compression).read_bytes)
            for name, module in machine.modules.items()
        }
        self._areas = {name: sum(map(bool, m.layout)) for name, m in machine.modules.items()}
        self._files: dict[str, _File] = {}
        self._from_memory = False
        self._in_sysfs: set[str] = set()
        self._owed = 0.0  # seconds that the one who runs has yet to compute
        self._may_go_on: list[Later] = []  # who will be when they are woken
        self._settling = 0.0  # of the module that is Live last
        self._returned = False  # has the one who runs computed until its next look?
        self._locked = 0.0  # when module_mutex will be free
        self._unmapped = 0.0  # when all that is being unmapped now will have been
        self._workers = 0
        self._idle = 0
        self._one_idle: simpy.Event | None = None  # what udevd awaits while all are busy
        self._handled = 0
        self.killed = 0
        self._watched: deque[tuple[float, _Worker]] = deque()  # and when their time is up
        self._by_process: dict[simpy.Process | None, _Worker] = {}
        self._asleep: set[_Worker] = set()  # in the kernel, where a signal wakes
        self._told: list[ModuleRequest] = []
        self.autoload.kmod.listener = self._told.append
        aliases = {name: module.aliases for name, module in machine.modules.items()}
        self.modules = DescribedModules(aliases, machine.load_order, machine.builtin)

    def run(self) -> Outcome:
        """The whole boot."""
        requests = [
            self.env.process(self._request(one, number))
            for one in self.machine.requests
            for number in range(one.count or self.machine.processors)
        ]
        self.env.run(self.env.process(self._boot()))
        booted = self.env.now
        self.env.run(self.env.all_of(requests))
        return Outcome(
            self.kernel.snapshot(),
            self.kernel.memory.peak,
            booted,
            self.waited,
            self.requests,
            self.out_of_memory,
            self.killed,
            tuple(self._told),
        )

    # -- udev -------------------------------------------------------------------------------------

    def _boot(self) -> Events:
        for coldplug in self.machine.coldplug:
            yield from self._udevd(coldplug)

    def _udevd(self, coldplug: Coldplug) -> Events:
        """Hand every device to a worker, one after the other; end when all are handled.

        Each coldplug has a udevd of its own: that of the initrd has ended when that of the root
        begins, and its workers with it.
        """
        self._from_memory = coldplug.from_memory
        self._files.clear()
        most = self.machine.workers
        self._workers = self._idle = 0
        for devices in coldplug.devices:
            loads = tuple(self.machine.load_order(name) for name in devices.modules)
            for number in range(devices.count or self.machine.processors):
                if not self._idle and self._workers < most:
                    self._workers += 1
                    yield self._compute(self.costs.fork)
                else:
                    if not self._idle:
                        yield from self._wait_for_worker()
                    self._idle -= 1
                    yield self._compute(self.costs.dispatch)
                if loads:
                    self._begin(loads, self._origin(devices, number))
                else:
                    self._compute(self.costs.rules).callbacks.append(self._handled_one)
        while self._idle < self._workers:
            yield from self._wait_for_worker()

    def _origin(self, devices: Devices, number: int) -> Origin:
        """Where the calls for a device come from."""
        name = devices.name or devices.modules[0] if devices.modules else "device"
        task = Task("(udev-worker)", self.new_task(), _UDEVD, unit="systemd-udevd.service")
        return Origin(task, alias=devices.alias or name, device=f"{name}{number}")

    def _wait_for_worker(self) -> Events:
        self._one_idle = self.env.event()
        yield self._one_idle

    def _begin(self, loads: Loads, origin: Origin) -> None:
        """A worker begins with its device; it has so long for it, and is then killed."""
        worker = _Worker()
        worker.process = self.env.process(self._worker(worker, loads, origin))
        watched = self._watched
        while watched and watched[0][1].done:
            watched.popleft()
        if not watched:
            self.env.process(self._watch())
        watched.append((self.env.now + _TIMEOUT, worker))

    def _watch(self) -> Events:
        """udevd kills those whose time is up (on_event_timeout)."""
        yield self.timeout(0.0)
        while self._watched:
            at, worker = self._watched[0]
            if not worker.done and at > self.env.now:
                yield self.timeout(at - self.env.now)
            elif self._watched.popleft() and not worker.done:
                worker.killed = True
                if worker in self._asleep:
                    worker.process.interrupt()

    def _worker(self, worker: _Worker, loads: Loads, origin: Origin) -> Events:
        """One device."""
        yield self._compute(self.costs.rules)
        self._by_process[worker.process] = worker
        yield from self._probe(loads, origin)
        del self._by_process[worker.process]
        worker.done = True
        if worker.killed:
            self.killed += 1
            self._workers -= 1
            self._tell_udevd()
        else:
            self._handled_one()

    def _handled_one(self, _: simpy.Event | None = None) -> None:
        """Its worker is idle again."""
        self._idle += 1
        self._tell_udevd()

    def _tell_udevd(self) -> None:
        if self._one_idle is not None:
            self._one_idle.succeed()
            self._one_idle = None
        self._handled += 1
        if self.progress and not self._handled % 256:
            self.progress(self._handled)

    def _is_killed(self) -> bool:
        """Is the one who runs a worker whose time was up?"""
        worker = self._by_process.get(self.env.active_process)
        return worker is not None and worker.killed

    def _wait(self, step: sequence.Wait) -> Events:
        """SIGKILL ends it."""
        worker = self._by_process.get(self.env.active_process)
        if worker is None or not step.interruptible:
            yield from super()._wait(step)
            self._returned = True
            return
        if worker.killed:
            raise LoadError(errno.EINTR)
        self._asleep.add(worker)
        try:
            yield from super()._wait(step)
            self._returned = True
        except simpy.Interrupt:
            raise LoadError(errno.EINTR) from None
        finally:
            self._asleep.discard(worker)

    # -- requests of the kernel's own -------------------------------------------------------------

    def _request(self, requests: Requests, number: int) -> Events:
        yield self.timeout(requests.at + number * requests.every)
        task = Task(requests.name or "?", self.new_task())
        yield from self.autoload.request_module(requests.string, requests.wait, task=task)

    def execve(self, helper: Usermodehelper) -> Events:
        run = modprobe_of(self.kernel, self.modules, helper)
        origin = helper_origin(helper, self.new_task())

        def running() -> Events:
            yield self._compute(self.costs.helper)
            try:
                step = next(run)
                while True:
                    yield self._compute(self.costs.look)
                    step = run.send((yield from self._load(str(step.path), origin)))
            except StopIteration as end:
                return exited(end.value)

        return running()

    # -- kmod -------------------------------------------------------------------------------------

    def _probe(self, loads: Loads, origin: Origin) -> Events:
        """kmod's probe of each module that the device's modalias resolves to.

        What is there stays, so one wait will do for looking at several such.
        """
        looking = 0.0
        for order in loads:
            looking += self.costs.look
            if self._is_there(order[-1]):
                continue
            yield self._compute(looking)
            looking = 0.0
            if not self._is_there(order[-1]):
                yield from self._insert(order, origin)
                if self._is_killed():
                    return
        if looking:
            yield self._compute(looking)

    def _insert(self, order: tuple[str, ...], origin: Origin) -> Events:
        """kmod_module_probe_insert_module: each in turn, but for those that are there."""
        look = seconds = self.costs.look
        for name in order:
            if self._is_there(name):
                seconds += look
                continue
            if seconds:
                yield self._compute(seconds)
                seconds = look
                if self._is_there(name):
                    continue
            self._returned = False
            number = yield from self._load(name, origin)
            if self._is_killed() or number not in (0, errno.EEXIST):
                break  # the others would not find its symbols
            if self._returned:
                seconds = 0.0
            elif number:
                seconds = self.costs.back + look

    def _is_there(self, name: str) -> bool:
        """What kmod_module_get_initstate says, read as this userspace reads it."""
        wanted = self.machine.userspace.looks_for
        if wanted == "coming" and name in self._in_sysfs:
            return True
        return wanted != "nothing" and self.kernel.is_live(name)

    def _load(self, name: str, origin: Origin) -> Generator[simpy.Event, Any, int]:
        """One system call; 0 or the errno."""
        self.requests += 1
        file = self._file(name)
        self._owed = self.costs.open
        if self._opens_first:
            yield self._compute(self._paid())
        call: Call = FinitModule(name, "", self._flags)
        if self._by_user:
            yield from self._user_reads(file)
            call = InitModule(name)
        number = yield from self.call(call, origin)
        if not number:
            yield self.timeout(self._settling)
        self.out_of_memory += number == errno.ENOMEM
        return number

    def opened(self, call: FinitModule) -> _File:
        return self._file(str(call.file))

    def memory(self, call: InitModule) -> tuple[ModuleImage, int]:
        image = self._file(str(call.image)).image
        return image, image.len

    def _file(self, name: str) -> _File:
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = _File(*self._images[name])
        return file

    # -- how long things take ---------------------------------------------------------------------

    def _compute(self, seconds: float) -> simpy.Event:
        """An event that comes when somebody has computed for about so long."""
        return self.processors.compute(self._about(seconds))

    def _about(self, seconds: float) -> float:
        return seconds * next(self._factors)

    def _broadcasts(self, count: float) -> float:
        """Seconds for so many interrupts of every processor."""
        return count * self.costs.broadcast * self.machine.processors

    def _till_unlocked(self) -> float:
        """Seconds until module_mutex is free."""
        return max(0.0, self._locked - self.env.now)

    def _locking(self, broadcasts: int) -> float:
        """Seconds until somebody who wants module_mutex has had it for so many interrupts of every
        processor: set_memory_ro and the like are called with it."""
        begin = max(self._locked, self.env.now)
        self._locked = begin + self._about(self._broadcasts(broadcasts))
        return self._locked - self.env.now

    def _wakeup(self, key: Hashable) -> None:
        """Those who wait for a module can go on, but are woken when its load has settled; or that
        of another before: all wait in one queue (module_wq)."""
        self._may_go_on += self._waiting.pop(key, ())
        wake_up_all = Later(self.env)
        wake_up_all.callbacks.append(self._wake_up_all)
        wake_up_all.happen_in(self._settling)

    def _wake_up_all(self, _: simpy.Event) -> None:
        woken, self._may_go_on = self._may_go_on, []
        for event in woken:
            self._come_back(event)

    def _come_back(self, event: Later) -> None:
        """Who was woken computes until kmod's next look."""
        self.processors.compute(self._about(self.costs.back + self.costs.look), event)

    def give_back(self, size: int, course: Course) -> Events:
        """Memory that was executable is unmapped everywhere at once (_vm_unmap_aliases), each area
        by itself, by one caller after the other."""
        if course.outcome != LOAD:
            return
        now = self.env.now
        areas = self._areas[str(course.call[0])]  # its file
        self._unmapped = max(self._unmapped, now) + self._about(self._broadcasts(areas))
        yield self.timeout(self._unmapped - now)

    def _from_storage(self, file: _File) -> Events:
        """The first reader brings the file to memory; the others wait for it."""
        now = self.env.now
        if file.cold_until is None:
            storage = self.machine.storage
            took = storage.latency + file.size / storage.bandwidth
            file.cold_until = now if self._from_memory else now + took
        if now < file.cold_until:
            yield self.timeout(file.cold_until - now)

    def _user_reads(self, file: _File) -> Events:
        """Userspace reads and unpacks the file itself; the kernel then copies it."""
        yield from self._from_storage(file)
        compression = self.kernel.config.compression
        seconds = (file.size + file.image.len) / self.costs.read
        if compression != "none":
            seconds += file.image.len / self.costs.decompress(compression)
        yield self._compute(seconds)

    def _read(self, step: sequence.Read) -> Events:
        """The time to copy it is taken together with what comes next."""
        file: _File = step.file
        owed = self._paid()
        yield from self._from_storage(file)
        self._owed = owed + file.size / self.costs.read
        return file.image

    def _decompress(self, step: sequence.Decompress) -> Events:
        rate = self.costs.decompress(self.kernel.config.compression)
        yield self._compute(self._paid() + step.image.vmalloc_bytes / rate)

    def _check(self, step: sequence.Check) -> Events:
        costs = self.costs
        end = Later(self.env)
        seconds = self._paid() + costs.verify + step.image.len / costs.check
        self._compute(seconds).callbacks.append(partial(self._find_module, end))
        yield end

    def _find_module(self, end: Later, _: simpy.Event) -> None:
        end.happen_in(self._till_unlocked())

    def _copy(self, step: sequence.Copy) -> Events:
        """add_unformed_module; the time to copy is taken together with what comes next."""
        yield self.timeout(self._till_unlocked())

    def _relocate(self, step: sequence.Relocate) -> Events:
        costs = self.costs
        yield self._compute(costs.form + step.image.len / costs.relocate)
        yield self.timeout(self._locking(_FORM_BROADCASTS))  # complete_formation

    def _run_init(self, step: sequence.RunInit) -> Events:
        module, costs = self.machine.modules[step.module.name], self.costs
        self._in_sysfs.add(module.name)
        seconds = costs.init + module.self_tests * costs.self_test
        if module.every_processor:
            seconds += costs.visit * self.machine.processors
        yield self._compute(seconds)
        if module.seconds:
            yield self.timeout(self._about(module.seconds))
        self._settling = self._locking(_SETTLE_BROADCASTS)
        return InitResult(-module.fails)

    def _paid(self) -> float:
        """What was owed, to be paid now: nobody else has run since."""
        owed, self._owed = self._owed, 0.0
        return owed
