"""Images from plain numbers: modules for an engine without a file."""

from __future__ import annotations

from typing import Any

from loader.engine.module import LIVE, Module
from loader.image.contents import Contents
from loader.image.layout import Layout
from loader.image.module_image import ModuleImage

PAGE = 4096
LAYOUT = Layout(text=2 * PAGE, data=PAGE, rodata=PAGE, init_text=PAGE, init_data=3 * PAGE)
"""Eight pages: four stay, four are freed after init; three are code."""
CLEAN = {"intree": ["Y"], "license": ["GPL"]}
"""The .modinfo of a module that taints nothing."""


def contents(**fields: Any) -> Contents:
    """Contents of a clean module, but for ``fields``."""
    return Contents(**{"modinfo": CLEAN, **fields})


def image(name: str = "m", size: int = 1000, clen: int = 0, **fields: Any) -> ModuleImage:
    """An image of ``size`` bytes; ``fields`` of its contents."""
    return ModuleImage(
        name,
        read_bytes=clen or size,
        length=size,
        clen=clen,
        layout=LAYOUT,
        contents=contents(**fields),
    )


def module(name: str = "m", state: str = LIVE, **fields: Any) -> Module:
    """A module in one state, in nobody's list."""
    made = Module(image(name, **fields))
    made.state = state
    return made
