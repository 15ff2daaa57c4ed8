"""The mount namespace of ``modfs run``: our files at the kernel's places, the host untouched.

Everything is mounted in a namespace that only the command, what it starts and the keeper are in; it
goes with the last of them. A tmpfs over /sys/kernel/debug holds what the arrangement itself needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from loader.errors import UserError, in_words
from modfs.linux import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MS_BIND,
    MS_NODEV,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    MS_SLAVE,
    failure,
    libc,
)
from modfs.run.user_ids import Mapper

DEBUG = Path("/sys/kernel/debug")
STATS = DEBUG / "modules"
HOME = DEBUG / ".modfs"
NESTED = "its calls are caught already: no modfs run in a modfs run"
VIEWS = HOME / "views"
_REAL_PROC = HOME / "proc"
# Where all of /proc is a view: no mount over another place hides it.
REAL_PROC = Path("/proc/.modfs")
MISC = Path("/sys/devices/virtual/misc")
REAL_MISC = HOME / "misc"
# Below /proc, where the kernel has them.
_SYSCTLS = (
    "modprobe",
    "modules_disabled",
    "tainted",
    "printk",
    "printk_devkmsg",
    "dmesg_restrict",
)
KMSG = Path("/dev/kmsg")
_FILES = ("modules", "kmsg", *(f"sys/kernel/{name}" for name in _SYSCTLS))


def _check(result: int, what: str) -> None:
    if result:
        raise UserError(f"{what}: {in_words(failure())}")


def _mount(
    source: str, target: Path, kind: str | None = None, flags: int = 0, data: str | None = None
) -> None:
    _check(
        libc.mount(
            source.encode(),
            os.fsencode(target),
            None if kind is None else kind.encode(),
            flags,
            None if data is None else os.fsencode(data),
        ),
        f"mount on {target}",
    )


def bind(source: Path, target: Path) -> None:
    """``source`` also appears at ``target``, which exists. UserError."""
    _mount(str(source), target, flags=MS_BIND | MS_REC)


# -- namespaces -----------------------------------------------------------------------------------


def enter() -> bool:
    """A mount namespace of our own; where root's rights are missing, in a user namespace in which
    we have them. True if it took a user namespace.

    UserError: the machine does not allow it.
    """
    without_rights = os.geteuid() != 0 or libc.unshare(CLONE_NEWNS) != 0
    if without_rights:
        mapper = Mapper()
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS):
            mapper.end()
            raise UserError(
                "namespaces are not allowed here: run it as root, or see"
                " /proc/sys/user/max_user_namespaces and max_mnt_namespaces"
            )
        mapper.map()
    # What is unmounted outside goes here too, or its server would live as long as the sandbox.
    _mount("none", Path("/"), flags=MS_REC | MS_SLAVE)
    return without_rights


def namespaces(user: bool, net: bool) -> dict[str, int]:
    """Descriptors of those that this process is in, in the order in which they can be entered;
    ``user``, ``net``: its user and network namespace as well."""
    names = ["user"] * user + ["net"] * net + ["mnt"]
    flags = os.O_RDONLY | os.O_CLOEXEC
    return {name: os.open(f"/proc/self/ns/{name}", flags) for name in names}


def join(namespaces: Iterable[int], root: int | None = None) -> None:
    """Enter these, in the folder of before. UserError.

    ``root``: the sandbox's root folder, needed to enter its mounts. Who enters them gets their very
    root, which in a chroot is outside.
    """
    folder = os.getcwd()
    for namespace in namespaces:
        _check(libc.setns(namespace, 0), "the namespace of the sandbox")
    if root is not None:
        os.fchdir(root)
        os.chroot(".")
    os.chdir(folder)


# -- places ---------------------------------------------------------------------------------------


def prepare() -> None:
    """The tmpfs for what we need ourselves, and the real /proc in it. UserError."""
    if not DEBUG.is_dir():
        raise UserError(f"{DEBUG} is missing: is sysfs mounted on /sys?")
    if HOME.exists():
        raise UserError(NESTED)
    mount_tmpfs(DEBUG)
    for folder in (HOME, VIEWS, _REAL_PROC, STATS):
        folder.mkdir()
    bind(Path("/proc"), _REAL_PROC)
    if MISC.is_dir():
        REAL_MISC.mkdir()
        bind(MISC, REAL_MISC)


def proc_has_modules() -> bool:
    """Has the host's kernel a /proc/modules that ours can be put on?"""
    return (_REAL_PROC / "modules").exists()


def mount_views() -> int:
    """Mount the views' file system; /dev/fuse, for whoever is to serve it. UserError.

    The kernel takes no descriptor from another user namespace (fuse_fill_super, EINVAL).
    """
    try:
        fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(f"FUSE cannot be mounted: /dev/fuse: {in_words(error)}") from None
    data = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other"
    _mount("modfs", VIEWS, "fuse.modfs", MS_NOSUID | MS_NODEV, data)
    return fuse


def place_views(stats: Path, devices: bool = False) -> None:
    """Put the views, mounted by now, at the kernel's places. ``stats``: the folder with stats.
    ``devices``: those in /sys/devices are described, and none is the host's."""
    bind(stats, STATS)
    if not Path("/sys/module").is_dir():
        raise UserError("/sys/module is missing: is sysfs mounted on /sys?")
    bind(VIEWS / "module", Path("/sys/module"))
    if (VIEWS / "dev").is_dir() and KMSG.exists():
        bind(VIEWS / "dev" / KMSG.name, KMSG)
    if (VIEWS / "misc").is_dir() and not devices:
        bind(VIEWS / "misc", MISC)
    if proc_has_modules():
        for name in _FILES:
            if Path("/proc", name).exists() and (VIEWS / "proc" / name).exists():
                bind(VIEWS / "proc" / name, Path("/proc", name))
    else:
        bind(_REAL_PROC, VIEWS / "proc" / REAL_PROC.name)
        bind(VIEWS / "proc", Path("/proc"))


def place_tree(root: Path, release: str) -> None:
    """The module tree at /lib/modules/RELEASE. What programs write there (depmod does) stays in
    the namespace. UserError."""
    target = Path("/lib/modules", release)
    if not target.is_dir():
        _make_folder(target, "lib")
    _overlay(root.resolve(), target, "tree")


def private_folder(target: Path) -> None:
    """An empty folder of the sandbox's own, whether the host has one or not. UserError."""
    if not target.is_dir():
        _make_folder(target, target.name)
    mount_tmpfs(target)


def mount_tmpfs(target: Path) -> None:
    """A new file system in memory. UserError."""
    _mount("modfs", target, "tmpfs", data="mode=755")


def _make_folder(target: Path, name: str) -> None:
    """A folder that the host lacks, in an overlay over the nearest one that it has. ``name``: of
    what we keep for it."""
    exists = next(parent for parent in target.parents if parent.is_dir()).resolve()
    _overlay(exists, exists, name)
    target.mkdir(parents=True)
    _mount("modfs", exists, flags=MS_REMOUNT | MS_RDONLY)  # what is written there would be lost


def _overlay(lower: Path, target: Path, name: str) -> None:
    upper, work = HOME / f"{name}.upper", HOME / f"{name}.work"
    upper.mkdir()
    work.mkdir()
    upper.chmod(0o755)
    data = f"lowerdir={_escaped(lower)},upperdir={upper},workdir={work}"
    _mount("modfs", target, "overlay", data=data)


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
