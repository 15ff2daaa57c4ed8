"""Files read in every way that the kernel has, and not by read(2) alone.

On debugfs some of these ways are errors (sendfile, splice and mmap), on sysfs and in /proc most
are not. Nowhere are they empty, which is what the kernel makes of a FUSE file of the size 0.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.conftest import request

HERE = Path(__file__).parent
# All that is not "all". EINVAL, because some kernels never come to an end: modfs.fuse.repeats.
EXCEPT = {
    "preadv2 NOWAIT": {"EOPNOTSUPP"},
    "copy_file_range": {"EXDEV", "all"},
    "io_uring": {"all", "EPERM", "ENOSYS"},
    "io_uring from where it is": {"all", "EINVAL", "EPERM", "ENOSYS"},
    "mmap shared": {"ENODEV", "all"},
    "SEEK_SET": {"3"},
    "SEEK_CUR": {"7"},
    "SEEK_SET far": {"1048576"},
}


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("ways") / "ways"
    subprocess.run(["gcc", "-O1", "-Wall", "-o", program, HERE / "ways.c"], check=True)
    return program


def differences(said: str) -> list[str]:
    """The lines that tell of a way which did not do what it should."""
    rows = [line.partition(": ") for line in said.splitlines()]
    assert len(rows) >= 19
    return [
        f"{way}: {how}"
        for way, _, how in rows
        if how not in EXCEPT.get(way, {"all"})
        and not way.startswith(("SEEK_END", "SEEK_D", "SEEK_H"))
    ]


@pytest.fixture
def mount(mounted: Callable[..., Path], make: Callable[..., Path]) -> Path:
    folder = mounted()
    for number in range(40):
        for _ in range(2):
            request(folder, f"insmod {make(f'module{number}')}")
    return folder


@pytest.mark.parametrize("name", ["stats", "control", "kmsg", "autoload/modprobe"])
def test_a_mount(mount: Path, ways: Path, name: str, tmp_path: Path) -> None:
    done = subprocess.run([ways, mount / name, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not differences(done.stdout)


def test_what_programs_see(ways: Path, environment: dict[str, str], workshop: Path) -> None:
    places = (
        "/sys/kernel/debug/modules/stats",
        "/proc/sys/kernel/modprobe",
        "/proc/modules",
        "/sys/module/one/coresize",
        "/sys/module/compression",
    )
    subprocess.run(["modfs", "mkmod", "one.ko"], cwd=workshop, env=environment, check=True)
    script = f"insmod one.ko; for f in {' '.join(places)}; do {ways} $f .; echo; done"
    done = subprocess.run(
        ["modfs", "run", "--", "sh", "-c", script],
        env=environment, cwd=workshop, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [differences(part) for part in done.stdout.strip().split("\n\n")] == [[]] * len(places)


@pytest.mark.parametrize(
    "command",
    [
        "busybox cat {}",
        "busybox cp {} copy && cat copy",
        "cp --sparse=always --reflink=auto {} copy && cat copy",
        "dd if={} bs=64k status=none | cat",
        'python3 -c \'import shutil; shutil.copyfile("{}", "copy")\' && cat copy',
        'node -e \'process.stdout.write(require("fs").readFileSync("{}"))\'',
        "UV_USE_IO_URING=1 node -e "
        '\'require("fs").promises.readFile("{}").then((text) => process.stdout.write(text))\'',
    ],
)
def test_programs(mount: Path, command: str, environment: dict[str, str], tmp_path: Path) -> None:
    if "node " in command and shutil.which("node") is None:
        pytest.skip("node is not installed")
    text = (mount / "stats").read_bytes()
    done = subprocess.run(
        command.format(mount / "stats"), shell=True, cwd=tmp_path, env=environment,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == text


def test_sendfile_while_the_text_grows(mount: Path, make: Callable[..., Path]) -> None:
    """Who opens it anew gets a whole report each time."""
    over = threading.Event()
    modules = [f"insmod {make(f'more{number}')}" for number in range(60)]

    def load() -> None:
        for line in modules:
            request(mount, line, line)
        over.set()

    thread = threading.Thread(target=load)
    thread.start()
    lengths = []
    while not over.is_set():
        lengths.append(len(_sent(mount / "stats")))
    thread.join()
    assert lengths == sorted(lengths)
    assert _sent(mount / "stats") == (mount / "stats").read_bytes()


def _sent(path: Path) -> bytes:
    file, copy = os.open(path, os.O_RDONLY), os.memfd_create("copy")
    try:
        while os.sendfile(copy, file, None, 1 << 20):
            pass
        text = os.pread(copy, 1 << 20, 0)
        assert text.startswith(b"         Mods ever loaded\t") and text.endswith(b"\n")
        return text
    finally:
        os.close(file)
        os.close(copy)


def test_the_size_is_the_text_s(mount: Path) -> None:
    for name in ("stats", "control", "kmsg"):
        path = mount / name
        assert path.stat().st_size == len(path.read_bytes())
        assert int(subprocess.check_output(["wc", "-c", path]).split()[0]) == path.stat().st_size


def test_times_can_be_set(mount: Path) -> None:
    """As on debugfs (simple_setattr)."""
    path = mount / "stats"
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    found = path.stat()
    assert (found.st_atime_ns, found.st_mtime_ns) == (1_000_000_001, 2_000_000_002)
    subprocess.run(["touch", "-m", path], check=True)
    assert path.stat().st_mtime_ns > 10**18
    assert path.stat().st_atime_ns == 1_000_000_001


ON_AND_ON = """
const fs = require('fs'), [path, size] = process.argv.slice(1), buffer = Buffer.alloc(+size);
const told = [], fd = fs.openSync(path);
const next = () => fs.read(fd, buffer, 0, +size, null, (error, n) => {
    told.push(buffer.toString('latin1', 0, n || 0));
    if (!error && n && told.length < 100) return next();
    console.log(JSON.stringify([error ? error.code : 'all', told.join('')]));
});
next();
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here")
@pytest.mark.parametrize("size", [100, 1 << 20])
def test_io_uring_repeats_nothing(mount: Path, size: int) -> None:
    """A text longer than the buffer, and a buffer longer than one request."""
    text = (mount / "stats").read_text()
    done = subprocess.run(
        ["node", "-e", ON_AND_ON, mount / "stats", str(size)],
        env=os.environ | {"UV_USE_IO_URING": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    how, told = json.loads(done.stdout)
    assert how in ("all", "EINVAL")
    assert told == (text if how == "all" else text[: len(told)]) != ""
