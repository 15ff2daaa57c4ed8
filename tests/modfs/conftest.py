"""Memory with an end, for those who read other programs' memory."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator

import pytest

from modfs import linux


@pytest.fixture
def page_end() -> Iterator[int]:
    """An address behind which nothing is mapped: the pages around it are "aaa…", and a hole."""
    page = mmap.PAGESIZE
    with mmap.mmap(-1, 3 * page) as memory:
        memory[:] = b"a" * 3 * page
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        protect = linux.libc.mprotect
        protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        assert protect(start + 2 * page, page, 0) == 0
        yield start + 2 * page
        protect(start + 2 * page, page, mmap.PROT_READ | mmap.PROT_WRITE)
