"""The mail robot from a message to the store: what is listed, what is refused and why, what is told to whom."""

import base64
import email
import email.policy
import json
import mailbox
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import dkim
import dns.resolver
import dnslib
import pytest

import robotkit
from helpers.faulty_dns import FaultyDns, rcode
from robotkit import entity, mail, spam
from robotsite import Site, make_cast
from spamcannibal.addr import parse_key
from spamcannibal.commands import robot_tools
from spamcannibal.commands.common import open_store
from spamcannibal.record import EXCLUDED, PROVEN_CODE, PUBLISHED, Cause, Mode
from spamcannibal.store.batch import Hearsay, NewListing
from storekit import check_whole


@pytest.fixture(scope="module")
def people():
    with robotkit.People() as made:
        yield made


@pytest.fixture(scope="module")
def cast(people):
    return make_cast(people)


@pytest.fixture
def site(tmp_path, cast):
    return Site(tmp_path, cast)


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory, cast):
    """One site for all that must leave it as it was: nothing is ever listed there."""
    return Site(tmp_path_factory.mktemp("unchanged"), cast)


def text_of(answer):
    return next(answer.iter_parts()).get_content()


def verified(person, answer_path):
    """What an answer says, once its signature was checked by gpg itself."""
    raw = answer_path.read_bytes().replace(b"\n", b"\r\n")
    boundary = email.message_from_bytes(raw).get_boundary().encode()
    _, part, signature, _ = raw.split(b"--" + boundary)
    part = part.removeprefix(b"\r\n").removesuffix(b"\r\n")
    (person.home / "part").write_bytes(part)
    armor = signature.partition(b"\r\n\r\n")[2]
    told = person.gpg("--status-fd", "1", "--verify", "-", str(person.home / "part"), data=armor)
    assert b"[GNUPG:] GOODSIG" in told
    return email.message_from_bytes(part, policy=email.policy.default).get_content()


def test_a_signed_report_lists_the_source_with_its_evidence_and_is_answered(site, cast):
    message = spam("203.0.113.9")
    done = site.process("robot", data=cast["alice"].report(message))
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert site.listed() == {"203.0.113.9"}
    (piece,) = site.evidence("203.0.113.9")
    assert piece.source == f"robot:{cast['alice'].fingerprint}"
    assert b"cheap pills" in piece.body and b"buy them" in piece.body and b"user@example.net" not in piece.body
    with site.store() as store:
        (change,) = store.read(0, 10)
    assert (change.code, change.flags, change.source) == (PROVEN_CODE, PUBLISHED, piece.source)
    (original,) = site.kept("originals")
    assert original.startswith(b"X-Spamcannibal-Key: 203.0.113.9\n") and b"user@example.net" in original
    (answer,) = site.answers()
    assert (answer["To"], answer["Subject"]) == ("alice@example.org", "SpamCannibal: listed 203.0.113.9")
    assert answer["Auto-Submitted"] == "auto-replied" and answer["In-Reply-To"].endswith(".mail@example.org>")
    assert "203.0.113.9 is listed now" in verified(cast["alice"], site.sent()[0])
    assert (site.path / "sent.args").read_text() == "-i -f <> -- alice@example.org\n"
    assert b"ROBOT kind=listed submitter=alice keys=203.0.113.9 answered=true" in done.stderr


def test_an_ipv6_source_is_listed_as_its_network(site, cast):
    assert site.robot(cast["alice"].report(spam("2001:db8:1:2::9"))).exit_code == 0
    assert site.listed() == {"2001:db8:1:2::/64"}


def encrypted_mime(cast, message):
    return cast["alice"].encrypted(entity(message), cast["robot"])


def encrypted_inline(cast, message):
    return cast["alice"].encrypted(message, cast["robot"], is_mime=False)


def encrypted_around_signed(cast, message):
    inner = cast["alice"].signed(entity(message)).partition(b"MIME-Version: 1.0\n")[2]
    return cast["alice"].encrypted(inner.replace(b"\n", b"\r\n"), cast["robot"], is_signed=False)


def quoted(cast, message):
    return cast["alice"].clearsigned(b"look:\n" + b"".join(b"> " + line for line in message.splitlines(keepends=True)))


HEADER = "X-Report: let me in\n"
FORMS = {
    "attached": lambda cast, message: cast["alice"].report(message),
    "encrypted": encrypted_mime,
    "encrypted-inline": encrypted_inline,
    "encrypted-around-signed": encrypted_around_signed,
    "clearsigned-quoted": quoted,
    "clearsigned-pasted": lambda cast, message: cast["alice"].clearsigned(message),
    "header": lambda cast, message: mail("x@example.org", "text/plain", b"look:\n\n" + message, HEADER),
    "crlf": lambda cast, message: cast["alice"].report(message).replace(b"\n", b"\r\n"),
    "mbox-from": lambda cast, message: b"From x@example.org Tue Nov 24\n" + cast["alice"].report(message),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_report_is_understood(site, cast, form):
    done = site.robot(FORMS[form](cast, spam("203.0.113.9")))
    assert done.exit_code == 0, done.output
    assert site.listed() == {"203.0.113.9"}
    assert b"buy them at" in site.evidence("203.0.113.9")[0].body


def test_several_reports_are_several_pieces_of_evidence(site, cast):
    first, second = spam("203.0.113.9", "one"), spam("203.0.113.9", "two")
    assert site.robot(cast["alice"].report(first, second, spam("203.0.113.10", "three"))).exit_code == 0
    assert site.robot(cast["carol"].report(spam("203.0.113.9", "four"))).exit_code == 0
    assert site.listed() == {"203.0.113.9", "203.0.113.10"}
    subjects = [piece.body.partition(b"Subject: ")[2].partition(b"\n")[0] for piece in site.evidence("203.0.113.9")]
    assert [subject.strip() for subject in subjects] == [b"one", b"two", b"four"]
    assert site.seq() == 2


def test_what_a_message_says_beside_the_signed_part_is_not_looked_at(site, cast):
    signed = cast["alice"].report(spam("203.0.113.9"))
    inner = signed.partition(b"MIME-Version: 1.0\n")[2]
    forged = b"\n--x\nContent-Type: message/rfc822\n\n" + spam("203.0.113.66")
    outer = b"--x\n" + inner + forged + b"\n--x--\n"
    assert site.robot(mail("eve@example.org", 'multipart/mixed; boundary="x"', outer)).exit_code == 0
    assert site.listed() == {"203.0.113.9"}
    assert [answer["To"] for answer in site.answers()] == ["alice@example.org"]


def test_a_sender_whose_domain_vouches_by_dkim_may_report_once(site, cast, monkeypatch):
    private = subprocess.run(["openssl", "genrsa", "-traditional", "2048"], capture_output=True, check=True).stdout
    argv = ["openssl", "rsa", "-pubout", "-outform", "DER"]
    public = subprocess.run(argv, input=private, capture_output=True, check=True).stdout
    record = dnslib.TXT(chunks(b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)))
    with (site.path / "spamcannibal.toml").open("a") as file:
        file.write('[[robot.submitter]]\nname = "partner"\ndkim = "example.com"\n')
    body = entity(spam("203.0.113.9")).partition(b"\r\n\r\n")[2]
    raw = mail("bob@example.com", 'multipart/mixed; boundary="in"', body).partition(b"\n")[2]  # no Return-Path
    covered = [b"from", b"to", b"subject", b"content-type"]
    made = dkim.sign(raw, b"s1", b"example.com", private, include_headers=covered, linesep=b"\n")
    signed = made.replace(b"\r\n", b"\n") + raw
    with FaultyDns() as server:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], server.port
        monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
        server.on("s1._domainkey.example.com", rcode(2), lambda asked: asked.send(asked.reply(asked.rr(record, "TXT"))))
        done = site.robot(signed)
        assert (done.exit_code, "can't look up s1._domainkey" in done.stderr) == (75, True)
        assert site.robot(signed).exit_code == 0
        assert site.listed() == {"203.0.113.9"}
        assert [answer["To"] for answer in site.answers()] == ["bob@example.com"]
        assert "replayed" in site.robot(signed.replace(b"Message-ID: <", b"Message-ID: <x", 1)).stdout
        assert site.robot(raw.replace(b"bob@example.com", b"eve@example.com")).exit_code == 65


def chunks(text):
    return [text[at : at + 200] for at in range(0, len(text), 200)]


# Refusals: (mail, why, is its submitter told).

FORGED = spam("192.0.2.1").replace(
    b"Return-Path: <spammer@bad.example>\n",
    b"Received: from nowhere by somewhere.example; Tue, 24 Nov 2026 10:00:00 +0000\n",
)
EXIM_FORGED = (
    b"Received: from [203.0.113.9] (helo=bad.example)\n\tby mx2.example.com with esmtp (Exim 4.96)\n"
    b'\t(envelope-from <"[8.8.8.8] by mx.example.net"@bad.example>)\n\tid 1abc-0001; Tue, 24 Nov 2026 10:00:00 +0000\n'
    b"Received: from victim.example ([192.0.2.1]) by mx.example.net with ESMTP; Tue, 24 Nov 2026 09:00:00 +0000\n"
    b"From: x@bad.example\n\nbody\n"
)
V6_FORGED = (
    b"Received: from bad.example ([IPv6:2001:db8:bad::1]) by other.example with ESMTP; Tue, 24 Nov 2026 10:00:00 GMT\n"
    b"Received: from victim.example ([192.0.2.1]) by mx.example.net with ESMTP; Tue, 24 Nov 2026 09:00:00 +0000\n"
    b"From: x@bad.example\n\nbody\n"
)


def without_a_line(raw):
    lines = raw.split(b"\n")
    at = lines.index(b"-----END PGP MESSAGE-----") - 5
    return b"\n".join(lines[:at] + lines[at + 1 :])


def nested(levels):
    body = b"Content-Type: text/plain\r\n\r\nx\r\n"
    for level in range(levels):
        head = f'Content-Type: multipart/mixed; boundary="b{level}"\r\n\r\n--b{level}\r\n'.encode()
        body = head + body + f"\r\n--b{level}--\r\n".encode()
    return body


REFUSED = {
    "unsigned": (lambda cast: mail("alice@example.org", "text/plain", spam()), "not signed", False),
    "wrong-header": (lambda c: mail("a@example.org", "text/plain", spam(), "X-Report: let me\n"), "not signed", False),
    "unknown-key": (lambda cast: cast["stranger"].report(spam()), "unknown here", False),
    "expired-key": (lambda cast: cast["expired"].report(spam()), "key that signed has expired", False),
    "revoked-key": (lambda cast: cast["report by revoked"], "was revoked", False),
    "known-but-not-allowed": (lambda cast: cast["mallory"].report(spam()), "may not report", False),
    "tampered": (lambda c: c["alice"].report(spam()).replace(b"203.0.113.9", b"203.0.113.8"), "does not fit", False),
    "wrongly-signed": (
        lambda c: c["alice"].report(spam()).replace(b"\n--out\nContent", b"x\n--out\nContent"),
        "does not fit",
        False,
    ),
    "truncated-armor": (lambda c: c["alice"].clearsigned(spam()).partition(b"-----END")[0], "cut off", False),
    "truncated-data": (lambda c: without_a_line(encrypted_inline(c, spam())), "OpenPGP", False),
    "encrypted-unsigned": (lambda c: c["alice"].encrypted(spam(), c["robot"], is_signed=False), "not signed", False),
    "too-long": (lambda cast: cast["alice"].report(spam(body="x\n" * 600_000)), "too long", False),
    "one-long-line": (lambda cast: b"Subject: " + b"x" * 100_000_000, "too long", False),
    "nested": (lambda cast: b"From: a@example.org\r\n" + nested(42), "nested too deep", False),
    "nested-and-signed": (lambda cast: cast["alice"].signed(nested(42)), "nested too deep", False),
    "many-headers": (lambda cast: b"X: y\n" * 10_000 + b"\nbody\n", "too many header fields", False),
    "nul-bytes": (lambda cast: b"Subject: \0\0\n\n" + b"\0" * 1000, "not signed", False),
    "bad-charset": (
        lambda c: c["alice"].signed(b"Content-Type: text/plain; charset=no-such\r\n\r\n\xff\xfe\r\n"),
        "no message in it",
        True,
    ),
    "empty": (lambda cast: b"", "not signed", False),
    "no-message": (lambda cast: cast["alice"].command("hello robot"), "no message in it", True),
    "no-received": (lambda c: c["alice"].report(b"From: a@b.example\nSubject: x\n\ny\n"), "no source found", True),
    "own-mx": (lambda cast: cast["alice"].report(spam("198.51.100.25")), "no source found", True),
    "never-list": (lambda cast: cast["alice"].report(spam("192.0.2.77")), "the never-list forbids it", True),
    "public-resolver": (lambda cast: cast["alice"].report(spam("8.8.8.8")), "the never-list forbids it", True),
    "forged-lower-hop": (lambda cast: cast["alice"].report(FORGED), "no source found", True),
    "exim-envelope": (lambda cast: cast["alice"].report(EXIM_FORGED), "no source found", True),
    "ipv6-top-forged-lower": (lambda cast: cast["alice"].report(V6_FORGED), "no source found", True),
    "command-without-role": (lambda cast: cast["alice"].command("list 203.0.113.9"), "may not command", True),
    "command-by-header": (lambda c: mail("x@example.org", "text/plain", b"status\n", HEADER), "may not command", False),
    "wrong-command": (lambda cast: cast["carol"].command("status\nlisst 203.0.113.9"), "unknown command", True),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_gets_its_reason_and_changes_nothing(unchanged, cast, case):
    site, (make, why, is_told) = unchanged, REFUSED[case]
    raw = make(cast)
    was = len(site.sent())
    done = site.robot(raw)
    said = done.output
    assert done.exit_code == (0 if is_told else 65), said
    assert why in said, said
    assert (site.listed(), site.seq()) == (set(), 0)
    folder = "dead" if is_told else "strangers"
    if case != "command-by-header":
        head, _, rest = site.kept(folder)[-1].partition(b"\n")
        assert head.startswith(b"X-Spamcannibal-Refused: ") and why in head.decode()
        assert raw.startswith(rest) if len(raw) > 1 << 20 else rest == raw
    assert [why in text_of(answer) for answer in site.answers()[was:]] == ([True] if is_told else [])


def test_the_same_signature_counts_once(site, cast):
    raw = cast["alice"].report(spam("203.0.113.9"))
    assert site.robot(raw).exit_code == 0
    with site.store() as store:
        store.unlist([parse_key("203.0.113.9")], "admin:test", "", time.time())
    for again in (raw, raw.replace(b"Subject: spam", b"Subject: other"), raw.replace(b"From: alice", b"From: eve")):
        done = site.robot(again)
        assert (done.exit_code, "replayed" in done.stdout) == (65, True)
    assert site.listed() == set()
    assert len(site.sent()) == 1


def test_the_same_mail_in_two_hands_at_once_counts_once(site, cast, monkeypatch):
    raw = cast["carol"].command("list 203.0.113.9")
    assert site.robot(raw).exit_code == 0
    with site.store() as store:
        store.unlist([parse_key("203.0.113.9")], "admin:test", "", time.time())
    monkeypatch.setattr("spamcannibal.store.seen.Seen.has", lambda *_: False)  # as when both looked before either wrote
    assert "replayed" in site.robot(raw).stdout
    assert site.listed() == set() and len(site.sent()) == 1


def test_a_signed_text_stays_the_same_whatever_blanks_are_added_to_it(site, cast):
    raw = cast["carol"].clearsigned(b"list 203.0.113.9\n")
    assert site.robot(raw).exit_code == 0
    for again in (raw.replace(b"list 203.0.113.9\n", b"list 203.0.113.9  \n"), raw.replace(b"\n", b"\r\n")):
        assert "replayed" in site.robot(again).stdout


def test_an_old_signature_does_not_count(site, cast):
    content = entity(spam("203.0.113.9"))
    old = cast["alice"].gpg("--faked-system-time", "20990101T000000!", "--armor", "--detach-sign", data=content)
    fresh = cast["alice"].signed(content)
    start, end = fresh.index(b"-----BEGIN PGP SIG"), fresh.index(b"\n--out--")
    done = site.robot(fresh[:start] + old + fresh[end:])
    assert done.exit_code == 65 and site.listed() == set()


def test_what_is_listed_already_gets_evidence_and_keeps_what_an_admin_said(site, cast):
    with site.store() as store:
        key = parse_key("203.0.113.9")
        item = NewListing(key, text="ask us", source="admin:a", mode=Mode.DROP, evidence=b"x", flags=0)
        store.list([item], time.time())
    assert site.robot(cast["alice"].report(spam("203.0.113.9"))).exit_code == 0
    with site.store() as store:
        listing = store.get_key(key)
        assert (listing.mode, listing.flags, store.text(listing), store.last_seq()) == (Mode.DROP, 0, "ask us", 1)
    assert [piece.source for piece in site.evidence("203.0.113.9")] == ["admin:a", f"robot:{cast['alice'].fingerprint}"]


def test_hearsay_becomes_proven(site, cast):
    cause = Cause("bl.example", bytes((127, 0, 0, 4)), text="told")
    with site.store() as store:
        item = NewListing(parse_key("203.0.113.9"), contrib=Hearsay((cause,)), text="told", source="blcheck:bl.example")
        store.list([item], time.time())
    assert site.robot(cast["alice"].report(spam("203.0.113.9"))).exit_code == 0
    with site.store() as store:
        assert store.get_key(parse_key("203.0.113.9")).code == PROVEN_CODE
        check_whole(store)


def test_who_a_mail_server_of_ours_vouches_for_is_not_listed(site, cast):
    with site.store() as store:
        item = NewListing(parse_key("203.0.113.9"), code=bytes((127, 0, 0, 1)), flags=PUBLISHED | EXCLUDED, text="w")
        store.list([item], time.time())
    done = site.robot(cast["alice"].report(spam("203.0.113.9")))
    assert "vouches for it" in done.output
    assert site.seq() == 1


@pytest.mark.parametrize(
    "header",
    ["Auto-Submitted: auto-generated\n", "Precedence: bulk\n", "List-Id: <x.example>\n", "X-Spamcannibal-Loop: x\n"],
)
def test_automatic_mail_is_taken_but_not_answered(site, cast, header):
    assert site.robot(cast["alice"].report(spam("203.0.113.9"), headers=header)).exit_code == 0
    assert site.listed() == {"203.0.113.9"}
    assert site.sent() == []


def test_an_answer_that_came_back_is_not_answered(site, cast):
    site.robot(cast["alice"].report(spam("203.0.113.9")))
    done = site.robot(site.sent()[0].read_bytes())
    assert done.exit_code == 65
    assert len(site.sent()) == 1


def test_an_answer_that_is_not_taken_is_kept(site, cast):
    site.sendmail.write_text("#!/bin/sh\necho no room >&2\nexit 75\n")
    done = site.robot(cast["alice"].report(spam("203.0.113.9")))
    assert done.exit_code == 0 and site.listed() == {"203.0.113.9"}
    (kept,) = site.kept("dead")
    assert kept.startswith(b"X-Spamcannibal-Unsent: robot.sendmail: exit code 75: no room\n")
    assert "UNSENT" in done.stderr


# Commands.


def test_commands_are_carried_out_for_those_who_may(site, cast):
    text = "list 203.0.113.9 for 30d sent spam\nlist 2001:db8::1\nstatus"
    assert site.robot(cast["carol"].command(text)).exit_code == 0
    assert site.listed() == {"203.0.113.9", "2001:db8::/64"}
    proofs = [site.evidence(key)[0].body for key in ("203.0.113.9", "2001:db8::/64")]
    assert proofs == [b"sent spam", b"listed by an operator"]
    with site.store() as store:
        listing = store.get_key(parse_key("203.0.113.9"))
        assert store.text(listing) == "sent spam" and abs(listing.expiry_ms / 1000 - time.time() - 2_592_000) < 1000
    assert "2 listed" not in text_of(site.answers()[0])  # told as it was before
    text = "unlist 203.0.113.9 sorry\nunlist 203.0.113.10\nexplain 2001:db8::7"
    assert site.robot(cast["carol"].command(text)).exit_code == 0
    assert site.listed() == {"2001:db8::/64"}
    told = "".join(text_of(answer) for answer in site.answers())
    for line in ("unlist 203.0.113.9: removed", "unlist 203.0.113.10: was not listed", "listed as 2001:db8::/64"):
        assert line in told
    with site.store() as store:
        assert store.history(parse_key("203.0.113.9"))[-1].text == "sorry"


def test_an_order_changes_what_it_says_of_a_listing_and_leaves_the_rest(site, cast):
    with site.store() as store:
        item = NewListing(parse_key("203.0.113.9"), text="old", mode=Mode.DROP, flags=0, expiry_ms=4_000_000_000_000)
        store.list([item], time.time())
    for order, text, end_ms in (("list 203.0.113.9", "old", 4e12), ("list 203.0.113.9 new text", "new text", 4e12)):
        assert site.robot(cast["carol"].command(order)).exit_code == 0
        with site.store() as store:
            listing = store.get_key(parse_key("203.0.113.9"))
            assert (store.text(listing), listing.mode, listing.flags, listing.expiry_ms) == (text, Mode.DROP, 0, end_ms)
    assert site.robot(cast["carol"].command("list 203.0.113.9 for 1d")).exit_code == 0
    with site.store() as store:
        listing = store.get_key(parse_key("203.0.113.9"))
        assert store.text(listing) == "new text" and listing.expiry_ms / 1000 < time.time() + 90_000


def test_a_command_does_not_override_the_never_list(site, cast):
    assert site.robot(cast["carol"].command("list 8.8.8.8\nlist 203.0.113.9")).exit_code == 0
    assert site.listed() == {"203.0.113.9"}
    assert "list 8.8.8.8: not listed: the never-list forbids it" in text_of(site.answers()[0])


# What is not the message's fault: 75, and everything as it was.


def stays(site, raw, **options):
    done = site.robot(raw, **options)
    assert done.exit_code == 75, done.output
    assert (site.listed(), site.seq(), site.sent()) == (set(), 0, [])
    assert not site.kept("dead") and not site.kept("strangers")
    return done.stderr


def test_without_gpg_the_mail_stays(site, cast, tmp_path):
    site.write(cast, 'gpg = "/nonexistent/gpg"')
    raw = cast["alice"].report(spam())
    assert "robot.gpg" in stays(site, raw)
    site.write(cast)
    assert site.robot(raw).exit_code == 0


def test_with_a_dead_agent_the_mail_stays(tmp_path, people):
    with robotkit.People() as own:
        cast = {name: own.person(name) for name in ("alice", "carol")}
        cast["robot"] = own.person("robot").decrypts().knows(cast["alice"], cast["carol"])
        cast["alice"].knows(cast["robot"])
        site = Site(tmp_path, cast)
        reports = [cast["alice"].report(spam()), cast["alice"].encrypted(entity(spam()), cast["robot"])]
        robotkit.stop_agent(cast["robot"].home)
        (cast["robot"].home / "gpg.conf").write_text("agent-program /nonexistent\n")
        for raw in reports:
            assert "can't sign" in stays(site, raw)
        (cast["robot"].home / "gpg.conf").unlink()
        assert [site.robot(raw).exit_code for raw in reports] == [0, 0]


@pytest.mark.parametrize(
    ("text", "why"),
    [("store.path = 'db'\nnonsense = 1\n", "nonsense"), ("[robot\n", "not TOML")],
    ids=["unknown-key", "not-toml"],
)
def test_with_broken_settings_the_mail_stays_and_is_read_to_its_end(site, cast, text, why):
    (site.path / "spamcannibal.toml").write_text(text)
    done = site.robot(b"x\n" * 1_000_000)
    assert done.exit_code == 75 and why in done.stderr


@pytest.mark.parametrize("is_broken", [False, True], ids=["too-long", "broken-settings"])
def test_a_mail_server_never_writes_into_a_broken_pipe(site, is_broken):
    if is_broken:
        (site.path / "spamcannibal.toml").write_text("nonsense = 1\n")
    argv = [sys.executable, "-P", "-m", "spamcannibal", "-c", site.path / "spamcannibal.toml", "robot"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for _ in range(64):
        process.stdin.write(b"x" * 250_000)  # BrokenPipeError, if it did not read
    said, _ = process.communicate(timeout=60)
    assert process.returncode == (75 if is_broken else 65), said


def test_without_a_never_list_the_mail_stays(site, cast):
    (site.path / "never-list").unlink()
    assert "never_list" in stays(site, cast["alice"].report(spam()))


HOLDER = """
import sys, time
from spamcannibal.store.env import Env
env = Env(sys.argv[1], cache_bytes=1 << 20)
env.read(lambda: print("inside", flush=True) or time.sleep(1000))
"""


def test_while_the_store_is_busy_the_mail_stays(site, cast, monkeypatch):
    raw = cast["alice"].report(spam())
    monkeypatch.setattr(robot_tools, "open_store", partial(open_store, wait_s=0.2))
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(site.path / "db")], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"inside\n"
        done = site.robot(raw)
        assert (done.exit_code, "busy" in done.stderr) == (75, True)
    finally:
        holder.kill()
        holder.communicate()
    monkeypatch.undo()
    assert site.robot(raw).exit_code == 0


def test_a_full_disk_keeps_the_mail(site, cast):
    raw = cast["alice"].report(spam("203.0.113.9"))
    small = site.path / "small"
    small.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    mounted = subprocess.run(argv, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("needs to mount a tmpfs")
    try:
        site.home.rename(site.path / "away")
        site.home.symlink_to(small)
        (small / "gnupg").symlink_to(cast["robot"].home)
        with (small / "fill").open("wb", buffering=0) as fill, pytest.raises(OSError, match="No space"):
            while True:
                fill.write(bytes(512))
        assert "No space left" in stays(site, raw)
    finally:
        subprocess.run(["umount", small], check=True)
    site.home.unlink()
    (site.path / "away").rename(site.home)
    assert site.robot(raw).exit_code == 0


def test_a_breaker_that_tripped_keeps_the_mail(site, cast):
    text = (site.path / "spamcannibal.toml").read_text().replace("guard.own_names = []", "guard.max_per_net = 1")
    (site.path / "spamcannibal.toml").write_text(text)
    assert site.robot(cast["alice"].report(spam("203.0.113.9"))).exit_code == 0
    raw = cast["alice"].report(spam("203.0.113.10"))
    done = site.robot(raw)
    assert done.exit_code == 75 and "breaker: 1 listings in an hour in 203.0.113.0/24" in done.stderr
    assert site.listed() == {"203.0.113.9"}
    assert site.robot(cast["alice"].report(spam("203.0.114.10"))).exit_code == 0


# Files, dry run, keys.


def test_a_maildir_an_mbox_and_files_are_taken_in_one_go(site, cast):
    folder = mailbox.Maildir(site.path / "reports")
    for number in range(3):
        folder.add(cast["alice"].report(spam(f"203.0.113.{number + 1}")))
    box = mailbox.mbox(site.path / "box")
    box.add(cast["carol"].report(spam("203.0.113.4")))
    box.close()
    (site.path / "x.eml").write_bytes(b"Subject: none\n\n")
    done = site.run("robot", site.path / "reports", site.path / "box", site.path / "x.eml", "--json")
    assert done.exit_code == 65, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["kind"] for row in rows] == ["listed"] * 4 + ["refused"]
    assert site.listed() == {f"203.0.113.{n}" for n in range(1, 5)}
    assert site.sent() == [] and not site.kept("strangers")


def test_a_dry_run_tells_all_and_changes_nothing(site, cast):
    raw = cast["alice"].report(spam("203.0.113.9"))
    done = site.robot(raw, "--dry-run")
    assert (done.exit_code, "203.0.113.9 is listed now" in done.stdout) == (0, True)
    (site.path / "x.eml").write_bytes(raw)
    assert "is listed now" in site.run("robot", site.path / "x.eml", "--dry-run").stdout
    assert site.run("robot", "--dry-run", site.path / "x.eml").exit_code == 0
    assert (site.listed(), site.seq(), site.sent(), site.kept("originals")) == (set(), 0, [], [])
    assert site.robot(raw).exit_code == 0


def test_keys_are_kept_by_commands(tmp_path, cast):
    site = Site(tmp_path, cast)
    (site.home / "gnupg").unlink()
    try:
        made = site.run("robot", "key", "new", "Robot <robot@mx.example.net>")
        assert made.exit_code == 0 and made.stdout.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")
        fingerprint = made.stderr.rpartition('key = "')[2][:40]
        (tmp_path / "alice.asc").write_bytes(cast["alice"].public())
        assert site.run("robot", "key", "import", tmp_path / "alice.asc").exit_code == 0
        shown = site.run("robot", "key", "list", "--json")
        rows = {row["fingerprint"]: (row["own"], row["submitter"]) for row in json.loads(shown.stdout)}
        assert rows == {fingerprint: (True, None), cast["alice"].fingerprint: (False, "alice")}
        assert (shown.exit_code, shown.stderr) == (1, "carol: no usable key; import it\n")
        assert site.run("robot", "key", "remove", fingerprint).exit_code == 2
        assert site.run("robot", "key", "remove", fingerprint, "--own").exit_code == 0
        assert site.run("robot", "key", "remove", "A" * 40).exit_code == 1
        assert site.run("robot", "key", "remove", cast["alice"].fingerprint).exit_code == 0
        assert json.loads(site.run("robot", "key", "list", "--json").stdout) == []
    finally:
        robotkit.stop_agent(site.home / "gnupg")


def test_refusals_may_be_kept_quiet(site, cast):
    site.write(cast, 'refusals = "keep"')
    done = site.robot(mail("a@example.org", "text/plain", spam()))
    assert done.exit_code == 0 and len(site.kept("strangers")) == 1


def test_the_historic_name_is_the_robot(site):
    launcher = Path(__file__).parent.parent / "bin" / "sc_mailfilter"
    argv = [sys.executable, "-P", launcher, "-c", site.path / "spamcannibal.toml"]
    done = subprocess.run(argv, input=b"x\n", capture_output=True, check=False, timeout=60)
    assert done.returncode == 65 and b"not signed" in done.stdout


@pytest.mark.parametrize("wrong", [["--nonsense"], ["key", "nonsense"]], ids=" ".join)
def test_what_a_mail_server_is_told_to_call_wrongly_leaves_the_mail_with_it(wrong):
    launcher = Path(__file__).parent.parent / "bin" / "sc_mailfilter"
    done = subprocess.run([sys.executable, "-P", launcher, *wrong], input=b"x\n", capture_output=True, check=False)
    assert done.returncode == 75 and b"onsense" in done.stderr


def test_without_its_modules_the_mail_stays_with_the_mail_server():
    launcher = Path(__file__).parent.parent / "bin" / "sc_mailfilter"
    done = subprocess.run([sys.executable, "-I", "-S", launcher], input=b"x\n", capture_output=True, check=False)
    assert done.returncode == 75 and b"spamcannibal" in done.stderr
