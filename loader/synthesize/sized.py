"""Specs of modules that shall take exactly so much memory, or a file of exactly such a length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loader.config import PAGE_SIZE
from loader.errors import UserError
from loader.synthesize.builder import build_module, layout_of
from loader.synthesize.spec import ModuleSpec


def sized(
    name: str,
    *,
    total_size: int,
    text_size: int,
    file_bytes: int | None = None,
    **fields: Any,
) -> ModuleSpec:
    """The module whose load adds ``total_size`` to total_mod_size and ``text_size`` to
    total_text_size, and whose file is ``file_bytes`` long.

    Sizes are bytes, the first two whole pages. ``fields`` are any others of ModuleSpec. What
    these leave goes to .text and to .rodata; as far as the file has no room, to .bss, which
    takes none. UserError where it cannot be, with the least that can.
    """
    base = ModuleSpec(name, **fields)
    least = layout_of(base)
    for label, size in (("total_size", total_size), ("text_size", text_size)):
        if size % PAGE_SIZE:
            raise UserError(f"{name}: {label} {size} is no multiple of {PAGE_SIZE}")
    more_text = text_size - least.text_total
    more = total_size - least.total - more_text
    if more_text < 0:
        raise UserError(f"{name}: text_size is at least {least.text_total}, not {text_size}")
    if more < 0:
        raise UserError(
            f"{name}: with that text, total_size is at least {total_size - more}, not {total_size}"
        )
    spec = replace(base, text=base.text + more_text, bss=base.bss + more)
    if file_bytes is None:
        return replace(spec, bss=base.bss, rodata=base.rodata + more)
    room = file_bytes - len(build_module(spec))
    if room < 0:
        raise UserError(
            f"{name}: with that text, file_bytes is at least {file_bytes - room}, not {file_bytes}"
        )
    moved = min(more, room // PAGE_SIZE * PAGE_SIZE)
    return replace(spec, bss=spec.bss - moved, rodata=base.rodata + moved, file_bytes=file_bytes)
