"""`spamcannibal report`: what happened, as a file or a mail; and sources of spam to their abuse contacts."""

from __future__ import annotations

import click

from spamcannibal.commands.report_abuse import command as abuse


class ReportGroup(click.Group):
    """A group whose arguments go to `abuse` unless the first word names another; click offers only to inherit."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        word = next((arg for arg in args if not arg.startswith("-")), None)
        if word is not None and word not in self.commands:
            args = ["abuse", *args]
        return super().parse_args(ctx, args)


@click.group(cls=ReportGroup)
def command() -> None:
    """Report what happened lately, or report sources of spam to their abuse contacts.

    Without daily or weekly the words are addresses to report, as of `report abuse`.

    \b
    Examples:
      spamcannibal report daily
      spamcannibal report weekly --pdf week.pdf
      spamcannibal report daily --mail
      spamcannibal report 192.0.2.7 --send
    """


def _add(days: int, name: str, words: str) -> None:
    """Add the command that reports so many days."""

    @command.command(name, help=_HELP.format(words=words, name=name))
    @click.option(
        "--html",
        metavar="FILE",
        type=click.Path(allow_dash=True),
        help="Write a page of its own; - is standard output.",
    )
    @click.option("--pdf", metavar="FILE", type=click.Path(allow_dash=True), help="Write a PDF; - is standard output.")
    @click.option("--mail", is_flag=True, help="Mail it to [activity] recipients, tables as text, the page attached.")
    @click.option("--dry-run", is_flag=True, help="With --mail: print the mail, send nothing.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.pass_context
    def made(ctx: click.Context, html: str | None, pdf: str | None, mail: bool, dry_run: bool, as_json: bool) -> None:
        from spamcannibal.commands.report_activity import Wanted, report

        if dry_run and not mail:
            raise click.UsageError("--dry-run needs --mail: only mail goes anywhere")
        report(ctx, Wanted(days, name, html, pdf, mail, dry_run, as_json))


_HELP = """Report {words}: packets, who was held longest, networks, DNS, changes of the list, remote lists.

    To the terminal, unless one of the options says where to. The same numbers are on the page /activity.

    \b
    Examples:
      spamcannibal report {name} --html report.html --pdf report.pdf
      spamcannibal report {name} --mail --dry-run
    """

command.add_command(abuse, "abuse")
_add(1, "daily", "the day before today (of UTC)")
_add(7, "weekly", "the seven days before today (of UTC)")
