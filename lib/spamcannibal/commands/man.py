"""`spamcannibal man`: the commands' help as manual pages."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from spamcannibal import __version__
from spamcannibal.commands import COMMANDS
from spamcannibal.commands.manual import SECTION, page, page_name

# Launchers of historic names, whose pages are those of their commands.
ALIASES = {
    "dbtarpit": "tarpit",
    "dnsbls": "dnsbl",
    "sc_BLcheck": "blcheck",
    "sc_BLpreen": "blpreen",
    "sc_cleanup": "cleanup",
    "sc_mailfilter": "robot",
}


@click.command()
@click.argument("name", metavar="[COMMAND]", required=False, type=click.Choice(list(COMMANDS)))
@click.option("--all", "folder", metavar="DIRECTORY", type=click.Path(path_type=Path), help="Write every page there.")
@click.pass_context
def command(ctx: click.Context, name: str | None, folder: Path | None) -> None:
    """Print the manual page of COMMAND, or of the program, as roff.

    Debian's package has them installed. The date on them is today's, or $SOURCE_DATE_EPOCH.

    \b
    Examples:
      spamcannibal man explain | man -l -
      spamcannibal man --all /usr/local/share/man/man8
    """
    root = ctx.find_root()
    top = click.Context(root.command, info_name=root.info_name, **root.command.context_settings)
    about = {"spamcannibal": root.command.help or ""}
    about |= {f"spamcannibal-{one}": purpose for one, (_, purpose) in COMMANDS.items()}
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    if folder is None:
        click.echo(page(_context(top, name), about, date, __version__), nl=False)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for one in (None, *COMMANDS):
        inner = _context(top, one)
        (folder / f"{page_name(inner)}.{SECTION}").write_text(page(inner, about, date, __version__), "utf-8")
    for alias, one in ALIASES.items():
        (folder / f"{alias}.{SECTION}").write_text(f".so man{SECTION}/spamcannibal-{one}.{SECTION}\n")


def _context(top: click.Context, name: str | None) -> click.Context:
    assert isinstance(top.command, click.Group)
    found = top.command.get_command(top, name) if name else None
    return click.Context(found, info_name=name, parent=top) if found else top
