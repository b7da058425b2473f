"""Transfers over real sockets: slow secondaries, quiet ones, and what UDP hands over."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dns.flags
import dns.message
import dns.opcode
import dns.query
import dns.rcode
import dns.rrset
import pytest

from dnsbl_peers import ZONE
from live.nets import wait_for
from spamcannibal.dnsbl import transfer
from spamcannibal.dnsbl.server import Limits, Server
from spamcannibal.record import PUBLISHED
from spamcannibal.store.stores import NewListing
from transfer_peers import NOW, PEER, THEIRS, Primary

IDLE_S = 0.3


class Running:
    """A server over a store of a few thousand listings."""

    def __init__(self, path: Path) -> None:
        self.primary = Primary(path, limit=2)
        for net in range(8):
            items = [
                NewListing(bytes((60, net, n // 250, n % 250)), text="x" * 400, flags=PUBLISHED) for n in range(1000)
            ]
            self.primary.store.list(items, NOW)
        self.primary.follow()
        self.server = Server([(PEER, 0)], Limits(tcp_idle_s=IDLE_S), self.primary)
        self.server.start(self.primary.view, self.primary.publisher.texts)
        self.server.responder.transfers = self.primary.transfers
        self.port = int(self.server.endpoints[0].rpartition(":")[2])

    def close(self) -> None:
        self.server.close()
        self.primary.close()

    def tcp(self, receive_bytes: int = 0) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.settimeout(20)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def udp(self, asked: dns.message.Message) -> dns.message.Message:
        return dns.query.udp(asked, "127.0.0.1", port=self.port, timeout=10, ignore_trailing=False)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with closing(Running(tmp_path)) as made:
        yield made


def framed(asked: dns.message.Message) -> bytes:
    data = asked.to_wire()
    return struct.pack(">H", len(data)) + data


def messages(sock: socket.socket) -> Iterator[dns.message.Message]:
    """What comes until the connection ends."""
    with sock.makefile("rb") as stream:
        while len(head := stream.read(2)) == 2:
            yield dns.message.from_wire(stream.read(struct.unpack(">H", head)[0]), xfr=True, one_rr_per_rrset=True)


def test_a_secondary_that_takes_nothing_is_cut_off(running: Running) -> None:
    with running.tcp(receive_bytes=4096) as slow:
        slow.sendall(framed(dns.message.make_query(ZONE, "AXFR")))
        wait_for(lambda: any(event["verb"] == "XFER" for event in running.primary.events), "it is told")
    assert running.primary.events[-1]["result"] == "ended early"
    assert running.primary.transfers.running == 0


def test_transfers_past_the_cap_are_refused_for_now_and_others_are_answered(running: Running) -> None:
    query, asked = dns.message.make_query(ZONE, "AXFR"), dns.message.make_query(ZONE, "SOA")
    with running.tcp(4096) as one, running.tcp(4096) as two, running.tcp() as third:
        one.sendall(framed(query))
        two.sendall(framed(query))
        wait_for(lambda: running.primary.transfers.running == 2, "both run")
        third.sendall(framed(query) + framed(asked))
        replies = messages(third)
        rcodes = {next(replies).rcode(), next(replies).rcode()}
        assert rcodes == {dns.rcode.SERVFAIL, dns.rcode.NOERROR}
        assert running.udp(asked).answer


def test_one_that_waits_for_a_long_transfer_is_not_silent(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = transfer.whole

    def slowly(*words: object) -> Iterator[object]:
        wait_for(lambda: len(running.primary.events) > 0, "another one was cut off for its silence", step_s=0.02)
        yield from whole(*words)

    monkeypatch.setattr(transfer, "whole", slowly)
    with running.tcp() as patient, running.tcp() as silent:
        patient.sendall(framed(dns.message.make_query(ZONE, "AXFR")))
        assert silent.recv(1) == b""  # after IDLE_S
        with running.tcp() as later:
            assert later.recv(1) == b""  # after IDLE_S more
        running.primary.emit("GO")
        patient.shutdown(socket.SHUT_WR)
        records = [rrset for message in messages(patient) for rrset in message.answer]
    assert len(records) > 16_000 and records[0] == records[-1]


def test_stale_data_is_not_transferred(running: Running) -> None:
    running.server.mark_stale(True)
    for rdtype in ("AXFR", "SOA"):
        with running.tcp() as sock:
            sock.sendall(framed(dns.message.make_query(ZONE, rdtype)))
            assert next(messages(sock)).rcode() == dns.rcode.SERVFAIL


def test_udp_hands_over_what_is_signed_or_asks_for_a_zone(running: Running) -> None:
    signed = dns.message.make_query(ZONE, "SOA")
    signed.use_tsig(THEIRS)
    assert running.udp(signed).had_tsig
    asked = dns.message.make_query(ZONE, "IXFR")
    asked.authority.append(dns.rrset.from_text(f"{ZONE}.", 300, "IN", "SOA", f"ns.{ZONE}. host.{ZONE}. 5 1 1 1 1"))
    for query in (asked, dns.message.from_wire(asked.to_wire())):
        reply = running.udp(query)
        assert [rrset[0].serial for rrset in reply.answer] == [running.primary.store.last_seq()]
    assert running.udp(dns.message.make_query(ZONE, "AXFR")).rcode() == dns.rcode.REFUSED
    wrong = dns.message.make_query(ZONE, "SOA")
    wrong.use_tsig(dns.tsig.Key("xfer", b"wrong secret wrong secret", "hmac-sha256"))
    with pytest.raises(dns.tsig.PeerBadSignature):
        running.udp(wrong)
    malformed = bytearray(signed.to_wire())
    malformed[11] = 2
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.sendto(malformed, ("127.0.0.1", running.port))
        assert sock.recv(4096)[3] & 15 == dns.rcode.FORMERR
