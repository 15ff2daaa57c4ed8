"""Buffers of Debian's kernels as trace_pipe_raw gave them, with the text that the kernel made of
the same events, and with its formats (tests/oracle/data/traces/raw-*.tar.xz)."""

from __future__ import annotations

import functools
import tarfile
from dataclasses import dataclass

from modfs.tracing.definitions import probed
from modfs.tracing.formats import EventFormat, PageFormat, event_format, page_format
from modfs.tracing.lines import Line, parse
from tests.conftest import PROJECT

DATA = PROJECT / "tests/oracle/data/traces"
RELEASES = ("6.1", "6.12", "7.3")


@dataclass(frozen=True)
class Recorded:
    """One boot's."""

    files: dict[str, bytes]

    @property
    def page(self) -> PageFormat:
        return page_format(self.files["events/header_page"].decode())

    @property
    def formats(self) -> list[EventFormat]:
        names = (name for name in self.files if name.endswith("/format"))
        return [event_format(self.files[name].decode()) for name in names]

    @property
    def functions(self) -> dict[str, str]:
        definitions = self.files["dynamic_events"].decode().splitlines()
        return dict(filter(None, map(probed, definitions)))

    def pages(self) -> dict[int, list[bytes]]:
        """By processors."""
        size = self.page.size
        return {
            int(name.removeprefix("raw/cpu")): [
                data[start : start + size] for start in range(0, len(data), size)
            ]
            for name, data in self.files.items()
            if name.startswith("raw/")
        }

    def lines(self) -> list[Line]:
        """What the kernel's text says, by the reader of texts."""
        lines = self.files["trace"].decode().splitlines()
        found = [parse(line, self.functions) for line in lines if not line.startswith("#")]
        assert all(found)
        return [line for line in found if line]


@functools.cache
def recorded(release: str) -> Recorded:
    """What was recorded of a release."""
    with tarfile.open(DATA / f"raw-{release}.tar.xz") as archive:
        files = {}
        for member in archive:
            file = archive.extractfile(member)
            assert file
            files[member.name] = file.read()
    return Recorded(files)
