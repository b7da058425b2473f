"""Abuse reports in ARF (RFC 5965): a complaint as a mail, and a report's fields as what they say.

    multipart/report; report-type=feedback-report
      text/plain                   for people
      message/feedback-report      Feedback-Type, User-Agent, Version, Source-IP, Arrival-Date, ... one to a line
      message/rfc822               the evidence

Original-Rcpt-To is left out on purpose: it would tell the spammer which address is watched (RFC 6590).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from spamcannibal import __version__
from spamcannibal.addr import format_addr
from spamcannibal.errors import WireError
from spamcannibal.robot.complaint import (
    Complaint,
    evidence_message,
    human_text,
    mail_date,
    mail_header,
    one_line,
)
from spamcannibal.robot.hoptext import read_literal

VERSION = "1"


@dataclass(frozen=True)
class Feedback:
    """What a feedback report says about itself: claims of its sender, None or "" where it says nothing."""

    kind: str
    agent: str
    source: bytes | None = None
    mail_from: str = ""
    arrived: str = ""
    incidents: int = 1


def build(complaint: Complaint) -> bytes:
    """Return a complaint as a whole mail, lines ended by CRLF; its boundary comes from the report id."""
    boundary = _boundary(complaint)
    head = mail_header(complaint, f'multipart/report; report-type=feedback-report;\r\n boundary="{boundary}"')
    parts = (
        ("text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit", human_text(complaint).encode()),
        ("message/feedback-report", _fields(complaint).encode("ascii", "backslashreplace")),
        ("message/rfc822\r\nContent-Disposition: inline", evidence_message(complaint.evidence)),
    )
    out = [head.encode("ascii", "backslashreplace")]
    for kind, content in parts:
        out += (f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode(), content, b"\r\n")
    return b"".join((*out, f"--{boundary}--\r\n".encode()))


def parse(fields: Mapping[str, tuple[str, ...]]) -> Feedback:
    """Return what the fields of a message/feedback-report say, by lower-case name; WireError if it is none."""
    for name in ("feedback-type", "user-agent", "version"):
        if len(fields.get(name, ())) != 1:
            raise WireError(f"feedback report: got {len(fields.get(name, ()))} of {name.title()}, want one (RFC 5965)")
    version = fields["version"][0]
    if version.strip() not in (VERSION, "0.1"):
        raise WireError(f"feedback report: version {version[:20]!r}, want {VERSION}")
    incidents = fields.get("incidents", ("1",))[0]
    return Feedback(
        fields["feedback-type"][0].lower(),
        fields["user-agent"][0],
        read_literal(fields.get("source-ip", ("",))[0]),
        fields.get("original-mail-from", ("",))[0].strip("<>"),
        fields.get("arrival-date", fields.get("received-date", ("",)))[0],
        int(incidents) if incidents.isascii() and incidents.isdigit() and len(incidents) < 10 else 1,
    )


def _fields(complaint: Complaint) -> str:
    fields = [
        "Feedback-Type: abuse",
        f"User-Agent: SpamCannibal/{__version__}",
        f"Version: {VERSION}",
        f"Source-IP: {format_addr(complaint.source)}",
        f"Arrival-Date: {mail_date(complaint.spam_s)}",
        f"Reporting-MTA: dns; {one_line(complaint.domain)}",
    ]
    if complaint.mail_from:
        fields.append(f"Original-Mail-From: <{one_line(complaint.mail_from)}>")
    if complaint.source_port:
        fields.append(f"Source-Port: {complaint.source_port}")
    if complaint.incidents > 1:
        fields.append(f"Incidents: {complaint.incidents}")
    return "\r\n".join(fields) + "\r\n"


def _boundary(complaint: Complaint) -> str:
    """Return a boundary that stands in no part."""
    boundary, number = f"=_{''.join(filter(str.isalnum, complaint.report_id))[:40]}", 0
    while f"{boundary}{number}".encode() in complaint.evidence:
        number += 1
    return f"{boundary}{number}"
