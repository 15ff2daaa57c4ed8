"""modfs schema: the JSON Schema of a file that people write."""

from __future__ import annotations

import importlib
import json

import click

# name -> the module with the format's definition; NAME_schema there makes the schema of it.
_FORMATS: dict[str, str] = {
    "machine": "loader.simulate.machine_file",
    "modules": "loader.synthesize.spec_file",
    "environment": "loader.engine.init_routines_file",
    "scenario": "loader.simulate.scenario",
    "transcript": "modfs.verify.transcript",
    "recording": "loader.observe.recording_format",
    "export": "modfs.export.write",
    "top": "modfs.top.batch",
}

_EXAMPLE = """
\b
Example:
  modfs schema machine > machine.schema.json
"""


@click.command(epilog=_EXAMPLE)
@click.argument("name", type=click.Choice(list(_FORMATS)))
def command(name: str) -> None:
    """Print the JSON Schema of a format: its fields, what they are and what may be in them.

    \b
    machine      modfs simulate MACHINE (TOML)
    modules      modfs mkmod --from FILE (TOML)
    environment  --environment FILE (JSON)
    scenario     a line of what modfs replay reads (JSON lines)
    transcript   a line of what modfs verify reads (JSON lines)
    recording    a line of what modfs record writes (JSON lines)
    export       what modfs export --json prints
    top          a line that modfs top --json prints
    """
    definition = importlib.import_module(_FORMATS[name])
    print(json.dumps(getattr(definition, f"{name}_schema")(), indent=1, ensure_ascii=False))
