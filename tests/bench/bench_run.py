"""What it costs that ``modfs run`` catches a call, and whether callers keep the machine busy."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from loader.calls import FinitModule
from loader.engine.threads import LiveKernel
from loader.errors import LoadError
from loader.synthesize.trees import demo_tree
from tests.bench.harness import MODFS, Row, made_modules, readable, timed

CALLS = 20_000
PROCESSES = 16

# Loads a module, then asks for it again and again; prints the median of these calls, in seconds.
CALLER = """
import ctypes, os, platform, statistics, sys, time
syscall = ctypes.CDLL(None).syscall
number = {"x86_64": 313, "aarch64": 273}[platform.machine()]
fd = os.open(sys.argv[1], os.O_RDONLY)
syscall(number, fd, b"", 0)
times = []
for _ in range(int(sys.argv[2])):
    begin = time.perf_counter()
    syscall(number, fd, b"", 0)
    times.append(time.perf_counter() - begin)
print(statistics.median(times))
"""

# The least that catching takes: such calls, answered by another process that knows the answer.
BARE = """
import ctypes, errno, fcntl, os, platform, socket, statistics, sys, time
from modfs import linux
from modfs.run import seccomp
syscall = ctypes.CDLL(None).syscall
number = {"x86_64": 313, "aarch64": 273}[platform.machine()]
ours, theirs = socket.socketpair()
fd = os.open(sys.argv[1], os.O_RDONLY)
if os.fork() == 0:
    ours.close()
    _, [listener], _, _ = socket.recv_fds(theirs, 1, 1)
    buffer = bytearray(linux.SECCOMP_NOTIF.size)
    while True:
        buffer[:] = bytes(len(buffer))
        try:
            fcntl.ioctl(listener, linux.SECCOMP_IOCTL_NOTIF_RECV, buffer)
        except OSError:
            os._exit(0)
        number = int.from_bytes(buffer[:8], "little")
        answer = linux.SECCOMP_NOTIF_RESP.pack(number, 0, -errno.EEXIST, 0)
        fcntl.ioctl(listener, linux.SECCOMP_IOCTL_NOTIF_SEND, answer)
theirs.close()
listener = seccomp.install()
socket.send_fds(ours, [b"."], [listener])
os.close(listener)
times = []
for _ in range(int(sys.argv[2])):
    begin = time.perf_counter()
    syscall(number, fd, b"", 0)
    times.append(time.perf_counter() - begin)
print(statistics.median(times))
"""

REQUESTS = 200

# Requests a module that there is none of, and runs modprobe for it, in turn; prints the medians.
REQUESTER = """
import os, statistics, sys, time
control = os.open("/sys/kernel/debug/modules/control", os.O_WRONLY)
silence = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
modprobe = ["/sbin/modprobe", "-q", "-d", sys.argv[2], "-S", "1.0", "--", "nope"]
pairs = []
for _ in range(int(sys.argv[1])):
    begin = time.perf_counter()
    try:
        os.write(control, b"request_module nope\\n")
    except OSError:
        pass
    middle = time.perf_counter()
    os.waitpid(os.posix_spawn(modprobe[0], modprobe, os.environ, file_actions=silence), 0)
    pairs.append((middle - begin, time.perf_counter() - middle))
print(*(statistics.median(column) for column in zip(*pairs)))
"""

# Makes calls that --autoload looks at, and one that it does not; prints their medians.
LOOKED_AT = """
import os, socket, statistics, sys, time
def median(call):
    times = []
    for _ in range(int(sys.argv[1])):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)
print(
    median(lambda: os.close(os.open("/etc/passwd", os.O_RDONLY))),
    median(lambda: socket.socket().close()),
    median(lambda: os.stat("/etc/passwd")),
)
"""
LOOKED_AT_LIMIT = 100e-6  # seconds


def rows() -> Iterable[Row]:
    with made_modules() as [module]:
        engine = _engine(module)
        caught = float(_run([sys.executable, "-c", CALLER, str(module), str(CALLS)]))
        bare = float(_output([sys.executable, "-c", BARE, str(module), str(CALLS)]))
        yield Row(
            "a call caught and answered, beyond the engine's own time",
            "answered by ten lines of Python",
            (caught - engine) / bare,
            1.5,
            detail=f"{readable(caught)} - {readable(engine)} : {readable(bare)}",
        )
        yield _busy(module)
    yield _helpers()
    yield from _looked_at()


def _looked_at() -> Iterable[Row]:
    """What --autoload costs the calls that it looks at, and the others."""
    script = [sys.executable, "-c", LOOKED_AT, str(CALLS // 4)]
    medians = []
    for options in ([], ["--autoload"]):
        command = [MODFS, "run", *options, "--", *script]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        medians.append([float(word) for word in done.stdout.split()])
    calls = zip(("open", "socket", "stat"), *medians, strict=True)
    for call, without, with_it in calls:
        caught = call != "stat"
        yield Row(
            f"{call}(2) with --autoload, {'looked at' if caught else 'which is not caught'}",
            "absolute, beyond" if caught else "without",
            (with_it - without) * 1e6 if caught else with_it / without,
            LOOKED_AT_LIMIT * 1e6 if caught else 1.1,
            unit="µs" if caught else "times",
            detail=f"{readable(with_it)} : {readable(without)}",
        )


def _helpers() -> Row:
    """A request that has the real modprobe run, beside the same modprobe without modfs."""
    with tempfile.TemporaryDirectory(prefix="modfs-bench-") as folder:
        tree = Path(folder, "lib/modules/1.0")
        demo_tree(tree)
        subprocess.run(["depmod", "-b", folder, "1.0"], check=True, capture_output=True)
        script = [sys.executable, "-c", REQUESTER, str(REQUESTS), folder]
        done = subprocess.run(
            [MODFS, "run", "--modules", str(tree), "--", *script],
            capture_output=True,
            text=True,
            check=True,
        )
        ours, theirs = (float(word) for word in done.stdout.split())
    return Row(
        "a request that runs the real modprobe",
        "that modprobe alone",
        ours / theirs,
        1.5,
        detail=f"{readable(ours)} : {readable(theirs)}",
    )


def _run(command: list[str]) -> str:
    return _output([MODFS, "run", "--", *command])


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _engine(module: Path) -> float:
    """The engine's own time for such a call."""
    engine = LiveKernel()
    descriptor = os.open(module, os.O_RDONLY)
    engine.call(FinitModule(descriptor))

    def ask() -> None:
        try:  # noqa: SIM105 - cheaper than suppress()
            engine.call(FinitModule(descriptor))
        except LoadError:
            pass

    found = statistics.median(timed(ask) for _ in range(CALLS))
    os.close(descriptor)
    return found


def _busy(module: Path) -> Row:
    """How many processors work while 16 processes ask at once."""
    script = 'for i in $(seq "$3"); do "$0" -c "$1" "$2" "$4" >/dev/null & done; wait'
    words = [sys.executable, CALLER, str(module), str(PROCESSES), str(CALLS // 4)]
    before = _processor_time()
    _run(["sh", "-c", script, *words])
    busy, total = (now - then for now, then in zip(_processor_time(), before, strict=True))
    processors = os.cpu_count() or 1
    return Row(
        f"processors busy while {PROCESSES} processes ask at once",
        "absolute",
        busy / total * processors,
        0.8 * processors,
        unit="busy",
        at_least=True,
    )


def _processor_time() -> tuple[int, int]:
    """(time not idle, all time) of all processors since boot."""
    times = [int(word) for word in Path("/proc/stat").read_text().split()[1:9]]
    return sum(times) - times[3] - times[4], sum(times)
