"""`spamcannibal token`: which programs may use the API."""

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from spamcannibal.addr import format_key, parse_key
from spamcannibal.commands.common import dry_run_option, emit, json_option, load_settings, open_store
from spamcannibal.commands.moments import duration
from spamcannibal.errors import AddrError
from spamcannibal.rows import when

if TYPE_CHECKING:
    from spamcannibal.web.tokens import Token

COLUMNS = ("token", "scopes", "made", "expires", "from", "per_minute")
SCOPES = ("read", "write", "admin", "bouncer", "metrics")


def _nets(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(format_key(parse_key(text)) for text in value)
    except AddrError as error:
        raise click.BadParameter(str(error)) from None


@click.group()
def command() -> None:
    """Make, show and revoke the tokens of programs that use the API (/api/v1), bouncers and Prometheus.

    A program sends its token's secret as "Authorization: Bearer SECRET", a CrowdSec bouncer as its api_key. What it
    does stands in the journal as api:NAME. Scopes: read (listings, evidence, journal, never-list, status), write (add,
    amend and remove listings), admin (undo), bouncer (decisions), metrics.

    \b
    Examples:
      spamcannibal token add sensor --scope read --scope write --from 192.0.2.0/24
      spamcannibal token add fw1 --scope bouncer
    """


@command.command()
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES), help="What it may; repeat.")
@click.option("--expires", callback=duration, metavar="DURATION", help="End after this time, such as 90d.")
@click.option("--from", "nets", multiple=True, callback=_nets, metavar="PREFIX", help="Only from there; repeat.")
@click.option("--per-minute", type=click.IntRange(1, 1_000_000), help="Its rate; default is api.per_minute.")
@dry_run_option
@json_option
@click.pass_context
def add(ctx: click.Context, /, name: str, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Make a token NAME and print its secret, once: only its hash is kept.

    \b
    Examples:
      spamcannibal token add sensor --scope read --scope write --expires 90d
      spamcannibal token add fw1 --scope bouncer --from 192.0.2.7 --json | jq -r '.[0].secret'
    """
    from spamcannibal.web.tokens import NAME_FORM, Token, Tokens, is_name, scopes_of

    if not is_name(name):
        raise click.BadParameter(f"want {NAME_FORM}", param_hint="NAME")
    now = time.time()
    until_ms = int((now + options["expires"]) * 1000) if options["expires"] else 0
    token = Token(
        "", scopes_of(options["scopes"]), int(now * 1000), until_ms, options["nets"], options["per_minute"] or 0
    )
    with closing(open_store(load_settings(ctx))) as store:
        secret = None if dry_run else Tokens(store.env).add(name, token, now)
    row = {**_row(name, token), "secret": secret}
    if as_json:
        emit([row], (), True)
        return
    emit([row], COLUMNS, title="would make" if dry_run else "")
    if secret:
        click.echo("secret, shown this once:", err=True)
        click.echo(secret)


@command.command(name="list")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """Show the tokens: what they may, until when, from where. Secrets can't be shown again.

    \b
    Examples:
      spamcannibal token list
      spamcannibal token list --json
    """
    from spamcannibal.web.tokens import Tokens

    with closing(open_store(load_settings(ctx))) as store:
        found = Tokens(store.env).all(time.time())
    emit([_row(name, token) for name, token in found], COLUMNS, as_json)


@command.command()
@click.argument("names", nargs=-1, required=True)
@dry_run_option
@json_option
@click.pass_context
def revoke(ctx: click.Context, names: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Revoke the tokens NAMES; they are refused from the next request on. Exit 1 if there is none of a name.

    \b
    Examples:
      spamcannibal token revoke sensor
    """
    from spamcannibal.web.tokens import Tokens

    now = time.time()
    with closing(open_store(load_settings(ctx))) as store:
        tokens = Tokens(store.env)
        known = {name for name, _ in tokens.all(now)}
        done = {name: name in known if dry_run else tokens.revoke(name, now) for name in names}
    rows = [{"token": name, "done": "revoked" if is_done else "not there"} for name, is_done in done.items()]
    emit(rows, ("token", "done"), as_json, "would do" if dry_run else "")
    ctx.exit(0 if all(done.values()) else 1)


def _row(name: str, token: "Token") -> dict[str, Any]:
    return {
        "token": name,
        "scopes": list(token.scopes),
        "made": when(token.made_ms),
        "expires": when(token.until_ms),
        "from": list(token.nets) or None,
        "per_minute": token.per_minute or None,
    }
