"""The host's side of the kernel's module loader: mounts, programs, recordings, and the command.

What would be true without a host is in the package ``loader``.
"""


def __getattr__(name: str) -> str:
    """``modfs.__version__``, looked up when somebody asks: that takes as long as a whole start."""
    if name == "__version__":
        from modfs.installed import version

        return version("modfs") or "unknown"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
