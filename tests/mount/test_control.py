"""Requests: each with its own errno, any number of them side by side."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.synthesize.spec import ModuleSpec, ParameterSpec
from loader.synthesize.trees import write_tree
from tests.mount.conftest import request, stats, wait_for, writers


def test_errnos_reach_the_writer(
    mounted: Callable[..., Path], make: Callable[..., Path], environment_file: Path
) -> None:
    mount = mounted("--environment", environment_file)
    assert request(mount, f"insmod {make('m')}") == 0
    assert request(mount, f"insmod {make('m')}") == errno.EEXIST
    assert request(mount, "insmod /nowhere/x.ko") == errno.ENOENT
    assert request(mount, f"insmod {make('bad')}") == errno.ENODEV
    assert request(mount, "rmmod nothing") == errno.ENOENT
    assert request(mount, "rmmod m") == 0
    assert request(mount, "frobnicate") == errno.EINVAL
    assert request(mount, f"finit_module {make('m')} flags=8") == errno.EINVAL
    assert request(mount, f"init_module {make('m')} len=10") == errno.ENOEXEC
    assert request(mount, f"finit_module {make('m')}", "delete_module m flags=2048") == 0


def test_the_shell_prints_the_errno(
    mounted: Callable[..., Path], make: Callable[..., Path]
) -> None:
    mount, path = mounted(), make("m")
    command = f"echo 'insmod {path}' > {mount}/control"
    assert subprocess.run(["bash", "-c", command]).returncode == 0
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1
    assert "File exists" in done.stderr


def test_several_lines_all_run_and_the_first_errno_counts(
    mounted: Callable[..., Path], make: Callable[..., Path]
) -> None:
    mount = mounted()
    lines = ["# a comment", "", "rmmod nothing", "insmod /nowhere", f"insmod '{make('m')}'"]
    assert request(mount, *lines) == errno.ENOENT
    assert stats(mount)["Mods ever loaded"] == 1
    shown = (mount / "control").read_text()
    assert "rmmod nothing: ENOENT" in shown
    assert f"[{os.getpid()}] insmod" in shown


def test_a_line_split_over_writes(mounted: Callable[..., Path], make: Callable[..., Path]) -> None:
    mount, path = mounted(), make("m")
    text = f"insmod {path}\nrmmod m\ninsmod {path}".encode()
    fd = os.open(mount / "control", os.O_WRONLY | os.O_APPEND)
    for position in range(0, len(text), 5):
        os.write(fd, text[position : position + 5])
    assert stats(mount)["Mods ever loaded"] == 1
    os.close(fd)  # the last line has no newline
    assert stats(mount)["Mods ever loaded"] == 2


def test_an_unfinished_line_that_fails_is_told_at_close(mounted: Callable[..., Path]) -> None:
    fd = os.open(mounted() / "control", os.O_WRONLY)
    os.write(fd, b"rmmod nothing")
    try:
        os.close(fd)
    except OSError as error:
        assert error.errno == errno.ENOENT
    else:
        raise AssertionError("close said nothing")


def test_a_line_without_end_is_refused(mounted: Callable[..., Path]) -> None:
    mount = mounted()
    fd = os.open(mount / "control", os.O_WRONLY)
    with pytest.raises(OSError, match="too long"):
        os.write(fd, b"insmod " + b"x" * 70_000)
    os.write(fd, b" its end\n# all is well again\n")
    os.close(fd)
    assert "its end" not in (mount / "control").read_text()


def test_odd_bytes(mounted: Callable[..., Path], make: Callable[..., Path]) -> None:
    mount, path = mounted(), make("m")
    fd = os.open(mount / "control", os.O_WRONLY)
    with pytest.raises(OSError, match="Invalid argument"):
        os.write(fd, b"insmod /x\0y\ninsmod /\xff\xfe\ninsmod %s\n" % os.fsencode(path))
    os.close(fd)
    assert stats(mount)["Mods ever loaded"] == 1
    assert "NUL byte" in (mount / "control").read_text()


def test_another_thread_closes(mounted: Callable[..., Path]) -> None:
    mount = mounted()
    fd = os.open(mount / "control", os.O_WRONLY)
    writer = threading.Thread(target=os.write, args=(fd, b"rmmod nothing"))
    writer.start()
    writer.join()
    with pytest.raises(OSError, match="No such file"):
        os.close(fd)
    assert f"[{os.getpid()}]" in (mount / "control").read_text()


def test_nonsense_is_explained(mounted: Callable[..., Path]) -> None:
    mount = mounted()
    for line in ("frobnicate x", "insmod", "insmod --nothing x", "insmod 'open", "rmmod"):
        assert request(mount, line) == errno.EINVAL
    shown = (mount / "control").read_text()
    for reason in ("no such request", "a path is missing", "no option --nothing", "quotation"):
        assert reason in shown


def test_relative_paths_are_the_writer_s(
    mounted: Callable[..., Path], make: Callable[..., Path]
) -> None:
    mount, path = mounted(), make("m")
    command = f"echo 'insmod {path.name}' > {mount}/control"
    assert subprocess.run(["bash", "-c", command], cwd=path.parent).returncode == 0
    assert subprocess.run(["bash", "-c", command], cwd="/", capture_output=True).returncode == 1


def test_results_are_bounded(mounted: Callable[..., Path]) -> None:
    mount = mounted()
    request(mount, *[f"rmmod nothing{number}" for number in range(500)])
    shown = (mount / "control").read_text()
    assert "nothing499" in shown and "nothing5:" not in shown
    assert len(shown.splitlines()) < 120


def test_parameters_and_options(mounted: Callable[..., Path], make: Callable[..., Path]) -> None:
    mount = mounted()
    path = make("m", parameters=(ParameterSpec("s", "charp"), ParameterSpec("n", "int")))
    assert request(mount, f"insmod {path} n=x") == errno.EINVAL
    assert request(mount, f"insmod --force-vermagic {path}") == errno.ENOEXEC
    assert request(mount, f"insmod {path} 's=\"two words\"' n=5 nosuch=1") == 0
    assert "m: unknown parameter 'nosuch' ignored\n" in (mount / "kmsg").read_text()


# -- modprobe -------------------------------------------------------------------------------------


def test_modprobe(mounted: Callable[..., Path], workshop: Path) -> None:
    tree = workshop / "tree"
    specs = [
        ModuleSpec("base"),
        ModuleSpec("middle", depends=("base",)),
        ModuleSpec("top", depends=("middle",), aliases=("pci:v0001*",)),
    ]
    for compression in (None, "zst", "xz"):
        folder = tree / str(compression)
        write_tree(folder, specs, compression=compression)
        mount = mounted("--modules", folder)
        assert request(mount, "modprobe pci:v0001d0002") == 0
        assert stats(mount)["Mods ever loaded"] == 3
        assert request(mount, "modprobe top") == 0
        assert request(mount, "modprobe --first-time top") == errno.EEXIST
        assert request(mount, "modprobe nothing") == errno.ENOENT
        assert stats(mount)["Mods failed on becoming"] == 0
        assert request(mount, "rmmod base") == errno.EAGAIN
        assert request(mount, "modprobe -r top") == 0
        assert request(mount, "rmmod base") == errno.ENOENT
        assert request(mount, "modprobe -r top") == 0
        assert request(mount, "modprobe -r --first-time top") == errno.ENOENT


def test_insmod_of_compressed_files(mounted: Callable[..., Path], workshop: Path) -> None:
    write_tree(workshop / "xz", [ModuleSpec("a")], compression="xz")
    path = next((workshop / "xz").rglob("*.ko.xz"))
    own, other = mounted("--compression", "xz"), mounted("--compression", "zstd")
    for mount in (own, other):
        assert request(mount, f"insmod {path}") == 0
        assert request(mount, f"insmod {path}") == errno.EEXIST
    # The kernel that unpacks it itself also counts the compressed bytes.
    packed = path.stat().st_size
    plain = stats(other)["Failed becoming bytes"]
    assert stats(own)["Failed becoming bytes"] == plain + packed
    assert request(other, f"finit_module {path} flags=4") == errno.EINVAL


# -- side by side ---------------------------------------------------------------------------------


def test_writers_overlap(
    mounted: Callable[..., Path], make: Callable[..., Path], environment_file: Path
) -> None:
    """A load that waited for one that fails gets EBUSY; one after the other, each would fail with
    the module's own ENODEV. On a busy machine some come only after that."""
    mount = mounted("--environment", environment_file)
    paths = [make("slow_bad", copy) for copy in range(24)]
    with writers(mount, [f"insmod {path}" for path in paths]) as results:
        pass
    assert set(results) == {errno.EBUSY, errno.ENODEV}
    assert results.count(errno.EBUSY) >= 12


def test_500_writers_behind_one_slow_module(
    mounted: Callable[..., Path], make: Callable[..., Path], environment_file: Path
) -> None:
    mount = mounted("--environment", environment_file)
    path, other = make("stuck"), make("m")
    reader, writer = os.pipe()
    script = f"echo 'insmod {path}' > {mount}/control"
    shells = [subprocess.Popen(["sh", "-c", script], stderr=writer) for _ in range(500)]
    os.close(writer)
    try:
        wait_for(lambda: _blocked(shells) >= 490)
        assert stats(mount)["Mods ever loaded"] == 0  # readers are not held up
        assert request(mount, f"insmod {other}") == 0  # nor are other modules
        assert stats(mount)["Mods ever loaded"] == 1
    finally:
        for shell in shells:
            shell.kill()
        for shell in shells:
            shell.wait(30)  # a blocked writer can be killed
        os.close(reader)
    assert request(mount, f"insmod {other}") == errno.EEXIST


def _blocked(shells: list[subprocess.Popen[bytes]]) -> int:
    """Shells that have opened the control file and not come back."""
    count = 0
    for shell in shells:
        try:
            names = [os.readlink(f"/proc/{shell.pid}/fd/{fd}") for fd in (1,)]
        except OSError:
            continue
        count += ".control/" in names[0]
    return count


def test_a_waiting_writer_can_be_interrupted(
    mounted: Callable[..., Path], make: Callable[..., Path], environment_file: Path
) -> None:
    mount = mounted("--environment", environment_file)
    path = make("stuck")
    program = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"fd = os.open('{mount}/control', os.O_WRONLY)\n"
        "print('ready', flush=True)\n"
        f"os.write(fd, b'insmod {path} nosuch=1\\n')\n"
    )
    process = subprocess.Popen(
        ["python3", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    wait_for(lambda: "nosuch" in (mount / "kmsg").read_text())  # logged right before init
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in said
    assert "EINTR" in (mount / "control").read_text()
