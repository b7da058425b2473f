"""Zone transfers: whatever changes, a secondary that follows has what we answer; and what RFC 5936 and 1995 ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from dnsbl_peers import ZONE
from spamcannibal.addr import make_key, parse_addr
from spamcannibal.dnsbl import difference, shown, stream, wire
from spamcannibal.dnsbl.access import parse_grant
from spamcannibal.dnsbl.answer import UDP
from spamcannibal.dnsbl.transfer import Transfers, is_older, read_serial
from spamcannibal.record import PUBLISHED
from spamcannibal.store.stores import Amendment, NewListing
from transfer_peers import NOW, OPEN_SPEC, PEER, THEIRS, WHITE_SPEC, ZONE_SPEC, Primary, Secondary, exchange, ours


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[Primary]:
    made = Primary(tmp_path)
    yield made
    made.close()


def test_secondaries_answer_as_we_do_whatever_changed(primary: Primary) -> None:
    followers = [Secondary(ZONE), Secondary("all.example.org", THEIRS), Secondary("white.bl.example.org")]
    for turn in range(24):
        for _ in range(primary.dice.choice((1, 1, 3, 12))):
            primary.change()
        primary.follow()
        for follower in followers:
            origin = follower.origin.to_text().rstrip(".")
            follower.refresh(primary.transfers, primary.view, edns=turn % 2 == 0)
            assert follower.serial == primary.store.last_seq()
            fresh = Secondary(origin)
            fresh.refresh(primary.transfers, primary.view)
            assert follower.records() == fresh.records()
            addrs = primary.dice.sample(primary.addresses(), 25)
            for rtype in ("A", "TXT"):
                assert follower.answers(addrs, rtype) == ours(primary.view, origin, addrs, rtype), turn
    for follower in followers:
        assert follower.forms[0] == "axfr" and follower.forms.count("ixfr") > 8


def test_a_transfer_is_of_one_serial_though_the_list_changes_meanwhile(primary: Primary, monkeypatch) -> None:
    monkeypatch.setattr("spamcannibal.store.past.PAGE_LIMIT", 7)
    monkeypatch.setattr("spamcannibal.store.past.FIRST_PAGE", 7)
    monkeypatch.setattr(stream, "MESSAGE_BYTES", 700)
    for _ in range(150):
        primary.change()
    primary.follow()
    calm, follower = Secondary(ZONE), Secondary(ZONE)
    calm.refresh(primary.transfers, primary.view)
    take = stream.listing

    def restless(*words: object) -> list[stream.Record]:
        if primary.dice.random() < 0.2:
            primary.change()
        return take(*words)

    monkeypatch.setattr(stream, "listing", restless)
    follower.refresh(primary.transfers, primary.view)
    assert follower.records() == calm.records() and primary.store.last_seq() > follower.serial
    primary.follow()
    follower.refresh(primary.transfers, primary.view)
    monkeypatch.setattr(stream, "listing", take)
    fresh = Secondary(ZONE)
    follower.refresh(primary.transfers, primary.view)
    primary.follow()
    follower.refresh(primary.transfers, primary.view)
    fresh.refresh(primary.transfers, primary.view)
    assert follower.records() == fresh.records()


def test_many_records_take_many_messages_of_bounded_length(primary: Primary) -> None:
    keys = [bytes((60, 1, n // 200, n % 200)) for n in range(1000)]
    keys += [make_key(bytes((0x20, 1, 0xD, 0xB8, 0, n % 7, 0, n)) + bytes(8), 64) for n in range(200)]
    primary.store.list([NewListing(key, text="w" * 100, flags=PUBLISHED) for key in keys[:600]], NOW)
    primary.store.list([NewListing(key, text="w" * 100, flags=PUBLISHED) for key in keys[600:]], NOW)
    primary.follow()
    asked = dns.message.make_query(ZONE, "AXFR")
    asked.use_tsig(THEIRS)
    messages = exchange(primary.transfers, primary.view, asked.to_wire())
    assert len(messages) > 5 and all(len(message) <= stream.MESSAGE_BYTES for message in messages)
    assert sum(map(len, messages)) < len(keys) * 170
    follower = Secondary(ZONE, THEIRS)
    follower.refresh(primary.transfers, primary.view)
    assert {f"{n % 200}.{n // 200}.1.60.{ZONE}." for n in range(1000)} <= {name for name, _, _ in follower.records()}


def wanted(rdtype: str, serial: int | None = None, zone: str = ZONE, **options: int) -> dns.message.Message:
    asked = dns.message.make_query(zone, rdtype, **options)
    if serial is not None:
        rrset = dns.rrset.from_text(f"{zone}.", 300, "IN", "SOA", f"ns.{zone}. host.{zone}. {serial} 1 1 1 1")
        asked.authority.append(rrset)
    return asked


def first(primary: Primary, asked: dns.message.Message, **options: object) -> dns.message.Message:
    (data,) = exchange(primary.transfers, primary.view, asked.to_wire(), **options)
    return dns.message.from_wire(data, xfr=True, keyring=THEIRS, request_mac=asked.mac, one_rr_per_rrset=True)


RFC1995 = {
    "an equal serial gets the SOA alone": (30, {}),
    "a newer one too": (31, {}),
    "half the circle ahead too": (30 + (1 << 31) - 1, {}),
    "UDP gets the SOA alone: ask by TCP": (5, {"transport": UDP}),
}


@pytest.mark.parametrize(("serial", "options"), RFC1995.values(), ids=RFC1995)
def test_rfc1995_when_one_soa_is_the_answer(primary: Primary, serial: int, options: dict) -> None:
    primary.store.list([NewListing(bytes((60, 1, 1, n)), flags=PUBLISHED) for n in range(30)], NOW)
    primary.follow()
    reply = first(primary, wanted("IXFR", serial), **options)
    assert len(reply.answer) == 1 and reply.answer[0][0].serial == 30
    assert reply.flags & dns.flags.AA and reply.question == wanted("IXFR").question


def test_rfc1995_a_difference_is_between_soas(primary: Primary) -> None:
    primary.store.list([NewListing(bytes((60, 1, 1, n)), flags=PUBLISHED) for n in range(30)], NOW)
    primary.follow()
    primary.transfers._since = dict.fromkeys(primary.transfers._since, 0)
    reply = first(primary, wanted("IXFR", 28))
    assert [(rrset.rdtype, rrset[0].serial) for rrset in reply.answer if rrset.rdtype == 6] == [
        (6, 30), (6, 28), (6, 30), (6, 30),
    ]  # fmt: skip
    assert [rrset.name.labels[0] for rrset in reply.answer[3:-1]] == [b"28", b"28", b"29", b"29"]


@pytest.mark.parametrize("reason", ["older than we run", "journal cut", "longer", "too many rows", "too many places"])
def test_rfc1995_what_cannot_be_a_difference_is_the_whole_zone(primary: Primary, reason: str, monkeypatch) -> None:
    keys = [make_key(bytes((60, 1, n, 0)), 24) for n in range(30)]
    primary.store.list([NewListing(key, flags=PUBLISHED) for key in keys], NOW)
    primary.store.list([NewListing(make_key(bytes((60, 0, 0, 0)), 8), flags=PUBLISHED)], NOW)
    primary.follow()
    serial = 29
    if reason == "older than we run":
        primary.transfers.adopt(primary.view, primary.policy)
        primary.transfers._since = dict.fromkeys(primary.transfers._since, 30)
    elif reason == "journal cut":
        primary.store.env.run(lambda txn: primary.store.env.db("journal").delete((30).to_bytes(8, "big"), txn))
    elif reason == "longer":
        for number in range(40):
            primary.store.amend(keys[0], Amendment(text=f"t{number}"), "a", NOW)
        primary.follow()
    elif reason == "too many rows":
        monkeypatch.setattr(shown, "ROW_LIMIT", 10)
    else:
        monkeypatch.setattr(difference, "PLACE_LIMIT", 2)
    reply = first(primary, wanted("IXFR", serial))
    assert [rrset.rdtype for rrset in reply.answer].count(6) == 2 and len(reply.answer) > 60
    assert primary.events[-1]["form"] == "axfr" and primary.events[-1]["result"] == "done"


def test_changed_settings_are_sent_whole_to_who_has_the_old_ones(primary: Primary) -> None:
    follower = Secondary(ZONE)
    primary.store.list([NewListing(bytes((60, 1, 1, n)), flags=PUBLISHED) for n in range(30)], NOW)
    primary.follow()
    follower.refresh(primary.transfers, primary.view)
    primary.publisher.adopt([replace(ZONE_SPEC, addresses=("192.0.2.99",)), OPEN_SPEC, WHITE_SPEC])
    primary.transfers.adopt(primary.view, primary.policy)
    for number in range(2):
        primary.store.list([NewListing(bytes((60, 1, 2, number)), flags=PUBLISHED)], NOW)
        primary.follow()
        follower.refresh(primary.transfers, primary.view)
    assert follower.forms == ["axfr", "axfr", "ixfr"]
    assert (f"{ZONE}.", "A", "192.0.2.99") in follower.records()


OUTSIDE = parse_addr("192.0.2.66")
REFUSALS = {
    "AXFR by UDP": (wanted("AXFR"), {"transport": UDP}, "REFUSED"),
    "from elsewhere": (wanted("AXFR"), {"addr": OUTSIDE}, "REFUSED"),
    "IXFR from elsewhere": (wanted("IXFR", 1), {"addr": OUTSIDE}, "REFUSED"),
    "IXFR from elsewhere by UDP": (wanted("IXFR", 1), {"addr": OUTSIDE, "transport": UDP}, "REFUSED"),
    "no zone of ours": (wanted("AXFR", zone="example.net"), {}, "NOTAUTH"),
    "a name in a zone": (wanted("AXFR", zone=f"2.0.0.127.{ZONE}"), {}, "NOTAUTH"),
    "IXFR without a serial": (wanted("IXFR"), {}, "FORMERR"),
    "an EDNS version": (wanted("AXFR", use_edns=1), {}, "BADVERS"),
}


@pytest.mark.parametrize(("asked", "options", "rcode"), REFUSALS.values(), ids=REFUSALS)
def test_rfc5936_refusals(primary: Primary, asked: dns.message.Message, options: dict, rcode: str) -> None:
    reply = first(primary, asked, **options)
    assert dns.rcode.to_text(reply.rcode()) == rcode and not reply.answer


def test_a_key_opens_what_an_address_does_not(primary: Primary) -> None:
    asked = wanted("AXFR")
    asked.use_tsig(THEIRS)
    assert len(first(primary, asked, addr=OUTSIDE).answer) > 4
    for grants in (("192.0.2.0/24 key:xfer",), ("192.0.2.66 key:other", "key:xfer")):
        policy = replace(primary.policy, grants=dict.fromkeys(primary.policy.grants, tuple(map(parse_grant, grants))))
        primary.transfers.adopt(primary.view, policy)
        assert first(primary, asked, addr=OUTSIDE).rcode() == 0
        assert first(primary, wanted("AXFR"), addr=OUTSIDE).rcode() == dns.rcode.REFUSED
        assert (first(primary, asked, addr=PEER).rcode() == 0) == (grants[-1] == "key:xfer")


def test_ordinary_queries_may_be_signed(primary: Primary) -> None:
    for name, transport in ((ZONE, UDP), (f"2.0.0.127.{ZONE}", UDP), (ZONE, dns)):
        asked = dns.message.make_query(name, "SOA" if name == ZONE else "TXT")
        asked.use_tsig(THEIRS)
        reply = first(primary, asked) if transport is dns else first(primary, asked, transport=transport)
        assert reply.had_tsig and reply.answer


def test_a_signed_reply_fits_the_datagram(primary: Primary) -> None:
    primary.store.list([NewListing(bytes((60, 1, 1, 1)), text="x" * 430, flags=PUBLISHED)], NOW)
    primary.follow()
    primary.publisher.texts.put(bytes((60, 1, 1, 1)), "x" * 430)
    asked = dns.message.make_query(f"1.1.1.60.{ZONE}", "TXT")
    plain = first(primary, asked, transport=UDP)
    assert plain.answer and not plain.flags & dns.flags.TC
    asked.use_tsig(THEIRS)
    (data,) = exchange(primary.transfers, primary.view, asked.to_wire(), transport=UDP)
    reply = dns.message.from_wire(data, keyring=THEIRS, request_mac=asked.mac)
    assert len(data) <= 512 and reply.flags & dns.flags.TC and not reply.answer


def test_more_transfers_than_the_cap_are_told_to_come_again(tmp_path: Path) -> None:
    primary = Primary(tmp_path, limit=1)
    primary.transfers.running = 1
    assert first(primary, wanted("AXFR")).rcode() == dns.rcode.SERVFAIL
    primary.transfers.running = 0
    assert first(primary, wanted("AXFR")).rcode() == 0 and primary.transfers.running == 0
    primary.close()


def test_a_store_that_fails_ends_the_transfer_and_is_told(primary: Primary, monkeypatch) -> None:
    primary.store.close()
    with pytest.raises(ConnectionError):
        exchange(primary.transfers, primary.view, wanted("AXFR").to_wire())
    assert primary.events[-1]["result"] not in ("done", "ended early") and primary.transfers.running == 0


@pytest.mark.parametrize(
    ("serial", "than", "older"),
    [
        (0, 1, True), (1, 0, False), (5, 5, False), (0xFFFFFFFF, 0, True), (0, 0xFFFFFFFF, False),
        (0, (1 << 31) - 1, True), (0, 1 << 31, False), (1 << 31, 0, False), (7, (1 << 32) + 8, True),
    ],
)  # fmt: skip
def test_rfc1982_serials_are_compared_in_their_circle(serial: int, than: int, older: bool) -> None:
    assert is_older(serial, than) == older


def test_a_serial_is_read_from_compressed_and_plain_names_and_from_nothing_else() -> None:
    data = wanted("IXFR", 77).to_wire()
    assert read_serial(data) == 77 and Transfers.concerns(data)
    for size in range(12, len(data)):
        assert read_serial(data[:size]) is None
    assert read_serial(wanted("AXFR").to_wire()) is None
    assert not Transfers.concerns(dns.message.make_query(ZONE, "TXT").to_wire())
    assert wire.read_query(data).qtype == wire.IXFR
