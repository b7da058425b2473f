"""An abuse report before it takes a form: what is told to those who answer for a source, and the mail around it. Pure.

arf.py and xarf.py give it its forms. Evidence is the public view (redact.py), so nobody's address travels in it.
"""

import base64
import re
from dataclasses import dataclass
from email.utils import formatdate, parsedate

from spamcannibal.addr import format_addr

LINE_BYTES = 900  # RFC 5321 section 4.5.3.1.6 allows 998 with the line end
WORD_BYTES = 45  # 60 characters of base64: an encoded word is at most 75 long (RFC 2047)


@dataclass(frozen=True)
class Complaint:
    """What is reported, by whom, to whom. Texts may be anything; what is no line becomes one.

    `spam_s` is when the message came, `now` when the report is made; `report_id` is a UUID; `mail_from` the spam's
    envelope sender, "" if unknown; `source_port` the client's, 0 if unknown; `url` where more is shown, "" if nowhere.
    """

    source: bytes
    evidence: bytes
    spam_s: float
    now: float
    report_id: str
    sender: str
    organisation: str
    domain: str
    recipients: tuple[str, ...]
    subject: str = ""
    mail_from: str = ""
    source_port: int = 0
    url: str = ""
    incidents: int = 1


def one_line(text: str) -> str:
    """Return outside text as one line of what prints."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def encoded(text: str) -> str:
    """Return a line as a header field may hold it: encoded words (RFC 2047) unless it is ASCII."""
    line = one_line(text)
    if line.isascii() and "=?" not in line:
        return line
    words, word = [], b""
    for char in line:
        raw = char.encode("utf-8", "backslashreplace")
        if len(word) + len(raw) > WORD_BYTES:
            words.append(word)
            word = b""
        word += raw
    return "\r\n ".join(f"=?utf-8?b?{base64.b64encode(word).decode()}?=" for word in (*words, word))


def mail_date(when: float) -> str:
    return formatdate(when, usegmt=True)


def utc_stamp(when: float) -> str:
    """Return a time as RFC 3339 text."""
    year, month, day, hour, minute, second = (parsedate(formatdate(when)) or (0,) * 9)[:6]
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"


def mail_header(complaint: Complaint, content_type: str) -> str:
    """Return the header of the mail that carries a report, its empty line included."""
    name = encoded(complaint.organisation)
    to = ",\r\n ".join(one_line(address) for address in complaint.recipients)
    fields = (
        f"From: {_phrase(name)} <{one_line(complaint.sender)}>" if name else f"From: {one_line(complaint.sender)}",
        f"To: {to}",
        f"Subject: Spam from {format_addr(complaint.source)}",
        f"Date: {mail_date(complaint.now)}",
        f"Message-ID: <{one_line(complaint.report_id)}@{one_line(complaint.domain)}>",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f"Content-Type: {content_type}",
    )
    return "\r\n".join((*fields, "", ""))


def human_text(complaint: Complaint) -> str:
    """Return what a person reads first."""
    times = "once" if complaint.incidents == 1 else f"{complaint.incidents} times"
    lines = [
        f"Spam came from {format_addr(complaint.source)}, which your network answers for.",
        "",
        f"Reported here: {times}, last at {mail_date(complaint.spam_s)}.",
        f"Subject: {one_line(complaint.subject)}" if complaint.subject else "",
        "The message is attached; recipients' addresses and what may identify them are left out.",
        f"More about it: {one_line(complaint.url)}" if complaint.url else "",
        " ".join(["Reported by:", *one_line(complaint.organisation).split(), f"<{one_line(complaint.sender)}>"]),
    ]
    return "\r\n".join(line for number, line in enumerate(lines) if line or number == 1) + "\r\n"


def evidence_message(evidence: bytes) -> bytes:
    """Return evidence as a message of text, its lines short enough to travel, ended by CRLF."""
    out = [b"Content-Type: text/plain; charset=utf-8", b"Content-Transfer-Encoding: 8bit"]
    is_header = _starts_with_field(evidence)
    if not is_header:
        out.append(b"")
    for line in evidence.replace(b"\r", b"").rstrip(b"\n").split(b"\n"):
        is_header = is_header and line != b""
        out += _folded(line, b" " if is_header else b"")
    return b"\r\n".join(out) + b"\r\n"


def _starts_with_field(evidence: bytes) -> bool:
    return re.match(rb"[!-9;-~]{1,200}:", evidence) is not None


def _folded(line: bytes, indent: bytes) -> list[bytes]:
    """Return a line in pieces, each after the first behind an indent; UTF-8 is not split inside a character."""
    pieces = []
    while len(line) > LINE_BYTES:
        at = line.rfind(b" ", 1, LINE_BYTES)
        at = LINE_BYTES if at < LINE_BYTES // 2 else at
        while line[at] & 0xC0 == 0x80:
            at -= 1
        pieces.append(line[:at])
        line = indent + line[at:].lstrip(b" ")
    return [*pieces, line]


def _phrase(name: str) -> str:
    """Return a display name, quoted where its characters ask for it."""
    if name.startswith("=?") or re.fullmatch(r"[A-Za-z0-9 '-]*", name):
        return name
    return '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
