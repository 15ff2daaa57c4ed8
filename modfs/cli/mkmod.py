"""`modfs mkmod`: makes kernel modules, and trees of them, for those who have none at hand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from loader.errors import UserError
from loader.packings import SUFFIXES, compress, named
from loader.synthesize.builder import build_module, layout_of
from loader.synthesize.spec import ModuleSpec
from loader.synthesize.spec_file import Specs, read_specs, spec_from, specs_from_toml
from loader.synthesize.trees import demo_specs, write_tree
from modfs.cli.options import compress_option
from modfs.cli.statuses import FAILED, MISUSED, complain, ending_with

F = TypeVar("F", bound=Callable[..., Any])
_MODULE = re.compile(rf"(?P<name>.+)\.ko(?:\.(?P<compression>{'|'.join(SUFFIXES)}))?")
_RELEASE = "6.12"  # any that looks like one
_PARAMETER = re.compile(r"(?P<name>\w+):(?P<type>[a-z ]+)(?:=(?P<default>.*))?")

# Option, its argument, the field of loader.synthesize.spec.ModuleSpec that it sets, help.
_ONE = (
    ("--name", "NAME", "name", "The module's name, if not that of the file."),
    ("--text", "SIZE", "text", "Code (.text)."),
    ("--rodata", "SIZE", "rodata", "Constants."),
    ("--data", "SIZE", "data", "Variables that are set."),
    ("--bss", "SIZE", "bss", "Variables that are zero: memory that the file does not hold."),
    ("--init-text", "SIZE", "init_text", "Code that is freed after init."),
    ("--symbols", "COUNT", "symbols", "Local functions in the symbol table."),
    ("--file-bytes", "SIZE", "file_bytes", "Exact length of the file."),
    ("--total-size", "SIZE", "total_size", "What a load adds to total_mod_size; whole pages."),
    ("--text-size", "SIZE", "text_size", "What it adds to total_text_size; whole pages."),
    ("--license", "TEXT", "license", "GPL unless given."),
    ("--vermagic", "TEXT", "vermagic", "The kernel it is for."),
    ("--machine", "NAME", "machine", "x86_64 or aarch64."),
)

_MANY = (
    ("--depends", "MODULE", "depends", "A module that it needs."),
    ("--import", "SYMBOL", "imports", "A symbol that it uses."),
    ("--export", "SYMBOL", "exports", "A symbol that it offers."),
    ("--export-gpl", "SYMBOL", "exports_gpl", "A symbol that it offers to GPL modules."),
    ("--alias", "PATTERN", "aliases", "Another name, or a device pattern."),
    ("--softdep", "TEXT", "softdeps", 'Such as "pre: a b post: c".'),
    ("--param", "NAME:TYPE[=DEFAULT]", "parameters", 'A parameter; TYPE as "array of int".'),
    ("--modinfo", "TAG=VALUE", "modinfo", "An entry of .modinfo."),
)

_WITHOUT = (
    ("--out-of-tree", "intree", "Without intree=Y: taints the kernel."),
    ("--no-init", "has_init", "Without an init routine."),
    ("--no-exit", "has_exit", "Without an exit routine: cannot be removed."),
    ("--no-versions", "versions", "Without versions of symbols."),
)


def _module_options(function: F) -> F:
    """The options that describe one module."""
    options = [click.option(flag, key, is_flag=True, help=text) for flag, key, text in _WITHOUT]
    for many, rows in ((True, _MANY), (False, _ONE)):
        for flag, metavar, key, text in reversed(rows):
            text += " May be repeated." if many else ""
            options.append(click.option(flag, key, metavar=metavar, multiple=many, help=text))
    for option in options:
        function = option(function)
    return function


@click.command("mkmod")
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--demo", is_flag=True, help="A ready tree: 25 modules of a small server.")
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="What to make, in TOML.",
)
@compress_option("All modules of a tree. That of one module is the end of its file's name.")
@_module_options
def command(
    output: Path, demo: bool, source: Path | None, compression: str | None, **options: Any
) -> None:
    """Make a kernel module, or a tree of them.

    OUTPUT is a module's file if it ends in .ko, .ko.zst, .ko.gz or .ko.xz, and otherwise a folder
    for a tree (as /lib/modules/RELEASE) with depmod's indexes. SIZE is in bytes, or 16k, or 20MB.
    The options but for the first three describe one module.

    \b
    Examples:
      modfs mkmod xfs.ko --text 800k --data 280k --alias fs-xfs --param debug:int=0
      modfs mkmod xfs.ko.zst --total-size 2M --text-size 788k --file-bytes 4215096
      modfs mkmod --demo demo-tree
      modfs mkmod --from modules.toml --compress zst tree

    \b
    modules.toml has a table for each module (modfs schema modules tells of all fields):
      [[module]]
      name = "xfs"
      folder = "kernel/fs/xfs"
      text = "800k"
      depends = ["libcrc32c"]
      parameters = { debug = "int" }
      [[module]]
      name = "libcrc32c"
    """
    fields = _fields(options)
    if demo + (source is not None) + bool(fields) > 1:
        raise UserError("--demo, --from and the options of one module exclude each other")
    if match := _MODULE.fullmatch(output.name):
        if demo or compression:
            raise UserError(f"{output.name} is a module's file; --demo, --compress are a tree's")
        spec = _one_of(source) if source else _described({"name": match["name"], **fields})
        _make_module(output, spec, match["compression"])
        return
    if fields:
        raise UserError(f"{output.name}: a module's file ends in .ko, .ko.zst, .ko.gz, .ko.xz")
    if not demo and source is None:
        raise UserError("a tree needs --demo or --from FILE")
    modules, builtin = demo_specs() if source is None else _read(source)
    _make_tree(output, modules, builtin, compression)


def _described(fields: dict[str, Any]) -> ModuleSpec:
    """One module. UserError has the name of the option that is wrong."""
    try:
        return spec_from(fields)
    except UserError as error:
        flags = {key: flag for flag, _, key, _ in (*_ONE, *_MANY)}
        key, colon, rest = str(error).partition(":")
        raise UserError(f"{flags.get(key, key)}{colon}{rest}") from None


def _make_module(output: Path, spec: ModuleSpec, compression: str | None) -> None:
    data = build_module(spec)
    output.write_bytes(compress(data, named(compression)))
    layout = layout_of(spec)
    print(f"{output}: {len(data)} bytes; loaded {layout.total}, of which {layout.text_total} code")


def _make_tree(
    output: Path,
    modules: Sequence[ModuleSpec],
    builtin: Sequence[ModuleSpec],
    compression: str | None,
) -> None:
    made = write_tree(output, modules, compression=compression, builtin=builtin)
    print(f"{output}: {len(made)} modules")
    _run_depmod(output)


def _read(source: Path) -> Specs:
    """What a file describes. UserError: it cannot be read, or describes nothing."""
    with ending_with(MISUSED):
        if str(source) == "-":
            return specs_from_toml(sys.stdin.buffer.read(), "standard input")
        return read_specs(source)


def _one_of(source: Path) -> ModuleSpec:
    modules, _ = _read(source)
    if len(modules) != 1:
        raise UserError(f"{source}: {len(modules)} modules for one file")
    return modules[0]


def _fields(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as `spec_from` takes them."""
    without = {key for _, key, _ in _WITHOUT}
    fields: dict[str, Any] = {key: value for key, value in options.items() if value}
    fields |= dict.fromkeys(without & fields.keys(), False)
    for key, read in (("parameters", _parameter), ("modinfo", _tag_and_value)):
        if key in fields:
            fields[key] = dict(map(read, fields[key]))
    return fields


def _parameter(text: str) -> tuple[str, dict[str, Any]]:
    match = _PARAMETER.fullmatch(text)
    if match is None:
        raise UserError(f"--param {text}: NAME:TYPE or NAME:TYPE=DEFAULT is expected")
    table: dict[str, Any] = {"type": match["type"]}
    if match["default"] is not None:
        table["default"] = match["default"] if match["type"] == "charp" else _number(match)
    return match["name"], table


def _number(match: re.Match[str]) -> int:
    try:
        return int(match["default"], 0)
    except ValueError:
        raise UserError(f"--param {match[0]}: the default is no number") from None


def _tag_and_value(text: str) -> tuple[str, str]:
    tag, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--modinfo {text}: TAG=VALUE is expected")
    return tag, value


def _run_depmod(tree: Path) -> None:
    """Have depmod add the binary indexes, without which modprobe does not read a tree.

    It wants the tree below lib/modules, so it is shown one in a folder of its own. The text indexes
    stay as they were: a depmod without zlib, as Debian's, would leave .ko.gz modules out of them.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    depmod = shutil.which("depmod", path=path)
    if depmod is None:
        complain("no depmod here, so modprobe will not find these")
        return
    texts = {index: index.read_bytes() for index in tree.glob("modules.*")}
    with tempfile.TemporaryDirectory(prefix="modfs-depmod-") as base:
        folder = Path(base, "lib", "modules")
        folder.mkdir(parents=True)
        (folder / _RELEASE).symlink_to(tree.resolve())
        done = subprocess.run([depmod, "-b", base, _RELEASE], capture_output=True, text=True)
    for index, text in texts.items():
        if index.suffix != ".bin":
            index.write_bytes(text)
    if done.returncode:
        raise UserError(done.stderr, status=FAILED)
