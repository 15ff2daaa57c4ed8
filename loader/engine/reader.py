"""Reading module files for loads on threads, with no more of them in memory than the budget has."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Hashable
from dataclasses import replace

from loader.calls import MODULE_INIT_COMPRESSED_FILE, Caller
from loader.engine import sequence
from loader.engine.budget import Budget
from loader.engine.open_file import CallersFile, pread_all
from loader.engine.state import Kernel
from loader.errors import Failure, LoadError
from loader.image.cache import ImageCache
from loader.image.ends import HEAD, TAIL, judge_by_ends
from loader.image.module_image import ModuleImage, read_image

_FILE_MAX = (1 << 31) - 1  # bytes: kernel_read_file is asked for INT_MAX at most
_LARGE = 1 << 20  # bytes: files above may be judged without being read
_UNPACKED_LEAST, _UNPACKED_TIMES = 4 << 20, 16  # bytes, times the file: room to unpack it


class Reader:
    """Answers the steps that read.

    ``wait`` carries out a Wait for a caller (LoadError: EINTR, or that of an engine that ends).
    """

    def __init__(
        self, kernel: Kernel, budget: Budget, wait: Callable[[sequence.Wait, Caller], None]
    ) -> None:
        self._kernel = kernel
        self._config = kernel.config
        self._budget = budget
        self._wait = wait
        self.images = ImageCache()
        self._known = self.images.get

    def read(self, step: sequence.Read, caller: Caller) -> ModuleImage | Failure:
        """kernel_read_file: EINVAL not a regular file, or empty; ETXTBSY; EFBIG; EIO."""
        file: CallersFile = step.file
        status, flags = file.status, step.flags
        key = (file.cookie, status.st_size, status.st_mtime_ns, status.st_ctime_ns, flags)
        image = self._known(key)  # which only a regular file can be
        if image is not None and not file.written:
            return image
        return _refusal(file) or self._read_and_keep(key, file, flags, caller)

    def _read_and_keep(
        self, key: Hashable, file: CallersFile, flags: int, caller: Caller
    ) -> ModuleImage | Failure:
        found = self.read_new(caller, file, file.status.st_size, flags)
        if not isinstance(found, Failure):
            self.images.put(key, found)
        return found

    def read_new(
        self, caller: Caller, file: CallersFile, size: int, flags: int, data: bytes | None = None
    ) -> ModuleImage | Failure:
        """Read and judge a file within the budget (loader.engine.open_file.ReadWhole).

        LoadError: EINTR, SHUT_DOWN while there was no room.
        """
        try:
            if data is not None:  # the caller's own memory
                return read_image(data[:size], flags, self._config)
            if size > _LARGE and (image := self._judge_by_ends(file.fd, size, flags)):
                return image
            if flags & MODULE_INIT_COMPRESSED_FILE:
                return self._read_packed(caller, file, size, flags)
            self._hold(file, size, caller)
            return read_image(_whole(file.fd, size), flags, self._config)
        except MemoryError:
            return Failure(errno.ENOMEM)
        except LoadError:
            raise
        except OSError as error:
            return Failure(error.errno or errno.EIO)

    def _judge_by_ends(self, fd: int, size: int, flags: int) -> ModuleImage | None:
        head, tail = os.pread(fd, HEAD, 0), os.pread(fd, TAIL, size - TAIL)
        return judge_by_ends(head, tail, size, flags, self._config)

    def _read_packed(
        self, caller: Caller, file: CallersFile, size: int, flags: int
    ) -> ModuleImage | Failure:
        """With room for what modules unpack to; if that is too little, with all there is."""
        usual, whole = size + max(_UNPACKED_LEAST, _UNPACKED_TIMES * size), self._budget.limit
        image = self._unpack(caller, file, size, flags, min(usual, whole))
        failure = image.decompress_failure
        if failure and failure.errno == errno.ENOMEM and usual < whole:
            return self._unpack(caller, file, size, flags, whole)
        return image

    def _unpack(
        self, caller: Caller, file: CallersFile, size: int, flags: int, room: int
    ) -> ModuleImage:
        self._hold(file, max(room, size), caller)
        limit = (room - size) // 9 * 8  # loader.image.compression takes an eighth more meanwhile
        config = replace(self._config, decompress_limit=min(self._config.decompress_limit, limit))
        return read_image(_whole(file.fd, size), flags, config)

    # -- the memory for files ---------------------------------------------------------------------

    def _hold(self, file: CallersFile, size: int, caller: Caller) -> None:
        """Have room for ``size`` bytes until the call waits or ends. MemoryError: that
        is more than there ever is; LoadError: EINTR, SHUT_DOWN."""
        if file.share is not None:
            self.release(file)
        if size > self._budget.limit:
            raise MemoryError
        with self._kernel.lock:
            share = file.share = self._budget.ask(size)
        if not share.granted:
            self._wait(sequence.Wait(share, lambda: share.granted), caller)

    def release(self, file: CallersFile) -> None:
        share, file.share = file.share, None
        if share is not None:
            with self._kernel.lock:
                self._budget.give(share)


def _refusal(file: CallersFile) -> Failure | None:
    """Why it cannot be read for a load, whatever is in it."""
    size = file.status.st_size
    if not stat.S_ISREG(file.status.st_mode):
        return Failure(errno.EINVAL)
    if file.written:
        return Failure(errno.ETXTBSY)
    if size <= 0:
        return Failure(errno.EINVAL)
    return Failure(errno.EFBIG) if size > _FILE_MAX else None


def _whole(fd: int, size: int) -> bytes:
    """OSError; EIO: the file has become shorter."""
    data = pread_all(fd, size)
    if len(data) != size:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return data
