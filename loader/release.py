"""What differs between kernel releases, as one table.

Each row of CHANGES is one difference that behaviour shows: the release and the commit that brought
it, the field of :class:`Release` that it sets, and what it is about. A release has every change up
to its own number. Features can be taken away by name (``--without``), as the recording kernels did.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from loader.errors import UserError
from loader.words import did_you_mean, shown


@dataclass(frozen=True, slots=True)
class Release:
    """The behaviour of one kernel release. The fields are explained in CHANGES."""

    name: str
    early_check: bool = False
    idempotent: bool = False
    kread_errno_not_counted: bool = False
    idempotent_wait_interruptible: bool = False
    symbol_names_checked: bool = False
    string_tables_typed: bool = False
    extended_modversions: bool = False
    zstd_lenient: bool = False
    static_call_sites_ro: bool = False
    module_namespaces: bool = False
    unpacked_file_reviewed: bool = False
    relocation_places_told: bool = False
    export_flags: bool = False
    import_ns_shown: bool = False
    no_binfmt_autoload: bool = False
    init_eexist_is_ebusy: bool = False
    init_warning_short: bool = False

    @property
    def without(self) -> tuple[str, ...]:
        """The features that were taken away from it, in the order of FEATURES."""
        whole = release(self.name)
        return tuple(
            feature
            for feature, field in FEATURES.items()
            if getattr(whole, field) and not getattr(self, field)
        )

    @property
    def title(self) -> str:
        """As people write it, and `parse_release` reads it: "6.4 without early-check"."""
        return f"{self.name} without {', '.join(self.without)}" if self.without else self.name


OLDEST = "6.4"
DEFAULT = "6.12"

RELEASES: tuple[str, ...] = (
    "6.4",
    "6.5",
    "6.6",
    "6.8",
    "6.10",
    "6.11",
    "6.12",
    "6.13",
    "6.14",
    "6.15",
    "6.16",
    "6.17",
    "6.18",
    "6.19",
    "7.0",
    "7.1",
    "7.2",
    "7.3",
)


class Change(NamedTuple):
    """One difference between kernels.

    ``release``: the first that has it. ``field``: what it sets in Release. ``commit``: the first 12
    digits of the commit in Linus Torvalds' tree, "" if it is not known. ``about``: in words.
    ``stable``: earlier releases that have it through their stable series.
    """

    release: str
    field: str
    commit: str
    about: str
    stable: tuple[str, ...] = ()


CHANGES: tuple[Change, ...] = (
    Change(
        "6.4",
        "early_check",
        "064f4536d139",
        "duplicates are looked for before memory is laid out: reason Becoming",
    ),
    Change(
        "6.5",
        "idempotent",
        "9b9879fc0327",
        "concurrent finit_module calls on one inode share one load",
    ),
    Change(
        "6.5",
        "kread_errno_not_counted",
        "f1962207150c",
        "a failed read no longer adds its negative errno to bytes",
    ),
    Change(
        "6.11",
        "idempotent_wait_interruptible",
        "2124d84db293",
        "a signal ends the wait for another's load: EINTR",
    ),
    Change(
        "6.13",
        "symbol_names_checked",
        "d979e3dffa93",
        "string table: NUL at both ends, every symbol name inside",
    ),
    Change(
        "6.14",
        "extended_modversions",
        "54ac1ac8edeb",
        "__version_ext_crcs and __version_ext_names, always in pairs",
    ),
    Change(
        "6.14",
        "no_binfmt_autoload",
        "fa1bdca98d74",
        "a file of unknown format no longer has binfmt-XXXX requested",
    ),
    Change(
        "6.15",
        "zstd_lenient",
        "65d1f5507ed2",
        "zstd 1.5.7 accepts Huffman streams that do not end exactly",
    ),
    Change(
        "6.16",
        "static_call_sites_ro",
        "60b57b9cb002",
        ".static_call_sites is read-only after init",
    ),
    Change(
        "6.16",
        "module_namespaces",
        "520b1a147d91",
        'namespace "module:a,b-*": for modules of these names, not to be imported',
    ),
    Change(
        "6.19",
        "unpacked_file_reviewed",
        "c200892b46ba",
        "security modules see what a compressed module unpacked to",
    ),
    Change(
        "6.19",
        "relocation_places_told",
        "bf770d6d2097",
        "x86-64: the log tells which relocation was refused",
    ),
    Change(
        "7.2",
        "string_tables_typed",
        "",
        "the tables of section names and of symbol names must be of type STRTAB",
        stable=("6.12",),
    ),
    Change(
        "7.1",
        "export_flags",
        "55fcb926b6d8",
        "one table of exports, and __kflagstab says which are for GPL modules",
    ),
    Change(
        "7.1",
        "import_ns_shown",
        "3fe1dcbc2d20",
        "/sys/module/NAME/import_ns",
    ),
    Change(
        "7.1",
        "init_warning_short",
        "663385f9155f",
        "one line in the log for an init routine that returns a positive number",
    ),
    Change(
        "7.1",
        "init_eexist_is_ebusy",
        "743f8cae549a",
        "an init routine that returns -EEXIST fails with EBUSY",
    ),
)

# What --without takes away: the name people type, and the field it clears.
FEATURES: dict[str, str] = {"idempotent": "idempotent", "early-check": "early_check"}


def _version(name: str) -> tuple[int, int]:
    match = re.match(r"([0-9]{1,6})\.([0-9]{1,6})(?![0-9])", name)
    if match is None:
        raise UserError(f"{shown(name)} is not a kernel release such as 6.12 or 6.12.9-amd64")
    return int(match[1]), int(match[2])


def has_statistics(name: str) -> bool:
    """Is it one of the releases that modfs follows, 6.4 and later? UserError: it is none."""
    return _version(name) >= _version(OLDEST)


def nearest(name: str) -> str:
    """The row of RELEASES for ``name``: the one below, or else the oldest. UserError."""
    wanted = _version(name)
    return max((r for r in RELEASES if _version(r) <= wanted), key=_version, default=OLDEST)


def taken_as(text: str) -> str | None:
    """What is to be told of a release that is none of RELEASES: as which it is taken. UserError."""
    name = re.split(r"\s+without\b", text, maxsplit=1)[0].strip()
    row = nearest(name)
    if _version(row) == _version(name):
        return None
    if _version(name) > _version(RELEASES[-1]):
        return f"{name} is newer than all that is known: it is taken as {row}"
    if _version(name) < _version(OLDEST):
        return f"{name} has no module statistics: it is taken as {row}, the first that has"
    return f"{name} is taken as {row}: no difference is known"


def release(name: str = DEFAULT, without: tuple[str, ...] = ()) -> Release:
    """The behaviour of release ``name``, less the features named in ``without``.

    ``name`` is a row of RELEASES or a full ``uname -r``: the nearest row below it is taken.
    UserError: no kernel release, older than 6.4, or a feature that does not exist.
    """
    wanted = _version(name)
    if wanted < _version(OLDEST):
        raise UserError(f"kernel {name} has no module statistics: {OLDEST} is the first that does")
    row = nearest(name)
    fields = {
        c.field: True for c in CHANGES if _version(c.release) <= _version(row) or row in c.stable
    }
    for feature in without:
        if feature not in FEATURES:
            near = did_you_mean(feature, FEATURES)
            raise UserError(f"no feature {shown(feature)}: known are {', '.join(FEATURES)}{near}")
        fields[FEATURES[feature]] = False
    return Release(row, **fields)


def parse_release(text: str, without: Iterable[str] = ()) -> Release:
    """The release that ``text`` names: RELEASE, or RELEASE without FEATURE[, FEATURE...].

    ``without``: features that it lacks besides. UserError: no such release or feature.
    """
    name, *rest = re.split(r"\s+without\b", text, maxsplit=1)
    lacking = [feature.strip() for words in rest for feature in words.split(",")]
    return release(name.strip(), (*lacking, *without))


def choose_release(
    kernel: str | None, without: Iterable[str], described: str, lacking: Iterable[str]
) -> Release:
    """The release that a file describes and a person may change.

    ``kernel``, if it is given, replaces all that the file says (``described``, less the features
    ``lacking``); ``without`` takes away more from either. UserError.
    """
    if kernel is None:
        return parse_release(described, (*lacking, *without))
    return parse_release(kernel, without)
