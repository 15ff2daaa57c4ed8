"""The command modfs. Each verb is a module here, imported only when it is used.

Nor is click, which takes three times as long to import as Python takes to start, imported before
somebody needs it.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from modfs.cli import standard

# verb -> what it does, in one line
VERBS: dict[str, str] = {
    "mount": "Mount the file system with the live statistics.",
    "umount": "Unmount it.",
    "status": "Tell what is mounted, of which kernel, and who waits there.",
    "top": "Show what happens in a mount, live.",
    "run": "Run a program that finds a kernel which loads modules.",
    "verify": "Replay recordings of booted kernels and compare.",
    "machine": "Write the machine file of this machine, or of another.",
    "simulate": "Boot a described machine in virtual time.",
    "sweep": "Boot described machines many times, and tell how it is spread.",
    "record": "Record a kernel's module loads from its trace.",
    "replay": "Run a list of requests with times and actors, or account a recording.",
    "blame": "Tell who is to blame for what was wasted, and what would help.",
    "timeline": "Draw module loads over time.",
    "export": "Tell module statistics to Prometheus.",
    "explain": "Tell why a module is asked for, and what each call cost.",
    "inspect": "Show what modules cost, loaded and as duplicates.",
    "mkmod": "Make kernel modules and module trees.",
    "schema": "Describe a file that people write.",
}


def _arguments(words: list[str]) -> list[str]:
    """As mount(8) and mount.fuse call it, ``modfs SOURCE MOUNTPOINT [-o OPTIONS]`` means mount."""
    if len(words) >= 2 and not words[0].startswith("-") and words[0] not in VERBS:
        looks_like_mount = words[1].startswith("/") or "-o" in words[2:3]
        if looks_like_mount:
            return ["mount", words[1], *words[2:]]
    return words


def main() -> None:
    """Run the command as the caller gave it, and exit."""
    try:
        _carry_out_and_exit()
    except KeyboardInterrupt:  # before the command began, or after it
        from modfs.cli.statuses import INTERRUPTED

        sys.exit(INTERRUPTED)


def _carry_out_and_exit() -> NoReturn:
    standard.prepare()
    words = _arguments(sys.argv[1:])
    if words == _VERSION:
        _leave(carry_out(words))
    if not _mounts_in_background(words):
        sys.exit(carry_out(words))
    from modfs.mount import head_start

    head_start.begin(_SERVES)
    try:
        status = carry_out(words)
    finally:
        head_start.abandon()
    _leave(status)


def _leave(status: int) -> NoReturn:
    """Exit from a process of one thread, without undoing all imports one by one: that takes as long
    as Python takes to start."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        sys.exit(status)
    os._exit(status)


_VERSION = ["--version"]
# What a server imports, beside how it mounts: its kernel's description, engine and files.
_SERVES = (
    "modfs.cli.engine",
    "loader.engine.threads",
    "modfs.mount.directory",
    "modfs.fuse.direct",
)


def _mounts_in_background(words: list[str]) -> bool:
    """Is it likely that there will be a server in another process? A guess: it is only quicker."""
    others = ("-f", "--foreground", "--host", "-h", "--help", "--version")
    return len(words) > 1 and words[0] == "mount" and not any(word in others for word in words)


def carry_out(words: list[str]) -> int:
    """Run the command; its exit status. What goes wrong is one line, never a traceback."""
    words = _arguments(words)
    command = f"modfs {words[0]}" if words and words[0] in VERBS else "modfs"
    try:
        status = _invoke(words)
        sys.stdout.flush()
        return status
    except (Exception, KeyboardInterrupt) as error:
        from modfs.cli.statuses import end  # not needed where all goes well

        return end(error, command)


run = carry_out
"""The same, until the verb of that name is imported."""


def _invoke(words: list[str]) -> int:
    """The status that a verb returns, or that --help and the like end with."""
    if words == _VERSION:
        from modfs.cli.version import told

        print(told())
        return 0
    import click

    from modfs.cli.verbs import modfs

    if "_MODFS_COMPLETE" in os.environ:  # a shell asks for completions
        modfs.main(prog_name="modfs")
    try:
        with modfs.make_context("modfs", words) as context:
            return int(modfs.invoke(context) or 0)
    except click.exceptions.Exit as ended:
        return ended.exit_code
