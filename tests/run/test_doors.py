"""One vocabulary: the same calls get the same answers and make the same statistics by every door.

The doors: the engine's own API, a program's caught system calls, and the same joined to a mount.
"""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.calls import Call, DeleteModule, FinitModule, InitModule
from loader.config import Config
from loader.engine.threads import LiveKernel
from loader.errors import LoadError
from loader.release import release
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec, ParameterSpec
from modfs import texts
from tests.run import calls

KERNELS = ("6.4", "6.12")  # the first counts reads that fail by their errno


@pytest.fixture
def folder(open_folder: Path) -> Path:
    """The files that the table of calls is about."""
    parameters = (ParameterSpec("n"), ParameterSpec("s", "charp"), ParameterSpec("len"))
    for name in ("m", "n"):
        spec = ModuleSpec(name, parameters=parameters, intree=False)
        (open_folder / f"{name}.ko").write_bytes(build_module(spec))
    (open_folder / "empty.ko").touch()
    return open_folder


def api(live: LiveKernel) -> calls.Door:
    """The engine itself as a door."""

    def door(name: str, *arguments: object) -> int:
        try:
            live.call(_call(name, *arguments))
        except LoadError as error:
            return error.errno or -1
        return 0

    return door


def _call(name: str, *arguments: object) -> Call:
    if name == "finit_module":
        return FinitModule(*arguments)  # type: ignore[arg-type]
    if name == "init_module":
        image, length, params = arguments
        return InitModule(image, params, length)  # type: ignore[arg-type]
    return DeleteModule(*arguments)  # type: ignore[arg-type]


def texts_of(live: LiveKernel) -> tuple[str, str, str]:
    """What the kernel shows: stats, its log, and the modules that are there."""
    snapshot = live.snapshot()
    return texts.stats(snapshot), live.kmsg(), texts.proc_modules(snapshot)


@pytest.mark.parametrize("kernel", KERNELS)
def test_caught_calls(kernel: str, folder: Path, environment: dict[str, str]) -> None:
    live = LiveKernel(Config(release=release(kernel)))
    expected = calls.make_calls(folder, api(live))
    command = ["modfs", "run", "--kernel", kernel, "--modules", str(folder), "--"]
    script = (
        f"{sys.executable} {calls.__file__} {folder}; cat /sys/kernel/debug/modules/{{stats,kmsg}}"
    )
    done = subprocess.run(
        [*command, "bash", "-c", f"{script} stats kmsg /proc/modules"],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    answers, _, shown = done.stdout.partition("\n")
    assert json.loads(answers) == expected
    shown = re.sub("0xffffffff[0-9a-f]{8}", f"0x{0:016x}", shown)  # where modules would be
    assert shown == "".join(texts_of(live))


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_joined_mount(
    kernel: str, folder: Path, environment: dict[str, str], mounted: Callable[..., Path]
) -> None:
    live = LiveKernel(Config(release=release(kernel)))
    expected = calls.make_calls(folder, api(live))
    mount = mounted("--kernel", kernel, "--modules", folder)
    done = subprocess.run(
        ["modfs", "run", "--mount", str(mount), "--", sys.executable, calls.__file__, str(folder)],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert json.loads(done.stdout) == expected, done.stderr
    shown = [mount / "stats", mount / "kmsg", mount / ".control/proc_modules"]
    assert tuple(path.read_text() for path in shown) == texts_of(live)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_engine(kernel: str, folder: Path) -> None:
    """docs/behaviour.md section 2, in the order of the table."""
    answers = calls.make_calls(folder, api(LiveKernel(Config(release=release(kernel)))))
    names = [errno.errorcode.get(number, "OK") for number in answers]
    assert " ".join(names[:14]) == (
        "ETXTBSY EINVAL EBADF EBADF ETXTBSY EINVAL EINVAL EINVAL EBADF EINVAL"
        " EFAULT EINVAL ENOEXEC EINVAL"
    )
    assert " ".join(names[14:28]) == (
        "OK EEXIST EEXIST OK OK EEXIST OK EEXIST ENOEXEC ENOEXEC EEXIST EFAULT ENOEXEC ENOEXEC"
    )
    assert " ".join(names[28:]) == "OK ENOENT EFAULT ENOENT ENOENT ENOENT ENOENT ENOENT"
