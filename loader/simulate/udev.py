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
import random
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

import simpy

from loader.calls import MODULE_INIT_COMPRESSED_FILE, Call, FinitModule, InitModule, Origin, Task
from loader.config import Config
from loader.engine import sequence
from loader.engine.clock import Events, VirtualKernel
from loader.engine.kmod import ModuleRequest
from loader.engine.module import InitResult
from loader.engine.state import Listener
from loader.engine.stats import Snapshot
from loader.engine.tree_modprobe import helper_origin, modprobe_of
from loader.engine.umh import Usermodehelper, exited
from loader.image.module_image import ModuleImage
from loader.release import choose_release
from loader.simulate.described import DescribedModules
from loader.simulate.machine import Coldplug, Devices, Machine, Requests, check_names
from loader.simulate.shared_file import SharedFile

_UDEVD = 1  # its number
Loads = tuple[tuple[str, ...], ...]  # for each module asked for: what to load, in order


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one boot came to. Memory in bytes, times in virtual seconds.

    ``peak``: most vmalloc space that modules and loads held at one moment. ``boot``: from the first
    device to the last. ``waiting``: of all callers together, in the kernel, for others' loads.
    ``requests``: system calls. ``out_of_memory``: those that failed with ENOMEM. ``autoload``: the
    requests of the kernel's own, as they ended; those of a machine may end after its boot.
    """

    snapshot: Snapshot
    peak: int
    boot: float
    waiting: float
    requests: int
    out_of_memory: int
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
    return booted.run()


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
        self.machine = machine
        self.costs = machine.costs
        self.timeout = self.env.timeout
        self.progress = progress
        self.requests = 0
        self.out_of_memory = 0
        self._random = random.Random(seed).random
        self._jitter = machine.costs.jitter
        self._by_user = machine.userspace.call == "init_module"
        by_kernel = "none" if self._by_user else config.compression
        self._flags = 0 if by_kernel == "none" else MODULE_INIT_COMPRESSED_FILE
        self._images = {
            name: (module.image(by_kernel), module.image(config.compression).read_bytes)
            for name, module in machine.modules.items()
        }
        self._files: dict[str, SharedFile] = {}
        self._from_memory = False
        self._in_sysfs: set[str] = set()
        self._given_back = 0.0  # when all that is being given back now will have been
        self._workers = 0
        self._idle = 0
        self._one_idle: simpy.Event | None = None  # what udevd awaits while all are busy
        self._handled = 0
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
            tuple(self._told),
        )

    # -- udev -------------------------------------------------------------------------------------

    def _boot(self) -> Events:
        for coldplug in self.machine.coldplug:
            yield from self._udevd(coldplug)

    def _udevd(self, coldplug: Coldplug) -> Events:
        """Hand every device to a worker, one after the other; end when all are handled."""
        self._from_memory = coldplug.from_memory
        self._files.clear()
        most = self.machine.workers
        self._workers = self._idle = min(coldplug.idle_workers, most)
        for devices in coldplug.devices:
            loads = tuple(self.machine.load_order(name) for name in devices.modules)
            for number in range(devices.count or self.machine.processors):
                if not self._idle and self._workers < most:
                    self._workers += 1
                    yield self.timeout(self.costs.fork)
                else:
                    if not self._idle:
                        yield from self._wait_for_worker()
                    self._idle -= 1
                    yield self.timeout(self.costs.dispatch)
                self.env.process(self._worker(loads, self._origin(devices, number)))
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

    def _worker(self, loads: Loads, origin: Origin) -> Events:
        """One device."""
        yield self.timeout(self._about(self.costs.rules))
        yield from self._probe(loads, origin)
        self._idle += 1
        if self._one_idle is not None:
            self._one_idle.succeed()
            self._one_idle = None
        self._handled += 1
        if self.progress and not self._handled % 256:
            self.progress(self._handled)

    # -- requests of the kernel's own -------------------------------------------------------------

    def _request(self, requests: Requests, number: int) -> Events:
        yield self.timeout(requests.at + number * requests.every)
        task = Task(requests.name or "?", self.new_task())
        yield from self.autoload.request_module(requests.string, requests.wait, task=task)

    def execve(self, helper: Usermodehelper) -> Events:
        run = modprobe_of(self.kernel, self.modules, helper)
        origin = helper_origin(helper, self.new_task())

        def running() -> Events:
            yield self.timeout(self._about(self.costs.helper))
            try:
                step = next(run)
                while True:
                    yield self.timeout(self._about(self.costs.look) + self._about(self.costs.open))
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
            looking += self._about(self.costs.look)
            if self._is_there(order[-1]):
                continue
            yield self.timeout(looking)
            looking = 0.0
            if not self._is_there(order[-1]):
                yield from self._insert(order, origin)
        if looking:
            yield self.timeout(looking)

    def _insert(self, order: tuple[str, ...], origin: Origin) -> Events:
        """kmod_module_probe_insert_module: each in turn, but for those that are there."""
        for name in order:
            yield self.timeout(self._about(self.costs.look))
            if self._is_there(name):
                continue
            yield self.timeout(self._about(self.costs.open))
            number = yield from self._load(name, origin)
            if number not in (0, errno.EEXIST):
                break  # the others would not find its symbols

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
        call: Call = FinitModule(name, "", self._flags)
        if self._by_user:
            yield from self._user_reads(file)
            call = InitModule(name)
        number = yield from self.call(call, origin)
        if not number:
            yield self.timeout(self._about(self.costs.settle))
        self.out_of_memory += number == errno.ENOMEM
        return number

    def opened(self, call: FinitModule) -> SharedFile:
        return self._file(str(call.file))

    def memory(self, call: InitModule) -> tuple[ModuleImage, int]:
        image = self._file(str(call.image)).image
        return image, image.len

    def _file(self, name: str) -> SharedFile:
        file = self._files.get(name)
        if file is None:
            costs = self.costs
            image, size = self._images[name]
            file = SharedFile(self.env, image, size, costs.read, costs.shared_read)
            self._files[name] = file
        return file

    # -- how long things take ---------------------------------------------------------------------

    def _about(self, seconds: float) -> float:
        return seconds * (1.0 + self._jitter * (2.0 * self._random() - 1.0))

    def delays(self, waiters: int) -> Iterable[float]:
        """wake_up_all; then each gives its memory back, and is held up at every turn.

        Four even parts added up: rarely is one among the very first or the very last.
        """
        random, settle = self._random, self.costs.settle
        part = self.costs.shootdown * self.machine.processors / 4
        for _ in range(waiters):
            yield settle + part * (random() + random() + random() + random())

    def give_back(self, size: int) -> Events:
        """One after the other: each waits for those before it."""
        now = self.env.now
        self._given_back = max(self._given_back, now) + size / self.costs.free
        yield self.timeout(self._given_back - now)

    def _from_storage(self, file: SharedFile) -> Events:
        """The first reader brings the file to memory; the others wait for it."""
        now = self.env.now
        if file.cold_until is None:
            storage = self.machine.storage
            took = storage.latency + file.size / storage.bandwidth
            file.cold_until = now if self._from_memory else now + took
        if now < file.cold_until:
            yield self.timeout(file.cold_until - now)

    def _user_reads(self, file: SharedFile) -> Events:
        """Userspace reads and unpacks the file itself; the kernel then copies it."""
        yield from self._from_storage(file)
        yield file.read()
        compression = self.kernel.config.compression
        seconds = file.image.len / self.costs.read
        if compression != "none":
            seconds += file.image.len / self.costs.decompress(compression)
        yield self.timeout(self._about(seconds))

    def _read(self, step: sequence.Read) -> Events:
        file: SharedFile = step.file
        yield from self._from_storage(file)
        yield file.read()
        return file.image

    def _decompress(self, step: sequence.Decompress) -> Events:
        rate = self.costs.decompress(self.kernel.config.compression)
        yield self.timeout(self._about(step.image.vmalloc_bytes / rate))

    def _check(self, step: sequence.Check) -> Events:
        yield self.timeout(self._about(step.image.len / self.costs.check))

    def _copy(self, step: sequence.Copy) -> Events:
        yield self.timeout(self._about(step.image.layout.total / self.costs.read))

    def _relocate(self, step: sequence.Relocate) -> Events:
        yield self.timeout(self._about(self.costs.form))

    def _run_init(self, step: sequence.RunInit) -> Events:
        module = self.machine.modules[step.module.name]
        self._in_sysfs.add(module.name)
        seconds = module.seconds + module.self_tests * self.costs.self_test
        if module.every_processor:
            seconds += self.costs.visit * self.machine.processors
        yield self.timeout(self._about(seconds))
        return InitResult(-module.fails)
