"""The command modfs. Each verb is a module here, imported only when it is used."""

from __future__ import annotations

import importlib
import os
import sys

import click

from modfs.cli import standard

# verb -> what it does, in one line
VERBS: dict[str, str] = {
    "mount": "Mount the file system with the live statistics.",
    "umount": "Unmount it.",
    "status": "Tell what is mounted, of which kernel, and who waits there.",
    "top": "Show what happens in a mount, live.",
    "run": "Run a program that finds a kernel which loads modules.",
    "verify": "Replay recordings of booted kernels and compare.",
    "machine": "Write the machine file of this machine, or of another.",
    "simulate": "Boot a described machine in virtual time.",
    "sweep": "Boot described machines many times, and tell how it is spread.",
    "record": "Record a kernel's module loads from its trace.",
    "replay": "Run a list of requests with times and actors, or account a recording.",
    "blame": "Tell who is to blame for what was wasted, and what would help.",
    "timeline": "Draw module loads over time.",
    "export": "Tell module statistics to Prometheus.",
    "explain": "Tell why a module is asked for, and what each call cost.",
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from loader.words import did_you_mean, shown

            near = did_you_mean(args[0], VERBS)
            raise click.UsageError(f"there is no verb {shown(args[0])}{near}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from modfs.cli.statuses import STATUSES

        with formatter.section("Exit status"):
            formatter.write_dl([(str(number), text) for number, text in STATUSES])


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        import modfs as package  # "from modfs import" would look the version up twice
        from modfs.fuse.library import described

        host = os.uname()
        python = ".".join(map(str, sys.version_info[:3]))
        click.echo(f"modfs {package.__version__}")
        click.echo(f"Python {python}, {described()}, {host.sysname} {host.release}")
        if os.geteuid():
            from modfs.run import user_ids

            click.echo(user_ids.described())
        ctx.exit()


@click.group(
    cls=Verbs,
    subcommand_metavar="VERB ...",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show it, and what it runs on.",
)
@click.pass_context
def modfs(ctx: click.Context) -> int | None:
    """The Linux kernel's module loader and its /sys/kernel/debug/modules, in userspace.

    \b
    Example:
      modfs mount /tmp/m && echo 'insmod /path/to/xfs.ko' > /tmp/m/control
      cat /tmp/m/stats; modfs umount /tmp/m

    modfs VERB --help tells more.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return 2
    return None


def _arguments(words: list[str]) -> list[str]:
    """As mount(8) and mount.fuse call it, ``modfs SOURCE MOUNTPOINT [-o OPTIONS]`` means mount."""
    if len(words) >= 2 and not words[0].startswith("-") and words[0] not in VERBS:
        looks_like_mount = words[1].startswith("/") or "-o" in words[2:3]
        if looks_like_mount:
            return ["mount", words[1], *words[2:]]
    return words


def main() -> None:
    """Run the command as the caller gave it, and exit."""
    standard.prepare()
    sys.exit(carry_out(sys.argv[1:]))


def carry_out(words: list[str]) -> int:
    """Run the command; its exit status. What goes wrong is one line, never a traceback."""
    words = _arguments(words)
    command = f"modfs {words[0]}" if words and words[0] in VERBS else "modfs"
    try:
        status = _invoke(words)
        sys.stdout.flush()
        return status
    except (Exception, KeyboardInterrupt) as error:
        from modfs.cli.statuses import end  # not needed where all goes well

        return end(error, command)


run = carry_out
"""The same, until the verb of that name is imported."""


def _invoke(words: list[str]) -> int:
    """The status that a verb returns, or that --help and the like end with."""
    if "_MODFS_COMPLETE" in os.environ:  # a shell asks for completions
        modfs.main(prog_name="modfs")
    try:
        with modfs.make_context("modfs", words) as context:
            return int(modfs.invoke(context) or 0)
    except click.exceptions.Exit as ended:
        return ended.exit_code
