"""What many module files hold, each by itself: read on all processors, or known from before."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from loader.calls import MODULE_INIT_COMPRESSED_FILE
from loader.config import Config
from loader.errors import UserError, in_words
from loader.image.layout import Layout
from loader.packings import NAMES, NOT_PACKED, by_suffix, compress, named
from loader.spread import spread
from modfs.kept import Found, Kept, Key, question

if TYPE_CHECKING:
    from loader.image.module_image import Facts


class Surveyed(NamedTuple):
    """One module. ``file``, ``length``: bytes of its file, and of that unpacked and without
    signature; ``compressed``: bytes of the file as the kernel reads it if it unpacks by itself,
    None where there is no such file.
    """

    path: str
    name: str
    file: int
    length: int
    compressed: int | None
    layout: Layout


# As another process may give it: in words why not; or the file's numbers, its bytes, those of it
# packed if that was asked, and Found.
_Answer = str | tuple[tuple[int, ...], int, int | None, tuple[Any, ...]]


class Survey:
    """What kernels that are alike but for their machine make of files."""

    def __init__(
        self, config: Config, machines: Iterable[int], compression: str | None = None
    ) -> None:
        """``machines`` are asked in their order, until one takes a file. ``compression``: how
        uncompressed modules would be packed, None for not at all."""
        kernels = [replace(config, machine=machine) for machine in dict.fromkeys(machines)]
        self._kernels = {
            name: tuple(replace(kernel, compression=name) for kernel in kernels) for name in NAMES
        }
        self._compression = compression
        self._question = question(config, [kernel.machine for kernel in kernels])

    def of(
        self, files: Sequence[str], told: Callable[[int], None] = lambda done: None
    ) -> list[Surveyed | str]:
        """Of each file what is in it, or in words why it cannot be read or no kernel takes it;
        ``told`` hears how many of ``files`` were gone through."""
        if self._compression:  # which takes longer than all the rest, and is not kept
            return list(map(_surveyed, files, spread(self.one, files, told)))
        kept = Kept(self._question)
        found: dict[str, Surveyed | str] = dict(_known(kept, files))
        new = [path for path in files if path not in found]
        before = len(found)
        answers = spread(self.one, new, lambda done: told(before + done))
        kept.keep(_settled(new, answers))
        found |= zip(new, map(_surveyed, new, answers), strict=True)
        return [found[path] for path in files]

    def one(self, path: str) -> _Answer:
        """Of one file, read anew."""
        packed = by_suffix(path)
        try:
            data, status = _read(path)
            facts = _facts(data, self._kernels[packed.name if packed else NOT_PACKED])
        except OSError as error:
            return in_words(error)
        except UserError as error:
            return str(error)
        estimated = None
        if not packed and self._compression:
            estimated = len(compress(data, named(self._compression)))
        found = facts.len, facts.clen, tuple(facts.layout), facts.name
        same = stat.S_ISREG(status.st_mode) and status.st_size == len(data)
        return tuple(Key.of(status)) if same else (), len(data), estimated, found


def _read(path: str) -> tuple[bytes, os.stat_result]:
    """The file, and what it was before it was read. OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        data = os.read(fd, status.st_size)
        if data and len(data) == status.st_size:
            return data, status
        with open(fd, "rb", closefd=False) as file:  # a pipe has no size
            return data + file.read(), status
    finally:
        os.close(fd)


def _facts(data: bytes, kernels: Iterable[Config]) -> Facts:
    """By the first of these kernels that takes it. UserError: none does."""
    from loader.image.module_image import read_image  # not needed where all is known

    failure = None
    for kernel in kernels:
        flags = MODULE_INIT_COMPRESSED_FILE if kernel.compression != NOT_PACKED else 0
        image = read_image(data, flags, kernel)
        found = image.decompress_failure or image.becoming_failure or image.layout_failure
        if found is None:
            return image.state_facts()
        failure = failure or found
    assert failure is not None
    why = f", and would log: {'; '.join(failure.log)}" if failure.log else ""
    raise UserError(f"the kernel would refuse it with {failure.name}{why}")


# -- what is known --------------------------------------------------------------------------------


_PLAIN = NAMES.index(NOT_PACKED)


def _kind(path: str) -> int:
    """How the file is packed by its name: under another it may be no module."""
    if path.endswith(".ko"):
        return _PLAIN
    packed = by_suffix(path)
    return NAMES.index(packed.name if packed else NOT_PACKED)


def _known(kept: Kept, files: Iterable[str]) -> Iterator[tuple[str, Surveyed]]:
    for path in files:
        try:
            key = Key.of(os.stat(path))
        except OSError:
            continue  # who reads it finds out why
        if (found := kept.get(key, _kind(path))) is not None:
            yield path, _of(path, key.size, None, found)


def _settled(
    files: Iterable[str], answers: Iterable[_Answer]
) -> Iterator[tuple[str, Key, int, Found]]:
    for path, answer in zip(files, answers, strict=True):
        if not isinstance(answer, str) and answer[0]:
            yield path, Key._make(answer[0]), _kind(path), Found._make(answer[3])


def _surveyed(path: str, answer: _Answer) -> Surveyed | str:
    if isinstance(answer, str):
        return answer
    _, size, estimated, found = answer
    return _of(path, size, estimated, Found._make(found))


def _of(path: str, size: int, estimated: int | None, found: Found) -> Surveyed:
    length, clen, layout, name = found
    return Surveyed(path, name, size, length, clen or estimated, Layout._make(layout))
