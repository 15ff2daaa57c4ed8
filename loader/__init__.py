"""The kernel's module loader as a library: everything that would be true without a host.

    >>> from loader import FinitModule, LiveKernel, LoadError, ModuleSpec, build_module
    >>> import os, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "xfs.ko").write_bytes(build_module(ModuleSpec("xfs", text=800_000)))
    >>> kernel = LiveKernel()
    >>> kernel.call(FinitModule(folder / "xfs.ko"))
    >>> try:
    ...     kernel.call(FinitModule(folder / "xfs.ko"))
    ... except LoadError as error:
    ...     print(error.name)
    EEXIST
    >>> kernel.statistics().failed_becoming
    1

docs/library.md tells more. The names below are the public ones; each is imported when it is asked
for, so that a program pays for what it uses.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loader.calls import Caller as Caller
    from loader.calls import DeleteModule as DeleteModule
    from loader.calls import FinitModule as FinitModule
    from loader.calls import InitModule as InitModule
    from loader.calls import SystemCalls as SystemCalls
    from loader.config import BuiltFor as BuiltFor
    from loader.config import Config as Config
    from loader.engine.init_routines import InitRoutine as InitRoutine
    from loader.engine.init_routines import InitRoutines as InitRoutines
    from loader.engine.stats import Snapshot as Snapshot
    from loader.engine.threads import LiveKernel as LiveKernel
    from loader.errors import LoadError as LoadError
    from loader.errors import UserError as UserError
    from loader.image.layout import Layout as Layout
    from loader.image.module_image import ModuleImage as ModuleImage
    from loader.image.module_image import read_image as read_image
    from loader.keyring import Keyring as Keyring
    from loader.release import RELEASES as RELEASES
    from loader.release import Release as Release
    from loader.release import parse_release as parse_release
    from loader.simulate.machine_file import read_machine as read_machine
    from loader.simulate.replay import replay_virtual as replay_virtual
    from loader.simulate.scenario import Scenario as Scenario
    from loader.simulate.udev import boot as boot
    from loader.synthesize.builder import build_module as build_module
    from loader.synthesize.spec import ModuleSpec as ModuleSpec
    from loader.synthesize.spec import ParameterSpec as ParameterSpec
    from loader.synthesize.trees import demo_tree as demo_tree
    from loader.synthesize.trees import write_tree as write_tree
    from loader.tree.tree import Tree as Tree

# module -> its public names
_PUBLIC: dict[str, tuple[str, ...]] = {
    "calls": ("Caller", "DeleteModule", "FinitModule", "InitModule", "SystemCalls"),
    "config": ("BuiltFor", "Config"),
    "engine.init_routines": ("InitRoutine", "InitRoutines"),
    "engine.stats": ("Snapshot",),
    "engine.threads": ("LiveKernel",),
    "errors": ("LoadError", "UserError"),
    "image.layout": ("Layout",),
    "image.module_image": ("ModuleImage", "read_image"),
    "keyring": ("Keyring",),
    "release": ("RELEASES", "Release", "parse_release"),
    "simulate.machine_file": ("read_machine",),
    "simulate.replay": ("replay_virtual",),
    "simulate.scenario": ("Scenario",),
    "simulate.udev": ("boot",),
    "synthesize.builder": ("build_module",),
    "synthesize.spec": ("ModuleSpec", "ParameterSpec"),
    "synthesize.trees": ("demo_tree", "write_tree"),
    "tree.tree": ("Tree",),
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module 'loader' has no attribute {name!r}")
    return getattr(importlib.import_module(f"loader.{module}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
