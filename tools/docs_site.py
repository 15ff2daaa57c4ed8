"""What mkdocs does besides: pages of files outside docs/, and of the command's own help.

A link to a file of the project that has no page on the site becomes its mere name.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

import click
from mkdocs.structure.files import File

_PROJECT = Path(__file__).parent.parent
# File of the project -> page.
_PAGES: dict[str, str] = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
    "tests/oracle/data/README.md": "recordings.md",
}
_LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
_CODE = re.compile(r"(?ms)^(```.*?^```|~~~.*?^~~~)$|(`[^`\n]+`)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in docs/."""
    for source, page in _PAGES.items():
        text = (_PROJECT / source).read_text()
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "commands.md", content=_commands()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Have links lead to pages of the site."""
    sources = {site: source for source, site in _PAGES.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    folder = posixpath.dirname(source)
    parts = _CODE.split(markdown)  # every third and second of three is code
    return "".join(
        part if index % 3 else _LINK.sub(lambda link: _led(link, folder), part)
        for index, part in enumerate(parts)
        if part is not None
    )


def _led(link: re.Match[str], folder: str) -> str:
    target = posixpath.normpath(posixpath.join(folder, link[2]))
    page = _PAGES.get(target)
    if page is None and target.startswith("docs/") and (_PROJECT / target).exists():
        page = target.removeprefix("docs/")
    return f"[{link[1]}]({page}{link[3] or ''})" if page else link[1]


def _commands() -> str:
    """What ``--help`` says of every verb."""
    from modfs.cli import VERBS
    from modfs.cli.verbs import modfs

    parts = ["# Commands\n", _help(modfs, None)]
    group = click.Context(modfs, info_name="modfs")
    for verb in VERBS:
        command = modfs.get_command(group, verb)
        assert command is not None
        parts += [f"## modfs {verb}\n", _help(command, group, verb)]
    return "\n".join(parts)


def _help(command: click.Command, parent: click.Context | None, name: str = "modfs") -> str:
    settings: dict[str, Any] = {**command.context_settings, "max_content_width": 100}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    return f"```text\n{command.get_help(context)}\n```\n"
