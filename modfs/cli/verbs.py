"""The command modfs and its verbs, as click has them."""

from __future__ import annotations

import importlib

import click

from modfs.cli import VERBS


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
        from modfs.cli.version import told

        click.echo(told())
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
