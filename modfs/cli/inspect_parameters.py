"""`modfs inspect --parameters`: what modules can be told, and who checks it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from loader.calls import MODULE_INIT_COMPRESSED_FILE
from loader.config import Config
from loader.errors import UserError, in_words
from loader.image.module_image import ModuleImage, read_image
from loader.image.parameters import Parameter
from loader.packings import NOT_PACKED, by_suffix
from modfs.cli.statuses import DONE, FAILED, complain
from modfs.cli.table import aligned

NOT_KNOWN = "its own, not known"


class Row(NamedTuple):
    """One parameter. ``mode`` of its file, octal; ``check``: of what it is set to."""

    module: str
    parameter: str
    type: str
    mode: str
    default: str
    check: str


def check_of(parameter: Parameter) -> str:
    """Who checks it: the kernel, by its type; a function of the module's own, which is known by
    the source that is named; or one that takes any text here."""
    if not parameter.own_set:
        return "by its type"
    return f"its own: {parameter.check.source}" if parameter.check else NOT_KNOWN


def _rows(image: ModuleImage) -> Iterator[Row]:
    for found in image.contents.parameters.values():
        mode = f"{found.mode:04o}"
        yield Row(image.name, found.name, found.type, mode, found.default, check_of(found))


def _read(path: Path, config: Config, machines: Iterable[int]) -> ModuleImage:
    """For the first machine whose kernel takes it. OSError; UserError: none does."""
    packed = by_suffix(path)
    config = replace(config, compression=packed.name if packed else NOT_PACKED)
    flags = MODULE_INIT_COMPRESSED_FILE if packed else 0
    data, failure = path.read_bytes(), None
    for machine in machines:
        image = read_image(data, flags, replace(config, machine=machine))
        found = image.decompress_failure or image.becoming_failure or image.layout_failure
        if found is None:
            return image
        failure = failure or found
    raise UserError(f"the kernel would refuse it with {failure.name if failure else 'ENOEXEC'}")


def show(
    files: Iterable[str | Path], config: Config, machines: Collection[int], as_json: bool
) -> int:
    """Print those of all files; the exit status."""
    rows: list[Row] = []
    status = DONE
    for path in files:
        try:
            rows += _rows(_read(Path(path), config, machines))
        except OSError as error:
            status = FAILED
            complain(f"{path}: {in_words(error)}")
        except UserError as error:
            status = FAILED
            complain(f"{path}: {error}")
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=1))
    elif rows:
        heading = tuple(field.upper() for field in Row._fields)
        print(*aligned([heading, *rows], left=range(len(heading))), sep="\n")
    return status
