"""Module files: read_image with all that it finds, and signatures."""

from __future__ import annotations

import functools
import os
from typing import NamedTuple

from loader.config import EM_AARCH64, EM_X86_64, PAGE_SIZE, BuiltFor, Config
from loader.engine.module import Module
from loader.image import signature
from loader.image.module_image import ModuleImage, read_image
from loader.keyring import Keyring, SignatureError
from loader.packings import NAMES
from loader.release import RELEASES, release
from tests.fuzz import seeds
from tests.fuzz.elf import damaged_module
from tests.fuzz.mutate import Chance, damaged, odd_number, spliced, with_number
from tests.fuzz.target import Target, answer

_LIMIT = 1 << 20  # bytes that may be unpacked


class Kernel(NamedTuple):
    """The kernel that reads the file."""

    release: str
    machine: int = EM_X86_64
    compression: str = "none"
    strict: bool = False
    """It knows what it was built for, and its own key."""

    @functools.cache  # noqa: B019 - there are few
    def config(self) -> Config:
        return Config(
            release=release(self.release),
            machine=self.machine,
            compression=self.compression,
            decompress_limit=_LIMIT,
            built_for=seeds.built_for() if self.strict else BuiltFor(),
            keyring=seeds.keyring() if self.strict else None,
        )


class Image(NamedTuple):
    """A module file, as it is loaded."""

    data: bytes
    flags: int
    kernel: Kernel


def any_kernel(chance: Chance) -> Kernel:
    """Some release, build and machine."""
    machine = chance.choice((EM_X86_64, EM_X86_64, EM_X86_64, EM_AARCH64))
    strict = machine == EM_X86_64 and chance.random() < 0.3
    return Kernel(chance.choice(tuple(RELEASES)), machine, chance.choice(NAMES), strict)


def make_image(chance: Chance) -> Image:
    kernel = any_kernel(chance)
    if kernel.compression != "none" and chance.random() < 0.2:
        packed = damaged(chance, chance.choice(seeds.packed(kernel.compression)))
        return Image(packed, 4, kernel)
    data = chance.choice(seeds.modules())
    if chance.random() < 0.1:
        data = spliced(chance, data, seeds.whole_modules())
    data = with_number(damaged_module(chance, data), 18, 2, kernel.machine)
    return Image(data, chance.choice((0, 0, 0, 1, 2, 3)), kernel)


def check_image(image: Image) -> str:
    found = read_image(image.data, image.flags, image.kernel.config())
    assert 0 <= found.len <= max(len(image.data), found.vmalloc_bytes)
    assert found.vmalloc_bytes <= max(_LIMIT, len(image.data))
    if found.decompress_failure:
        return "decompress " + answer("decompress", found.decompress_failure.errno)
    if found.becoming_failure:
        return "becoming " + answer("becoming", found.becoming_failure.errno)
    if image.kernel.config().release.symbol_names_checked:  # else a name may be anywhere
        check_sizes(found)
    if found.layout_failure:
        return "layout " + answer("layout", found.layout_failure.errno)
    contents = found.contents
    assert len(list(contents.needs)) + len(contents.exports) <= len(image.data)
    shown = Module(found).as_loaded()
    assert shown.name == found.name
    for _, text, _ in shown.parameters:  # /sys/module/NAME/parameters shows a page at most
        assert len(os.fsencode(text)) <= max(PAGE_SIZE, len(image.data))
    return "ok"


def check_sizes(image: ModuleImage) -> None:
    """Section 4: sizes are unsigned ints, in whole pages."""
    for size in image.layout:
        assert 0 <= size < 1 << 32 and size % PAGE_SIZE == 0, image.layout


# -- signatures -----------------------------------------------------------------------------------


class Signed(NamedTuple):
    """A file that ends like a signed one."""

    data: bytes
    flags_mangle: bool = False
    enforce: bool = False
    keys: bool = True


_DIGESTS = (
    *("2b0e03021a", "608648016503040204", "608648016503040201", "608648016503040202"),
    *("608648016503040203", "608648016503040208", "608648016503040209", "60864801650304020a"),
)
_TAGS = (0x02, 0x04, 0x05, 0x06, 0x30, 0x31, 0xA0, 0xA1, 0x80)


def make_signed(chance: Chance) -> Signed:
    body, message, trailer = _parts(chance)
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        message = _damaged_message(chance, message)
    if chance.random() < 0.8:
        trailer = trailer[:8] + len(message).to_bytes(4, "big") + trailer[12:]
    if chance.random() < 0.2:
        trailer = with_number(trailer, chance.randrange(12), 1, odd_number(chance, 1))
    if chance.random() < 0.2:
        body = damaged(chance, body, 1)
    options = (chance.random() < 0.1, chance.random() < 0.3, chance.random() < 0.7)
    return Signed(body + message + trailer, *options)


def _parts(chance: Chance) -> tuple[bytes, bytes, bytes]:
    """A signed module: the module itself, the PKCS#7 message, what follows it."""
    data = seeds.recorded("files")[
        chance.choice(("signed.ko", "signed.ko", "signed.ko", "sig_corrupt_sig.ko"))
    ]
    end = len(data) - 40
    start = end - int.from_bytes(data[end + 8 : end + 12], "big")
    return data[:start], data[start:end], data[end:]


def _damaged_message(chance: Chance, message: bytes) -> bytes:
    kind = chance.randrange(4)
    if kind == 0:  # another digest, known or not
        old = bytes.fromhex(chance.choice(_DIGESTS))
        return message.replace(old, bytes.fromhex(chance.choice(_DIGESTS)))
    if kind == 1:  # another kind of element
        places = [at for at, byte in enumerate(message[:200]) if byte in _TAGS]
        return with_number(message, chance.choice(places or [0]), 1, chance.choice(_TAGS))
    if kind == 2:  # another length
        return with_number(message, chance.randrange(1, 60), 1, odd_number(chance, 1))
    return damaged(chance, message, 1)


def check_signed(signed: Signed) -> str:
    keys = seeds.keyring() if signed.keys else None
    verdict = signature.check(signed.data, signed.flags_mangle, keys, signed.enforce)
    assert 0 < verdict.length <= len(signed.data)
    if verdict.failure:
        assert not verdict.signed
        return answer("signature", verdict.failure.errno)
    assert verdict.signed or not signed.enforce
    return "signed" if verdict.signed else "unsigned"


def make_message(chance: Chance) -> bytes:
    message = _parts(chance)[1]
    for _ in range(chance.choice((1, 1, 2, 3))):
        message = _damaged_message(chance, message)
    return message


def check_message(message: bytes) -> str:
    try:
        found = signature.parse_pkcs7(message)
        Keyring(seeds.keyring().certificates).verify(message, found)
    except SignatureError as error:
        name = "ENOKEY" if error.errno == 126 else answer("pkcs7", error.errno)
        return name
    return "ok"


TARGETS = (
    Target("image", make_image, check_image, 1500),
    Target("signature", make_signed, check_signed, 500),
    Target("pkcs7", make_message, check_message, 300),
)
