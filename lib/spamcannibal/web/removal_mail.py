"""The mails of a removal: the token for who controls the address, the outcome, and what waits, for the operator. Pure.

Nothing that a stranger wrote stands in them: else the form would send his words to whom he likes. They are marked as
automatic (RFC 3834), and are sent with an empty envelope sender, so nothing answers them.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from spamcannibal.removal import Request
from spamcannibal.rows import when

LINE_LIMIT = 900  # RFC 5322 section 2.1.1 allows 998
OUTCOMES = {
    "removed": "was taken off the list",
    "queued": "waits for the operator's decision",
    "refused": "stays on the list: the operator refused the request",
    "closed": "needs no removal, or can't be removed here",
}


class House(NamedTuple):
    """Who writes: the sender's address, the site's name, and its pages' address ("": not known)."""

    sender: str
    name: str
    url: str


def token_mail(house: House, request: Request, token: str, until_ms: int, now: float) -> bytes:
    """Return the mail that asks who controls the address to confirm."""
    lines = [
        f"Somebody at {request.visitor} asked to take {request.addr} off the list of",
        f"{house.name}. You get this mail because you answer for that address.",
        "",
        "To go on, open this page and press its button; opening it changes nothing:",
        "",
        f"  {house.url.rstrip('/')}/removal/confirm/{token}",
        "",
        f"It works once, until {when(until_ms)}. Before that, stop what sent the spam: what",
        "is listed again stays longer.",
        "",
        "If nobody of yours asked, do nothing: then nothing happens.",
    ]
    return _mail(
        house, request.place, f"Removal of {request.addr}: please confirm", lines, (token.partition(".")[0], now)
    )


def outcome_mail(house: House, recipient: str, id_: str, request: Request, now: float) -> bytes:
    """Return the mail that says what became of a request."""
    lines = [f"{request.addr} {OUTCOMES.get(request.state, request.state)}.", ""]
    if request.state == "removed":
        lines += ["Mail servers that ask this list may remember its old answer for some minutes.", ""]
    if request.why:
        lines += ["Why:", *(f"  * {why}" for why in request.why), ""]
    if request.again_ms:
        lines += [f"Ask again from {when(request.again_ms)} on: it may be removed at once then.", ""]
    if house.url:
        lines += ["What is known of the address now:", f"  {house.url.rstrip('/')}/lookup/{request.addr}", ""]
    lines.append(f"Request {id_}, made {when(request.made_ms)}.")
    return _mail(house, recipient, f"Removal of {request.addr}: {request.state}", lines, (id_, now))


def waiting_mail(house: House, recipient: str, id_: str, request: Request, now: float) -> bytes:
    """Return the mail that tells the operator that a request waits for him."""
    lines = [
        f"A request to take {request.addr} off the list waits for your decision.",
        "",
        f"The entry: {request.key}. Proven by {request.way}, at {request.place}.",
        "It is not removed by itself because:",
        *(f"  * {why}" for why in request.why),
        "",
        f"  spamcannibal removal approve {id_}",
        f"  spamcannibal removal refuse {id_} --reason WHY",
    ]
    return _mail(house, recipient, f"Removal of {request.addr} waits for you", lines, (id_, now))


def _mail(house: House, recipient: str, subject: str, lines: Sequence[str], stamp: tuple[str, float]) -> bytes:
    """Return a mail, its lines ended by CRLF; `stamp` is the request's id and the time."""
    # Imported here, since pages show without.
    from email.message import EmailMessage
    from email.policy import SMTP
    from email.utils import formatdate

    request_id, now = stamp
    unique = hashlib.sha256(f"{request_id}\0{recipient}\0{subject}".encode()).hexdigest()[:20]
    mail = EmailMessage(policy=SMTP)
    mail["From"] = house.sender
    mail["To"] = recipient
    mail["Subject"] = f"[{house.name}] {subject}"
    mail["Date"] = formatdate(now, usegmt=True)
    mail["Message-ID"] = f"<{unique}.{int(now * 1000)}@{house.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    text = "\n".join([*lines, "", "-- ", house.name]) + "\n"
    is_plain = text.isascii() and max(map(len, text.splitlines())) < LINE_LIMIT
    mail.set_content(text, cte="7bit" if is_plain else "quoted-printable")  # a link is best left as it is
    return mail.as_bytes()
