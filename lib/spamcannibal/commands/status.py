"""`spamcannibal status`: on one screen, how everything fares. It judges nothing: `doctor` does."""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from spamcannibal.commands.common import config_path, json_option, load_settings, printable, settings_path

if TYPE_CHECKING:
    from pathlib import Path

    from spamcannibal.settings import Settings

STORE_S = 1.0


@click.command()
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show services, counts, changes by source, queues, zones, jobs and lists set aside, on one screen.

    What can't be told is "unknown" (in JSON: null); much of it only root may see. `spamcannibal doctor` says what is
    wrong and what cures it.

    \b
    Examples:
      spamcannibal status
      watch -n 5 spamcannibal status
      spamcannibal status --json | jq .changes
    """
    # Imported here, since --help needs none of it.
    from spamcannibal.standing import lines

    settings = load_settings(ctx)
    document = _document(settings, settings_path(config_path(ctx)))
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    for name, told in lines(document):
        click.echo(printable(f"{name:9} {told}"))


def _document(settings: Settings, config: Path) -> dict[str, Any]:
    from spamcannibal.commands.reading import opened_for_reading
    from spamcannibal.doctor.finding import Untold, Wrong
    from spamcannibal.standing import standing

    store = opened_for_reading(settings, STORE_S)
    if isinstance(store, Untold | Wrong):
        return standing(settings, config, None, time.time())
    with closing(store):
        return standing(settings, config, store, time.time())
