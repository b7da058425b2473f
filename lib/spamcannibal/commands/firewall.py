"""`spamcannibal firewall`: show, apply or remove the rules that queue packets to the tarpit."""

from typing import Any

import click

from spamcannibal.commands.common import dry_run_option, emit, json_option, load_settings
from spamcannibal.tarpit import rules
from spamcannibal.tarpit.firewall import apply, choose, families, plan, present, remove
from spamcannibal.tarpit.rules import Plan

COLUMNS = ("backend", "family", "table", "chain", "rule", "packets", "bytes")


@click.group()
def command() -> None:
    """Show, apply or remove the rules that queue packets to the tarpit.

    They stand in a chain (iptables) or table (nft) of their own and queue new packets to the defended ports only; your
    filter rules decide afterwards as always. Without the daemon the packets pass, unless firewall.bypass is off.
    """


@command.command()
@click.option("--form", type=click.Choice(list(rules.FORMS)), help="Print the rules of the settings for restore tools.")
@json_option
@click.pass_context
def show(ctx: click.Context, form: str | None, as_json: bool) -> None:
    """Print the rules in the kernel with their counters, or (--form) those that the settings ask for.

    \b
    Examples:
      spamcannibal firewall show
      spamcannibal firewall show --form nft > /etc/nftables.d/spamcannibal.nft
      spamcannibal firewall show --form iptables | iptables-restore --noflush
    """
    wanted = plan(load_settings(ctx))
    if form is None:
        rows = [{"backend": backend, **rule.row()} for backend, rule in present()]
        emit(rows, COLUMNS, as_json, "in the kernel")
        if not rows and not as_json:
            click.echo("no rules of ours: see `spamcannibal firewall apply`", err=True)
    elif as_json:
        emit(_rows(wanted, form), COLUMNS, as_json)
    else:
        click.echo(rules.snippet(form, wanted), nl=False)


@command.command(name="apply")
@dry_run_option
@json_option
@click.pass_context
def apply_rules(ctx: click.Context, dry_run: bool, as_json: bool) -> None:
    """Put the rules in place, in the form that this kernel can do; safe to repeat.

    \b
    Examples:
      spamcannibal firewall apply --dry-run
      spamcannibal firewall apply
    """
    settings = load_settings(ctx)
    wanted = plan(settings)
    backend = choose(wanted, settings.firewall.backend)
    if dry_run:
        forms = ("nft",) if backend == "nft" else ("iptables", "ip6tables")[: len(families())]
        rows = [{**row, "backend": backend} for form in forms for row in _rows(wanted, form)]
        emit(rows, COLUMNS, as_json, "would be in the kernel")
        return
    apply(wanted, backend)
    rows = [{"backend": name, **rule.row()} for name, rule in present()]
    if as_json:
        emit(rows, COLUMNS, as_json)
    else:
        click.echo(f"applied by {backend}: {len(rows)} rules, queue {settings.tarpit.queues}")


@command.command(name="remove")
@dry_run_option
@json_option
@click.pass_context
def remove_rules(ctx: click.Context, dry_run: bool, as_json: bool) -> None:
    """Take all of our rules out again, whoever put them in.

    \b
    Examples:
      spamcannibal firewall remove --dry-run
      spamcannibal firewall remove
    """
    rows = [{"backend": backend, **rule.row()} for backend, rule in present()]
    if not dry_run:
        remove()
    if as_json or (dry_run and rows):
        emit(rows, COLUMNS, as_json, "would be removed" if dry_run else "removed")
    else:
        click.echo(f"removed: {len(rows)} rules" if rows else "no rules of ours, nothing to remove")


def _rows(wanted: Plan, form: str) -> list[dict[str, Any]]:
    text = rules.snippet(form, wanted)
    found = rules.nft_rules(text) if form == "nft" else rules.iptables_rules(text, 6 if form == "ip6tables" else 4)
    return [{"backend": form, **rule.row()} for rule in found]
