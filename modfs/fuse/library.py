"""Which FUSE library serves the mounts here."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from loader.errors import UserError


def described() -> str:
    """Such as "libfuse 2.9 by fusepy 3.0.1"; what is missing, if there is none."""
    from modfs.fuse.server import load_fusepy

    try:
        library = load_fusepy()._libfuse
    except UserError as error:
        return str(error)
    number = library.fuse_version()
    try:
        by = version("fusepy")
    except PackageNotFoundError:  # Debian's package may have no metadata
        by = "?"
    return f"libfuse {number // 10}.{number % 10} by fusepy {by}"
