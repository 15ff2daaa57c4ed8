"""What a file's first and last bytes settle, so that a large one need not be read for it."""

from __future__ import annotations

from loader.calls import MANGLED, MODULE_INIT_COMPRESSED_FILE
from loader.config import Config
from loader.image.elf_format import EHDR, ELF_MAGIC
from loader.image.module_image import ModuleImage, read_image
from loader.image.signature import MARKER

HEAD, TAIL = EHDR.size, len(MARKER)  # bytes


def judge_by_ends(
    head: bytes, tail: bytes, size: int, flags: int, config: Config
) -> ModuleImage | None:
    """What read_image would say of a file of ``size`` bytes; None if it takes the whole file.

    A file that is neither compressed nor signed and does not begin like ELF fails the first check
    of its header, and only its length counts (elf_validity_ehdr).
    """
    signed = not flags & MANGLED and tail.endswith(MARKER)
    if flags & MODULE_INIT_COMPRESSED_FILE or signed or head.startswith(ELF_MAGIC):
        return None
    image = read_image(head, flags | MANGLED, config)  # the marker has been looked for
    image.read_bytes = image.len = image.vmalloc_bytes = size
    return image
