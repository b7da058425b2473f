"""Abuse reports out: ARF and X-ARF as other people's readers see them, and reports in."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import json
import re
import uuid
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spamcannibal.addr import parse_addr
from spamcannibal.errors import WireError
from spamcannibal.robot import arf, xarf
from spamcannibal.robot.complaint import Complaint, encoded, evidence_message
from spamcannibal.robot.embedded import embedded
from spamcannibal.robot.message import read_entity

COMPLAINT = Complaint(
    source=parse_addr("192.0.2.7"),
    evidence="Received: from x ([192.0.2.7]) by [our host]\nSubject: Grüße\n\nbuy\n".encode(),
    spam_s=1_795_528_895,
    now=1_795_530_000,
    report_id="a1b2c3d4-e5f6-4890-abcd-ef1234567890",
    sender="abuse-reports@example.org",
    organisation="Example, Ltd.",
    domain="example.org",
    recipients=("abuse@sender.example", "noc@sender.example"),
    subject="Grüße",
    mail_from="x@sender.example",
    source_port=45678,
)
SOURCES = ("192.0.2.7", "2001:db8:bad::7")


@pytest.mark.parametrize("source", SOURCES)
def test_arf_is_what_rfc_5965_says(source: str) -> None:
    raw = arf.build(replace(COMPLAINT, source=parse_addr(source), incidents=3))
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert not mail.defects
    assert (mail.get_content_type(), mail.get_param("report-type")) == ("multipart/report", "feedback-report")
    assert mail["From"].addresses[0].addr_spec == "abuse-reports@example.org"
    assert mail["From"].addresses[0].display_name == "Example, Ltd."
    assert [address.addr_spec for address in mail["To"].addresses] == list(COMPLAINT.recipients)
    assert (mail["Auto-Submitted"], mail["Date"].datetime.timestamp()) == ("auto-generated", 1_795_530_000)
    text, feedback, message = mail.iter_parts()
    assert source in text.get_content()
    fields = email.message_from_string(
        feedback.get_payload(0).as_string() if feedback.is_multipart() else str(feedback)
    )
    assert (fields["Feedback-Type"], fields["Version"], fields["Source-IP"]) == ("abuse", "1", source)
    assert (fields["Original-Mail-From"], fields["Incidents"]) == ("<x@sender.example>", "3")
    assert "Original-Rcpt-To" not in fields
    assert message.get_content_type() == "message/rfc822"
    assert message.get_payload(0).get_content().split() == ["buy"]


def test_our_own_reader_understands_our_reports() -> None:
    (found,) = embedded(read_entity(arf.build(COMPLAINT)))
    assert found.kind == "arf"
    assert found.arf is not None
    said = arf.parse(found.arf)
    assert (said.kind, said.source, said.mail_from) == ("abuse", COMPLAINT.source, "x@sender.example")
    assert "Subject: Grüße" in found.header_lines
    assert b"buy" in found.raw


def test_lines_of_a_report_are_short_and_end_in_crlf() -> None:
    for raw in (
        arf.build(replace(COMPLAINT, evidence=b"Subject: " + "ü ".encode() * 2000 + b"\n\n" + "ü".encode() * 3000)),
        xarf.build_mail(COMPLAINT),
    ):
        assert b"\n" not in raw.replace(b"\r\n", b"")
        assert max(map(len, raw.split(b"\r\n"))) <= 998
        raw.decode()


@pytest.mark.parametrize("build", [arf.build, xarf.build_mail])
def test_nothing_in_a_report_can_start_a_field(build) -> None:
    evil = "x\r\nBcc: victim@example.com\r\n\r\nbody\0\u2028"
    fields = dict.fromkeys(("organisation", "domain", "sender", "subject", "mail_from", "url", "report_id"), evil)
    mail = email.message_from_bytes(build(replace(COMPLAINT, **fields, recipients=(evil,))))
    assert "Bcc" not in mail
    assert set(mail.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type",
    }  # fmt: skip


def test_the_evidence_can_not_end_its_part() -> None:
    first = re.search(rb'boundary="([^"]+)"', arf.build(COMPLAINT))[1]
    evidence = b"Subject: x\n\n--" + first + b"--\n--" + first + b"\nContent-Type: text/plain\n\nforged\n"
    (found,) = embedded(read_entity(arf.build(replace(COMPLAINT, evidence=evidence))))
    assert b"forged" in found.raw


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"mail_from": "", "source_port": 0},
        {"subject": "x" * 1000, "organisation": "y" * 1000},
        {"organisation": ""},
    ],
    ids=["whole", "little known", "long", "nameless"],
)
@pytest.mark.parametrize("source", SOURCES)
def test_xarf_is_what_its_schema_says(source: str, change: dict[str, object]) -> None:
    reader = pytest.importorskip("xarf", reason="the reference reader of X-ARF is not installed")
    raw = xarf.build(
        replace(COMPLAINT, source=parse_addr(source), report_id=str(uuid.UUID(int=7, version=4)), **change)
    )
    found = reader.parse(json.loads(raw))
    assert not found.errors
    assert found.report.source_identifier == source
    assert (found.report.category, found.report.type) == ("messaging", "spam")


def test_xarf_carries_the_evidence_with_its_hash() -> None:
    document = json.loads(xarf.build(COMPLAINT))
    (piece,) = document["evidence"]
    payload = base64.b64decode(piece["payload"])
    assert payload == evidence_message(COMPLAINT.evidence)
    assert piece["hash"] == f"sha256:{hashlib.sha256(payload).hexdigest()}"
    assert document["timestamp"] == "2026-11-24T14:01:35Z"


def test_xarf_goes_by_mail_and_comes_back() -> None:
    mail = email.message_from_bytes(xarf.build_mail(COMPLAINT), policy=email.policy.default)
    text, attached = mail.iter_parts()
    assert "192.0.2.7" in text.get_content()
    assert attached.get_filename() == "xarf.json"
    said = xarf.parse(attached.get_content())
    assert (said.category, said.kind, said.source, said.reporter) == (
        "messaging",
        "spam",
        COMPLAINT.source,
        "abuse-reports@example.org",
    )
    assert said.evidence[0][0] == "message/rfc822"


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[]", b"[" * 100_000, b"1" * 10_000, b"\xff",
        b'{"xarf_version": "3.0.0"}', b'{"xarf_version": "4.0.0"}',
        b'{"xarf_version": "4.0.0", "category": "messaging", "type": 1}',
        b'{"xarf_version":"4.0.0","category":"a","type":"b","source_identifier":"c","timestamp":"d","evidence":[1]}',
        b'{"xarf_version":"4.0.0","category":"a","type":"b","source_identifier":"c","timestamp":"d","evidence":'
        b'[{"content_type":"x","payload":"***"}]}',
    ],
)  # fmt: skip
def test_what_is_no_xarf_is_refused(raw: bytes) -> None:
    with pytest.raises(WireError, match="X-ARF"):
        xarf.parse(raw)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"feedback-type": ("abuse",), "user-agent": ("x",)},
        {"feedback-type": ("abuse", "fraud"), "user-agent": ("x",), "version": ("1",)},
        {"feedback-type": ("abuse",), "user-agent": ("x",), "version": ("2",)},
    ],
)
def test_what_is_no_feedback_report_is_refused(fields: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(WireError, match="feedback report"):
        arf.parse(fields)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_encoded_words_say_the_text(text: str) -> None:
    line = encoded(text)
    assert line.isascii()
    shown = str(email.header.make_header(email.header.decode_header(line.replace("\r\n ", " "))))
    want = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    assert shown == want.encode("utf-8", "backslashreplace").decode()
    assert all(len(word) <= 75 for word in line.split() if word.startswith("=?utf-8?b?"))


@settings(max_examples=100, deadline=None)
@given(evidence=st.binary(max_size=3000), subject=st.text(max_size=50))
def test_any_evidence_makes_a_report_that_is_read_back(evidence: bytes, subject: str) -> None:
    complaint = replace(COMPLAINT, evidence=evidence, subject=subject)
    (found,) = embedded(read_entity(arf.build(complaint)))
    assert found.arf is not None
    assert arf.parse(found.arf).source == COMPLAINT.source
    assert xarf.parse(xarf.build(complaint)).evidence[0][1] == evidence_message(evidence)
