"""The nodes that the kernel knows: numbers for paths, until it forgets them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from modfs.fuse.files import Nature
from modfs.fuse.protocol import FUSE_ROOT_ID


class Node:
    """A path that the kernel has a number for. ``lookups``: how often it was told."""

    __slots__ = ("lookups", "nature", "number", "path")

    def __init__(self, number: int, path: bytes, nature: Nature) -> None:
        self.number, self.path, self.nature = number, path, nature
        self.lookups = 0


class Nodes:
    """All of them, by number. No number is ever used again."""

    def __init__(self, nature: Callable[[bytes], Nature]) -> None:
        self._nature = nature
        root = Node(FUSE_ROOT_ID, b"/", nature(b"/"))
        self._last = root.number
        self._numbers: dict[int, Node] = {root.number: root}
        self._paths: dict[bytes, Node] = {}
        self._lock = threading.Lock()
        self.get = self._numbers.get

    def look_up(self, path: bytes) -> Node:
        """The node of a path that is there, once more."""
        with self._lock:
            node = self._paths.get(path)
            if node is None:
                self._last += 1
                node = self._paths[path] = Node(self._last, path, self._nature(path))
                self._numbers[node.number] = node
            node.lookups += 1
            return node

    def forget(self, number: int, lookups: int) -> None:
        """The kernel takes back so many lookups."""
        with self._lock:
            node = self._numbers.get(number)
            if node is None or number == FUSE_ROOT_ID:
                return
            node.lookups -= lookups
            if node.lookups <= 0:
                del self._numbers[number], self._paths[node.path]

    def __len__(self) -> int:
        return len(self._numbers)
