"""`spamcannibal blcheck`, formerly sc_BLcheck: examine the archived addresses."""

import time
from typing import TYPE_CHECKING

import click

from spamcannibal.commands.common import dry_run_option, json_option, progress, verbose_option
from spamcannibal.errors import ConfigError

if TYPE_CHECKING:
    from spamcannibal.jobs.report import Report
    from spamcannibal.service import Signals
    from spamcannibal.settings import Settings
    from spamcannibal.store.stores import Store


@click.command()
@verbose_option
@dry_run_option
@json_option
@click.pass_context
def command(ctx: click.Context, verbose: bool, dry_run: bool, as_json: bool) -> None:
    """Examine each address that knocked and is not listed; list whom the rules ([jobs]) and lists ([remote]) take.

    For cron, every few minutes: it says something only if it did something. A list that did not answer lists nobody;
    the address is asked about again in the next run. SIGTERM ends it in order, the rest is for the next run. A dry run
    asks, too, and what it asks counts towards the day's questions of a list.

    \b
    Exit codes:
      0   done, or it runs already
      1   a breaker of [guard] stopped it
      75  no resolver answers; nothing was changed, or only what was decided before they fell silent
      78  the settings are wrong, or no rule is in force

    \b
    Examples:
      spamcannibal blcheck --dry-run
      spamcannibal blcheck --json | jq .zones
    """
    from spamcannibal.commands import running
    from spamcannibal.jobs.blcheck import BlCheck, Plan

    def job(settings: "Settings", store: "Store", signals: "Signals") -> "Report":
        def is_over() -> bool:
            return signals.stop

        rules = running.load_rules(settings, store)
        if rules.is_empty:
            raise ConfigError("blcheck: nothing to examine by; name lists in [remote] lists, or set a rule of [jobs]")
        breaker = running.listing_breaker(settings.guard, store, time.time())
        count = store.counts()["archive"]
        with running.asker(settings, rules, is_over, count) as asker, progress(count, "examining") as advance:
            jobs = settings.jobs
            plan = Plan(settings.guard.v6_prefix, jobs.unknown_runs, jobs.fresh_s, dry_run, is_over, progress=advance)
            return BlCheck(store, rules, asker, breaker, plan).run()

    running.run(ctx, "blcheck", job, dry_run, as_json, verbose)
