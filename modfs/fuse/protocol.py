"""What the kernel and a file system say to each other over /dev/fuse: numbers and structures of
include/uapi/linux/fuse.h, under its names, as they are since minor version 23 (Linux 3.15)."""

from __future__ import annotations

from struct import Struct

FUSE_KERNEL_VERSION = 7
FUSE_KERNEL_MINOR_VERSION = 31
LEAST_MINOR_VERSION = 23
"""Of a kernel that says less the answers would have to be shorter."""

FUSE_ROOT_ID = 1
FUSE_UNKNOWN_INO = 0xFFFFFFFF
FUSE_MIN_READ_BUFFER = 8192

# -- enum fuse_opcode ------------------------------------------------------------------------------

FUSE_LOOKUP, FUSE_FORGET, FUSE_GETATTR, FUSE_SETATTR = 1, 2, 3, 4
FUSE_READLINK, FUSE_SYMLINK, FUSE_MKNOD, FUSE_MKDIR = 5, 6, 8, 9
FUSE_UNLINK, FUSE_RMDIR, FUSE_RENAME, FUSE_LINK = 10, 11, 12, 13
FUSE_OPEN, FUSE_READ, FUSE_WRITE, FUSE_STATFS, FUSE_RELEASE = 14, 15, 16, 17, 18
FUSE_FLUSH, FUSE_INIT, FUSE_OPENDIR, FUSE_READDIR, FUSE_RELEASEDIR = 25, 26, 27, 28, 29
FUSE_CREATE, FUSE_INTERRUPT, FUSE_DESTROY, FUSE_POLL = 35, 36, 38, 40
FUSE_BATCH_FORGET, FUSE_RENAME2 = 42, 45

FUSE_NOTIFY_POLL = 1  # enum fuse_notify_code

# -- flags -----------------------------------------------------------------------------------------

FUSE_ASYNC_READ, FUSE_ATOMIC_O_TRUNC = 1 << 0, 1 << 3
FUSE_BIG_WRITES, FUSE_PARALLEL_DIROPS = 1 << 5, 1 << 18

FOPEN_DIRECT_IO, FOPEN_NOFLUSH = 1 << 0, 1 << 5  # that: 5.16

FUSE_READ_LOCKOWNER = 1 << 1
FUSE_GETATTR_FH = 1 << 0
FUSE_POLL_SCHEDULE_NOTIFY = 1 << 0

FATTR_MODE, FATTR_UID, FATTR_GID = 1 << 0, 1 << 1, 1 << 2
FATTR_ATIME, FATTR_MTIME, FATTR_ATIME_NOW, FATTR_MTIME_NOW = 1 << 4, 1 << 5, 1 << 7, 1 << 8

# -- structures ------------------------------------------------------------------------------------

_ATTR = "6Q10I"  # fuse_attr: ino size blocks, atime mtime ctime, their nsec, mode nlink uid gid
# rdev blksize flags

IN_HEADER = Struct("=IIQQIIIHH")  # len opcode unique nodeid uid gid pid total_extlen padding
OUT_HEADER = Struct("=IiQ")  # len error unique
ENTRY_OUT = Struct("=QQQQII" + _ATTR)  # nodeid generation, entry_valid attr_valid, their nsec
ATTR_OUT = Struct("=QII" + _ATTR)  # attr_valid, its nsec, dummy
SETATTR_IN = Struct("=IIQQQQQQIIIIIIII")
# valid padding fh size lock_owner, atime mtime ctime, their nsec, mode unused4 uid gid unused5
OPEN_IN = Struct("=II")  # flags open_flags
OPEN_OUT = Struct("=QII")  # fh open_flags backing_id
GETATTR_IN = Struct("=I4xQ")  # getattr_flags dummy fh
READ_IN = Struct("=QQIIQI4x")  # fh offset size read_flags lock_owner flags padding
WRITE_IN = Struct("=QQIIQII")  # fh offset size write_flags lock_owner flags padding
WRITE_OUT = Struct("=II")  # size padding
FH = Struct("=Q")  # begins release_in, flush_in
POLL_IN = Struct("=QQII")  # fh kh flags events
POLL_OUT = Struct("=II")  # revents padding
POLL_WAKEUP_OUT = Struct("=Q")  # kh
FORGET_IN = Struct("=Q")  # nlookup
FORGET_ONE = Struct("=QQ")  # nodeid nlookup
BATCH_FORGET_IN = Struct("=II")  # count dummy; as many fuse_forget_one follow
INTERRUPT_IN = Struct("=Q")  # unique
STATFS_OUT = Struct("=5Q4I24x")  # blocks bfree bavail files ffree bsize namelen frsize padding
DIRENT = Struct("=QQII")  # ino off namelen type; the name follows, to the next 8 bytes
INIT_IN = Struct("=IIII")  # major minor max_readahead flags; more follows since 7.36
INIT_OUT = Struct("=IIIIHHIIHHI28x")
# major minor max_readahead flags max_background congestion_threshold max_write time_gran max_pages
# map_alignment flags2
