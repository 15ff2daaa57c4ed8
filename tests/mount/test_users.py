"""Several users: whose rights open a file, who may read and write, who may mount."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from loader.synthesize.trees import write_tree
from modfs.linux import PR_SET_KEEPCAPS, libc, set_capabilities
from tests.modfs.doors import Door
from tests.mount.clients import (
    DAC_OVERRIDE,
    NOBODY,
    SETGID,
    SYS_PTRACE,
    acl,
    ask,
    capabilities,
    ended,
    family,
    in_user_namespace,
    inside,
    nobody,
    outcome,
    results,
    started,
    user,
    waiting,
    write,
)
from tests.mount.conftest import request, stats, wait_for
from tests.mount.servers import foreign

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def read(path: Path) -> int:
    return outcome(nobody, path.read_text)


def request_as_nobody(mount: Path, line: str) -> int:
    return outcome(nobody, lambda: ask(mount, line))


def test_others_see_nothing(mounted: Callable[..., Path], open_workshop: Path) -> None:
    assert read(mounted() / "stats") == errno.EACCES


def test_others_read_what_the_modes_allow(
    mounted: Callable[..., Path], make: Callable[..., Path], open_workshop: Path
) -> None:
    mount = mounted("-o", "allow_other")
    assert read(mount / "stats") == errno.EACCES
    assert read(mount / "unloaded_tainted") == 0
    assert request_as_nobody(mount, f"insmod {make('m')}") == errno.EACCES


def test_files_are_opened_with_the_writer_s_rights(
    mounted: Callable[..., Path], make: Callable[..., Path], open_workshop: Path
) -> None:
    mount = mounted("-o", "allow_other,control_mode=0666")
    public, private = make("public"), make("private")
    private.chmod(0o600)
    assert request_as_nobody(mount, f"insmod {private}") == errno.EACCES
    assert request_as_nobody(mount, f"insmod {public}") == 0
    assert request(mount, f"insmod {private}") == 0  # root's own request is root's
    for _ in range(20):  # the threads that served nobody are root's again
        assert request(mount, f"insmod {private}") == errno.EEXIST
    assert stats(mount)["Mods ever loaded"] == 2


def test_modprobe_too(mounted: Callable[..., Path], open_workshop: Path) -> None:
    tree = open_workshop / "tree"
    write_tree(tree, [ModuleSpec("private")])
    mount = mounted("-o", "allow_other,control_mode=0666", "--modules", tree)
    path = next(tree.rglob("private.ko"))
    path.chmod(0o600)
    assert request_as_nobody(mount, "modprobe private") == errno.EACCES
    path.chmod(0o644)
    assert request_as_nobody(mount, "modprobe private") == 0


# -- credentials are those of who opened ----------------------------------------------------------


@pytest.fixture
def shared(mounted: Callable[..., Path], open_workshop: Path) -> Path:
    """A mount that everybody may write to."""
    return mounted("-o", "allow_other,control_mode=0666")


@pytest.fixture
def secret(make: Callable[..., Path]) -> Path:
    """A module that only root may read."""
    path = make("secret")
    path.chmod(0o600)
    return path


def test_a_setuid_program_cannot_be_made_to_ask(shared: Path, secret: Path) -> None:
    """su(1) says what it was given, with root's rights, on a descriptor that is not root's."""
    name = f"x\ninsmod {secret}\n#"
    arguments = ["su", name]

    def attempt() -> None:
        os.dup2(os.open(shared / "control", os.O_WRONLY), 2)
        os.execvp("su", arguments)

    outcome(nobody, attempt)
    assert stats(shared)["Mods ever loaded"] == 0
    assert any(row.endswith("EPERM (somebody else opened this file)") for row in results(shared))
    assert not any("insmod" in row and row.endswith(": ok") for row in results(shared))


CHANGES = {
    "user": (user(0, 0), user(NOBODY, 0)),
    "groups": (user(0, 0, (5,)), lambda: os.setgroups([6])),
    "real user": (user(0), lambda: os.setresuid(NOBODY, 0, 0)),
    "capabilities": (user(0), capabilities(DAC_OVERRIDE)),
    "namespace": (user(NOBODY), in_user_namespace),
}


def test_a_child_with_other_credentials_may_not_write(
    shared: Path, make: Callable[..., Path]
) -> None:
    line = f"insmod {make('m')}"

    def attempt(change: Callable[[], object]) -> None:
        descriptor = os.open(shared / "control", os.O_WRONLY)
        code = outcome(change, lambda: write(descriptor, line))
        if code:
            raise OSError(code, "")

    for what, (opener, change) in CHANGES.items():
        assert outcome(opener, lambda change=change: attempt(change)) == errno.EPERM, what  # type: ignore[misc]
    assert results(shared) == [f"{line}: EPERM (somebody else opened this file)"] * len(CHANGES)


def test_nor_may_the_opener_itself_once_it_is_somebody_else(
    shared: Path, make: Callable[..., Path]
) -> None:
    module = make("m")

    def attempt() -> None:
        descriptor = os.open(shared / "control", os.O_WRONLY)
        write(descriptor, f"insmod {module}")
        nobody()
        write(descriptor, "rmmod m")

    assert outcome(attempt) == errno.EPERM


def test_groups_that_were_given_up_are_not_used(shared: Path, make: Callable[..., Path]) -> None:
    """A process that can change its groups, but otherwise not read the file."""
    module = make("m")
    os.chown(module, 0, 5)
    module.chmod(0o640)

    def become() -> None:
        user(NOBODY, NOBODY, (5,))()

    def attempt() -> None:
        descriptor = os.open(shared / "control", os.O_WRONLY)
        write(descriptor, f"insmod {module}")

    def attempt_later() -> None:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        become()
        set_capabilities(SETGID)
        descriptor = os.open(shared / "control", os.O_WRONLY)
        os.setgroups([])
        write(descriptor, f"insmod {module}")

    assert outcome(become, attempt) == 0
    assert outcome(attempt_later) == errno.EPERM
    assert outcome(nobody, lambda: ask(shared, f"insmod {module}")) == errno.EACCES


def test_children_and_threads_with_the_same_credentials_may_write(
    shared: Path, make: Callable[..., Path]
) -> None:
    """As in a shell: exec 3> control; command >&3."""
    lines = [f"insmod {make('m')}", "rmmod m"]

    def attempt() -> None:
        descriptor = os.open(shared / "control", os.O_WRONLY)
        for line in lines:
            if code := outcome(lambda line=line: write(descriptor, line)):  # type: ignore[misc]
                raise OSError(code, "")
        failed: list[OSError] = []
        thread = threading.Thread(target=lambda: write(descriptor, lines[0]))
        thread.start()
        thread.join()
        assert not failed

    assert outcome(nobody, attempt) == 0
    assert results(shared) == [f"{line}: ok" for line in (*lines, lines[0])]


def test_an_unfinished_line_of_somebody_else_is_refused(shared: Path, secret: Path) -> None:
    def attempt() -> None:
        descriptor = os.open(shared / "control", os.O_WRONLY)
        write(descriptor, f"insmod {secret}", end=b"")
        nobody()
        os.close(descriptor)

    assert outcome(attempt) == errno.EPERM
    assert results(shared) == [f"insmod {secret}: EPERM (somebody else opened this file)"]


# -- no right more than who opened has ------------------------------------------------------------


def test_root_without_capabilities_is_not_root(shared: Path, make: Callable[..., Path]) -> None:
    module = make("m")
    os.chown(module, NOBODY, NOBODY)
    module.chmod(0o600)
    insmod = lambda: ask(shared, f"insmod {module}")  # noqa: E731
    assert outcome(capabilities(0), insmod) == errno.EACCES
    assert outcome(capabilities(SYS_PTRACE), insmod) == errno.EACCES
    assert outcome(capabilities(DAC_OVERRIDE), insmod) == 0


def test_a_user_with_a_capability_has_it(shared: Path, secret: Path) -> None:
    def become() -> None:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        nobody()
        set_capabilities(DAC_OVERRIDE)

    assert outcome(become, lambda: ask(shared, f"insmod {secret}")) == 0


def test_capabilities_in_another_user_namespace_count_for_nothing(
    shared: Path, secret: Path, make: Callable[..., Path]
) -> None:
    def insmod(path: Path, *before: Callable[[], object]) -> int:
        return outcome(*before, in_user_namespace, lambda: ask(shared, f"insmod {path}"))

    assert insmod(secret, nobody) == errno.EACCES
    assert insmod(make("public"), nobody) == 0
    os.chown(secret, NOBODY, NOBODY)
    assert insmod(secret) == errno.EACCES


def test_other_processes_cannot_be_looked_into(
    shared: Path, make: Callable[..., Path], open_workshop: Path
) -> None:
    """The server may; its client may not."""
    hidden = open_workshop / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "m.ko").write_bytes(make("m").read_bytes())
    descriptor = os.open(hidden / "m.ko", os.O_RDONLY)
    with waiting(inside(hidden)) as process:
        names = ("cwd/m.ko", f"root{hidden}/m.ko", f"fd/{descriptor}", f"task/{process}/cwd/m.ko")
        for name in names:
            line = f"insmod /proc/{process}/{name}"
            assert outcome(nobody, lambda line=line: ask(shared, line)) == errno.EACCES, line  # type: ignore[misc]
            assert outcome(capabilities(0), lambda line=line: ask(shared, line)) == errno.EACCES  # type: ignore[misc]
            assert outcome(lambda line=line: ask(shared, line)) in (0, errno.EEXIST)  # type: ignore[misc]
    os.close(descriptor)


def test_the_server_and_its_deputies_cannot_be_looked_into(shared: Path, secret: Path) -> None:
    assert outcome(nobody, lambda: ask(shared, f"insmod {secret}")) == errno.EACCES
    server = int((shared / ".control/server").read_text())
    processes = [server, *family(server)]
    assert len(processes) >= 3  # with the office, and a deputy for nobody
    for process in processes:
        for name in ("cwd", "root", *(f"fd/{number}" for number in range(12))):
            for way in (f"/proc/{process}/{name}{secret}", f"/proc/{process}/{name}/..{secret}"):
                line = f"insmod {way}"
                assert outcome(nobody, lambda line=line: ask(shared, line)) != 0, line  # type: ignore[misc]
    assert stats(shared)["Mods ever loaded"] == 0


def test_access_control_lists(shared: Path, make: Callable[..., Path]) -> None:
    granted, denied = make("granted"), make("denied")
    granted.chmod(0o600)
    acl(granted, {NOBODY: 4})
    acl(denied, {NOBODY: 0})
    assert outcome(nobody, lambda: ask(shared, f"insmod {granted}")) == 0
    assert outcome(nobody, lambda: ask(shared, f"insmod {denied}")) == errno.EACCES


def test_an_ordinary_users_server_serves_that_user_alone(open_folder: Path) -> None:
    module = open_folder / "m.ko"
    module.write_bytes(build_module(ModuleSpec("m")))

    def attempt() -> None:
        door = Door()
        assert door.ask(f"insmod {module}") == 0
        for uid, process in ((0, os.getppid()), (NOBODY - 1, others)):
            door.asked.ids, door.asked.tid = (uid, uid), process
            assert door.ask(f"finit_module {module}") == errno.EACCES
            assert door.ask("finit_module --fd 0") == errno.EACCES

    with waiting(user(NOBODY - 1)) as others:
        assert outcome(nobody, attempt) == 0


# -- what hangs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("become", [nobody, lambda: None], ids=["another user", "root"])
def test_who_waits_for_a_dead_file_system_can_be_killed(
    shared: Path, make: Callable[..., Path], open_workshop: Path, become: Callable[[], None]
) -> None:
    """It holds up nobody else, and the server ends."""
    server = int((shared / ".control/server").read_text())
    module = make("m")
    with foreign(open_workshop / "dead"):
        path = open_workshop / "dead/m.ko"
        clients = [started(become, lambda: ask(shared, f"insmod {path}")) for _ in range(3)]
        wait_for(lambda: len(family(server)) >= 4)  # the office, and a deputy for each
        assert outcome(user(1), lambda: ask(shared, f"insmod {module}")) == 0
        assert outcome(become, lambda: ask(shared, "rmmod m")) == 0
        for client in clients:
            os.kill(client, signal.SIGKILL)
        assert [ended(client) for client in clients] == [128 + signal.SIGKILL] * 3
        assert outcome(become, lambda: ask(shared, f"insmod {module}")) == 0
        subprocess.run(["umount", shared], check=True)
        wait_for(lambda: not Path(f"/proc/{server}").exists())


def test_deputies_end_with_their_server(shared: Path, make: Callable[..., Path]) -> None:
    module = make("m")
    assert outcome(nobody, lambda: ask(shared, f"insmod {module}")) == 0
    server = int((shared / ".control/server").read_text())
    deputies = family(server)
    assert len(deputies) >= 2
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: not any(Path(f"/proc/{each}").exists() for each in deputies))


def test_a_deputy_that_its_user_kills_is_replaced(shared: Path, make: Callable[..., Path]) -> None:
    module = make("m")
    assert outcome(nobody, lambda: ask(shared, f"insmod {module}")) == 0
    server = int((shared / ".control/server").read_text())
    office, *deputies = family(server)
    for each in deputies:
        os.kill(each, signal.SIGKILL)
    wait_for(lambda: family(server) == [office])
    assert outcome(nobody, lambda: ask(shared, f"insmod {module}")) == errno.EEXIST
    os.kill(office, signal.SIGKILL)
    wait_for(lambda: office not in family(server) or _is_zombie(office))
    assert outcome(nobody, lambda: ask(shared, f"insmod {module}")) == errno.EEXIST


def _is_zombie(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
