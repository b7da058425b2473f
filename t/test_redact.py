"""The public view of evidence: what it must not tell, what it must, and that it comes to rest."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spamcannibal.addr import parse_key
from spamcannibal.robot.redact import NOT_SHOWN, Rules, redact

RULES = Rules(
    names=frozenset({"mx.example.net", ".inside.example"}),
    keys=(parse_key("198.51.100.0/28"), parse_key("2001:db8:1::/48")),
    addresses=("trap@example.org",),
    domains=("corp.example",),
)
WHO = "john.doe@example.com"
HEADER = f"""Return-Path: <bounce-77-john.doe=example.com@lists.sender.example>
Delivered-To: {WHO}
Received: from mx.example.net (mx.example.net [198.51.100.3])
\tby store.inside.example (Postfix) with ESMTPS id 4ABCDEF1
\tfor <{WHO}>; Tue, 24 Nov 2026 14:01:36 +0000 (UTC)
Received: from mail.sender.example (host7.sender.example [192.0.2.7])
\tby mx.example.net (Postfix) with ESMTP id 75A852168EA; Tue, 24 Nov 2026 14:01:35 +0000
Authentication-Results: mx.example.net; spf=pass smtp.mailfrom=bounce-77@sender.example
DKIM-Signature: v=1; a=rsa-sha256; d=sender.example; s=s1; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;
\tb=abcdef
Message-ID: <20261124.1a2b@sender.example>
From: "Good Shop" <shop@sender.example>
To: "John Doe" <{WHO}>, Other <Other@Example.org>
Subject: =?utf-8?q?John_Doe=2C_you_won_=E2=82=AC5=21?=
List-Unsubscribe: <https://sender.example/u/1234>
"""


def shown(body: str, header: str = HEADER, rules: Rules = RULES) -> str:
    return redact((header + "\n" + body).encode(), rules).decode()


ADDRESS = WHO.encode()
SPELLINGS = {
    "plain": WHO,
    "upper case": WHO.upper(),
    "other recipient": "other@example.org",
    "of the rules": "Trap@example.org",
    "of our domain": "anybody@corp.example",
    "below our domain": "anybody@sales.corp.example",
    "bounce": "b-john.doe=example.com@sender.example",
    "percent": "john.doe%40example.com",
    "all percent": "john%2edoe%40example%2ecom",
    "entity": "john.doe&#64;example.com",
    "spelt out": "john.doe (at) example.com".replace(" (at) ", "(at)"),
    "base64 as it was written": base64.b64encode(b"Other@Example.org").decode(),
    "base64": base64.b64encode(ADDRESS).decode(),
    "base64 behind one byte": base64.b64encode(b"x" + ADDRESS).decode(),
    "base64 behind two bytes": base64.b64encode(b"xy" + ADDRESS).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(ADDRESS).decode().rstrip("="),
    "hexadecimal": ADDRESS.hex(),
    "md5": hashlib.md5(ADDRESS).hexdigest(),
    "sha256, upper case": hashlib.sha256(ADDRESS).hexdigest().upper(),
    "name": "John Doe",
    "local part": "john.doe",
    "query": "https://sender.example/o/index.html?id=77",
    "fragment": "https://sender.example/o/index.html#id77",
    "path": "https://sender.example/r/aX93kQ",
    "number in the path": "https://sender.example/r/1234567",
    "user of a URL": "https://id77aZ@sender.example/",
    "host label": "https://a1b2c3d4e5f6a7b8c9.click.sender.example/",
    "token": "a1b2c3d4e5f6a7b8c9d0e1f2",
    "our host": "store.inside.example",
    "our address": "198.51.100.3",
    "our address, IPv6": "2001:db8:1::25",
    "private address": "10.1.2.3",
}
PLACEHOLDERS = ("[recipient]", "[token]", "[our host]", "[our address]")


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=list(SPELLINGS))
def test_what_points_at_a_person_or_at_us_is_gone(spelling: str) -> None:
    body = shown(f"see {spelling} here\n").partition("\n\n")[2]
    secret = spelling.partition("sender.example/")[2].rpartition("/")[2] or spelling
    assert secret.lower() not in body.lower()
    assert body.startswith("see ")
    assert body.endswith(" here\n")
    assert any(placeholder in body for placeholder in PLACEHOLDERS)


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=list(SPELLINGS))
def test_it_is_gone_from_encoded_parts_too(spelling: str) -> None:
    text = f"see {spelling} here\n".encode()
    coded = base64.encodebytes(text).decode()
    parts = (
        'Content-Type: multipart/alternative; boundary="b"\n\n--b\nContent-Type: text/plain\n'
        f"Content-Transfer-Encoding: base64\n\n{coded}\n--b\nContent-Type: text/html\n"
        f"Content-Transfer-Encoding: quoted-printable\n\n{spelling.replace('=', '=3D')}=\n!\n--b--\n"
    )
    found = shown("", HEADER + parts)
    for line in (line for line in found.partition("\n\n")[2].split("\n") if line.startswith("see ")):
        assert any(placeholder in line for placeholder in PLACEHOLDERS)
    assert coded[:40] not in found
    assert spelling.lower() not in found.partition("\n\n")[2].lower()


def test_the_header_says_why_and_not_to_whom() -> None:
    header = shown("x\n").partition("\n\n")[0]
    for kept in (
        "from mail.sender.example (host7.sender.example [192.0.2.7])",
        "Tue, 24 Nov 2026 14:01:35 +0000",
        '"Good Shop" <shop@sender.example>',
        "d=sender.example",
        "@lists.sender.example",
        "you won €5!",
    ):
        assert kept in header
    for gone in (
        "john", "example.com", "other@", "mx.example.net", "inside.example", "198.51.100.3", "4ABCDEF1", "75A852168EA",
        "47DEQ", "abcdef", "1a2b", "/u/1234", "bounce-77",
    ):  # fmt: skip
        assert gone.lower() not in header.lower(), gone


def test_a_name_goes_whole_though_the_address_is_a_part_of_it() -> None:
    header = HEADER.replace(f'"John Doe" <{WHO}>', '"Johann Roe" <johann@example.com>')
    text = shown("Dear Johann Roe, dear johann, buy", header)
    assert "ohann" not in text.lower() and "Roe" not in text


def test_plain_words_numbers_and_links_stay() -> None:
    text = (
        "Buy 2 for 1 at https://www.sender.example/sale/index.html today, 24.11.2026 10:00!\n"
        "Write to sales@sender.example or call +49 30 123456. IPv6 2001:db8:bad::7 and 192.0.2.7 are not ours.\n"
        "---------------------------------------------\n"
    )
    assert shown(text).partition("\n\n")[2] == text


def test_attachments_are_named_not_shown() -> None:
    coded = base64.encodebytes(b"\x89PNG" + bytes(300)).decode()
    parts = f"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: image/png\n\n{coded}\n--b--\n"
    found = shown("", HEADER + parts)
    assert "[part 1: image/png]" in found
    assert "not shown" in found
    assert coded[:40] not in found


def test_control_characters_are_escaped() -> None:
    found = shown("a\x00b\x1b[31mc\x07\x7f\u202ed\u00a0e\tf\r\n\rg\n")
    assert "a\\x00b\\x1b[31mc\\x07\\x7f\\u202ed e\tf\n\\rg\n" in found
    assert all(char.isprintable() or char in "\n\t" for char in found)


def test_a_field_can_not_start_another_line() -> None:
    found = redact(b"Subject: =?utf-8?q?a=0ATo:_x?=\n\nb\n", RULES)
    assert found == b"Subject: a\\nTo: x\n\nb\n"


def test_wrong_charsets_and_broken_encodings_are_shown_as_far_as_they_go() -> None:
    for charset in ("punycode", "utf-7", "nope", '"\0"', "utf-16"):
        head = f"Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: base64\n"
        assert redact(f"{head}\n####=aGVsbG8=\n\0".encode(), RULES)


def test_nesting_without_end_costs_the_body_only() -> None:
    nested = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(42))
    found = shown("", HEADER + nested)
    assert "192.0.2.7" in found
    assert "[body not shown: nested too deep" in found


def test_the_result_is_bounded_and_cut_at_a_line() -> None:
    rules = Rules(limit_bytes=1000)
    found = redact(b"Subject: x\n\n" + b"0123456 word\n" * 10_000, rules)
    assert 900 < len(found) <= 1000
    assert found.endswith(b"word\n")
    assert len(redact(b"word " * 10_000, rules)) <= 1000
    assert redact(b"A" * 10_000, rules) == NOT_SHOWN


def test_a_text_that_is_no_message_stays_itself() -> None:
    assert redact(b"sent spam to a trap\n", RULES) == b"sent spam to a trap\n"
    assert redact(b"", RULES) == b""


def test_a_placeholder_is_not_replaced_again() -> None:
    rules = Rules(frozenset({"our.host", "token"}), (), ("recipient@our.host", "token@x.example"), ("our.host",))
    found = redact(b"To: recipient@our.host\n\nrecipient token recipient@our.host at our.host\n", rules)
    assert found.startswith(b"To: [recipient]\n\n[recipient]")


PIECES = (
    WHO, "To: ", "Cc: ", "Subject: ", "Message-ID: <", "Received: from x by y id ABC for <", "Return-Path: <", "\n",
    "\n\n", " ", "https://", "h.example/", "?", "#", "&", "=", "%40", "@", "<", ">", "[", "]", "[recipient]",
    "[token]", "mx.example.net", "198.51.100.3", "10.1.2.3", "a1b2c3d4e5f6a7b8c9d0e1f2", "=?utf-8?q?", "=?utf-8?b?",
    "?=", "=0A", "Content-Type: ", "text/plain", "multipart/mixed; boundary=b", "\n--b\n", "\n--b--",
    "Content-Transfer-Encoding: base64", "; charset=utf-16", "From x\n", "quoted-printable",
    base64.b64encode(b"To: " + ADDRESS).decode(), "\0", "\r", "ü", "\u2028", "john.doe", "John Doe <",
)  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=300)


@settings(max_examples=300, deadline=None)
@given(text=texts, tail=st.binary(max_size=60))
def test_a_second_pass_changes_nothing_and_no_recipient_is_left(text: str, tail: bytes) -> None:
    once = redact(f"To: {WHO}\n{text}".encode("utf-8", "surrogatepass") + tail, RULES)
    assert redact(once, RULES) == once
    assert WHO.encode() not in once.lower()
    assert len(once) <= RULES.limit_bytes
    assert all(char.isprintable() or char in "\n\t" for char in once.decode())
