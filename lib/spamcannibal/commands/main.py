"""The command `spamcannibal`: global options, subcommands loaded when called, errors as one line and an exit code.

Exit codes: 0 done, 1 a problem found or refused, 2 wrong usage, else those of errors.py.
"""

from __future__ import annotations

import errno
import gc
import importlib
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from spamcannibal import __version__
from spamcannibal.commands import COMMANDS, SECTIONS
from spamcannibal.errors import SpamCannibalError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

EPILOG = """\b
Examples:
  spamcannibal config check
  spamcannibal list add 192.0.2.7 --text "sent spam to a trap"
  spamcannibal -c lab.toml up
"""


class LazyGroup(click.Group):
    """A group that imports a subcommand's module only to run it; click offers no other way than to inherit."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            # Imported here, since the nearest word is wanted only after a slip.
            from spamcannibal.decode import nearest, shown

            ctx.fail(f"no such command {shown(name)}{nearest(name, COMMANDS)}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """As click does it, but with the help lines of the table: click's own way imports every command."""
        from click.shell_completion import CompletionItem

        own = [] if incomplete[:1].isalnum() else click.Command.shell_complete(self, ctx, incomplete)
        lines = {name: line for name, (_, line) in COMMANDS.items() if name.startswith(incomplete)}
        return [CompletionItem(name, help=line) for name, line in lines.items()] + own

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), line) for name, (_, line) in commands.items()])


@click.command(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-c", "--config", metavar="FILE", type=click.Path(), help="Settings file instead of the usual one.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="Form of the event lines on stderr.")
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli(config: str | None, log_format: str | None) -> None:
    """Refuse mail from known spam sources at the packet level, and say why."""


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    try:
        cli(prog_name="spamcannibal")
    except SpamCannibalError as error:
        message = "".join(char if char.isprintable() else " " for char in str(error))
        print(f"spamcannibal: {message}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        print(f"spamcannibal: can't write the output: {error.strerror}", file=sys.stderr)
        sys.exit(74)
    finally:
        gc.freeze()  # else the interpreter looks through all that there is before it ends: a seventh of `explain`
    sys.exit(0)
