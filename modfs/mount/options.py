"""What -o means, as after mount(8)."""

from __future__ import annotations

from typing import NamedTuple

from loader.errors import UserError

# For mount(8) and /etc/fstab; they say nothing to a FUSE file system.
_GENERIC = frozenset(
    (
        *("rw", "auto", "noauto", "user", "nouser", "users", "nofail", "defaults", "_netdev"),
        *("dev", "nodev", "suid", "nosuid", "exec", "noexec"),
        *("atime", "noatime", "relatime", "norelatime"),
    )
)


KEPT, MOST_EVENTS = 10_000, 1_000_000


class MountOptions(NamedTuple):
    """What -o means here: options for FUSE, our own, and the mode of the control file. ``events``:
    how many are kept; ``events_file``: where all go."""

    fuse: tuple[str, ...] = ()
    own: tuple[tuple[str, str], ...] = ()
    control_mode: int = 0o600
    events: int = KEPT
    events_file: str | None = None

    @classmethod
    def parse(cls, texts: tuple[str, ...], own: frozenset[str]) -> MountOptions:
        """From the texts after -o. ``own``: names that are options of the command. UserError."""
        fuse: list[str] = []
        found: list[tuple[str, str]] = []
        mode, events = 0o600, KEPT
        for word in (word for text in texts for word in text.split(",") if word):
            name, _, value = word.partition("=")
            if name == "control_mode":
                mode = _octal(value)
            elif name == "events":
                events = _count(value)
            elif name in own:
                found.append((name, value))
            elif name not in _GENERIC and not name.startswith(("x-", "comment")):
                fuse.append(word)
        return cls(tuple(fuse), tuple(found), mode, events)


def _octal(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise UserError(f"control_mode={text}: not a mode such as 0660")
    return mode


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 7 and int(text) <= MOST_EVENTS):
        raise UserError(f"events={text}: not a number from 0 to {MOST_EVENTS:,}")
    return int(text)


# -- serving --------------------------------------------------------------------------------------


def mount_options(more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """FUSE's options for our files. Names change only by our own hand, so the kernel may remember
    them; sizes and contents it may not."""
    fixed = ("entry_timeout=86400", "attr_timeout=0", "negative_timeout=0", "direct_io", "intr")
    names = ("fsname=modfs", "subtype=modfs", "default_permissions", "use_ino")
    return (*names, *fixed, *more)
