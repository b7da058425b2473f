"""The activity report as text, JSON, a page of its own, a PDF, a mail."""

from __future__ import annotations

import json
import sys
import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING

import click

from spamcannibal.commands.common import load_settings, open_store
from spamcannibal.errors import ConfigError, SpamCannibalError
from spamcannibal.rows import when

if TYPE_CHECKING:
    from spamcannibal.activity.facts import Facts
    from spamcannibal.activity.tables import Section
    from spamcannibal.settings import Settings


@dataclass(frozen=True)
class Wanted:
    """What was asked for: how many days, under which name, and where to."""

    days: int
    name: str
    html: str | None
    pdf: str | None
    is_mailed: bool
    is_dry: bool
    is_json: bool


def report(ctx: click.Context, wanted: Wanted) -> None:
    """Make the report of the days before today and bring it where it is wanted."""
    from spamcannibal.activity.figures import DAY, start_of
    from spamcannibal.activity.report import sections
    from spamcannibal.happenings import gather

    settings = load_settings(ctx)
    if wanted.is_mailed and not (settings.activity.recipients and settings.activity.sender):
        raise ConfigError("activity.recipients, activity.sender: missing; a report by mail needs both")
    now = time.time()
    with closing(open_store(settings)) as store:
        facts = gather(settings, store, wanted.days, now, start_of(DAY, now))
    found = sections(facts)
    title = f"SpamCannibal: {wanted.name} report of {settings.web.name}"
    if wanted.html:
        _write(wanted.html, page(title, facts, found).encode())
    if wanted.pdf:
        _write(wanted.pdf, _pdf(title, facts, found))
    if wanted.is_mailed:
        _send(settings, wanted, title, (facts, found))
    if wanted.is_json:
        from spamcannibal.activity.tables import as_rows

        rows = {section.name: as_rows(section.table, when) for section in found}
        span = {"since": when(facts.since_s * 1000), "until": when(facts.until_s * 1000)}
        click.echo(json.dumps({**span, **rows}, indent=2))
    elif not (wanted.html or wanted.pdf or wanted.is_mailed):
        click.echo(text(title, facts, found), nl=False)


def text(title: str, facts: Facts, found: list[Section]) -> str:
    """Return the report as text."""
    from spamcannibal.activity.tables import as_text
    from spamcannibal.happenings import brief

    parts = [f"{title}\n{_span(facts)}\n"]
    for section in found:
        body = as_text(section.table, brief) if section.table.rows else "Nothing was noted.\n"
        note = f"{section.note}\n" if section.note else ""
        parts.append(f"{section.title}\n{'-' * len(section.title)}\n{note}{body}")
    return "\n".join(parts)


def page(title: str, facts: Facts, found: list[Section]) -> str:
    """Return the report as a page that needs nothing beside it."""
    from importlib.resources import files

    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    from spamcannibal.activity.chart import NARROW, WIDE, draw
    from spamcannibal.happenings import brief, words

    environment = Environment(
        loader=PackageLoader("spamcannibal.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    style = files("spamcannibal.web").joinpath("static/style.css").read_text("utf-8")
    return environment.get_template("activity_file.html").render(
        title=title,
        style=Markup(style),
        **words(facts, found),
        drawn=lambda section, size: Markup(draw(section, brief, size)),
        sizes={"wide": WIDE, "narrow": NARROW},
        link=lambda name, form: "",
    )


def _span(facts: Facts) -> str:
    from spamcannibal.happenings import words

    return "From {since} to {until}, as of {made}. All times are UTC.".format(**words(facts, []))


def _pdf(title: str, facts: Facts, found: list[Section]) -> bytes:
    from spamcannibal.commands.report_pdf import pdf
    from spamcannibal.happenings import brief

    return pdf(title, _span(facts), found, brief)


def _send(settings: Settings, wanted: Wanted, title: str, made: tuple[Facts, list[Section]]) -> None:
    """Mail the report, or print the mail."""
    from spamcannibal.commands.robot_tools import mailer_of

    activity = settings.activity
    facts, found = made
    mail = EmailMessage(policy=SMTP)
    mail["From"] = activity.sender
    mail["To"] = ", ".join(activity.recipients)
    mail["Subject"] = f"{title}, {str(when(facts.until_s * 1000 - 1))[:10]}"
    mail["Date"] = formatdate(facts.now_ms / 1000)
    mail["Message-ID"] = f"<{uuid.uuid4()}@{activity.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text(title, facts, found), cte="quoted-printable")
    html = page(title, facts, found)
    mail.add_attachment(html, subtype="html", filename=f"{wanted.name}.html", cte="quoted-printable")
    if wanted.pdf:
        data = _pdf(title, facts, found)
        mail.add_attachment(data, maintype="application", subtype="pdf", filename=f"{wanted.name}.pdf")
    if wanted.is_dry:
        sys.stdout.buffer.write(mail.as_bytes().replace(b"\r\n", b"\n"))
        sys.stdout.buffer.flush()
        return
    mailer_of(settings.robot).send(activity.sender, list(activity.recipients), mail.as_bytes())


def _write(path: str, data: bytes) -> None:
    """Write a file whole, or standard output for `-`."""
    if path == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    new = target.with_name(f".{target.name}.new")
    try:
        new.write_bytes(data)
        new.replace(target)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise SpamCannibalError(f"{path}: {error.strerror}") from None
