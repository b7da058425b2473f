"""The robot's small parts: who may, orders, the answer, folders, files, what was seen before."""

import base64
import email
import email.policy
import mailbox
import stat
import subprocess
import time
import tracemalloc
from contextlib import suppress

import dkim
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import parse_key
from spamcannibal.errors import ConfigError, Unavailable, WireError
from spamcannibal.robot import answer, dkimcheck, feed, policy
from spamcannibal.robot.folder import CHECK_EVERY, Bounds, Folder
from spamcannibal.robot.message import read_entity
from spamcannibal.robot.orders import Order, orders
from spamcannibal.robot.policy import Submitter, Verified
from spamcannibal.store.check import check
from spamcannibal.store.seen import Seen
from storekit import check_whole, open_store

NOW = 1_795_000_000.0
A, B = "A" * 40, "B" * 40
SIGNER = Submitter("signer", fingerprint=A)
DOMAIN = Submitter("domain", dkim="example.org")
PERSON = Submitter("person", dkim="bob@example.net")
LINE = Submitter("line", header="X-Report: let me in")


# Who may.


def test_a_fingerprint_is_compared_whole():
    assert policy.by_fingerprint(A, [LINE, SIGNER]) is SIGNER
    for other in (B, A[:16], A[-16:], "", A.lower()):
        with pytest.raises(WireError, match="may not report"):
            policy.by_fingerprint(other, [LINE, SIGNER, Submitter("none")])


@pytest.mark.parametrize(
    ("domain", "sender", "who"),
    [
        ("example.org", "alice@example.org", DOMAIN),
        ("example.net", "bob@example.net", PERSON),
        ("example.net", "eve@example.net", None),
        ("example.com", "alice@example.org", None),
        ("example.org", "alice@sub.example.org", None),
        ("org", "alice@example.org", None),
    ],
)
def test_dkim_vouches_for_the_domain_or_address_that_signed(domain, sender, who):
    found = policy.by_dkim([Verified(domain, sender, 0, b"")], [SIGNER, DOMAIN, PERSON])
    assert (found and found[0]) == who


@pytest.mark.parametrize(
    ("headers", "fits"),
    [
        ([("x-report", " let me in")], True),
        ([("Subject", "hi"), ("X-Report", "let me in ")], True),
        ([("X-Report", "let me")], False),
        ([("X-Report", "let me in now")], False),
        ([("X-Reports", "let me in")], False),
        ([("X-Report", "")], False),
        ([], False),
    ],
)
def test_a_header_line_must_be_there_as_it_is(headers, fits):
    assert policy.by_header(headers, [SIGNER, Submitter("none"), LINE]) == (LINE if fits else None)


def test_a_role_must_be_given():
    policy.needs_role(SIGNER, policy.REPORT)
    with pytest.raises(WireError, match="may not command"):
        policy.needs_role(SIGNER, policy.COMMAND)


@pytest.mark.parametrize(("age_s", "fits"), [(0, True), (100, True), (101, False), (-10, True), (-11, False)])
def test_a_signature_counts_within_the_window(age_s, fits):
    if fits:
        policy.check_time(int(NOW) - age_s, NOW, 100, 10)
    else:
        with pytest.raises(WireError):
            policy.check_time(int(NOW) - age_s, NOW, 100, 10)


# DKIM, against dkimpy's own signer.

@pytest.fixture(scope="module")
def domain_key():
    """A private key as dkimpy takes it, and its DNS record."""
    private = subprocess.run(["openssl", "genrsa", "-traditional", "2048"], capture_output=True, check=True).stdout
    public = subprocess.run(
        ["openssl", "rsa", "-pubout", "-outform", "DER"], input=private, capture_output=True, check=True
    ).stdout
    return private, b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)


MAIL = b"From: Bob <bob@example.net>\nTo: robot@mx.example\nSubject: spam\nContent-Type: text/plain\n\nhello\n"
MAIL = MAIL.replace(b"\n", b"\r\n")
COVERED = [b"from", b"to", b"subject", b"content-type"]


def signed(domain_key, mail=MAIL, domain=b"example.net", covered=COVERED, **options):
    return dkim.sign(mail, b"s1", domain, domain_key[0], include_headers=covered, **options) + mail


def verified(raw, domain_key):
    entity = read_entity(raw)
    return dkimcheck.verify(raw, dkimcheck.sender_of(entity), lambda name, timeout: domain_key[1])


def test_a_dkim_signature_over_all_of_it_vouches(domain_key):
    (found,) = verified(signed(domain_key), domain_key)
    assert (found.domain, found.sender) == ("example.net", "bob@example.net")
    assert found.time_s > 1_700_000_000


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b"hello", b"HELLO"),
        lambda raw: raw.replace(b"bob@", b"eve@"),
        lambda raw: b"From: bob@example.net\r\n" + raw,
        lambda raw: b"Content-Type: message/rfc822\r\n" + raw,
        lambda raw: raw.replace(b"Content-Type", b"Content-Transfer-Encoding: base64\r\nContent-Type"),
        lambda raw: raw.replace(b"t=", b"t=1"),
    ],
    ids=["body", "sender", "second-from", "second-type", "encoding", "time"],
)
def test_a_changed_mail_is_vouched_for_by_nobody(domain_key, change):
    raw = change(signed(domain_key))
    assert verified(raw, domain_key) == []


def test_a_signature_that_covers_too_little_vouches_for_nothing(domain_key):
    assert verified(signed(domain_key, covered=[b"from", b"to"]), domain_key) == []
    assert verified(signed(domain_key, length=True) + b"more\r\n", domain_key) == []
    assert verified(signed(domain_key, domain=b"example.com"), domain_key) == []


def test_a_key_that_cannot_be_looked_up_is_unavailable_and_one_that_is_not_there_is_none(domain_key):
    raw = signed(domain_key)

    def fail(name, timeout):
        raise Unavailable("silence")

    with pytest.raises(Unavailable, match="silence"):
        dkimcheck.verify(raw, "bob@example.net", fail)
    assert dkimcheck.verify(raw, "bob@example.net", lambda name, timeout: None) == []
    assert dkimcheck.verify(MAIL, "bob@example.net", fail) == []


@pytest.mark.parametrize(
    ("fields", "sender"),
    [
        (["Bob <Bob@Example.net>"], "bob@example.net"),
        (["bob@example.net"], "bob@example.net"),
        (['"b, <eve@example.org>" <bob@example.net>'], ""),
        (["bob@example.net, eve@example.org"], ""),
        (["a@b.example <bob@example.net>"], ""),
        (["bob@example.net", "bob@example.net"], ""),
        ([], ""),
    ],
)
def test_a_sender_is_one_address_beyond_doubt(fields, sender):
    raw = "".join(f"From: {field}\n" for field in fields).encode() + b"\nx\n"
    assert dkimcheck.sender_of(read_entity(raw)) == sender


# Orders.


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("status", [Order("status")]),
        ("  STATUS \n\nlist 192.0.2.1\n", [Order("status")]),
        ("list 192.0.2.1", [Order("list", parse_key("192.0.2.1"))]),
        ("list 192.0.2.0/24 sent spam", [Order("list", parse_key("192.0.2.0/24"), "sent spam")]),
        ("list 192.0.2.1 for 30d spam", [Order("list", parse_key("192.0.2.1"), "spam", 2_592_000.0)]),
        ("list 192.0.2.1 for 36h", [Order("list", parse_key("192.0.2.1"), "", 129_600.0)]),
        ("list 2001:db8::1", [Order("list", parse_key("2001:db8::/64"))]),
        ("explain 2001:db8::1", [Order("explain", parse_key("2001:db8::1"))]),
        (
            "unlist 192.0.2.1 owner\tcleaned up\nexplain 192.0.2.1\n--\nBob",
            [Order("unlist", parse_key("192.0.2.1"), "owner cleaned up"), Order("explain", parse_key("192.0.2.1"))],
        ),
        ("Dear robot,\nlist 192.0.2.1", []),
        ("> list 192.0.2.1", []),
        ("", []),
    ],
)
def test_orders_stand_in_the_first_paragraph(text, want):
    assert list(orders(text)) == want


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("list", "line 1: list: no address"),
        ("list here", "line 1: not an address"),
        ("list 192.0.2.1/24", "line 1: host bits set"),
        ("list 192.0.2.1 for ever", "line 1: after `for` got 'ever'"),
        ("status\nunlst 192.0.2.1", "line 2: unknown command 'unlst', did you mean unlist?"),
        ("status\n" * 21, "21 commands in one mail"),
        ("list 2001:db8::1\nunlist 2001:db8::2", "two commands about 2001:db8::/64"),
    ],
)
def test_one_wrong_line_refuses_all(text, why):
    with pytest.raises(WireError) as caught:
        orders(text)
    assert str(caught.value).startswith(why)


@given(st.text() | st.from_regex(r"(list|unlist|explain|status)[ \t\S]{0,50}\n?"))
def test_any_text_is_orders_or_none_or_refused(text):
    with suppress(WireError):
        assert all(order.verb in ("list", "unlist", "explain", "status") for order in orders(text))


# The answer.

REPLY = answer.Reply(
    "robot@mx.example",
    "alice@example.org",
    "listed 192.0.2.7",
    ("From here on", "caf\xe9 \u2603  ", "x" * 500, ".", "line\nbreak\r\nBcc: eve@example.org"),
    "<1@example.org>\r\nX: y",
    "<0@example.org> junk <1@example.org> <a b@c>",
)


def test_an_answer_is_a_mail_that_nothing_answers():
    part = answer.body_part(REPLY)
    raw = answer.message(REPLY, part, (b"-----BEGIN PGP SIGNATURE-----\nx\n", "pgp-sha256"), "abcdef", NOW)
    made = email.message_from_bytes(raw, policy=email.policy.default)
    assert made["Auto-Submitted"] == "auto-replied"
    assert made["In-Reply-To"] == "<1@example.org>"
    assert made["References"].split() == ["<0@example.org>", "<1@example.org>"]
    assert (made["From"], made["To"], made["Bcc"]) == ("SpamCannibal <robot@mx.example>", "alice@example.org", None)
    assert made["X-Spamcannibal-Loop"] and made["Date"] and made["Message-ID"] == "<abcdef@mx.example>"
    assert made.get_content_type() == "multipart/signed" and not made.defects
    text, signature = made.iter_parts()
    assert text.get_content().splitlines()[:2] == ["From here on", "caf\xe9 \u2603"]
    assert signature.get_content_type() == "application/pgp-signature"
    assert part + b"\r\n--robot-abcdef" in raw


def test_an_answer_holds_nothing_that_a_mail_server_changes_on_its_way():
    part = answer.body_part(REPLY)
    assert part.isascii() and part.endswith(b"\r\n") and b"\n" not in part.replace(b"\r\n", b"")
    for line in part.split(b"\r\n"):
        assert len(line) <= 76 and line == line.rstrip(b" \t") and not line.startswith(b"From ")


@given(st.lists(st.text(), max_size=5), st.text(), st.text(), st.text())
def test_no_text_breaks_out_of_its_place_in_the_answer(lines, title, answers_id, references):
    reply = answer.Reply("robot@mx.example", "alice@example.org", title, tuple(lines), answers_id, references)
    part = answer.body_part(reply)
    raw = answer.message(reply, part, (b"x\n", "pgp-sha256"), "abcdef", NOW)
    head = raw.partition(b"\r\n\r\n")[0].decode("ascii")
    names = [line.partition(":")[0] for line in head.split("\r\n") if not line.startswith(" ")]
    allowed = ["From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted"]
    assert [name for name in names if name not in allowed] == ["X-Spamcannibal-Loop", "MIME-Version", "Content-Type"]
    assert all(line == line.rstrip(b" \t") and not line.startswith(b"From ") for line in part.split(b"\r\n"))


@pytest.mark.parametrize(
    ("given_address", "user_id", "sender", "want"),
    [
        ("a@example.org", "B <b@example.org>", "c@example.org", "a@example.org"),
        ("", "B (work) <b@example.org>", "c@example.org", "b@example.org"),
        ("", "b@example.org", "", "b@example.org"),
        ("", "B", "c@example.org", "c@example.org"),
        ("", "B <-oX@example.org>", "", ""),
        ("", "B <b@example.org\nBcc: x>", "", ""),
        ("", "", "", ""),
    ],
)
def test_who_is_answered_does_not_depend_on_strangers(given_address, user_id, sender, want):
    assert answer.recipient_of(Submitter("x", address=given_address), user_id, sender) == want


# Folders.


def test_a_folder_is_a_maildir_for_its_owner_alone(tmp_path):
    folder = Folder(tmp_path / "dead", Bounds())
    path = folder.put(b"Subject: x\n\nbody\n", {"X-Reason": "no\nsource: \u2603"}, NOW)
    assert path.read_bytes() == b"X-Reason: no source:  \nSubject: x\n\nbody\n"
    for made in (folder.path, path.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [message["Subject"] for message in mailbox.Maildir(folder.path)] == ["x"]


def test_the_same_message_is_kept_once(tmp_path):
    folder = Folder(tmp_path / "dead", Bounds())
    assert folder.put(b"a", {}, NOW) == folder.put(b"a", {}, NOW + 5)
    folder.put(b"b", {}, NOW)
    assert folder.count() == 2


@pytest.mark.parametrize("bounds", [Bounds(count=10), Bounds(total_bytes=1005)], ids=["count", "bytes"])
def test_past_its_limits_a_folder_forgets_the_oldest(tmp_path, bounds):
    folder = Folder(tmp_path / "dead", bounds)
    for number in range(CHECK_EVERY + 1):
        folder.put(b"%099d\n" % number, {}, time.time())
    assert folder.count() == 10
    assert not list(folder.path.glob("tmp/*"))
    Folder(tmp_path / "dead", Bounds(age_s=100)).put(b"new", {}, time.time() + 1000)
    assert folder.count() == 0


def test_a_folder_that_cannot_be_written_is_a_reason_to_try_again(tmp_path):
    with pytest.raises(ConfigError):
        Folder(tmp_path / "none" / "dead", Bounds()).put(b"a", {}, NOW)
    folder = Folder(tmp_path / "dead", Bounds())
    folder.put(b"a", {}, NOW)
    (folder.path / "tmp").rmdir()
    (folder.path / "tmp").write_text("")
    with pytest.raises((Unavailable, ConfigError)):
        folder.put(b"b", {}, NOW)


# Files.


def test_messages_come_out_of_every_kind_of_file(tmp_path):
    one, two = b"Subject: 1\n\na\n", b"Subject: 2\n\nFrom here\n>From there\n"
    (tmp_path / "x.eml").write_bytes(one)
    box = mailbox.mbox(tmp_path / "box")
    for raw in (one, two):
        box.add(mailbox.mboxMessage(raw))
    box.close()
    folder = mailbox.Maildir(tmp_path / "dir")
    for raw in (one, two):
        folder.add(mailbox.MaildirMessage(raw))
    (message,) = feed.messages(tmp_path / "x.eml", 1000)
    assert (message.raw, message.size) == (one, len(one))
    assert sorted(message.raw for message in feed.messages(tmp_path / "dir", 1000)) == [one, two]
    found = list(feed.messages(tmp_path / "box", 1000))
    texts = [message.raw.partition(b"\n")[2].strip() for message in found]
    assert texts == [one.strip(), two.replace(b">", b"").strip()]
    assert sum(message.size for message in found) == feed.size_of(tmp_path / "box")
    assert [message.name for message in found] == [f"{tmp_path}/box:1", f"{tmp_path}/box:2"]


def test_of_a_message_too_long_enough_is_kept_to_see_it(tmp_path):
    long = b"Subject: long\n\n" + b"x" * 500_000 + b"\n" * 10
    (tmp_path / "box").write_bytes(b"From a\n" + long + b"From b\nSubject: 2\n\nb\n")
    first, second = feed.messages(tmp_path / "box", 1000)
    assert 1000 < len(first.raw) <= 1000 + feed.LINE_BYTES
    assert second.raw == b"From b\nSubject: 2\n\nb\n"
    (tmp_path / "x.eml").write_bytes(long)
    assert len(next(feed.messages(tmp_path / "x.eml", 1000)).raw) == 1001


def test_however_many_messages_there_are_only_one_is_in_memory(tmp_path):
    folder = mailbox.Maildir(tmp_path / "dir")
    for _ in range(20):
        folder.add(b"Subject: x\n\n" + b"x" * 200_000)
    (tmp_path / "box").write_bytes((b"From a\nSubject: x\n\n" + b"y" * 200_000 + b"\n\n") * 20)
    for path in (tmp_path / "dir", tmp_path / "box"):
        tracemalloc.start()
        assert sum(1 for _ in feed.messages(path, 250_000)) == 20
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1_000_000  # of 4 MB


@pytest.mark.parametrize("name", ["none", "folder"])
def test_what_is_no_message_file_is_an_error(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError):
        list(feed.messages(tmp_path / name, 1000))
    with pytest.raises(ConfigError):
        feed.size_of(tmp_path / name)


# What was seen.


def note(store, seen, time_s, digest, forget_before_s=0.0):
    store.transact(NOW, lambda batch: seen.note(time_s, digest, forget_before_s, batch.txn))


def test_a_signature_is_known_again_by_time_and_digest(tmp_path):
    store = open_store(tmp_path)
    seen = Seen(store.env)
    note(store, seen, 1000, b"a" * 32)
    assert seen.has(1000, b"a" * 32)
    assert not seen.has(1001, b"a" * 32) and not seen.has(1000, b"b" * 32)
    store.close()
    again = open_store(tmp_path)
    assert Seen(again.env).has(1000, b"a" * 32)
    assert list(check(again)) == []
    check_whole(again)


def test_what_is_older_than_the_window_is_forgotten(tmp_path):
    store = open_store(tmp_path)
    seen = Seen(store.env)
    for time_s in range(1000, 1010):
        note(store, seen, time_s, b"a" * 32)
    note(store, seen, 2000, b"a" * 32, 1005.5)
    assert [time_s for time_s in range(1000, 1010) if seen.has(time_s, b"a" * 32)] == [1005, 1006, 1007, 1008, 1009]
    assert seen.has(2000, b"a" * 32)


def test_a_mark_is_part_of_its_transaction(tmp_path):
    store = open_store(tmp_path)
    seen = Seen(store.env)

    def fail(batch):
        seen.note(1000, b"a" * 32, 0, batch.txn)
        raise Unavailable("full")

    with pytest.raises(Unavailable):
        store.transact(NOW, fail)
    assert not seen.has(1000, b"a" * 32)


def test_complaints_are_counted_by_contact_and_time(tmp_path):
    store = open_store(tmp_path)
    seen = Seen(store.env)
    for now_ms in (1000, 2000, 3000):
        seen.note_complaint(b"a" * 32, now_ms, 0)
    seen.note_complaint(b"b" * 32, 2000, 0)
    note(store, seen, 5000, b"c" * 32, 4000)
    assert [seen.complaints(b"a" * 32, since) for since in (0, 1001, 3001)] == [3, 2, 0]
    assert seen.complaints(b"b" * 32, 0) == 1
    seen.note_complaint(b"a" * 32, 9000, 2500)
    assert seen.complaints(b"a" * 32, 0) == 2
    assert list(check(store)) == []
