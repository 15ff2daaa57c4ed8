"""modfs(1), and a page for each verb: from the click commands themselves."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator

import click

from modfs.cli import VERBS
from modfs.cli.statuses import STATUSES
from modfs.cli.verbs import modfs as group
from tools.manual.roff import Page

_FORMATS = (("modfs-control", 5), ("modfs-machine", 5), ("modfs-environment", 5))
_TAG = 60  # characters of an option with its choices
_NO_REWRAP = "\b"  # click's mark of a paragraph whose lines stay as they are


def verb_pages(release: str) -> Iterator[Page]:
    """The page of the command, then those of the verbs. ``release``: modfs' own."""
    yield _command_page(release)
    with click.Context(group, info_name="modfs") as context:
        for verb in VERBS:
            command = group.get_command(context, verb)
            assert command is not None
            yield _verb_page(release, verb, click.Context(command, info_name=verb, parent=context))


def _command_page(release: str) -> Page:
    page = Page("modfs", 1, release, "the Linux kernel's module loader in userspace")
    context = click.Context(group, info_name="modfs")
    page.section("SYNOPSIS")
    page.synopsis(("modfs", *group.collect_usage_pieces(context)))
    page.section("DESCRIPTION")
    _paragraphs(page, group.help or "")
    page.section("VERBS")
    for verb, text in VERBS.items():
        page.term(f"modfs {verb}", f"{text} See `modfs-{verb}`(1).")
    _options(page, group, context)
    page.section("EXIT STATUS")
    for number, text in STATUSES:
        page.term(str(number), text)
    page.see_also(*((f"modfs-{verb}", 1) for verb in VERBS), *_FORMATS, ("modprobe", 8))
    return page


def _verb_page(release: str, verb: str, context: click.Context) -> Page:
    command = context.command
    page = Page(f"modfs-{verb}", 1, release, VERBS[verb].rstrip("."))
    page.section("SYNOPSIS")
    page.synopsis((f"modfs {verb}", *command.collect_usage_pieces(context)))
    page.section("DESCRIPTION")
    _paragraphs(page, command.help or "")
    _options(page, command, context)
    if command.epilog:
        page.section("EXAMPLES")
        _paragraphs(page, command.epilog)
    page.see_also(("modfs", 1), *_FORMATS)
    return page


def _options(page: Page, command: click.Command, context: click.Context) -> None:
    page.section("OPTIONS")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            page.term(*_short(*record))


def _short(name: str, text: str) -> tuple[str, str]:
    """An option whose many choices are told in the text: nothing breaks a tag."""
    if len(name) <= _TAG:
        return name, text
    option, _, choices = name.partition(" [")
    return option, f"{text}  One of {', '.join(choices.rstrip(']').split('|'))}."


def _paragraphs(page: Page, text: str) -> None:
    """As click shows them: those marked keep their lines, the others flow."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if _NO_REWRAP in paragraph:
            _marked(page, paragraph.replace(_NO_REWRAP, "").strip("\n").split("\n"))
        else:
            page.paragraph(paragraph)


def _marked(page: Page, lines: list[str]) -> None:
    """Headings that end in a colon, each with its lines."""
    kept: list[str] = []
    for line in (*lines, ""):
        is_heading = line.endswith(":") and not line.startswith(" ")
        if not is_heading and line:
            kept.append(line)
            continue
        if kept:
            page.example(textwrap.dedent("\n".join(kept)))
            kept = []
        if is_heading and line not in ("Example:", "Examples:"):
            page.paragraph(line)
