"""`spamcannibal report abuse`: write to those who answer for a source of spam, with the evidence that is kept."""

from __future__ import annotations

import hashlib
import time
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from spamcannibal.addr import parse_key, split_key
from spamcannibal.commands.common import emit, json_option, load_settings, open_store, progress
from spamcannibal.errors import AddrError, ConfigError, SpamCannibalError, Unavailable, WireError

if TYPE_CHECKING:
    from spamcannibal.record import Piece
    from spamcannibal.robot.complaint import Complaint
    from spamcannibal.settings import Settings
    from spamcannibal.store.stores import Store

COLUMNS = ("address", "contacts", "from", "done")
DAY_S = 86400.0
# What those whom we can name proved; what anybody could have caused is never sent on to third parties.
TRUSTED = ("robot:", "admin:")


class Case(NamedTuple):
    """One source with what was proven about it, newest last."""

    addr: bytes
    pieces: list[Piece]


@click.command(epilog="ADDRESSES are addresses or prefixes, as they are listed.")
@click.argument("addresses", nargs=-1, required=True)
@click.option("--send", is_flag=True, help="Send it; without this nothing is sent.")
@click.option("--form", type=click.Choice(["arf", "xarf"]), default="arf", show_default=True, help="ARF or X-ARF 4.")
@click.option("--show", is_flag=True, help="Print the mails.")
@json_option
@click.pass_context
def command(ctx: click.Context, addresses: tuple[str, ...], send: bool, form: str, show: bool, as_json: bool) -> None:
    """Report ADDRESSES to their abuse contacts: those in [[complaint.contact]], else those that RDAP names.

    Only what a submitter signed or an admin listed is reported, as the public sees it. A contact gets so many reports
    a day ([complaint] per_contact_per_day). RDAP is asked in a dry run, too.

    \b
    Examples:
      spamcannibal report abuse 192.0.2.7
      spamcannibal report abuse 192.0.2.7 --show
      spamcannibal report abuse 192.0.2.7 2001:db8::/64 --send

    \b
    Exit codes: 0 reported, or would be; 1 some could not be, and why is said; 2 wrong usage; 78 settings.
    """
    settings = load_settings(ctx)
    if not settings.complaint.sender:
        raise ConfigError("complaint.sender: missing; reports need an address that takes the replies")
    rows: list[dict[str, Any]] = []
    with closing(open_store(settings)) as store, progress(len(addresses), "Reports") as step:
        for text in addresses:
            rows.append(_report(settings, store, text, (send, form, show)))
            step(1)
    if not show:
        emit(rows, COLUMNS, as_json, "" if send else "would do")
    ctx.exit(0 if all(row["is_done"] for row in rows) else 1)


def _report(settings: Settings, store: Store, text: str, how: tuple[bool, str, bool]) -> dict[str, Any]:
    """Report one source; what hinders it is told in its row."""
    is_sent, form, is_shown = how
    row: dict[str, Any] = {"address": text, "contacts": None, "from": None, "is_done": False}
    try:
        case = _case(store, text)
        row["contacts"], row["from"] = contacts_of(settings, case.addr)
        _check_rate(settings, store, row["contacts"])
        mail = _mail(settings, case, row["contacts"], form)
        if is_shown:
            click.echo(mail.replace(b"\r\n", b"\n"), nl=False)
        if is_sent:
            _send(settings, store, row["contacts"], mail)
    except (ConfigError, AddrError):
        raise
    except SpamCannibalError as error:
        return row | {"done": str(error)}
    return row | {"done": "sent" if is_sent else "would be sent", "is_done": True}


def _case(store: Store, text: str) -> Case:
    """Return what was proven about an address or prefix; WireError if there is nothing to report."""
    key = parse_key(text)
    addr, plen = split_key(key)
    found = store.get(addr) if plen == len(addr) * 8 else None
    listed = found[0] if found else key
    pieces = [piece for piece in store.evidence(listed) if piece.source.startswith(TRUSTED)]
    if store.get_key(listed) is None:
        raise WireError("not listed")
    if not pieces:
        raise WireError("nothing that a submitter or admin proved, so nothing to send on")
    return Case(addr, pieces)


def contacts_of(settings: Settings, addr: bytes) -> tuple[list[str], str]:
    """Return whom to write to, and who says so."""
    from spamcannibal.robot import rdap, whois

    terms = settings.complaint
    known = [rdap.Contact(tuple(map(parse_key, each.nets)), each.addresses) for each in terms.contact]
    found = rdap.known_contact(addr, known)
    if found:
        return list(found), "settings"
    if not terms.rdap:
        raise WireError("no contact in [[complaint.contact]], and complaint.rdap is empty")
    document = whois.ask(terms.rdap, addr, terms.wait_s)
    named = rdap.abuse_contacts(document) if document else ()
    if not named:
        raise WireError("RDAP names no abuse contact")
    return list(named), "RDAP"


def _check_rate(settings: Settings, store: Store, contacts: list[str]) -> None:
    """Raise Unavailable if a contact got its share of the day."""
    from spamcannibal.store.seen import Seen

    most, since_ms = settings.complaint.per_contact_per_day, int((time.time() - DAY_S) * 1000)
    for contact in contacts if most else ():
        if Seen(store.env).complaints(_digest(contact), since_ms) >= most:
            raise Unavailable(f"{contact} got {most} reports within a day (complaint.per_contact_per_day)")


def _mail(settings: Settings, case: Case, contacts: list[str], form: str) -> bytes:
    from spamcannibal.robot import arf, xarf

    complaint = _complaint(settings, case, contacts)
    return xarf.build_mail(complaint) if form == "xarf" else arf.build(complaint)


def _complaint(settings: Settings, case: Case, contacts: list[str]) -> Complaint:
    from spamcannibal.robot.complaint import Complaint
    from spamcannibal.robot.message import read_entity

    newest = case.pieces[-1]
    try:
        subject = read_entity(newest.body).header("subject")
    except WireError:  # an admin's text is no message
        subject = ""
    sender = settings.complaint.sender
    return Complaint(
        source=case.addr,
        evidence=newest.body,
        spam_s=newest.time_ms / 1000,
        now=time.time(),
        report_id=str(uuid.uuid4()),
        sender=sender,
        organisation=settings.complaint.organisation,
        domain=sender.rpartition("@")[2],
        recipients=tuple(contacts),
        subject=subject,
        incidents=len(case.pieces),
    )


def _send(settings: Settings, store: Store, contacts: list[str], mail: bytes) -> None:
    """Note a report, then send it: should we die between, one is missing rather than sent again and again."""
    from spamcannibal.commands.robot_tools import mailer_of
    from spamcannibal.store.seen import Seen

    now_ms = int(time.time() * 1000)
    for contact in contacts:
        Seen(store.env).note_complaint(_digest(contact), now_ms, now_ms - int(DAY_S * 1000))
    mailer_of(settings.robot).send(settings.complaint.sender, [*contacts, *settings.complaint.copies], mail)


def _digest(contact: str) -> bytes:
    return hashlib.sha256(contact.lower().encode()).digest()
