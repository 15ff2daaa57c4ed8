"""Options of a FUSE mount, as far as no libfuse is needed for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from modfs.linux import MS_DIRSYNC, MS_NODEV, MS_NOSUID, MS_RDONLY, MS_SYNCHRONOUS

# Those that are flags of mount(2).
_FLAGS: dict[str, int] = {"ro": MS_RDONLY, "sync": MS_SYNCHRONOUS, "dirsync": MS_DIRSYNC}
# Those that the kernel's fuse knows (fuse_parse_param, fs/fuse/inode.c); others are ours to say.
_KERNEL = frozenset(("allow_other", "default_permissions", "max_read"))
# What is so anyhow: libfuse has to be told.
_ALWAYS = frozenset(
    ("direct_io", "intr", "use_ino", "big_writes", "nonempty", "negative_timeout=0")
)
_TIMEOUTS = frozenset(("entry_timeout", "attr_timeout"))
_NAMES = frozenset(("fsname", "subtype"))


class Options(NamedTuple):
    """What is asked for. ``flags``: of mount(2), which ``words`` stand for; ``kernel``: words for
    the kernel; ``entry_timeout``, ``attr_timeout``: how long names and attributes may be
    remembered, in seconds."""

    flags: int = MS_NOSUID | MS_NODEV
    words: tuple[str, ...] = ()
    kernel: tuple[str, ...] = ()
    fsname: str = ""
    subtype: str = ""
    entry_timeout: float = 1.0
    attr_timeout: float = 1.0
    auto_unmount: bool = False

    @classmethod
    def of(cls, words: Iterable[str]) -> Options | None:
        """None: there is one among them that only libfuse might know."""
        flags, plain, kernel = MS_NOSUID | MS_NODEV, [], []
        values: dict[str, str] = {}
        auto_unmount = False
        for word in words:
            name, _, value = word.partition("=")
            if word in _FLAGS:
                flags |= _FLAGS[word]
                plain.append(word)
            elif name in _KERNEL and (bool(value) == (name == "max_read")):
                kernel.append(word)
            elif name in _NAMES or (name in _TIMEOUTS and _is_number(value)):
                values[name] = value
            elif word == "auto_unmount":
                auto_unmount = True
            elif word not in _ALWAYS:
                return None
        return cls(
            flags,
            tuple(plain),
            tuple(kernel),
            values.get("fsname", ""),
            values.get("subtype", ""),
            float(values.get("entry_timeout", 1)),
            float(values.get("attr_timeout", 1)),
            auto_unmount,
        )

    @property
    def type(self) -> str:
        """Of the file system: "fuse.SUBTYPE"."""
        return f"fuse.{self.subtype}" if self.subtype else "fuse"


def _is_number(text: str) -> bool:
    whole, _, part = text.partition(".")
    return f"{whole}{part}".isdecimal() and text.isascii()
