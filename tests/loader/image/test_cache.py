"""The cache: bounded by number and by bytes, the oldest forgotten first."""

from __future__ import annotations

import threading

from loader.image.cache import ImageCache
from loader.image.module_image import ModuleImage


def image(size: int = 1) -> ModuleImage:
    return ModuleImage("m", read_bytes=size)


def test_what_was_put_is_found() -> None:
    cache, one = ImageCache(), image()
    assert cache.get("key") is None
    cache.put("key", one)
    assert cache.get("key") is one and cache.get(("key", 4)) is None


def test_the_first_of_two_under_one_key_stays() -> None:
    """Both were read from the same file; whoever has the first keeps what was learned of it."""
    cache, first = ImageCache(images=2), image()
    cache.put("a", first)
    cache.put("a", image())
    cache.put("b", image())
    assert cache.get("a") is first and cache.get("b")


def test_no_more_than_so_many() -> None:
    cache = ImageCache(images=3)
    for number in range(5):
        cache.put(number, image())
    assert [number for number in range(5) if cache.get(number)] == [2, 3, 4]


def test_no_more_than_so_many_bytes() -> None:
    cache = ImageCache(size=100)
    for key, size in (("a", 40), ("b", 60), ("c", 50)):
        cache.put(key, image(size))
    assert [key for key in "abc" if cache.get(key)] == ["c"]
    cache.put("d", image(50))
    assert cache.get("c") and cache.get("d")


def test_bytes_are_those_of_the_unpacked_module() -> None:
    cache = ImageCache(size=100)
    cache.put("a", ModuleImage("m", read_bytes=1, clen=1, vmalloc_bytes=60))
    cache.put("b", ModuleImage("m", read_bytes=1, clen=1, vmalloc_bytes=60))
    assert cache.get("a") is None and cache.get("b")


def test_one_that_is_larger_than_all_is_not_kept() -> None:
    cache = ImageCache(size=100)
    cache.put("a", image(101))
    assert cache.get("a") is None
    cache.put("b", image(100))
    assert cache.get("b")


def test_many_threads() -> None:
    cache = ImageCache(images=50, size=1000)

    def use(offset: int) -> None:
        for number in range(2000):
            cache.put((number + offset) % 300, image(40))
            cache.get(number % 300)

    threads = [threading.Thread(target=use, args=(100 * index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(cache.get(key) is not None for key in range(300)) == 25  # 1000 / 40
