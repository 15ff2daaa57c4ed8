"""The bounded cache of what was found in module files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from loader.image.module_image import ModuleImage

_CACHE_IMAGES = 4096
_CACHE_BYTES = 256 << 20


# -- the cache ------------------------------------------------------------------------------------


class ImageCache:
    """Images of files seen before, the oldest forgotten first.

    Bounded by number and by the bytes of the files. Safe for threads. The key must change when the
    file does: device, inode, size, modification time, and the flags.
    """

    def __init__(self, images: int = _CACHE_IMAGES, size: int = _CACHE_BYTES) -> None:
        self._images: dict[Hashable, ModuleImage] = {}
        self._limit = images
        self._room = size  # bytes left
        self._lock = threading.Lock()
        self.get: Callable[[Hashable], ModuleImage | None] = self._images.get
        """The image kept for a key, or None: one step for other threads too."""

    def put(self, key: Hashable, image: ModuleImage) -> None:
        """Keep ``image``; forget the oldest ones as needed."""
        with self._lock:
            if key in self._images:
                return
            self._images[key] = image
            self._room -= image.vmalloc_bytes
            while self._room < 0 or len(self._images) > self._limit:
                oldest = self._images.pop(next(iter(self._images)))
                self._room += oldest.vmalloc_bytes
