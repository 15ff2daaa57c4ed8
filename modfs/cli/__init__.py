"""The command modfs. Each verb is a module here, imported only when it is used."""

from __future__ import annotations

import importlib
import sys

import click

# verb -> what it does, in one line
VERBS: dict[str, str] = {
    "mount": "Mount the file system with the live statistics.",
    "umount": "Unmount it.",
    "run": "Run a program that finds a kernel which loads modules.",
    "verify": "Replay recordings of booted kernels and compare.",
    "simulate": "Boot a described machine in virtual time.",
    "replay": "Run a list of requests with times and actors.",
    "inspect": "Show what modules cost, loaded and as duplicates.",
    "mkmod": "Make kernel modules and module trees.",
    "schema": "Describe a file that people write.",
}


class Verbs(click.Group):
    """Loads a verb's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"modfs.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version  # takes as long as all the rest

        click.echo(f"modfs {version('modfs')}")
        ctx.exit()


@click.group(cls=Verbs, subcommand_metavar="VERB ...")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show it."
)
def modfs() -> None:
    """The Linux kernel's module loader and its /sys/kernel/debug/modules, in userspace.

    \b
    Example:
      modfs mount /tmp/m && echo 'insmod /path/to/xfs.ko' > /tmp/m/control
      cat /tmp/m/stats; modfs umount /tmp/m

    modfs VERB --help tells more.
    """


def _arguments(words: list[str]) -> list[str]:
    """As mount(8) and mount.fuse call it, ``modfs SOURCE MOUNTPOINT [-o OPTIONS]`` means mount."""
    if len(words) >= 2 and not words[0].startswith("-") and words[0] not in VERBS:
        looks_like_mount = words[1].startswith("/") or "-o" in words[2:3]
        if looks_like_mount:
            return ["mount", words[1], *words[2:]]
    return words


def main() -> None:
    """Run the command; what a user did wrong is one line and exit status 2, never a traceback."""
    try:
        status = modfs.main(_arguments(sys.argv[1:]), prog_name="modfs", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        status = 2
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        print(f"{where or 'modfs'}: {error.format_message()}", file=sys.stderr)
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = 130
    except BrokenPipeError:
        sys.stderr.close()
        status = 141
    sys.exit(status if isinstance(status, int) else 0)
