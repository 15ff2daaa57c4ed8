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
    more_text, more = _missing(base, total_size, text_size)
    base = replace(base, text=base.text + more_text)
    if file_bytes is None:
        return replace(base, rodata=base.rodata + more)
    room = _room(replace(base, bss=base.bss + more), file_bytes)
    in_file = min(more, room // PAGE_SIZE * PAGE_SIZE)
    return replace(
        base,
        rodata=base.rodata + in_file,
        bss=base.bss + more - in_file,
        file_bytes=file_bytes,
    )


def _missing(base: ModuleSpec, total_size: int, text_size: int) -> tuple[int, int]:
    """Bytes of code, and of anything else, that ``base`` lacks of these sizes."""
    name, least = base.name, layout_of(base)
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
    return more_text, more


def _room(spec: ModuleSpec, file_bytes: int) -> int:
    """Bytes that a file of this length has left beyond what ``spec`` needs."""
    room = file_bytes - len(build_module(spec))
    if room < 0:
        raise UserError(
            f"{spec.name}: with that text, file_bytes is at least {file_bytes - room},"
            f" not {file_bytes}"
        )
    return room
