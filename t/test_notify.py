"""NOTIFY: gathered, sent until answered, signed and checked; dnspython plays the secondary."""

from __future__ import annotations

import io
import itertools
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.tsig
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsbl_peers import SPEC, ZONE, view
from live.nets import wait_for
from spamcannibal.dnsbl import notify, tsig
from spamcannibal.dnsbl.access import Target, parse_target
from spamcannibal.dnsbl.notifier import Notifier
from spamcannibal.dnsbl.notify import FIRST_S, LONGEST_S, NEVER, Notices, Subscription, notification, read_answer
from spamcannibal.dnsbl.tsig import Key, Signer
from spamcannibal.dnsbl.zone import compile_zone
from spamcannibal.events import EventLog

LABELS = tuple(ZONE.encode().split(b"."))
ONE, OTHER = (Subscription(LABELS, Target(bytes((127, 0, 0, n)), 53, None)) for n in (1, 2))
KEY = Key((b"xfer",), "hmac-sha256", b"a secret of thirty-two bytes ...")
THEIRS = dns.tsig.Key("xfer", KEY.secret, "hmac-sha256")
DELAY_S = 1.0


def sent(notices: Notices, now: float, idents: Iterator[int]) -> list[tuple[Subscription, int]]:
    return [tuple(due) for due in notices.due(now, idents)]


def test_changes_are_gathered_and_everybody_is_told_once() -> None:
    notices, idents = Notices((ONE, OTHER), DELAY_S), itertools.count()
    assert notices.next_s == NEVER and sent(notices, 1e9, idents) == []
    for now in (100.0, 100.2, 100.9):
        notices.changed(now)
    assert notices.next_s == 101.0 and sent(notices, 100.99, idents) == []
    assert sent(notices, 101.0, idents) == [(ONE, 0), (OTHER, 1)]
    assert notices.answered(ONE, 0, 101.1) and not notices.answered(ONE, 0, 101.1) and notices.unanswered == 1
    assert notices.answered(OTHER, 1, 101.1) and notices.next_s == NEVER


def test_what_is_not_answered_is_sent_again_after_ever_longer_waits() -> None:
    notices, idents, times = Notices((ONE,), 0.0), itertools.count(), []
    notices.changed(0.0)
    for _ in range(12):
        times.append(notices.next_s)
        assert len(sent(notices, notices.next_s, idents)) == 1
        notices.changed(times[-1])  # a change makes no difference to one who does not answer
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert waits[:4] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S] and waits[-1] == LONGEST_S
    assert not notices.answered(ONE, 3, 1e6)  # an old one's answer says nothing of the newest serial
    assert notices.answered(ONE, 11, 1e6) and notices.next_s == 1e6
    assert len(sent(notices, 1e6, idents)) == 1 and notices.next_s == 1e6 + FIRST_S


def test_a_change_after_it_was_sent_is_told_once_that_is_answered() -> None:
    notices, idents = Notices((ONE,), DELAY_S), itertools.count(7)
    notices.changed(0.0)
    assert sent(notices, 1.0, idents) == [(ONE, 7)]
    notices.changed(1.1)
    assert notices.next_s == 1.0 + FIRST_S
    assert notices.answered(ONE, 7, 1.2) and notices.next_s == 1.2 + DELAY_S


@given(st.lists(st.tuples(st.sampled_from(["changed", "due", "answered"]), st.floats(0, 5))))
def test_no_change_is_forgotten(steps: list[tuple[str, float]]) -> None:
    notices, idents, now = Notices((ONE,), DELAY_S), itertools.count(), 0.0
    newest = told = acknowledged = 0
    ident = -1
    for step, wait_s in steps:
        now += wait_s
        if step == "changed":
            newest += 1
            notices.changed(now)
        elif step == "due":
            for due in notices.due(now, idents):
                ident, told = due.ident, newest
        elif notices.answered(ONE, ident, now):
            acknowledged = told
    assert (notices.next_s == NEVER) == (acknowledged == newest)


def test_rfc1996_the_message() -> None:
    message = dns.message.from_wire(notification(compile_zone(SPEC), 77, 4711))
    assert message.opcode() == dns.opcode.NOTIFY and message.id == 4711
    assert message.flags & dns.flags.AA and not message.flags & dns.flags.QR
    (question,), (answer,) = message.question, message.answer
    assert question.name == answer.name and question.name.to_text() == f"{ZONE}." and question.rdtype == 6
    assert answer[0].serial == 77


def reply_to(data: bytes, key: dns.tsig.Key | None = None, rcode: int = 0) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(data, keyring=key))
    reply.set_rcode(rcode)
    return reply.to_wire()


def test_rfc1996_what_counts_as_an_answer() -> None:
    data = notification(compile_zone(SPEC), 77, 4711)
    good = reply_to(data)
    now = time.time()
    assert read_answer(good, 4711, LABELS, None, b"", now) == 0
    assert read_answer(reply_to(data, rcode=dns.rcode.NOTAUTH), 4711, LABELS, None, b"", now) == dns.rcode.NOTAUTH
    assert read_answer(good, 4712, LABELS, None, b"", now) is None
    assert read_answer(good, 4711, LABELS[1:], None, b"", now) is None
    assert read_answer(data, 4711, LABELS, None, b"", now) is None
    assert read_answer(good[:12], 4711, LABELS, None, b"", now) is None or good[4:6] != b"\0\0"
    signer = Signer(KEY)
    signed = signer.sign(data, now)
    assert read_answer(reply_to(signed, THEIRS), 4711, LABELS, KEY, signer.mac, now) == 0
    assert read_answer(reply_to(signed, THEIRS), 4711, LABELS, KEY, b"other", now) is None
    assert read_answer(good, 4711, LABELS, KEY, signer.mac, now) is None


@given(st.binary(max_size=120))
def test_any_bytes_are_an_answer_or_none(data: bytes) -> None:
    for key in (None, KEY):
        assert read_answer(data, 1, LABELS, key, b"mac", 0) in {None, *range(16)}


class Peer:
    """A secondary's socket."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(10)
        self.target = f"127.0.0.1:{self.sock.getsockname()[1]}"

    def receive(self, answer: bool = True, key: dns.tsig.Key | None = None) -> tuple[int, str]:
        """Take a NOTIFY: its serial and from where."""
        data, peer = self.sock.recvfrom(4096)
        message = dns.message.from_wire(data, keyring=key)
        assert message.had_tsig == (key is not None)
        if answer:
            self.sock.sendto(reply_to(data, key), peer)
        return message.answer[0][0].serial, peer[0]

    def has_answered(self, made: Notifier, key: dns.tsig.Key | None = None) -> bool:
        """Answer what comes now; say whether nothing is left to be answered."""
        self.sock.settimeout(0.05)
        with suppress(TimeoutError):
            self.receive(key=key)
        return not made.unanswered


@contextmanager
def notifier(
    *targets: str, sources: tuple[bytes, ...] = (), delay_s: float = 0.0
) -> Iterator[tuple[Notifier, io.StringIO]]:
    stream = io.StringIO()
    with closing(Notifier(EventLog(stream))) as made:
        subscriptions = [Subscription(LABELS, parse_target(text)) for text in targets]
        made.adopt(view({}, serial=7), subscriptions, {KEY.name: KEY}, delay_s, sources)
        yield made, stream


def test_everybody_is_told_at_the_start_and_on_change() -> None:
    one, keyed = Peer(), Peer()
    with notifier(one.target, f"{keyed.target} key:xfer", sources=(bytes((127, 9, 9, 9)),)) as (made, _):
        assert one.receive() == (7, "127.9.9.9") and keyed.receive(key=THEIRS) == (7, "127.9.9.9")
        wait_for(lambda: not made.unanswered, "both answers came")
        made.changed()
        assert one.receive()[0] == 7 and keyed.receive(key=THEIRS)[0] == 7
        wait_for(lambda: not made.unanswered, "both answers came")


def test_one_who_does_not_answer_is_told_again_and_then_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "FIRST_S", 0.01)
    monkeypatch.setattr(notify, "LONGEST_S", 0.02)
    peer = Peer()
    with notifier(peer.target) as (made, stream):
        for _ in range(4):
            peer.receive(answer=False)
        assert "result=unanswered" in stream.getvalue() and peer.target in stream.getvalue()
        wait_for(lambda: peer.has_answered(made), "its answer is taken")
        wait_for(lambda: "result=answered" in stream.getvalue(), "it is told that it is back")


def test_a_forged_or_unsigned_answer_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "FIRST_S", 0.01)
    monkeypatch.setattr(notify, "LONGEST_S", 0.05)
    peer = Peer()
    with notifier(f"{peer.target} key:xfer") as (made, _):
        for _ in range(3):
            data, source = peer.sock.recvfrom(4096)
            record = tsig.find(data)
            assert record is not None
            peer.sock.sendto(reply_to(record.message), source)
            peer.sock.sendto(b"\0" * 5, source)
        assert made.unanswered == 1
        wait_for(lambda: peer.has_answered(made, THEIRS), "the signed answer is taken")


def test_one_that_cannot_be_reached_keeps_nobody_waiting() -> None:
    peer = Peer()
    with notifier("[100::1]:9", "127.0.0.1:9", peer.target) as (made, _):
        assert peer.receive()[0] == 7
        wait_for(lambda: made.unanswered == 2, "the others did not answer")
