"""What belongs below /usr/share."""

from __future__ import annotations

from click.shell_completion import get_completion_class

from modfs.cli.verbs import modfs as group
from tools.manual.formats import format_pages
from tools.manual.verbs import verb_pages

# shell -> where it looks for what completes a command
_COMPLETIONS = {
    "bash": "bash-completion/completions/modfs",
    "zsh": "zsh/site-functions/_modfs",
    "fish": "fish/vendor_completions.d/modfs.fish",
}


def share(release: str) -> dict[str, str]:
    """File -> its text. ``release``: modfs' own, such as 0.1.0."""
    files = {
        f"man/{page.file}": page.text() for page in (*verb_pages(release), *format_pages(release))
    }
    files["man/man8/mount.fuse.modfs.8"] = ".so man1/modfs-mount.1\n"
    for shell, place in _COMPLETIONS.items():
        kind = get_completion_class(shell)
        assert kind is not None
        files[place] = kind(group, {}, "modfs", "_MODFS_COMPLETE").source()
    return files
