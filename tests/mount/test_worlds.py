"""Where a request's paths and descriptors are looked up: where its writer would find them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from tests.mount.clients import (
    NOBODY,
    Step,
    ask,
    chrooted,
    ended,
    in_pid_namespace,
    in_user_namespace,
    inside,
    nobody,
    outcome,
    pivoted,
    results,
    started,
    unseen,
    user,
    write,
)
from tests.mount.conftest import stats, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its root")


@pytest.fixture
def shared(mounted: Callable[..., Path], open_workshop: Path) -> Path:
    """A mount that everybody may write to."""
    return mounted("-o", "allow_other,control_mode=0666")


@pytest.fixture
def root(open_workshop: Path) -> Path:
    """A folder to be somebody's root, with the module ``inner`` in it, which is nowhere else."""
    folder = open_workshop / "root"
    (folder / "below").mkdir(parents=True)
    (folder / "inner.ko").write_bytes(build_module(ModuleSpec("inner")))
    (folder / "below/deep.ko").write_bytes(build_module(ModuleSpec("deep")))
    (folder / "link.ko").symlink_to("/inner.ko")
    return folder


@pytest.fixture
def outer(open_workshop: Path) -> Path:
    """A module outside, which only root may read."""
    path = open_workshop / "outer.ko"
    path.write_bytes(build_module(ModuleSpec("outer")))
    path.chmod(0o600)
    return path


Enter = Callable[[Path, Path], list[Step]]

# How a client gets into a world whose root is a folder.
WORLDS: dict[str, Enter] = {
    "chroot": lambda root, mount: [chrooted(root)],
    "container": lambda root, mount: [pivoted(root, mount)],
    "pid namespace": lambda root, mount: [in_pid_namespace, pivoted(root, mount)],
    "container of a user": lambda root, mount: [pivoted(root, mount), nobody],
    "user namespace": lambda root, mount: [pivoted(root, mount), in_user_namespace],
}
in_each_world = pytest.mark.parametrize("enter", WORLDS.values(), ids=WORLDS)


def control_in(mount: Path) -> Callable[[], int]:
    """Opens the control file from wherever the client is by then."""
    folder = os.open(mount, os.O_PATH)
    return lambda: os.open("control", os.O_WRONLY, dir_fd=folder)


@in_each_world
def test_paths_start_at_the_writers_root_or_in_its_folder(
    shared: Path, root: Path, outer: Path, enter: Enter
) -> None:
    control = control_in(shared)
    expected = {
        "insmod /inner.ko": 0,
        "finit_module /below/../../below/deep.ko": 0,
        "rmmod inner": 0,
        "insmod /link.ko": 0,
        f"insmod {outer}": errno.ENOENT,
        f"finit_module {outer}": errno.ENOENT,
        f"insmod /../../../..{outer}": errno.ENOENT,
        f"insmod /proc/self/root{outer}": errno.ENOENT,
        "insmod /nowhere.ko": errno.ENOENT,
    }
    for line, code in expected.items():
        found = outcome(*enter(root, shared), lambda line=line: write(control(), line))  # type: ignore[misc]
        assert found == code, line
    assert stats(shared)["Mods ever loaded"] == 3
    steps = [*enter(root, shared), inside(Path("below"))]
    assert outcome(*steps, lambda: write(control(), "rmmod deep\ninsmod deep.ko")) == 0
    assert outcome(*steps, lambda: write(control(), "insmod ../../../link.ko")) == errno.EEXIST
    assert outcome(*steps, lambda: write(control(), "insmod inner.ko")) == errno.ENOENT


def test_a_root_that_is_changed_between_two_writes(shared: Path, root: Path, outer: Path) -> None:
    descriptors: list[int] = []

    def first() -> None:
        descriptors.append(os.open(shared / "control", os.O_WRONLY))
        write(descriptors[0], f"insmod {outer}")
        write(descriptors[0], "rmmod outer")

    def then() -> None:
        write(descriptors[0], "insmod /inner.ko")
        write(descriptors[0], f"insmod {outer}")

    assert outcome(first, chrooted(root), then) == errno.ENOENT
    assert stats(shared)["Mods ever loaded"] == 2


def test_modprobe_is_for_the_servers_tree_with_the_clients_rights(
    mounted: Callable[..., Path], root: Path, open_workshop: Path, environment: dict[str, str]
) -> None:
    tree = open_workshop / "tree"
    subprocess.run(["modfs", "mkmod", "--demo", tree], env=environment, check=True)
    mount = mounted("-o", "allow_other,control_mode=0666", "--modules", tree)
    control = control_in(mount)
    modprobe = lambda: write(control(), "modprobe loop")  # noqa: E731
    next(tree.rglob("loop.ko")).chmod(0o600)
    assert outcome(chrooted(root), nobody, modprobe) == errno.EACCES
    assert outcome(chrooted(root), modprobe) == 0


def test_nothing_of_the_writers_root_is_in_use_afterwards(
    shared: Path, open_workshop: Path
) -> None:
    control = control_in(shared)
    root = open_workshop / "tmpfs"
    root.mkdir()
    for _ in range(5):
        subprocess.run(["mount", "-t", "tmpfs", "none", root], check=True)
        (root / "m.ko").write_bytes(build_module(ModuleSpec("m")))
        assert outcome(chrooted(root), lambda: write(control(), "insmod /m.ko")) == 0
        assert outcome(lambda: ask(shared, "rmmod m")) == 0
        subprocess.run(["umount", root], check=True)


# -- descriptors ----------------------------------------------------------------------------------

SPELLINGS = [
    "/dev/stdin",
    "/dev/fd/0",
    "/dev/fd/../fd/0",
    "/dev/./fd//0",
    "/proc/self/fd/0",
    "/proc/thread-self/fd/0",
    "/proc/self/task/../fd/0",
    "/proc/self/../thread-self/../../fd/0",
    "/proc/PID/fd/0",
    "/proc/PID/task/PID/fd/0",
    "/proc/self/cwd/LINK",
    "/proc/self/root/proc/self/fd/0",
    "LINK",
    "/proc/self/fd/FOLDER/LINK",
]


@pytest.fixture
def stdin(open_workshop: Path) -> int:
    """A module that has no name any more, as standard input."""
    path = open_workshop / "gone.ko"
    path.write_bytes(build_module(ModuleSpec("gone")))
    path.chmod(0o644)
    descriptor = os.open(path, os.O_RDONLY)
    path.unlink()
    return descriptor


WHO: dict[str, tuple[Step, ...]] = {"root": (), "nobody": (nobody,), "unseen": (nobody, unseen)}


@pytest.mark.parametrize("who", WHO.values(), ids=WHO)
def test_all_spellings_of_the_writers_descriptors(
    shared: Path, open_workshop: Path, stdin: int, who: tuple[Step, ...]
) -> None:
    (open_workshop / "link").symlink_to("/dev/stdin")
    folder = os.open(open_workshop, os.O_RDONLY)

    def attempt() -> None:
        os.dup2(stdin, 0)
        os.chdir(open_workshop)
        descriptor = os.open(shared / "control", os.O_WRONLY)
        names = {"PID": str(os.getpid()), "LINK": "link", "FOLDER": str(folder)}
        for path in SPELLINGS:
            for name, value in names.items():
                path = path.replace(name, value)
            write(descriptor, f"insmod {path}\nrmmod gone")
            write(descriptor, f"finit_module {path}\nrmmod gone")
        write(descriptor, "finit_module --fd 0\nrmmod gone")

    assert outcome(*who, attempt) == 0, results(shared)[-2:]
    os.close(folder)


@pytest.mark.parametrize("who", WHO.values(), ids=WHO)
def test_in_a_container_too(shared: Path, root: Path, stdin: int, who: tuple[Step, ...]) -> None:
    """Where the process has another number."""
    control = control_in(shared)
    (root / "stdin").symlink_to("/proc/self/fd/0")

    def attempt() -> None:
        os.dup2(stdin, 0)
        descriptor = control()
        for path in ("/proc/self/fd/0", "/proc/thread-self/fd/0", f"/proc/{os.getpid()}/fd/0"):
            write(descriptor, f"insmod {path}\nrmmod gone")
        write(descriptor, "insmod stdin\nrmmod gone")
        write(descriptor, "insmod /proc/self/cwd/inner.ko\nrmmod inner")
        write(descriptor, "insmod /proc/self/root/inner.ko")

    steps = [in_pid_namespace, pivoted(root, shared), *who, attempt]
    assert outcome(*steps) == 0, results(shared)[-2:]


def test_where_no_proc_is_there_are_no_such_names(shared: Path, root: Path, stdin: int) -> None:
    control = control_in(shared)

    def attempt() -> None:
        os.dup2(stdin, 0)
        write(control(), "insmod /proc/self/fd/0")

    assert outcome(chrooted(root), attempt) == errno.ENOENT


def test_a_descriptor_is_opened_anew_with_the_openers_rights(
    shared: Path, outer: Path, open_workshop: Path
) -> None:
    """finit_module takes a descriptor as it is; a path to it is a path to its file."""
    control = control_in(shared)
    descriptor = os.open(outer, os.O_RDONLY)
    path = f"/proc/self/fd/{descriptor}"
    assert outcome(nobody, lambda: write(control(), f"insmod {path}")) == errno.EACCES
    assert outcome(nobody, lambda: write(control(), f"finit_module --fd {descriptor}")) == 0
    assert outcome(nobody, lambda: write(control(), "insmod /proc/self/fd/999")) == errno.ENOENT
    os.close(descriptor)


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [lambda: None, user(NOBODY)], ids=["here", "by a deputy"])
def test_errors_are_those_of_open(shared: Path, open_workshop: Path, who: Step) -> None:
    """Each path is opened by the client itself as well."""
    (open_workshop / "file").write_text("")
    (open_workshop / "loop").symlink_to("loop")
    (open_workshop / "dangling").symlink_to("/nowhere/at/all")
    (open_workshop / "empty").symlink_to("/proc/self/fd/77777")
    (open_workshop / "closed").mkdir(mode=0o700)
    names = ["file/x", "loop", "loop/x", "dangling", "empty", "closed/x", "file/", "file/."]
    names += ["x" * 300, "/".join(["x"] * 3000), "../" * 10 + "nowhere", "/proc/self/nothing"]
    names += ["/proc/self/fd/x", "/proc/self/fd/77777", "/proc/1/fd/0", "/proc/999999999/fd/0"]
    names += ["/proc/self/cwd/nowhere", "/proc/self/exe/x", "/proc/self/root/nowhere"]
    told: dict[str, tuple[int, int]] = {}

    def attempt() -> None:
        os.chdir(open_workshop)
        descriptor = os.open(shared / "control", os.O_WRONLY)
        for name in names:
            own = _errno(lambda name=name: os.close(os.open(name, os.O_RDONLY)))  # type: ignore[misc]
            theirs = _errno(lambda name=name: write(descriptor, f"insmod {name}"))  # type: ignore[misc]
            told[name] = own, theirs
        different = {name[:20]: codes for name, codes in told.items() if codes[0] != codes[1]}
        assert not different, different

    assert outcome(who, attempt) == 0


def _errno(attempt: Callable[[], object]) -> int:
    try:
        attempt()
    except OSError as error:
        return error.errno or -1
    return 0


def test_a_fifo_is_not_waited_for(shared: Path, open_workshop: Path) -> None:
    os.mkfifo(open_workshop / "fifo", 0o644)
    for who in (lambda: None, nobody):
        line = f"finit_module {open_workshop / 'fifo'}"
        assert outcome(who, lambda line=line: ask(shared, line)) == errno.EINVAL  # type: ignore[misc]


# -- lines that are not finished ------------------------------------------------------------------


@pytest.mark.parametrize("path", ["inner.ko", "/proc/self/cwd/inner.ko"])
def test_an_unfinished_line_means_what_it_meant_when_it_was_written(
    shared: Path, root: Path, path: str
) -> None:
    control = control_in(shared)
    line = f"insmod {path}"

    def attempt() -> None:
        descriptor = control()
        write(descriptor, line, end=b"")
        os.chdir("/below")
        os.chroot("/below")
        os.close(descriptor)

    assert outcome(pivoted(root, shared), attempt) == 0
    assert results(shared) == [f"{line}: ok"]


UNFINISHED = {
    "insmod inner.ko": "ok",
    "finit_module --fd 0": "EBADF",
    "insmod /proc/self/fd/0": "EBADF",
    "insmod /dev/stdin": "EBADF",
    "insmod /proc/self/cwd/inner.ko": "EEXIST",
}


@pytest.mark.parametrize("who", [lambda: None, nobody], ids=["root", "nobody"])
def test_exec_may_close_an_unfinished_line(shared: Path, root: Path, stdin: int, who: Step) -> None:
    """The kernel closes it while it holds what is needed to look at the process: nobody waits."""

    def attempt(line: str) -> None:
        os.dup2(stdin, 0)
        os.chdir(root)
        descriptor = os.open(shared / "control", os.O_WRONLY)
        write(descriptor, line, end=b"")
        os.execv("/bin/true", ["true"])

    for line in UNFINISHED:
        assert outcome(who, lambda line=line: attempt(line)) == 0  # type: ignore[misc]
    codes = [row.rpartition(": ")[2] for row in results(shared)]
    assert codes == list(UNFINISHED.values()), results(shared)


def test_nor_does_anybody_wait_for_ever_for_what_is_named_otherwise(shared: Path) -> None:
    def attempt() -> None:
        descriptor = os.open(shared / "control", os.O_WRONLY)
        write(descriptor, f"finit_module /proc/{os.getpid()}/exe", end=b"")
        os.execv("/bin/true", ["true"])

    assert outcome(nobody, attempt) == 0
    assert results(shared)[0].endswith(": ETIMEDOUT")


def test_a_client_that_is_killed_while_it_writes(shared: Path, root: Path) -> None:
    """Every line it has written is run or refused, and the next client finds all as it was."""
    text = b"insmod /inner.ko\nrmmod inner\n" * 2000
    control = control_in(shared)

    def attempt() -> None:
        descriptor = control()
        while True:
            os.write(descriptor, text)

    for _ in range(3):
        process = started(chrooted(root), attempt)
        wait_for(lambda: stats(shared)["Mods ever loaded"])
        os.kill(process, signal.SIGKILL)
        assert ended(process) == 128 + signal.SIGKILL
    again = lambda: write(control(), "insmod /inner.ko")  # noqa: E731
    assert outcome(chrooted(root), again) in (0, errno.EEXIST)
