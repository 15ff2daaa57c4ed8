"""Numbers and structures are those of the machine's own linux/fuse.h."""

from __future__ import annotations

from modfs.fuse import protocol
from tests.headers import numbers

# As long as the kernel's; of those that are the beginnings of one, what they end before.
_STRUCTURES: dict[str, str] = {
    "IN_HEADER": "sizeof(struct fuse_in_header)",
    "OUT_HEADER": "sizeof(struct fuse_out_header)",
    "ENTRY_OUT": "sizeof(struct fuse_entry_out)",
    "ATTR_OUT": "sizeof(struct fuse_attr_out)",
    "SETATTR_IN": "sizeof(struct fuse_setattr_in)",
    "OPEN_IN": "sizeof(struct fuse_open_in)",
    "OPEN_OUT": "sizeof(struct fuse_open_out)",
    "GETATTR_IN": "sizeof(struct fuse_getattr_in)",
    "READ_IN": "sizeof(struct fuse_read_in)",
    "WRITE_IN": "sizeof(struct fuse_write_in)",
    "WRITE_OUT": "sizeof(struct fuse_write_out)",
    "FH": "offsetof(struct fuse_release_in, flags)",
    "POLL_IN": "sizeof(struct fuse_poll_in)",
    "POLL_OUT": "sizeof(struct fuse_poll_out)",
    "POLL_WAKEUP_OUT": "sizeof(struct fuse_notify_poll_wakeup_out)",
    "FORGET_IN": "sizeof(struct fuse_forget_in)",
    "FORGET_ONE": "sizeof(struct fuse_forget_one)",
    "BATCH_FORGET_IN": "sizeof(struct fuse_batch_forget_in)",
    "INTERRUPT_IN": "sizeof(struct fuse_interrupt_in)",
    "STATFS_OUT": "sizeof(struct fuse_statfs_out)",
    "DIRENT": "offsetof(struct fuse_dirent, name)",
    "INIT_OUT": "sizeof(struct fuse_init_out)",
    "INIT_IN": "offsetof(struct fuse_init_in, flags) + 4",
}
_OFFSETS: dict[str, int] = {
    "offsetof(struct fuse_in_header, nodeid)": 16,
    "offsetof(struct fuse_in_header, uid)": 24,
    "offsetof(struct fuse_in_header, pid)": 32,
    "offsetof(struct fuse_out_header, unique)": 8,
    "offsetof(struct fuse_entry_out, attr)": 40,
    "offsetof(struct fuse_attr_out, attr)": 16,
    "offsetof(struct fuse_attr, atimensec)": 48,
    "offsetof(struct fuse_attr, mode)": 60,
    "offsetof(struct fuse_attr, uid)": 68,
    "offsetof(struct fuse_setattr_in, atime)": 32,
    "offsetof(struct fuse_setattr_in, atimensec)": 56,
    "offsetof(struct fuse_setattr_in, mode)": 68,
    "offsetof(struct fuse_getattr_in, fh)": 8,
    "offsetof(struct fuse_read_in, size)": 16,
    "offsetof(struct fuse_read_in, read_flags)": 20,
    "offsetof(struct fuse_read_in, flags)": 32,
    "offsetof(struct fuse_write_in, size)": 16,
    "offsetof(struct fuse_flush_in, fh)": 0,
    "offsetof(struct fuse_release_in, fh)": 0,
    "offsetof(struct fuse_poll_in, flags)": 16,
    "offsetof(struct fuse_kstatfs, bsize)": 40,
    "offsetof(struct fuse_kstatfs, namelen)": 44,
    "offsetof(struct fuse_init_out, max_background)": 16,
    "offsetof(struct fuse_init_out, max_write)": 20,
    "offsetof(struct fuse_init_out, time_gran)": 24,
    "offsetof(struct fuse_init_out, max_pages)": 28,
}


def test_constants() -> None:
    names = [name for name in vars(protocol) if name.startswith(("FUSE_", "FOPEN_", "FATTR_"))]
    ours = {name: getattr(protocol, name) for name in names}
    ours.pop("FUSE_UNKNOWN_INO")  # libfuse's own
    version = ours.pop("FUSE_KERNEL_MINOR_VERSION")
    enumerated = {name: number for name, number in ours.items() if _is_enumerated(name)}
    found = numbers("linux/fuse.h", *(ours.keys() - enumerated.keys()))
    found |= numbers("linux/fuse.h", *(f"(0, {name})" for name in enumerated))
    told = {name.removeprefix("(0, ").rstrip(")"): number for name, number in found.items()}
    assert len(told) > 40
    assert {name: ours[name] for name in told} == told
    assert numbers("linux/fuse.h", "FUSE_KERNEL_MINOR_VERSION").popitem()[1] >= version


def _is_enumerated(name: str) -> bool:
    """Of fuse_opcode and fuse_notify_code: all else is a macro."""
    is_opcode = name.startswith("FUSE_") and name.count("_") == 1
    return is_opcode or name in ("FUSE_BATCH_FORGET", "FUSE_NOTIFY_POLL")


def test_structures_are_as_long() -> None:
    found = numbers("linux/fuse.h", *_STRUCTURES.values())
    for name, expression in _STRUCTURES.items():
        assert getattr(protocol, name).size == found[expression], name


def test_where_fields_are() -> None:
    assert numbers("linux/fuse.h", *_OFFSETS) == _OFFSETS
