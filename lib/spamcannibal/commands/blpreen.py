"""`spamcannibal blpreen`, formerly sc_BLpreen: ask again about what other lists told us."""

from typing import TYPE_CHECKING

import click

from spamcannibal.commands.common import dry_run_option, json_option, progress, verbose_option

if TYPE_CHECKING:
    from spamcannibal.jobs.report import Report
    from spamcannibal.service import Signals
    from spamcannibal.settings import Settings
    from spamcannibal.store.stores import Store


@click.command()
@click.option("--all", "is_all", is_flag=True, help="All entries, not only those that knocked lately or end soon.")
@verbose_option
@dry_run_option
@json_option
@click.pass_context
def command(ctx: click.Context, is_all: bool, verbose: bool, dry_run: bool, as_json: bool) -> None:
    """Ask again about listings that other lists caused: refresh them, or remove what none of these lists has any more.

    What was proven here stays. No answer removes nothing and prolongs nothing. A list, or a rule, that left the
    settings is not asked: its entries end in their time.

    \b
    Exit codes:
      0   done, or it runs already
      1   a breaker of [guard] stopped it
      75  no resolver answers; nothing was changed, or only what was decided before they fell silent
      78  the settings are wrong

    \b
    Examples:
      spamcannibal blpreen --dry-run
      spamcannibal blpreen --all --json | jq .counts
    """
    from spamcannibal.commands import running
    from spamcannibal.jobs.blpreen import BlPreen, Plan

    def job(settings: "Settings", store: "Store", signals: "Signals") -> "Report":
        def is_over() -> bool:
            return signals.stop

        rules = running.load_rules(settings, store)
        breaker = running.removal_breaker(settings.guard)
        count = store.counts()["blcontrib"]
        with running.asker(settings, rules, is_over, count) as asker, progress(count, "asking again") as advance:
            jobs = settings.jobs
            plan = Plan(jobs.recheck_contact_s, jobs.recheck_due_s, is_all, dry_run, is_over, progress=advance)
            return BlPreen(store, rules, asker, breaker, plan).run()

    running.run(ctx, "blpreen", job, dry_run, as_json, verbose)
