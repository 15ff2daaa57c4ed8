"""``python -m modfs``: the command, where no ``modfs`` is in the PATH."""

from modfs.cli import main

main()
