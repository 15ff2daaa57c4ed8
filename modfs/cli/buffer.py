"""--buffer: how much the kernel keeps for who watches it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from loader.errors import UserError
from loader.words import parse_size
from modfs.cli.statuses import MISUSED, ending_with

F = TypeVar("F", bound=Callable[..., Any])

_LEAST, _MOST = 64_000, 4_000_000_000  # bytes
_HELP = "Of the kernel, for each processor, such as 4MB; what it cannot hold is lost, and told."


def buffer_option(only: str = "") -> Callable[[F], F]:
    """The option. ``only``: with which other one."""
    return click.option("--buffer", metavar="SIZE", help=f"{only}{_HELP}")


def parse_buffer(text: str | None) -> int | None:
    """KiB, None where nothing was given. UserError."""
    if text is None:
        return None
    with ending_with(MISUSED):
        size = parse_size(text)
    if not _LEAST <= size <= _MOST:
        raise UserError(f"--buffer {text}: 64k to 4GB for each processor", status=MISUSED)
    return size >> 10
