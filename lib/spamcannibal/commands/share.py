"""`spamcannibal share`: tell other sites what was proven here."""

import click

from spamcannibal.commands.common import dry_run_option


@click.command()
@click.option("--once", is_flag=True, help="Tell what there is, and end.")
@click.option("--from-start", is_flag=True, help="Begin a site that was not told before with all that is listed.")
@dry_run_option
@click.pass_context
def command(ctx: click.Context, once: bool, from_start: bool, dry_run: bool) -> None:
    """Follow our journal, and report what was proven here to the gather listeners of other sites, share.peer.

    Told is what robot, trap and our own reporters listed, and is published; never what another site told us, in whole
    or in part, and never what other blocklists say. There it is a report of the weight and limits that the other site
    gives us (gather.reporter, with peer = true), no more. A new site is told what is listed from then on; after a stop
    it goes on where it was. Removals are not told: what the other site made of a report ends by its own terms.

    --dry-run prints what would be told, and neither tells nor remembers. Stops at SIGTERM; SIGHUP reads the settings
    again. Exit 75 if --once could not tell everything, 78 if the settings are wrong.

    \b
    Examples:
      spamcannibal share --dry-run --once --from-start
      spamcannibal share
    """
    # Imported here, since --help needs no database.
    from spamcannibal.commands.share_serve import serve

    ctx.exit(serve(ctx, once, from_start, dry_run))
