"""A manual page as man(7) macros: sections, paragraphs, lists of terms, examples."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

_FIRST = re.compile(r"^(?=[.'])", re.MULTILINE)  # a line that would be taken for a macro
_WIDTH = 70  # of lines in the file; what a reader sees is the terminal's matter
_MARKED = re.compile(r"`([^`]+)`")


def escaped(text: str) -> str:
    """Text that stands for itself; a hyphen can be copied as one."""
    return _FIRST.sub(r"\\&", text.replace("\\", "\\e").replace("-", "\\-"))


def running(text: str) -> str:
    """Prose: what stands in backquotes is bold."""
    filled = textwrap.fill(text, _WIDTH, break_on_hyphens=False, break_long_words=False)
    return _MARKED.sub(r"\\fB\1\\fR", escaped(filled))


class Page:
    """One page. Each method adds to its end."""

    def __init__(self, name: str, section: int, release: str, summary: str) -> None:
        self.file = f"man{section}/{name}.{section}"
        quoted = f'"{section}" "" "modfs {release}" "modfs"'
        self._lines = [f'.TH "{name.upper()}" {quoted}', ".nh", ".ad l"]
        self.section("NAME")
        self._lines.append(f"{escaped(name)} \\- {escaped(summary)}")

    def section(self, title: str) -> None:
        self._lines.append(f".SH {title}")

    def subsection(self, title: str) -> None:
        self._lines.append(f".SS {escaped(title)}")

    def paragraph(self, text: str) -> None:
        self._begin_paragraph()
        self._lines.append(running(text))

    def _begin_paragraph(self) -> None:
        if not self._lines[-1].startswith((".SH", ".SS")):  # these begin one as well
            self._lines.append(".PP")

    def synopsis(self, words: Iterable[str]) -> None:
        """The first word is what is typed."""
        first, *others = words
        self._lines.append(f"\\fB{escaped(first)}\\fR {escaped(' '.join(others))}")

    def term(self, name: str, text: str, argument: str = "") -> None:
        """One entry of a list; ``argument`` is what the reader puts there."""
        shown = f" \\fI{escaped(argument)}\\fR" if argument else ""
        self._lines += [".TP", f"\\fB{escaped(name)}\\fR{shown}", running(text) or "\\&"]

    def example(self, text: str) -> None:
        """Lines as they are."""
        self._begin_paragraph()
        self._lines += [".in +4n", ".EX", escaped(text.strip("\n")), ".EE", ".in"]

    def see_also(self, *pages: tuple[str, int]) -> None:
        self.section("SEE ALSO")
        shown = (f"\\fB{escaped(name)}\\fR({section})" for name, section in pages)
        self._lines.append(",\n".join(shown))

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"
