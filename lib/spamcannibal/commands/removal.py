"""`spamcannibal removal`: requests to be taken off the list that wait for the operator."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from spamcannibal.commands.common import admin_source, dry_run_option, emit, json_option, load_settings
from spamcannibal.events import EventLog
from spamcannibal.rows import when
from spamcannibal.settings import Settings

if TYPE_CHECKING:
    from spamcannibal.removal import Request
    from spamcannibal.web.site import Site

COLUMNS = ("id", "state", "address", "entry", "way", "place", "made", "why")
DONE_COLUMNS = ("id", "address", "entry", "state", "seq")
REASON_LIMIT = 500

reason_option = click.option("--reason", default="", help="Why, for the journal and for who asked.")


@click.group()
def command() -> None:
    """Show, approve or refuse requests to be taken off the list.

    Who is listed asks by the web pages. What [removal] does not leave to the machine waits here; whoever asked gets
    the answer by mail.
    """


@command.command(name="list")
@click.option("--all", "is_all", is_flag=True, help="Those that are settled, or not proven yet, too.")
@json_option
@click.pass_context
def list_(ctx: click.Context, is_all: bool, as_json: bool) -> None:
    """Show the requests that wait, the oldest first. Exit 1 if there are any.

    \b
    Examples:
      spamcannibal removal list
      spamcannibal removal list --all --json | jq '.[] | select(.state == "removed")'
    """
    from spamcannibal.web import removal_desk, removal_post

    with closing(_site(load_settings(ctx))) as site:
        waiting = removal_desk.waiting(site)
        shown = sorted(removal_post.removals(site).all(site.clock()), key=_made) if is_all else waiting
    emit([_row(id_, request) for id_, request in shown], COLUMNS, as_json)
    ctx.exit(1 if waiting else 0)


@command.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@reason_option
@dry_run_option
@json_option
@click.pass_context
def approve(ctx: click.Context, ids: tuple[str, ...], reason: str, dry_run: bool, as_json: bool) -> None:
    """Take off what the requests are about, and tell who asked. `spamcannibal list undo` takes it back.

    \b
    Examples:
      spamcannibal removal approve 0f437d8d29577801b040ba1b
    """
    from spamcannibal.web import removal_desk

    _decide(ctx, ids, (removal_desk.approve, "removed", reason), (dry_run, as_json))


@command.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@reason_option
@dry_run_option
@json_option
@click.pass_context
def refuse(ctx: click.Context, ids: tuple[str, ...], reason: str, dry_run: bool, as_json: bool) -> None:
    """Leave on the list what the requests are about, and tell who asked; see [removal] refused_s.

    \b
    Examples:
      spamcannibal removal refuse 0f437d8d29577801b040ba1b --reason "it sends to our traps every day"
    """
    from spamcannibal.web import removal_desk

    _decide(ctx, ids, (removal_desk.refuse, "refused", reason), (dry_run, as_json))


def _decide(
    ctx: click.Context, ids: tuple[str, ...], how: tuple[Callable[..., Request], str, str], form: tuple[bool, bool]
) -> None:
    """Decide about requests, each by itself; exit 1 if one can't be decided."""
    from spamcannibal.removal import Declined
    from spamcannibal.web import removal_desk

    (act, word, reason), (dry_run, as_json) = how, form
    rows, failed = [], False
    with closing(_site(load_settings(ctx))) as site:
        for id_ in ids:
            try:
                if dry_run:
                    request, found = removal_desk.forecast(site, id_)
                    row = _row(id_, request) | {"state": word if found or word == "refused" else "closed"}
                else:
                    row = _row(id_, act(site, id_, admin_source(), reason[:REASON_LIMIT]))
            except Declined as error:
                click.echo(str(error), err=True)
                failed = True
                continue
            rows.append(row)
    emit(rows, DONE_COLUMNS, as_json, "would do" if dry_run else "")
    ctx.exit(1 if failed else 0)


def _site(settings: Settings) -> Site:
    from spamcannibal.commands.web import make_site

    return make_site(settings, EventLog(sys.stderr, settings.log.format))


def _made(each: tuple[str, Request]) -> int:
    return each[1].made_ms


def _row(id_: str, request: Request) -> dict[str, Any]:
    return {
        "id": id_,
        "state": request.state,
        "address": request.addr,
        "entry": request.key,
        "way": request.way,
        "place": request.place,
        "made": when(request.made_ms),
        "why": list(request.why),
        "visitor": request.visitor,
        "reply": request.reply,
        "message": request.message,
        "by": request.by,
        "seq": request.seq or None,
    }
