"""`spamcannibal cleanup`, formerly sc_cleanup: clear away what is over."""

from typing import TYPE_CHECKING

import click

from spamcannibal.commands.common import dry_run_option, json_option, progress, verbose_option

if TYPE_CHECKING:
    from spamcannibal.jobs.report import Report
    from spamcannibal.service import Signals
    from spamcannibal.settings import Settings
    from spamcannibal.store.stores import Store

CHECKED_LEAST_S = 86_400


@click.command()
@verbose_option
@dry_run_option
@json_option
@click.pass_context
def command(ctx: click.Context, verbose: bool, dry_run: bool, as_json: bool) -> None:
    """Clear away: listings whose time is over, old unexamined addresses, old journal records, log files.

    How long what is kept is [jobs] archive_days and journal_days. Text and source of live listings outlive the journal
    around them; undo and incremental zone transfers reach back as far as the journal does. It stays up to where each
    CrowdSec bouncer is that asked within 24 days.

    \b
    Exit codes: 0 done, or it runs already; 1 a breaker of [guard] stopped it.

    \b
    Examples:
      spamcannibal cleanup --dry-run
    """
    from spamcannibal.commands import running
    from spamcannibal.jobs.cleanup import STEPS, Cleanup, Plan
    from spamcannibal.web.bouncer_feed import unheard_ms

    def job(settings: "Settings", store: "Store", signals: "Signals") -> "Report":
        def is_over() -> bool:
            return signals.stop

        jobs = settings.jobs
        checked_s = max(jobs.fresh_s, CHECKED_LEAST_S)
        with progress(STEPS, "clearing away") as advance:
            plan = Plan(
                jobs.archive_days, jobs.journal_days, checked_s, dry_run, is_over,
                progress=advance, unheard_ms=lambda now: unheard_ms(store, now),
            )  # fmt: skip
            return Cleanup(store, running.removal_breaker(settings.guard), plan).run()

    running.run(ctx, "cleanup", job, dry_run, as_json, verbose)
