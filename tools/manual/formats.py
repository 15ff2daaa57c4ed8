"""Pages of the files that people write: modfs-control(5), and one for each JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from loader.engine.init_routines_file import environment_schema
from loader.simulate.machine_file import machine_schema
from modfs.control import grammar
from tools.manual.roff import Page

_CONTROL = """\
Every mount of `modfs-mount`(1) has a file named control. A line that is written to it is a request
to the kernel whose statistics the mount shows; write(2) returns when the requests of all its lines
are done. If one failed, it returns that one's errno: the first, if several did. The others run all
the same. What is left of a line without an end runs when the file is closed.

Reading it shows this, and the latest hundred requests: their number, who wrote them, and how they
ended.
"""
_RIGHTS = """\
A file is opened with the rights of who asks for it. `control_mode` of `modfs-mount`(1) says who may
write at all.
"""
_SCHEMAS = (
    ("machine", "machines that modfs-simulate(1) boots", "TOML", machine_schema),
    ("environment", "how init routines behave", "JSON", environment_schema),
)


def format_pages(release: str) -> Iterator[Page]:
    """Those of section 5."""
    yield _control_page(release)
    for name, summary, syntax, schema in _SCHEMAS:
        yield _schema_page(Page(f"modfs-{name}", 5, release, summary), name, syntax, schema())


def _control_page(release: str) -> Page:
    page = Page("modfs-control", 5, release, "requests to a mounted modfs")
    page.section("DESCRIPTION")
    for paragraph in _CONTROL.split("\n\n"):
        page.paragraph(paragraph)
    page.section("REQUESTS")
    page.example("".join(line[2:] for line in grammar.HELP.splitlines(keepends=True)))
    page.section("REQUESTS OF PROGRAMS")
    told, calls, options = grammar.__doc__.split("\n\n")[1:4]  # the docstring has them
    page.paragraph(told)
    page.example("\n".join(line.strip() for line in calls.splitlines()))
    page.paragraph(options.replace("``", "`").split("\n`parse(")[0])
    page.section("RIGHTS")
    page.paragraph(_RIGHTS)
    page.see_also(("modfs", 1), ("modfs-mount", 1), ("init_module", 2), ("delete_module", 2))
    return page


def _schema_page(page: Page, name: str, syntax: str, schema: Mapping[str, Any]) -> Page:
    page.section("DESCRIPTION")
    page.paragraph(f"{schema['description']} The syntax is {syntax}'s. `modfs schema {name}` "
                   "prints the same as a JSON Schema.")  # fmt: skip
    for table in schema["$defs"].values():
        page.section(table["title"].removesuffix("Table").upper() or "FILE")
        page.paragraph(table.get("description", ""))
        required = table.get("required", ())
        for key, value in table.get("properties", {}).items():
            page.term(key, _told(value, key in required), _kind(value))
    page.see_also(("modfs", 1), ("modfs-simulate", 1), ("modfs-schema", 1))
    return page


def _told(value: Mapping[str, Any], required: bool) -> str:
    parts = [value.get("description", "")]
    if required:
        parts.append("Must be there.")
    if "default" in value:
        parts.append(f"Default: {json.dumps(value['default'])}.")
    if "examples" in value:
        parts.append(f"For instance {', '.join(map(json.dumps, value['examples'][:4]))}.")
    return " ".join(filter(None, parts))


def _kind(value: Mapping[str, Any]) -> str:
    if "$ref" in value:
        return str(value["$ref"]).rpartition("/")[2].removesuffix("Table").lower()
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_kind(each) for each in value["anyOf"]))
    if "enum" in value:
        return " | ".join(map(str, value["enum"]))
    if value.get("type") == "array":
        return f"array of {_kind(value.get('items', {}))}"
    return str(value.get("type", "value"))
