"""What the standards say, clause by clause, asked of a running server: the C loop over UDP, Python over TCP, alike.

Messages are made and read by dnspython, which knows nothing of our code. Zone transfers have tests of their own.
"""

from __future__ import annotations

import io
import socket
import struct
from collections.abc import Iterator
from contextlib import closing

import pytest

from dnsbl_peers import PROVEN, SPEC, ZONE, value, view
from spamcannibal._core import Talkers
from spamcannibal.addr import parse_addr, reversed_name
from spamcannibal.dnsbl.cookies import Cookies
from spamcannibal.dnsbl.responder import Policy
from spamcannibal.dnsbl.server import Limits, Server
from spamcannibal.dnsbl.texts import Texts
from spamcannibal.events import EventLog

pytest.importorskip("dns")

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype

LISTED = dict.fromkeys(("192.0.2.1", "198.51.100.0/24", "203.0.113.0/24", "2001:db8:1:2::/64"), value(PROVEN))
LONG = "y" * 1500
SECRETS = (bytes(16),)


class Peer:
    """The server's address, and one way to ask it: over UDP or TCP."""

    def __init__(self, port: int, transport: str) -> None:
        self.port = port
        self.transport = transport

    def send(self, query: dns.message.Message) -> dns.message.Message:
        ask = dns.query.udp if self.transport == "udp" else dns.query.tcp
        return ask(query, "127.0.0.1", timeout=5, port=self.port)

    def ask(self, name: str, qtype: str = "A", **options: object) -> dns.message.Message:
        full = f"{name}.{ZONE}." if name else f"{ZONE}."
        return self.send(dns.message.make_query(full, qtype, **options))

    def raw(self, data: bytes) -> bytes:
        kind = socket.SOCK_DGRAM if self.transport == "udp" else socket.SOCK_STREAM
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.settimeout(5)
            sock.connect(("127.0.0.1", self.port))
            if self.transport == "udp":
                sock.send(data)
                return sock.recv(65535)
            sock.sendall(struct.pack(">H", len(data)) + data)
            with sock.makefile("rb") as stream:
                return stream.read(struct.unpack(">H", stream.read(2))[0])


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    policy = Policy(Cookies(SECRETS), None, Talkers(64), {(b"id", b"server"): b"ns1"})
    server = Server([(parse_addr("127.0.0.1"), 0)], Limits(), EventLog(io.StringIO()), policy)
    with closing(server), closing(Texts(lambda key: "")) as texts:
        server.start(view(LISTED, SPEC, {"203.0.113.0/24": LONG}), texts)
        yield int(server.endpoints[0].rpartition(":")[2])


@pytest.fixture(params=["udp", "tcp"])
def peer(request: pytest.FixtureRequest, port: int) -> Peer:
    return Peer(port, request.param)


def codes(reply: dns.message.Message) -> list[str]:
    return [str(rdata) for rrset in reply.answer for rdata in rrset]


def soa(reply: dns.message.Message) -> dns.rrset.RRset | None:
    return next((rrset for rrset in reply.authority if rrset.rdtype == dns.rdatatype.SOA), None)


MAPPED_LISTED = ".".join(f"{0xFFFF7F000002:032x}"[::-1])
MAPPED_CLEAR = ".".join(f"{0xFFFF7F000001:032x}"[::-1])


# ---- RFC 5782: DNS blacklists and whitelists ----


@pytest.mark.parametrize(
    ("name", "is_listed"),
    [
        pytest.param("2.0.0.127", True, id="section 5: 127.0.0.2 MUST be listed"),
        pytest.param("1.0.0.127", False, id="section 5: 127.0.0.1 MUST NOT be listed"),
        pytest.param(MAPPED_LISTED, True, id="section 5: ::FFFF:7F00:2 MUST be listed"),
        pytest.param(MAPPED_CLEAR, False, id="section 5: ::FFFF:7F00:1 MUST NOT be listed"),
        pytest.param("1.2.0.192", True, id="section 2.1: octets in reverse order"),
        pytest.param("192.0.2.1", False, id="section 2.1: and in no other"),
        pytest.param(reversed_name(parse_addr("2001:db8:1:2::7")), True, id="section 2.4: 32 nibbles"),
        pytest.param("77.100.51.198", True, id="section 2.1: a range is listed address by address"),
    ],
)
def test_rfc_5782_listed_or_not(peer: Peer, name: str, is_listed: bool) -> None:
    reply = peer.ask(name)
    assert reply.rcode() == (dns.rcode.NOERROR if is_listed else dns.rcode.NXDOMAIN)
    assert all(code.startswith("127.") for code in codes(reply)) and bool(codes(reply)) == is_listed
    assert bool(codes(peer.ask(name, "TXT"))) == is_listed  # section 2.1: a TXT for each A, or none


# ---- RFC 2308: negative caching ----


@pytest.mark.parametrize(
    ("name", "qtype", "rcode"),
    [
        ("9.9.9.9", "A", dns.rcode.NXDOMAIN),
        ("1.2.0.192", "AAAA", dns.rcode.NOERROR),
        ("2.0.192", "A", dns.rcode.NOERROR),
        ("", "SRV", dns.rcode.NOERROR),
    ],
    ids=["name error", "no data", "empty non-terminal", "no data at the apex"],
)
def test_rfc_2308_negative_answers_carry_the_soa_and_its_ttl(peer: Peer, name: str, qtype: str, rcode: int) -> None:
    reply = peer.ask(name, qtype)
    found = soa(reply)
    assert (reply.rcode(), reply.answer, len(reply.authority)) == (rcode, [], 1)
    assert found is not None and reply.flags & dns.flags.AA
    assert (found.name, found.ttl) == (dns.name.from_text(ZONE), min(SPEC.soa_ttl_s, SPEC.minimum_s))  # section 5


# ---- RFC 8020: below a name that does not exist there is nothing ----


@pytest.mark.parametrize("address", ["192.0.2.1", "198.51.100.9", "127.0.0.2", "2001:db8:1:2::7"])
def test_rfc_8020_no_name_above_one_that_exists_is_a_name_error(peer: Peer, address: str) -> None:
    labels = reversed_name(parse_addr(address)).split(".")
    assert {peer.ask(".".join(labels[-depth:])).rcode() for depth in range(1, len(labels) + 1)} == {dns.rcode.NOERROR}


def test_rfc_8020_below_a_name_error_all_are(peer: Peer) -> None:
    for name in ("9.192", "9.9.192", "9.9.9.192", "192.0.2.1", "x.1.2.0.192", "www.9.192"):
        assert peer.ask(name).rcode() == dns.rcode.NXDOMAIN, name


# ---- RFC 6891: EDNS(0) ----


def test_rfc_6891_an_opt_is_answered_by_an_opt_and_none_by_none(peer: Peer) -> None:
    assert peer.ask("1.2.0.192", use_edns=0, payload=1232).edns == 0  # 6.1.1
    assert peer.ask("9.9.9.9", use_edns=0).edns == 0
    assert peer.ask("1.2.0.192", use_edns=-1).edns == -1


def test_rfc_6891_other_versions_get_badvers_and_ours(peer: Peer) -> None:
    reply = peer.ask("1.2.0.192", use_edns=1)  # 6.1.3
    assert (reply.rcode(), reply.edns, reply.answer) == (dns.rcode.BADVERS, 0, [])


def test_rfc_6891_unknown_options_are_ignored(peer: Peer) -> None:
    reply = peer.ask("1.2.0.192", use_edns=0, options=[dns.edns.GenericOption(65001, b"what is this")])  # 6.1.2
    assert codes(reply) == ["127.0.0.2"] and not reply.options


def test_rfc_6891_a_payload_below_512_is_512(peer: Peer) -> None:
    assert codes(peer.ask("1.2.0.192", use_edns=0, payload=100)) == ["127.0.0.2"]  # 6.2.3


def test_rfc_3225_the_do_bit_comes_back(peer: Peer) -> None:
    assert peer.ask("1.2.0.192", use_edns=0, want_dnssec=True).ednsflags == dns.flags.DO
    assert peer.ask("9.9.9.9", use_edns=0).ednsflags == 0


def test_rfc_6891_two_opts_are_a_format_error(peer: Peer) -> None:
    query = dns.message.make_query(f"1.2.0.192.{ZONE}", "A", use_edns=0).to_wire()
    opt = query[-11:]
    doubled = query[:10] + struct.pack(">H", 2) + query[12:] + opt
    assert peer.raw(doubled)[3] & 15 == dns.rcode.FORMERR  # 6.1.1


@pytest.mark.parametrize(("payload", "is_cut"), [(512, True), (1232, True), (4096, True)])
def test_rfc_6891_udp_replies_fit_and_tcp_has_the_rest(port: int, payload: int, is_cut: bool) -> None:
    reply = Peer(port, "udp").ask("9.113.0.203", "TXT", use_edns=0, payload=payload)
    assert bool(reply.flags & dns.flags.TC) == is_cut and len(reply.to_wire()) <= min(payload, 1232)
    whole = Peer(port, "tcp").ask("9.113.0.203", "TXT", use_edns=0, payload=payload)
    assert b"".join(whole.answer[0][0].strings).decode() == LONG and not whole.flags & dns.flags.TC


# ---- RFC 7766: DNS over TCP ----


def framed(*messages: bytes) -> bytes:
    return b"".join(struct.pack(">H", len(message)) + message for message in messages)


def take(stream: io.BufferedReader) -> dns.message.Message:
    return dns.message.from_wire(stream.read(struct.unpack(">H", stream.read(2))[0]))


def queries(count: int) -> dict[int, dns.message.Message]:
    made = {}
    for number in range(count):
        query = dns.message.make_query(f"{number % 250}.100.51.198.{ZONE}", "TXT" if number % 3 else "A")
        query.id = number
        made[number] = query
    return made


def test_rfc_7766_pipelined_queries_are_all_answered_in_any_order(port: int) -> None:
    asked = queries(500)  # 6.2.1.1
    with socket.create_connection(("127.0.0.1", port), 5) as sock, sock.makefile("rb") as stream:
        sock.sendall(framed(*(query.to_wire() for query in asked.values())))
        replies = [take(stream) for _ in asked]
    assert sorted(reply.id for reply in replies) == sorted(asked)
    assert all(asked[reply.id].is_response(reply) for reply in replies)


def test_rfc_7766_a_client_that_closed_its_side_still_gets_its_answers(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 5) as sock, sock.makefile("rb") as stream:
        sock.sendall(framed(*(query.to_wire() for query in queries(10).values())))
        sock.shutdown(socket.SHUT_WR)
        assert sorted(take(stream).id for _ in range(10)) == list(range(10))
        assert stream.read() == b""


def test_rfc_7766_a_connection_serves_query_after_query(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 5) as sock, sock.makefile("rb") as stream:
        for query in queries(20).values():  # 6.2.1
            sock.sendall(framed(query.to_wire()))
            assert query.is_response(take(stream))


# ---- RFC 7873 and 9018: cookies ----

CLIENT = bytes.fromhex("0123456789abcdef")


def with_cookie(peer: Peer, cookie: bytes, name: str = "1.2.0.192") -> dns.message.Message:
    return peer.ask(name, use_edns=0, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, cookie)])


def cookie_of(message: dns.message.Message) -> bytes:
    return b"".join(option.to_wire() for option in message.options if option.otype == dns.edns.OptionType.COOKIE)


def test_rfc_7873_a_client_cookie_comes_back_with_a_servers(peer: Peer) -> None:
    reply = with_cookie(peer, CLIENT)  # 5.2.3
    assert codes(reply) == ["127.0.0.2"]
    assert cookie_of(reply)[:8] == CLIENT and len(cookie_of(reply)) == 24
    assert cookie_of(reply)[8:12] == b"\1\0\0\0"  # RFC 9018, 4
    again = with_cookie(peer, cookie_of(reply))  # 5.2.5
    assert codes(again) == ["127.0.0.2"] and cookie_of(again) == cookie_of(reply)


@pytest.mark.parametrize("size", [0, 1, 7, 9, 15, 41, 60])
def test_rfc_7873_cookies_of_another_length_are_format_errors(peer: Peer, size: int) -> None:
    odd = dns.edns.GenericOption(65001, bytes(size))
    query = dns.message.make_query(f"1.2.0.192.{ZONE}", "A", use_edns=0, options=[odd]).to_wire()
    bent = query.replace(struct.pack(">H", 65001), struct.pack(">H", 10))
    assert peer.raw(bent)[3] & 15 == dns.rcode.FORMERR  # 5.2.2


def test_rfc_7873_a_wrong_server_cookie_is_answered_with_a_right_one(peer: Peer) -> None:
    reply = with_cookie(peer, CLIENT + b"\1" + bytes(15))  # 5.2.4, without pressure
    assert codes(reply) == ["127.0.0.2"] and cookie_of(reply)[:8] == CLIENT
    assert cookie_of(with_cookie(peer, cookie_of(reply))) == cookie_of(reply)


def test_rfc_7873_no_cookie_asked_none_given(peer: Peer) -> None:
    assert cookie_of(peer.ask("1.2.0.192", use_edns=0)) == b""


@pytest.mark.parametrize(
    ("server", "want"), [(b"", dns.rcode.NOERROR), (bytes(16), dns.rcode.BADCOOKIE)], ids=["none yet", "a wrong one"]
)
def test_rfc_7873_a_query_without_a_question_asks_for_a_cookie(peer: Peer, server: bytes, want: int) -> None:
    cookie = CLIENT + server  # 5.4
    opt = struct.pack(">BHHIHHH", 0, 41, 1232, 0, 4 + len(cookie), 10, len(cookie)) + cookie
    reply = dns.message.from_wire(peer.raw(struct.pack(">6H", 77, 0, 0, 0, 0, 1) + opt))
    assert (reply.id, reply.rcode(), reply.question, reply.answer) == (77, want, [], [])
    assert cookie_of(reply)[:8] == CLIENT and len(cookie_of(reply)) == 24


# ---- RFC 8482: ANY ----


@pytest.mark.parametrize("name", ["", "1.2.0.192", "ns1"])
def test_rfc_8482_any_gets_one_set_of_the_name(peer: Peer, name: str) -> None:
    reply = peer.ask(name, "ANY")
    assert reply.rcode() == dns.rcode.NOERROR and len(reply.answer) == 1


def test_rfc_8482_any_has_the_rcodes_of_other_types(peer: Peer) -> None:
    assert peer.ask("9.9.9.9", "ANY").rcode() == dns.rcode.NXDOMAIN
    empty = peer.ask("2.0.192", "ANY")
    assert (empty.rcode(), empty.answer) == (dns.rcode.NOERROR, []) and soa(empty) is not None


# ---- What all of them take from RFC 1035 ----


def test_rfc_1035_foreign_names_classes_and_operations(peer: Peer) -> None:
    assert peer.send(dns.message.make_query("www.example.com", "A")).rcode() == dns.rcode.REFUSED
    assert peer.send(dns.message.make_query("version.bind", "TXT", "CH")).rcode() == dns.rcode.REFUSED
    query = dns.message.make_query(ZONE, "SOA")
    query.set_opcode(dns.opcode.STATUS)
    assert dns.message.from_wire(peer.raw(query.to_wire())).rcode() == dns.rcode.NOTIMP


def test_rfc_4892_only_what_the_settings_tell_is_told(peer: Peer) -> None:
    reply = peer.send(dns.message.make_query("ID.server", "TXT", "CH", use_edns=0))
    (rrset,) = reply.answer
    assert (str(rrset.name), rrset.rdclass, codes(reply)) == ("ID.server.", dns.rdataclass.CH, ['"ns1"'])
    assert reply.flags & dns.flags.AA and reply.edns == 0
    for name, qtype, qclass in (("id.server", "A", "CH"), ("version.bind", "TXT", "CH"), ("id.server", "TXT", "IN")):
        assert peer.send(dns.message.make_query(name, qtype, qclass)).rcode() == dns.rcode.REFUSED


def test_names_come_back_letter_for_letter(peer: Peer) -> None:
    query = dns.message.make_query("1.2.0.192.bL.ExAmPlE.oRg", "A")  # 0x20
    wire = query.to_wire()
    assert peer.raw(wire)[12 : len(wire)] == wire[12:]
