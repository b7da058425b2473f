"""Messages as bytes: what is read, what is refused, and that nothing hostile takes long or raises anything else."""

from __future__ import annotations

import base64
import email
import email.policy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spamcannibal.errors import WireError
from spamcannibal.robot.automatic import is_automatic
from spamcannibal.robot.embedded import Embedded, embedded
from spamcannibal.robot.fields import CHARSETS, as_text, parameters, unbase64
from spamcannibal.robot.message import Entity, Limits, read_entity, read_header
from spamcannibal.robot.pgpparts import Clearsigned, Encrypted, Signed, find_pgp

SPAM = b"""Return-Path: <x@sender.example>
Received: from x (unknown [192.0.2.7])
\tby mx.example.net (Postfix) with ESMTP id 1; Tue, 24 Nov 2026 14:01:35 +0000
Subject: buy

first line
> second line
"""
ARMOR = b"-----BEGIN PGP MESSAGE-----\n\nxyz\n-----END PGP MESSAGE-----\n"
SIGNATURE = b"-----BEGIN PGP SIGNATURE-----\n\nxyz\n-----END PGP SIGNATURE-----\n"
CLEAR = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n- dash\ntext\n" + SIGNATURE


def mixed(*parts: bytes, kind: str = "mixed", mark: str = "b") -> bytes:
    """A multipart message of parts that bring their own headers."""
    head = f'From: a@example.org\nContent-Type: multipart/{kind}; boundary="{mark}"\n\npreamble\n'.encode()
    return head + b"".join(b"\n--" + mark.encode() + b"\n" + part for part in parts) + f"\n--{mark}--\n".encode()


def attached(raw: bytes = SPAM, kind: bytes = b"message/rfc822") -> bytes:
    return b"Content-Type: " + kind + b"\n\n" + raw


TEXT = b"Content-Type: text/plain\n\nhello\n"
REPORT = "report; report-type=feedback-report"
FEEDBACK = (
    b"Content-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: x\nVersion: 1\nSource-IP: 192.0.2.7\n"
)
PGP_SIGNED = 'signed; protocol="application/pgp-signature"; micalg=pgp-sha512'
PGP_ENCRYPTED = 'encrypted; protocol="application/pgp-encrypted"'

SAMPLES = {
    "plain": SPAM,
    "mbox": b"From x@sender.example Tue Nov 24 14:01:35 2026\n" + SPAM,
    "attached": mixed(TEXT, attached(), attached()),
    "eml file": mixed(
        TEXT, b'Content-Type: application/octet-stream; name="spam.eml"\n' b"Content-Transfer-Encoding: base64\n\n"
        + base64.encodebytes(SPAM),
    ),
    "headers": mixed(TEXT, attached(SPAM.partition(b"\n\n")[0] + b"\n", b"text/rfc822-headers")),
    "arf": mixed(TEXT, FEEDBACK, attached(), kind=REPORT),
    "arf with headers": mixed(TEXT, FEEDBACK, attached(SPAM, b"text/rfc822-headers"), kind=REPORT),
    "quoted": b"Subject: fw\n\nlook:\n" + b"".join(b"> " + line for line in SPAM.splitlines(True)),
    "signed": mixed(
        mixed(TEXT, attached(), mark="in"),
        b"Content-Type: application/pgp-signature\n\n" + SIGNATURE,
        kind=PGP_SIGNED,
    ),
    "encrypted": mixed(
        b"Content-Type: application/pgp-encrypted\n\nVersion: 1\n",
        b"Content-Type: application/octet-stream\n\n" + ARMOR,
        kind=PGP_ENCRYPTED,
    ),
    "inline encrypted": b"Subject: x\n\n" + ARMOR,
    "clearsigned": b"Subject: x\n\n" + CLEAR,
    "quoted-printable": b"Content-Transfer-Encoding: quoted-printable\n\n=C3=A4=\n=00=zz\n",
    "encoded words": b"Subject: =?utf-8?q?a=20b?= =?iso-8859-1?b?5A==?= =?x?q?c?=\n\n",
}  # fmt: skip


def leaves(raw: bytes) -> list[Entity]:
    return list(read_entity(raw).leaves())


def only(found: tuple[Embedded, ...]) -> Embedded:
    (message,) = found
    return message


# --- the tree -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_parts_are_the_bytes_between_their_delimiters(line_end: bytes) -> None:
    raw = mixed(b"A: b\n\none\n", b"\ntwo\n\n", b"C: d", kind="mixed").replace(b"\n", line_end)
    parts = leaves(raw)
    assert [part.body() for part in parts] == [b"one" + line_end, b"two" + line_end * 2, b""]
    assert [part.headers for part in parts] == [(("A", " b"),), (), (("C", " d"),)]


def test_the_outer_boundary_ends_an_inner_multipart_that_never_ends() -> None:
    inner = b'Content-Type: multipart/mixed; boundary="c"\n\n--c\n\ninner\n'
    assert [part.body() for part in leaves(mixed(inner, b"\nouter"))] == [b"inner\n", b"outer"]


@pytest.mark.parametrize(
    ("head", "body", "kind"),
    [
        ("Content-Type: multipart/mixed", b"--b\n\nx\n--b--", "multipart/mixed"),
        ("Content-Type: multipart/mixed; boundary=b", b"no delimiter", "multipart/mixed"),
        ("Content-Type: multipart/mixed; boundary=" + "b" * 300, b"--" + b"b" * 300 + b"\n\nx", "multipart/mixed"),
        ("Content-Type: nonsense", b"x", "text/plain"),
        ("Content-Type: ;;;;boundary", b"x", "text/plain"),
        ("X: y", b"x", "text/plain"),
    ],
)
def test_a_multipart_without_parts_is_a_leaf(head: str, body: bytes, kind: str) -> None:
    (leaf,) = leaves(head.encode() + b"\n\n" + body)
    assert (leaf.content_type, leaf.body()) == (kind, body)


def test_a_header_ends_at_an_empty_line_or_at_what_is_no_field() -> None:
    fields, at = read_header(b"A: b\n c\n\t d\nB : e\nnot a field\nC: d\n")
    assert fields == (("A", " b\n c\n\t d"), ("B", " e"))
    assert at == len(b"A: b\n c\n\t d\nB : e\n")
    assert read_header(b"\nA: b\n") == ((), 1)
    assert read_header(b"") == ((), 0)


def test_a_bare_carriage_return_and_a_nul_are_characters() -> None:
    fields, _ = read_header(b"A: b\rB: c\0\n\n")
    assert fields == (("A", " b\rB: c\0"),)


def test_what_is_inside_a_message_is_not_read_with_it() -> None:
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (n, n) for n in range(42))
    raw = mixed(TEXT, attached(b"Received: x\n" + deep))
    assert only(embedded(read_entity(raw))).header_lines[0] == "Received: x"


# --- bounds ---------------------------------------------------------------------------------------------------------


def nested(levels: int) -> bytes:
    return b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(levels)) + b"\nx"


@pytest.mark.parametrize(
    ("raw", "wrong"),
    [
        (nested(42), "nested too deep"),
        (nested(5000), "nested too deep"),
        (b"A: b\n" * 10_000, "too many header fields"),
        (b"A: b\n" + b" c\n" * 200_000, "header too long"),
        (mixed(*[b"\nx"] * 500), "too many parts"),
        (b"x" * ((1 << 20) + 1), "message too long"),
        (b"A: " + b"x" * 500_000, "header too long"),
    ],
    ids=["42 levels", "5000 levels", "10,000 fields", "200,000 folds", "500 parts", "one long line", "long field"],
)
def test_each_limit_is_a_refusal_that_names_it(raw: bytes, wrong: str) -> None:
    with pytest.raises(WireError, match=wrong):
        read_entity(raw)


def test_up_to_the_limits_all_is_read() -> None:
    assert read_entity(nested(16))
    assert len(read_entity(b"A: b\n" * 1000).headers) == 1000
    assert len(leaves(mixed(*[b"\nx"] * 200))) == 200
    assert len(read_entity(b"\n" + b"x" * ((1 << 20) - 1)).body()) == (1 << 20) - 1
    with pytest.raises(WireError):
        read_entity(nested(2), Limits(depth=1))


def test_hostile_forms_are_read_in_one_go() -> None:
    """Each took, or would take, time in the square of its size; a hang here is a failure by pytest's own bound."""
    for raw in (
        nested(16) + b"\n--x" * 250_000,
        nested(16) + b"\n--b15 " * 30_000,
        b"Subject: " + b"=?utf-8?q?a?=" * 15_000 + b"\n\n",
        b"Subject: " + b"=?utf-8?q?" * 20_000 + b"\n\n",
        b"Content-Type: text/plain; " + b'a="\\' * 40_000 + b"\n\n",
        b"Content-Type: text/plain; " + b"a*0*=x;" * 30_000 + b"\n\n",
        b"Content-Type: text/plain; " + b";" * 200_000 + b"\n\n",
        b"Subject: " + b"\n " * 100_000 + b"\n\n",
        b"a: b\n\n" + b"> Received: x\n" + b"> y\n" * 60_000 + b"\n",
        b"a: b\n\n" + b"Received:" * 100_000,
        b"a: b\n\n" + b"-----BEGIN PGP MESSAGE-----\n" * 30_000,
        mixed(TEXT, b"\n" + b"-----BEGIN PGP SIGNATURE-----\n" * 30_000, kind=PGP_SIGNED),
        mixed(b"Content-Disposition: x; file" + b"name=" * 40_000 + b"\n\nx"),
        b"From: " + b"a" * 200_000 + b"\n\nx",
        b"From: " + b"a@" * 100_000 + b"\n\nx",
        b"a: b\nContent-Transfer-Encoding: quoted-printable\n\n" + b"=" * 1_000_000,
        b"a: b\nContent-Transfer-Encoding: base64\n\n" + b"A=" * 500_000,
        b"a: b\nContent-Type: text/plain; charset=iso-2022-jp\n\n" + b"\x1b$B" * 300_000,
    ):
        read_everything(raw)


def read_everything(raw: bytes) -> None:
    """Read a message in every way that the robot does."""
    try:
        entity = read_entity(raw)
        for part in (entity, *entity.leaves()):
            part.text()
            part.header_lines()
            assert all(isinstance(part.header(name), str) for name, _ in part.headers)
        is_automatic(entity)
        find_pgp(entity)
        embedded(entity)
    except WireError:
        pass


# --- texts ----------------------------------------------------------------------------------------------------------


def test_words_and_charsets_are_decoded() -> None:
    assert read_entity(SAMPLES["encoded words"]).header("subject") == "a bä=?x?q?c?=".replace("=?x?q?c?=", "c")
    assert read_entity(b"Subject: a\n b =?utf-8?q?\n\n").header("SUBJECT") == "a b =?utf-8?q?"
    assert read_entity(b"").header("subject") == ""
    assert read_entity(SAMPLES["quoted-printable"]).text() == "ä\0=zz\n"


@pytest.mark.parametrize(
    "charset", ["punycode", "utf-7", "unicode_escape", "zlib", "hex", "idna", "nope", "a\0b", "", "ü" * 99]
)
def test_no_charset_raises(charset: str) -> None:
    assert as_text(b"caf\xc3\xa9 \xff \0", charset) == "café \\xff \0"


@pytest.mark.parametrize("charset", sorted(CHARSETS))
def test_every_charset_takes_any_bytes(charset: str) -> None:
    assert isinstance(as_text(bytes(range(256)) * 3 + b"\x1b$B\x1b", charset), str)


@pytest.mark.parametrize(
    ("coded", "want"),
    [(b"aGVsbG8=", b"hello"), (b"aGVs\nbG8", b"hello"), (b"a", b""), (b"###aGVsbG8=###", b"hello"), (b"\xff\0", b"")],
)
def test_broken_base64_is_read_as_far_as_it_goes(coded: bytes, want: bytes) -> None:
    assert unbase64(coded) == want


@given(st.binary(max_size=200))
def test_base64_round_trip(raw: bytes) -> None:
    assert unbase64(base64.encodebytes(raw)) == raw


def test_parameters() -> None:
    value = 'Text/Plain ; charset = "a;b\\"c" ; Name=x; name=y;broken; =z; quoted="'
    assert parameters(value) == ("text/plain", {"charset": 'a;b"c', "name": "x", "quoted": ""})


def simple_messages() -> st.SearchStrategy[bytes]:
    """Well-formed messages, on which the standard library is right."""
    words = st.text(alphabet="abc xyz.,-", min_size=1, max_size=30).map(str.strip).filter(bool)
    leaf = st.builds(lambda text: f"Content-Type: text/plain\n\n{text}\n", words)
    tree = st.recursive(
        leaf,
        lambda parts: st.builds(_joined, st.integers(0, 10**9), st.lists(parts, min_size=1, max_size=3)),
        max_leaves=8,
    )
    return tree.map(lambda text: f"Subject: x\n{text}".encode())


def _joined(number: int, parts: list[str]) -> str:
    mark = f"b{number}-{len(''.join(parts))}"
    middle = "".join(f"--{mark}\n{part}\n" for part in parts)
    return f"Content-Type: multipart/mixed; boundary={mark}\n\n{middle}--{mark}--\n"


@settings(max_examples=50, deadline=None)
@given(simple_messages())
def test_the_standard_library_reads_well_formed_messages_the_same(raw: bytes) -> None:
    theirs = email.message_from_bytes(raw, policy=email.policy.default)
    want = [part.get_payload(decode=True) for part in theirs.walk() if not part.is_multipart()]
    assert [part.content() for part in read_entity(raw, Limits(depth=40)).leaves()] == want


# --- PGP ------------------------------------------------------------------------------------------------------------


def test_a_signed_part_is_what_was_signed() -> None:
    found = find_pgp(read_entity(SAMPLES["signed"]))
    assert isinstance(found, Signed)
    assert found.content == mixed(TEXT, attached(), mark="in").replace(b"\n", b"\r\n")
    assert found.signature == SIGNATURE
    crlf = find_pgp(read_entity(SAMPLES["signed"].replace(b"\n", b"\r\n")))
    assert isinstance(crlf, Signed)
    assert crlf.content == found.content
    assert len(embedded(read_entity(found.content))) == 1


@pytest.mark.parametrize(
    ("name", "want"),
    [("encrypted", Encrypted(ARMOR)), ("inline encrypted", Encrypted(ARMOR)), ("clearsigned", Clearsigned(CLEAR))],
)
def test_armor_is_found(name: str, want: object) -> None:
    assert find_pgp(read_entity(SAMPLES[name])) == want
    inside = mixed(SAMPLES[name], b"\nfooter of a list", mark="out")
    assert find_pgp(read_entity(inside)) == want


def test_the_outermost_and_first_counts() -> None:
    both = mixed(b"\n" + CLEAR, b"\n" + ARMOR)
    assert find_pgp(read_entity(both)) == Clearsigned(CLEAR)
    assert find_pgp(read_entity(mixed(TEXT))) is None
    assert find_pgp(read_entity(b"\n> " + ARMOR.replace(b"\n", b"\n> "))) is None
    assert find_pgp(read_entity(mixed(TEXT, attached(b"A: b\n\n" + ARMOR)))) is None


def test_cleartext_is_without_frame_and_escapes() -> None:
    assert Clearsigned(CLEAR).cleartext() == b"dash\ntext"
    assert Clearsigned(CLEAR.replace(b"\n", b"\r\n")).cleartext() == b"dash\ntext"


@pytest.mark.parametrize(
    "raw",
    [
        b"\n" + ARMOR[:-10],
        b"\n" + CLEAR[:-60],
        b"\n-----BEGIN PGP MESSAGE-----\n",
        mixed(b"Content-Type: application/pgp-encrypted\n\nVersion: 1\n", kind=PGP_ENCRYPTED),
        mixed(TEXT, TEXT, kind=PGP_ENCRYPTED),
        mixed(TEXT, kind=PGP_SIGNED),
        mixed(TEXT, b"\n" + SIGNATURE[:-20], kind=PGP_SIGNED),
        mixed(kind=PGP_SIGNED),
    ],
)
def test_what_is_cut_off_is_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        find_pgp(read_entity(raw))


# --- embedded messages ----------------------------------------------------------------------------------------------

HEADER_LINES = (
    "Return-Path: <x@sender.example>",
    "Received: from x (unknown [192.0.2.7]) by mx.example.net (Postfix) with ESMTP id 1; "
    "Tue, 24 Nov 2026 14:01:35 +0000",
    "Subject: buy",
)


@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [("attached", "attached", 2), ("eml file", "attached", 1), ("headers", "attached", 1), ("arf", "arf", 1),
     ("arf with headers", "arf", 1), ("quoted", "inline", 1), ("plain", "inline", 0), ("clearsigned", "inline", 0)],
)  # fmt: skip
def test_messages_are_found(name: str, kind: str, count: int) -> None:
    found = embedded(read_entity(SAMPLES[name]))
    assert [message.kind for message in found] == [kind] * count
    for message in found:
        assert message.header_lines == HEADER_LINES
        assert message.raw.startswith(b"Return-Path: <x@sender.example>\n")
        assert b"first line" in message.raw or name == "headers"


def test_a_feedback_report_says_what_it_is_about() -> None:
    said = only(embedded(read_entity(SAMPLES["arf"]))).arf
    assert said is not None
    assert (said["feedback-type"], said["source-ip"]) == (("abuse",), ("192.0.2.7",))
    with pytest.raises(WireError, match="feedback-report part"):
        embedded(read_entity(mixed(TEXT, attached(), kind=REPORT)))


@pytest.mark.parametrize("prefix", ["", "> ", "| ", "** ", "( ", ">", ">> ", "JD> ", "  ", "\t", ": ", "[*+?] ", "# "])
def test_any_quote_prefix_is_taken_off(prefix: str) -> None:
    quoted = "".join(f"{prefix}{line}\n" for line in SPAM.decode().splitlines())
    message = only(embedded(read_entity(f"Subject: fw\n\nNote: see below\n\n{quoted}".encode())))
    assert message.header_lines == HEADER_LINES
    assert message.raw.endswith(b"\n\nfirst line\n> second line" + (b"" if prefix.strip() else b"\n"))


def test_what_follows_a_quote_is_the_submitters_own() -> None:
    message = only(embedded(read_entity(SAMPLES["quoted"] + b"-- \nJohn, example.org\n")))
    assert b"John" not in message.raw


def test_wrapped_lines_without_indent_or_prefix_belong_to_their_field() -> None:
    text = (
        "> Return-Path: <x@sender.example>\n"
        "> Received: from x (unknown [192.0.2.7])\nby mx.example.net (Postfix) with ESMTP\n> id 1; Tue, 24 Nov 2026\n"
        "14:01:35 +0000\n> Subject: buy\n>\n> first line\n"
    )
    message = only(embedded(read_entity(b"a: b\n\n" + text.encode())))
    assert message.header_lines == HEADER_LINES


def test_encoded_texts_are_searched_decoded() -> None:
    head = b"Content-Type: text/plain\nContent-Transfer-Encoding: "
    quoted = b"".join(b"> " + line for line in SPAM.splitlines(True))
    coded = (b"base64\n\n" + base64.encodebytes(quoted), b"quoted-printable\n\n" + quoted.replace(b"=", b"=3D"))
    for part in coded:
        assert only(embedded(read_entity(head + part))).header_lines == HEADER_LINES


def test_what_the_spam_itself_brings_is_not_taken_for_the_report() -> None:
    forwarded = b"\nFYI\n----- Forwarded -----\nSubject: buy\nDate: today\nFrom: x@sender.example\n\nbody\n"
    forged = attached(SPAM.replace(b"192.0.2.7", b"203.0.113.66"))
    with pytest.raises(WireError, match="which is meant"):
        embedded(read_entity(mixed(forwarded, forged)))
    with pytest.raises(WireError, match="which is meant"):
        embedded(read_entity(mixed(b"\n" + SPAM, forged)))
    # A feedback report is one only where the message itself is, and a pasted message only in the first text.
    inner = mixed(TEXT, FEEDBACK, forged, kind=REPORT, mark="in")
    assert [message.kind for message in embedded(read_entity(mixed(TEXT, attached(), inner)))] == ["attached"] * 2
    assert embedded(read_entity(mixed(TEXT, b"Content-Type: text/plain\n\n" + SPAM))) == ()


def test_a_pasted_header_is_bounded() -> None:
    with pytest.raises(WireError, match="pasted header too long"):
        embedded(read_entity(b"a: b\n\nReceived: x\n" + b"A: b\n" * 2000))


# --- automatic mail -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("Auto-Submitted: auto-replied", "auto-replied"),
        ("Auto-Submitted: auto-generated; x=y", "auto-generated"),
        ("Return-Path: <>", "empty Return-Path"),
        ("Content-Type: multipart/report; report-type=delivery-status; boundary=b", "delivery-status"),
        ("Precedence: Bulk", "bulk"),
        ("List-Id: <x.example>", "List-Id"),
        ("List-Unsubscribe: <mailto:x@example.org>", "List-Unsubscribe"),
        ("X-Autoreply: yes", "machine"),
        ("X-Loop: x", "machine"),
        ("X-Auto-Response-Suppress: DR, AutoReply", "no automatic answer"),
        ("X-Spamcannibal-Loop: 1", "this robot"),
        ("From: MAILER-DAEMON@example.org", "mailer-daemon"),
        ('From: "no reply" <no-reply@example.org>', "no-reply"),
        ("From: owner-list@example.org", "owner-list"),
        ("From: list-bounces@example.org", "list-bounces"),
    ],
)
def test_who_must_not_be_answered(header: str, reason: str) -> None:
    assert reason in is_automatic(read_entity(f"{header}\nSubject: x\n\nx".encode()))


@pytest.mark.parametrize(
    "header",
    ["Auto-Submitted: no", "Return-Path: <x@example.org>", "Precedence: first-class", "From: Owner <john@example.org>",
     "X-Auto-Response-Suppress: DR", "Subject: Auto-Submitted: auto-replied", ""],
)  # fmt: skip
def test_who_may_be_answered(header: str) -> None:
    assert is_automatic(read_entity(f"{header}\nTo: x\n\nx".encode())) == ""


# --- anything -------------------------------------------------------------------------------------------------------

LINES = (
    "Content-Type: multipart/mixed; boundary=b", "Content-Type: message/rfc822",
    "Content-Type: multipart/signed; protocol=application/pgp-signature; boundary=b",
    "Content-Type: multipart/report; report-type=feedback-report; boundary=b",
    "Content-Type: message/feedback-report", "Content-Type: text/plain; charset=utf-16",
    "Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: quoted-printable", "", "--b", "--b--", "--b \t",
    " ", "\t", "A: b", "> Received: x", "> ", ">", "From x", "From: a@b", "Subject: =?utf-8?b?=?=", "\0", "\r",
    "-----BEGIN PGP MESSAGE-----", "-----END PGP MESSAGE-----", "-----BEGIN PGP SIGNED MESSAGE-----",
    "-----BEGIN PGP SIGNATURE-----", "-----END PGP SIGNATURE-----", "ü\ud800",
)  # fmt: skip
soups = st.lists(st.sampled_from(LINES) | st.text(max_size=40), max_size=40).map(
    lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")
)


@settings(max_examples=300, deadline=None)
@given(soups | st.binary(max_size=500))
def test_no_bytes_raise_anything_but_wire_error(raw: bytes) -> None:
    read_everything(raw)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.integers(0, 400), st.binary(max_size=4))
def test_no_damage_raises_anything_but_wire_error(name: str, at: int, noise: bytes) -> None:
    raw = SAMPLES[name]
    read_everything(raw[:at])
    read_everything(raw[:at] + noise + raw[at + len(noise) :])
