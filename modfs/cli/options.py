"""The options that describe a kernel, for every verb that runs one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loader.packings import NAMES as NAMES_OF_PACKINGS
from loader.packings import ZSTD, by_suffix

if TYPE_CHECKING:
    from loader.config import Config
    from loader.engine.init_routines import InitRoutines
    from loader.engine.threads import LiveKernel
    from loader.tree.tree import Tree


F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """A kernel as the command line describes it. Paths are absolute."""

    kernel: str = "6.12"
    without: tuple[str, ...] = ()
    compression: str | None = None
    modules: Path | None = None
    environment: Path | None = None
    keys: tuple[Path, ...] = ()
    sig_enforce: bool = False
    blacklist: tuple[str, ...] = ()

    def tree(self) -> Tree | None:
        """The module tree: the one given, else the running kernel's if it exists."""
        from loader.tree.tree import Tree

        root = self.modules or Path("/lib/modules", os.uname().release)
        if self.modules is None and not root.is_dir():
            return None
        return Tree.open(root)

    def config(self, tree: Tree | None = None) -> Config:
        """The kernel's settings. ValueError, OSError: an option that cannot be followed."""
        from loader.config import BuiltFor, Config
        from loader.image.built_for import learn_built_for
        from loader.keyring import Keyring
        from loader.release import release

        return Config(
            release=release(self.kernel, self.without),
            compression=self.compression or _compression_of(tree),
            built_for=learn_built_for(tree.sample()) if tree else BuiltFor(),
            keyring=Keyring.load(*self.keys) if self.keys else None,
            sig_enforce=self.sig_enforce,
            blacklist=frozenset(name for text in self.blacklist for name in text.split(",")),
        )

    def init_routines(self) -> InitRoutines:
        """How init routines behave."""
        from loader.engine.init_routines import InitRoutines

        if self.environment is None:
            return InitRoutines()
        from loader.engine.init_routines_file import read_init_routines

        return read_init_routines(self.environment)

    def live(self) -> LiveKernel:
        """An engine on threads. click.UsageError: an option that cannot be followed."""
        from loader.engine.threads import LiveKernel

        try:
            tree = self.tree()
            return LiveKernel(self.config(tree), tree=tree, init_routines=self.init_routines())
        except (ValueError, OSError) as error:
            raise click.UsageError(str(error)) from None

    def check(self) -> None:
        """What can be said before there is an engine. click.UsageError."""
        from loader.release import release

        try:
            release(self.kernel, self.without)
            if self.environment is not None:
                self.init_routines()
        except (ValueError, OSError) as error:
            raise click.UsageError(str(error)) from None

    @classmethod
    def pop(cls, values: dict[str, Any]) -> EngineOptions:
        """Take the values of these options out of a command's."""
        taken = {name: values.pop(name) for name in cls.__dataclass_fields__}
        for name in ("modules", "environment"):
            if taken[name] is not None:
                taken[name] = Path(taken[name]).absolute()
        taken["keys"] = tuple(Path(key).absolute() for key in taken["keys"])
        return cls(**taken)


def _compression_of(tree: Tree | None) -> str:
    """What a kernel with this tree was built for: the format of its files."""
    path = tree.path(next(iter(tree.names()), "")) if tree else None
    packing = by_suffix(path) if path else None
    return (packing or ZSTD).name


_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (
        ("--kernel",),
        {"default": "6.12", "metavar": "RELEASE", "help": "6.4 or later; uname -r will do.",
         "show_default": True},
    ),
    (
        ("--without",),
        {"multiple": True, "metavar": "FEATURE", "help": "Take away idempotent or early-check."},
    ),
    (
        ("--compression",),
        {"type": click.Choice(NAMES_OF_PACKINGS),
         "help": "What this kernel unpacks itself. Default: the tree's, else zstd."},
    ),
    (
        ("--modules",),
        {"type": click.Path(exists=True, file_okay=False), "metavar": "DIR",
         "help": "A /lib/modules/RELEASE tree. Default: the running kernel's, if it is there."},
    ),
    (
        ("--environment",),
        {"type": click.Path(exists=True, dir_okay=False), "metavar": "FILE",
         "help": "How init routines behave: seconds, results (JSON)."},
    ),
    (
        ("--key", "keys"),
        {"multiple": True, "type": click.Path(exists=True, dir_okay=False), "metavar": "CERT",
         "help": "Verify signatures with this X.509 certificate."},
    ),
    (("--sig-enforce",), {"is_flag": True, "help": "Refuse modules without a good signature."}),
    (
        ("--blacklist",),
        {"multiple": True, "metavar": "NAME[,NAME...]", "help": "Refuse these modules: EPERM."},
    ),
)  # fmt: skip

NAMES = frozenset(words[0].removeprefix("--") for words, _ in _OPTIONS)


def engine_options(command: F) -> F:
    """Add the options to a click command; EngineOptions.pop takes their values."""
    for words, settings in reversed(_OPTIONS):
        command = click.option(*words, **settings)(command)
    return command
