"""`spamcannibal stats`: how much there is, and which lists and rules hit how often."""

import json
from typing import Any

import click

from spamcannibal.commands.common import emit, json_option, load_settings, open_store


@click.command()
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show the number of records, and how often each remote list and rule caused a listing, the most frequent first.

    Counted are new listings by blcheck; one that several lists caused counts for each of them.

    \b
    Examples:
      spamcannibal stats
      spamcannibal stats --json | jq '.zones[0]'
    """
    from spamcannibal.rows import when
    from spamcannibal.store.examine import hits

    store = open_store(load_settings(ctx))
    try:
        counts, found = store.counts(), hits(store)
    finally:
        store.close()
    last_seq = counts.pop("journal")
    zones = [{"zone": zone, "hits": count} for zone, count in found.zones.items()] if found else []
    rest = {
        "passed": found.passed if found else 0,
        "passed_unsure": found.given_up if found else 0,
        "never_listed": found.never if found else 0,
    }
    since = when(found.since_ms) if found else None
    if as_json:
        document: dict[str, Any] = {"records": counts, "last_seq": last_seq, "since": since, "zones": zones, **rest}
        click.echo(json.dumps(document, indent=2))
        return
    emit([{"store": name, "records": count} for name, count in counts.items()], ("store", "records"))
    click.echo(f"changes so far: {last_seq}, the number of the newest one in the journal")
    click.echo(f"\nblcheck since {since or 'never'}:")
    rows = [*zones, *({"zone": f"({name.replace('_', ' ')})", "hits": count} for name, count in rest.items())]
    emit(rows, ("zone", "hits"))
