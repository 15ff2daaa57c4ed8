"""The server of ``modfs run``: it holds the engine and serves the file systems.

It stays where the host's files are; the sandbox is made by its keeper.
"""

from __future__ import annotations
