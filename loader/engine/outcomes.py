"""How a call about modules ended, as far as the statistics go."""

from __future__ import annotations

LIVE = "live"
INIT_FAILED = "init"  # its init routine failed: the kernel counts that nowhere
KREAD, DECOMPRESS, BECOMING, LOAD = "kread", "decompress", "becoming", "load"
SHARED = "shared"  # it waited for another's load of the same inode and got that one's result
REFUSED = "refused"  # before anything was read
REMOVED, KEPT = "removed", "kept"
UNKNOWN = "unknown"
OUTCOMES = (
    LIVE, INIT_FAILED, KREAD, DECOMPRESS, BECOMING, LOAD, SHARED, REFUSED, REMOVED, KEPT, UNKNOWN,
)  # fmt: skip
