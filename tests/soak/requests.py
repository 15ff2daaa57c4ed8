"""What the soak's clients ask for, and what each answer adds to which counter."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from loader.packings import ZSTD, compress
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec, ParameterSpec
from loader.synthesize.trees import write_tree

# Counters of ``stats``. Failures before and after memory was laid out are one: chance divides them.
LOADED, KREAD, DECOMPRESS, FAILED = "loaded", "kread", "decompress", "failed"
COUNTERS = (LOADED, KREAD, DECOMPRESS, FAILED)

Effect = Mapping[str, int]
_NOTHING: Effect = {}
_ONE_LOADED: Effect = {LOADED: 1}
_ONE_FAILED: Effect = {FAILED: 1}
_DUPLICATE: Mapping[int, Effect] = {errno.EEXIST: _ONE_FAILED, errno.EBUSY: _ONE_FAILED}

# -- files ----------------------------------------------------------------------------------------

PLAIN = tuple(f"soak_{number}" for number in range(12))
SLOW, FAILS, SLOW_FAILS = "soak_slow", "soak_fails", "soak_slow_fails"
LONGEST_INIT = 0.2  # seconds
ENVIRONMENT = {
    "init": {
        SLOW: {"seconds": 0.05},
        FAILS: {"returns": "ENODEV"},
        SLOW_FAILS: {"seconds": LONGEST_INIT, "returns": "ENODEV"},
    }
}
BULK = 500  # lines of one write


def write_files(folder: Path) -> None:
    """One client's own copies: calls on one inode would share one load, and one count."""
    folder.mkdir(parents=True)
    for number, name in enumerate((*PLAIN, SLOW, FAILS, SLOW_FAILS)):
        spec = ModuleSpec(name, text=4096 * number, parameters=(ParameterSpec("n", "int"),))
        module = build_module(spec)
        (folder / f"{name}.ko").write_bytes(module)
        (folder / f"{name}.ko.zst").write_bytes(compress(module, ZSTD))
    (folder / "damaged.ko.zst").write_bytes(ZSTD.magic + b"\xff" * 40)  # reserved bits are set
    (folder / "garbage.ko").write_bytes(bytes(1000))


def write_modprobe_tree(root: Path, clients: int) -> None:
    """A module and its dependency for each client alone, so that it knows what is loaded."""
    specs = []
    for client in range(clients):
        specs.append(ModuleSpec(f"base_{client}"))
        specs.append(ModuleSpec(f"top_{client}", depends=(f"base_{client}",)))
    write_tree(root, specs, compression="zst")


# -- requests -------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Whose request it is: the client's number, its files, its dice."""

    client: int
    folder: Path
    chance: random.Random

    def plain(self) -> str:
        return self.chance.choice(PLAIN)


class Kind(NamedTuple):
    """A kind of request: its text, how many there are in it, what each errno adds (0: success)."""

    text: Callable[[Place], str]
    answers: Mapping[int, Effect]
    requests: int = 1
    weight: int = 4

    def most(self, counter: str) -> int:
        """What it may have added at most, for a client that was not told."""
        return max(effect.get(counter, 0) for effect in self.answers.values())


def _load(text: Callable[[Place], str], *more: int, weight: int = 4, **effects: int) -> Kind:
    """A load that succeeds, or is a duplicate; ``more``: errnos that then add ``effects``."""
    extra = dict.fromkeys(more, effects)
    return Kind(text, {0: _ONE_LOADED, **_DUPLICATE, **extra}, weight=weight)


_REMOVED: Mapping[int, Effect] = dict.fromkeys(
    (0, errno.ENOENT, errno.EAGAIN, errno.EBUSY), _NOTHING
)

KINDS: dict[str, Kind] = {
    "insmod": _load(lambda at: f"insmod {at.folder}/{at.plain()}.ko n=1", weight=12),
    "packed": _load(lambda at: f"insmod {at.folder}/{at.plain()}.ko.zst"),
    "init_module": _load(lambda at: f"init_module {at.folder}/{at.plain()}.ko"),
    "rmmod": Kind(lambda at: f"rmmod {at.plain()}", _REMOVED, weight=12),
    "rmmod slow": Kind(lambda at: f"rmmod {SLOW}", _REMOVED),
    "slow": _load(lambda at: f"insmod {at.folder}/{SLOW}.ko"),
    "fails": Kind(
        lambda at: f"insmod {at.folder}/{FAILS}.ko", {errno.ENODEV: _NOTHING, **_DUPLICATE}
    ),
    "slow fails": Kind(
        lambda at: f"insmod {at.folder}/{SLOW_FAILS}.ko",
        {errno.ENODEV: _NOTHING, **_DUPLICATE},
        weight=1,
    ),
    "parameter": Kind(
        lambda at: f"insmod {at.folder}/{at.plain()}.ko n=x",
        {errno.EINVAL: _ONE_FAILED, **_DUPLICATE},
    ),
    "garbage": Kind(lambda at: f"insmod {at.folder}/garbage.ko", {errno.ENOEXEC: _ONE_FAILED}),
    "damaged": Kind(
        lambda at: f"insmod {at.folder}/damaged.ko.zst", {errno.EINVAL: {DECOMPRESS: 1}}
    ),
    "folder": Kind(lambda at: f"finit_module {at.folder}", {errno.EINVAL: {KREAD: 1}}),
    "short": Kind(
        lambda at: f"init_module {at.folder}/garbage.ko len=10", {errno.ENOEXEC: {KREAD: 1}}
    ),
    "flags": Kind(
        lambda at: f"finit_module {at.folder}/{at.plain()}.ko flags=8", {errno.EINVAL: _NOTHING}
    ),
    "absent": Kind(lambda at: f"insmod {at.folder}/absent.ko", {errno.ENOENT: _NOTHING}),
    "nonsense": Kind(lambda at: "frobnicate 'it", {errno.EINVAL: _NOTHING}),
    "bulk": Kind(
        lambda at: "\n".join([f"insmod {at.folder}/garbage.ko"] * BULK),
        {errno.ENOEXEC: {FAILED: BULK}},
        requests=BULK,
        weight=1,
    ),
    "bulk rmmod": Kind(
        lambda at: "\n".join(["rmmod nothing"] * BULK), {errno.ENOENT: _NOTHING}, BULK, weight=1
    ),
    # What follows is asked for by those alone that know what is loaded.
    "modprobe": Kind(lambda at: f"modprobe top_{at.client}", {0: {LOADED: 2}}, weight=0),
    "modprobe -r": Kind(lambda at: f"modprobe -r top_{at.client}", {0: _NOTHING}, weight=0),
}
NAMES = tuple(KINDS)
WEIGHTS = tuple(kind.weight for kind in KINDS.values())
