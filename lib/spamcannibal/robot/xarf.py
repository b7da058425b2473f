"""Abuse reports in X-ARF 4: a complaint as a JSON document or as a mail with one, and a document as what it says.

Source: the core schema and the type messaging/spam of xarf.org/schemas/v4. A document of `protocol` smtp must name the
envelope sender and a source port; where either is unknown, the protocol is "other" rather than a made-up value.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from spamcannibal.addr import format_addr, parse_addr
from spamcannibal.errors import AddrError, WireError
from spamcannibal.robot.complaint import Complaint, evidence_message, human_text, mail_header, one_line, utc_stamp

VERSION = "4.2.0"
DOCUMENT_LIMIT = 16 << 20
EVIDENCE_LIMIT = 50  # maxItems of the schema
SUBJECT_LIMIT = 500  # maxLength of the schema
NAME_LIMIT = 200


@dataclass(frozen=True)
class Document:
    """What an X-ARF 4 document says: claims of its sender. `evidence` are (content type, bytes)."""

    category: str
    kind: str
    source: bytes | None
    timestamp: str
    reporter: str
    evidence: tuple[tuple[str, bytes], ...]


def build(complaint: Complaint) -> bytes:
    """Return a complaint as a JSON document."""
    evidence = evidence_message(complaint.evidence)
    contact = {
        "org": one_line(complaint.organisation)[:NAME_LIMIT] or one_line(complaint.domain),
        "contact": one_line(complaint.sender),
        "domain": one_line(complaint.domain),
    }
    document: dict[str, Any] = {
        "xarf_version": VERSION,
        "report_id": complaint.report_id,
        "timestamp": utc_stamp(complaint.spam_s),
        "reporter": contact,
        "sender": contact,
        "source_identifier": format_addr(complaint.source),
        "category": "messaging",
        "type": "spam",
        "evidence_source": "user_complaint",
        "protocol": "smtp" if complaint.mail_from and complaint.source_port else "other",
        "evidence": [
            {
                "content_type": "message/rfc822",
                "description": "The message, without what may identify its recipient",
                "payload": base64.b64encode(evidence).decode(),
                "hash": f"sha256:{hashlib.sha256(evidence).hexdigest()}",
                "size": len(evidence),
            }
        ],
    }
    optional = {
        "source_port": complaint.source_port,
        "smtp_from": one_line(complaint.mail_from),
        "subject": one_line(complaint.subject)[:SUBJECT_LIMIT],
    }
    document |= {key: value for key, value in optional.items() if value}
    return json.dumps(document, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace") + b"\n"


def build_mail(complaint: Complaint) -> bytes:
    """Return a complaint as a whole mail: a text for people and the document as an attachment, all in ASCII."""
    boundary = f"=_{''.join(filter(str.isalnum, complaint.report_id))[:40]}"
    head = mail_header(complaint, f'multipart/mixed; boundary="{boundary}"')
    parts = (
        ("text/plain; charset=utf-8", human_text(complaint).encode("utf-8", "backslashreplace")),
        (
            'application/json; name="xarf.json"\r\nContent-Disposition: attachment; filename="xarf.json"',
            build(complaint),
        ),
    )
    out = [head.encode("ascii", "backslashreplace")]
    for kind, content in parts:
        coded = base64.encodebytes(content).replace(b"\n", b"\r\n")
        out += (f"--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n".encode(), coded)
    return b"".join((*out, f"--{boundary}--\r\n".encode()))


def parse(raw: bytes) -> Document:
    """Return what a document says; WireError if it is no X-ARF 4."""
    if len(raw) > DOCUMENT_LIMIT:
        raise WireError(f"X-ARF: too long, want at most {DOCUMENT_LIMIT} bytes")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise WireError(f"X-ARF: not JSON: {str(error)[:100]}") from None
    if not isinstance(found, dict) or not str(found.get("xarf_version", "")).startswith("4."):
        raise WireError('X-ARF: want an object whose "xarf_version" is 4.x')
    reporter = found.get("reporter")
    return Document(
        _text(found, "category"),
        _text(found, "type"),
        _source(_text(found, "source_identifier")),
        _text(found, "timestamp"),
        _text(reporter, "contact") if isinstance(reporter, dict) else "",
        tuple(map(_evidence, _items(found))),
    )


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    if not isinstance(value, str):
        raise WireError(f"X-ARF: {key}: missing, or no text")
    return value


def _source(text: str) -> bytes | None:
    """Return the address that a source is; None for a host name or anything else."""
    try:
        return parse_addr(text)
    except AddrError:
        return None


def _items(found: dict[str, Any]) -> list[Any]:
    items = found.get("evidence", [])
    if not isinstance(items, list) or len(items) > EVIDENCE_LIMIT:
        raise WireError(f"X-ARF: evidence: want a list of at most {EVIDENCE_LIMIT}")
    return items


def _evidence(item: Any) -> tuple[str, bytes]:
    if not isinstance(item, dict):
        raise WireError("X-ARF: evidence: want objects")
    try:
        return _text(item, "content_type"), base64.b64decode(_text(item, "payload"), validate=True)
    except ValueError:
        raise WireError("X-ARF: evidence: payload: not base64") from None
