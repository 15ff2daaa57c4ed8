"""The options that several verbs have."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loader import packings
from loader.errors import UserError
from modfs.cli.statuses import MISUSED, complain, ending_with

if TYPE_CHECKING:
    from loader.kconfig import Kconfig


F = TypeVar("F", bound=Callable[..., Any])


def configuration(path: Path | None) -> Kconfig | None:
    """The one that --config names; what of it is not followed is told. UserError."""
    from loader.kconfig import read_kconfig

    with ending_with(MISUSED):
        kconfig = read_kconfig(path) if path else None
    for line in kconfig.unfollowed() if kconfig else ():
        complain(line)
    return kconfig


# -- options, each described once -----------------------------------------------------------------

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
SOURCE = click.Path(path_type=Path)
"""It may be a mount whose server does not answer: modfs.sources looks whether it is there."""
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


_KERNEL = '6.4 or later; uname -r or "6.4 without early-check" will do.'


def _releases(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    from loader.release import RELEASES

    return [name for name in RELEASES if name.startswith(begun)]


def _tell_nearest(context: click.Context, parameter: click.Parameter, given: Any) -> Any:
    """Tell of releases that no row stands for as which they are taken."""
    for text in (given,) if isinstance(given, str) else given or ():
        tell_nearest(text, context.command_path)
    return given


def tell_nearest(release: str, command: str) -> None:
    """See loader.release.taken_as. What is none, or has no statistics, is refused later."""
    from loader.release import has_statistics, taken_as

    with suppress(UserError):
        if has_statistics(release) and (told := taken_as(release)) is not None:
            complain(told, command)


def _features(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    from loader.release import FEATURES

    return [name for name in FEATURES if name.startswith(begun)]


def mountpoints_argument(required: bool) -> Callable[[F], F]:
    """MOUNTPOINT...: where a modfs is mounted."""
    shown = "MOUNTPOINT..." if required else "[MOUNTPOINT...]"
    return click.argument(
        "mountpoints",
        nargs=-1,
        required=required,
        type=click.Path(),
        metavar=shown,
        shell_complete=_mounts,
    )


def _mounts(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    from modfs.mount.status import places

    return [place for place in places() if place.startswith(begun)]


def kernel_option(default: str | None = None, default_told: str = "") -> Callable[[F], F]:
    """--kernel. ``default`` None: the file that the verb is given says which."""
    text = f"{_KERNEL} Default: {default_told}" if default_told else _KERNEL
    return click.option(
        "--kernel",
        metavar="RELEASE",
        default=default,
        show_default=True,
        help=text,
        shell_complete=_releases,
        callback=_tell_nearest,
    )


def kernels_option() -> Callable[[F], F]:
    """--kernel, of which there may be several."""
    text = f"{_KERNEL} May be repeated."
    return click.option(
        "--kernel",
        "kernels",
        multiple=True,
        metavar="RELEASE",
        help=text,
        shell_complete=_releases,
        callback=_tell_nearest,
    )


def without_option() -> Callable[[F], F]:
    """--without: means the same in all verbs, see loader.release.choose_release."""
    text = "Take idempotent or early-check away from the kernel. May be repeated."
    return click.option(
        "--without", multiple=True, metavar="FEATURE", help=text, shell_complete=_features
    )


def compression_option(text: str) -> Callable[[F], F]:
    """--compression: what the kernel unpacks."""
    return click.option("--compression", type=click.Choice(packings.NAMES), help=text)


def compress_option(text: str) -> Callable[[F], F]:
    """--compress: how files are packed, by the end of their names."""
    choice = click.Choice(packings.SUFFIXES)
    return click.option("--compress", "compression", type=choice, help=text)


def events_option(text: str) -> Callable[[F], F]:
    """--events: where what happens is written."""
    return click.option(
        "--events",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help=f"Write a recording, as modfs record does. {text}",
    )


def modules_option(text: str, kind: click.Path = FOLDER, metavar: str = "DIR") -> Callable[[F], F]:
    """--modules: a tree of modules."""
    return click.option("--modules", type=kind, metavar=metavar, help=text)


def environment_option() -> Callable[[F], F]:
    """--environment: init routines."""
    text = "How init routines behave: seconds, results (JSON)."
    return click.option("--environment", type=FILE, metavar="FILE", help=text)


def config_option(text: str) -> Callable[[F], F]:
    """--config: the kernel's configuration."""
    text = f"The kernel's configuration: /boot/config-RELEASE, /proc/config.gz. {text}"
    return click.option("--config", "config_file", type=FILE, metavar="FILE", help=text)


def blacklist_option() -> Callable[[F], F]:
    """--blacklist: the boot option module_blacklist."""
    text = "Refuse these modules: EPERM."
    return click.option("--blacklist", multiple=True, metavar="NAME[,NAME...]", help=text)


def keys_option(text: str) -> Callable[[F], F]:
    """--key: certificates."""
    return click.option("--key", "keys", multiple=True, type=FILE, metavar="CERT", help=text)


_ENGINE: dict[str, Callable[[Any], Any]] = {
    "kernel": kernel_option(default_told="the configuration's, else the tree's, else 6.12."),
    "without": without_option(),
    "config": config_option("Default: the tree's own, if it is there."),
    "symbols": click.option(
        "--symbols",
        type=FILE,
        metavar="FILE",
        help="What the kernel exports: Module.symvers, System.map, kallsyms. Default: whatever no"
        " module of the tree does.",
    ),
    "compression": compression_option(
        "What this kernel unpacks itself. Default: the configuration's, the tree's, else zstd."
    ),
    "modules": modules_option(
        "A /lib/modules/RELEASE tree. Default: the running kernel's, if it is there."
    ),
    "environment": environment_option(),
    "key": keys_option("Verify signatures with this X.509 certificate. May be repeated."),
    "sig-enforce": click.option(
        "--sig-enforce", is_flag=True, help="Refuse modules without a good signature."
    ),
    "blacklist": blacklist_option(),
    "autoload-dups": click.option(
        "--autoload-dups",
        is_flag=True,
        help="Answer requests for one string together (CONFIG_MODULE_DEBUG_AUTOLOAD_DUPS).",
    ),
}

NAMES = frozenset(_ENGINE)
"""Of the options that describe an engine."""


def engine_options(command: F) -> F:
    """Add the options to a click command; EngineOptions.pop takes their values."""
    for option in reversed(_ENGINE.values()):
        command = option(command)
    return command
