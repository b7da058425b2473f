"""Answers: what each name and type comes to, what fits into a reply, and that no bytes upset it."""

import dataclasses
import struct

import dnslib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsbl_peers import EXCLUDED, HEARSAY, PROVEN, SHADOW, SPEC, ZONE, ask, outcome, question, rcode, value, view
from spamcannibal.addr import mask, parse_addr, parse_key, reversed_name
from spamcannibal.colours import COLOURS
from spamcannibal.dnsbl import wire
from spamcannibal.dnsbl.answer import TCP, UDP, Pending, answer, servfail

V6 = "2001:db8:1:2::"
LISTED = {
    "192.0.2.1": value(),
    "198.51.100.0/24": value(),
    "198.51.100.7": value(EXCLUDED),
    "198.51.100.64/26": value(EXCLUDED),
    "203.0.113.5": value(HEARSAY, "127.0.0.4"),
    "203.0.113.6": value(SHADOW | PROVEN),
    "198.51.100.9": value(HEARSAY, "127.0.0.4"),
    V6 + "/64": value(),
    "127.0.0.1": value(),
}
VIEW = view(LISTED)
PROMISCUOUS = view(LISTED, dataclasses.replace(SPEC, promiscuous=True))


def nibbles(text: str) -> str:
    return reversed_name(parse_addr(text)) if not text.startswith("::ffff:") else ".".join(mapped(text)[::-1])


def mapped(text: str) -> str:
    """The 32 nibbles of an IPv4-mapped address, which parse_addr turns into IPv4."""
    return (bytes(10) + b"\xff\xff" + parse_addr(text)).hex()


@pytest.mark.parametrize(
    ("name", "qtype", "want"),
    [
        ("1.2.0.192", "A", "127.0.0.2"),
        ("1.2.0.192", "TXT", '"192.0.2.1 is listed"'),
        ("1.2.0.192", "ANY", "127.0.0.2"),
        ("1.2.0.192", "AAAA", "NODATA"),
        ("1.2.0.192", "MX", "NODATA"),
        ("1.2.0.192", "TYPE65280", "NODATA"),
        ("2.2.0.192", "A", "NXDOMAIN"),
        ("2.2.0.192", "AAAA", "NXDOMAIN"),
        ("5.100.51.198", "A", "127.0.0.2"),
        ("5.100.51.198", "TXT", '"198.51.100.5 is listed"'),
        ("7.100.51.198", "A", "NXDOMAIN"),
        ("65.100.51.198", "A", "NXDOMAIN"),
        ("9.100.51.198", "A", "127.0.0.2"),
        ("5.113.0.203", "A", "NXDOMAIN"),
        ("6.113.0.203", "A", "NXDOMAIN"),
        ("0.1.2.0.192", "A", "NXDOMAIN"),
        ("2.0.192", "A", "NODATA"),
        ("0.192", "ANY", "NODATA"),
        ("192", "A", "NODATA"),
        ("100.51.198", "A", "NODATA"),
        ("113.0.203", "A", "NXDOMAIN"),
        ("193", "A", "NXDOMAIN"),
        ("2.0.0.127", "A", "127.0.0.2"),
        ("2.0.0.127", "TXT", '"127.0.0.2 is listed"'),
        ("1.0.0.127", "A", "NXDOMAIN"),
        ("0.127", "A", "NODATA"),
        ("001.2.0.192", "A", "NXDOMAIN"),
        ("01.2.0.192", "A", "NXDOMAIN"),
        ("1.512.192", "A", "NXDOMAIN"),
        ("0x1.2.0.192", "A", "NXDOMAIN"),
        ("257.2.0.192", "A", "NXDOMAIN"),
        ("www", "A", "NXDOMAIN"),
        ("*", "A", "NXDOMAIN"),
        ("", "A", "192.0.2.80"),
        ("", "AAAA", "2001:db8::80"),
        ("", "NS", "ns1.bl.example.org. ns.elsewhere.example."),
        ("", "MX", "10 mx.elsewhere.example."),
        ("", "TXT", '"a list of example senders"'),
        ("", "SOA", "ns1.bl.example.org. post\\.master.example.org. 7 900 300 604800 60"),
        ("", "ANY", "ns1.bl.example.org. post\\.master.example.org. 7 900 300 604800 60"),
        ("", "SRV", "NODATA"),
        ("ns1", "A", "192.0.2.53"),
        ("ns1", "AAAA", "2001:db8::53"),
        ("ns1", "TXT", "NODATA"),
        ("x.ns1", "A", "NXDOMAIN"),
        ("under", "A", "NODATA"),
        ("under", "ANY", "NODATA"),
        ("deep.under", "A", "192.0.2.54"),
    ],
)
def test_names_and_types(name: str, qtype: str, want: str) -> None:
    if qtype.startswith("TYPE"):
        query = question(f"{name}.{ZONE}")[:-4] + struct.pack(">HH", int(qtype[4:]), 1)
        got = outcome(dnslib.DNSRecord.parse(answer(query, VIEW)))
    else:
        got = outcome(ask(VIEW, name, qtype))
    assert got.replace("post.master", "post\\.master") == want


@pytest.mark.parametrize(
    ("address", "want"),
    [
        (V6 + "1", "127.0.0.2"),
        ("2001:db8:1:2:ffff:1:2:3", "127.0.0.2"),
        ("2001:db8:1:3::1", "NXDOMAIN"),
        ("::ffff:127.0.0.2", "127.0.0.2"),
        ("::ffff:127.0.0.1", "NXDOMAIN"),
        ("::ffff:192.0.2.1", "127.0.0.2"),
        ("::ffff:192.0.2.2", "NXDOMAIN"),
    ],
)
def test_ipv6_addresses(address: str, want: str) -> None:
    assert outcome(ask(VIEW, nibbles(address))) == want
    assert outcome(ask(VIEW, nibbles(address).upper())) == want


def test_a_mapped_address_is_told_as_ipv4() -> None:
    assert outcome(ask(VIEW, nibbles("::ffff:192.0.2.1"), "TXT")) == '"192.0.2.1 is listed"'
    assert outcome(ask(VIEW, nibbles(V6 + "f"), "TXT")) == '"2001:db8:1:2::f is listed"'


@pytest.mark.parametrize("address", [V6 + "1", "::ffff:127.0.0.2", "::ffff:192.0.2.1"])
def test_every_name_above_a_listed_ipv6_address_exists(address: str) -> None:
    labels = nibbles(address).split(".")
    for depth in range(1, 32):
        assert outcome(ask(VIEW, ".".join(labels[-depth:]))) == "NODATA", depth


def test_names_above_no_listing_do_not_exist() -> None:
    labels = nibbles("2001:db8:1:3::1").split(".")
    outcomes = [outcome(ask(VIEW, ".".join(labels[-depth:]))) for depth in range(1, 33)]
    assert outcomes == ["NODATA"] * 15 + ["NXDOMAIN"] * 17


@pytest.mark.parametrize(
    ("name", "want"),
    [("5.113.0.203", "127.0.0.4"), ("113.0.203", "NODATA"), ("6.113.0.203", "NXDOMAIN"), ("9.100.51.198", "127.0.0.4")],
)
def test_a_promiscuous_zone_shows_hearsay(name: str, want: str) -> None:
    assert outcome(ask(PROMISCUOUS, name)) == want


COLOURED = view(
    {
        "192.0.2.0/24": value(),
        "192.0.2.1": value(PROVEN | EXCLUDED, "127.0.0.1"),
        "192.0.2.3": value(PROVEN | EXCLUDED, "127.0.0.3"),
        "203.0.113.4": value(PROVEN | SHADOW, "127.0.0.4"),
        "203.0.113.5": value(PROVEN | EXCLUDED, "127.0.0.5"),
        "203.0.113.6": value(HEARSAY, "127.0.0.4"),
        "203.0.113.7": value(EXCLUDED, "127.0.0.1"),
        "203.0.113.8": value(SHADOW | PROVEN),
        V6 + "/64": value(PROVEN | EXCLUDED, "127.0.0.1"),
    },
    dataclasses.replace(SPEC, colours=tuple(COLOURS)),
)


@pytest.mark.parametrize(
    ("address", "want"),
    [
        ("192.0.2.9", {"": ".2", "black": ".2"}),
        ("192.0.2.1", {"white": ".1"}),
        ("192.0.2.3", {"yellow": ".3"}),
        ("203.0.113.4", {"brown": ".4"}),
        ("203.0.113.5", {"nobl": ".5"}),
        ("203.0.113.6", {}),
        ("203.0.113.7", {}),
        ("203.0.113.8", {}),
        (V6 + "7", {"white": ".1"}),
        ("127.0.0.1", {}),
        ("127.0.0.2", {"": ".2", **{name: f".{colour.code[3]}" for name, colour in COLOURS.items()}}),
    ],
)
def test_a_colour_shows_in_its_own_zone_alone(address: str, want: dict[str, str]) -> None:
    got = {zone: outcome(ask(COLOURED, f"{nibbles(address)}{zone and '.' + zone}")) for zone in ("", *COLOURS)}
    assert got == {zone: f"127.0.0{want[zone]}" if zone in want else "NXDOMAIN" for zone in got}


def test_names_above_a_coloured_entry_exist_in_its_zone_alone() -> None:
    found = {zone: outcome(ask(COLOURED, f"113.0.203.{zone}")) for zone in COLOURS}
    assert found == {
        "black": "NXDOMAIN",
        "white": "NXDOMAIN",
        "yellow": "NXDOMAIN",
        "brown": "NODATA",
        "nobl": "NODATA",
    }


def test_a_colours_zone_is_a_zone_of_its_own() -> None:
    assert outcome(ask(COLOURED, "white", "NS")) == "ns1.bl.example.org. ns.elsewhere.example."
    assert str(ask(COLOURED, "9.9.9.9.white").auth[0].rname) == f"white.{ZONE}."
    assert outcome(ask(COLOURED, "white")) == "NODATA"


def test_a_zone_in_its_sunset_lists_the_test_point_and_says_so() -> None:
    late = view(LISTED, dataclasses.replace(SPEC, sunset=True, promiscuous=True))
    for name in ("1.2.0.192", "2.0.192", "5.113.0.203", "1.0.0.127", nibbles(V6 + "1")):
        assert outcome(ask(late, name)) == "NXDOMAIN"
    assert [outcome(ask(late, name)) for name in ("2.0.0.127", "0.0.127", "ns1")] == [
        "127.0.0.2",
        "NODATA",
        "192.0.2.53",
    ]
    assert "shut down" in outcome(ask(late, "", "TXT")) and "a list of example senders" in outcome(ask(late, "", "TXT"))


def test_own_texts_come_before_the_zones() -> None:
    told = view(LISTED, texts={"192.0.2.1": "trapped: $", "198.51.100.0/24": "a bad net"})
    assert outcome(ask(told, "1.2.0.192", "TXT")) == '"trapped: 192.0.2.1"'
    assert outcome(ask(told, "5.100.51.198", "TXT")) == '"a bad net"'


def test_a_missing_text_is_asked_for_by_its_key() -> None:
    waiting = dataclasses.replace(VIEW, text=Pending)
    assert answer(question(f"5.100.51.198.{ZONE}", "TXT"), waiting) == Pending(parse_key("198.51.100.0/24"))
    assert isinstance(answer(question(f"5.100.51.198.{ZONE}", "A"), waiting), bytes)
    assert isinstance(answer(question(f"2.0.0.127.{ZONE}", "TXT"), waiting), bytes)


@pytest.mark.parametrize(
    ("name", "qtype", "qclass", "want"),
    [
        ("example.com", "A", "IN", "REFUSED"),
        ("xbl.example.org", "A", "IN", "REFUSED"),
        ("org", "SOA", "IN", "REFUSED"),
        (".", "NS", "IN", "REFUSED"),
        ("version.bind", "TXT", "CH", "REFUSED"),
        (ZONE, "SOA", "CH", "REFUSED"),
        (ZONE, "SOA", "*", "REFUSED"),
        (ZONE, "AXFR", "IN", "REFUSED"),
        (ZONE, "IXFR", "IN", "REFUSED"),
        (ZONE, "OPT", "IN", "FORMERR"),
        (ZONE, "TKEY", "IN", "NOTIMP"),
    ],
)
def test_what_is_not_ours_is_refused(name: str, qtype: str, qclass: str, want: str) -> None:
    record = dnslib.DNSRecord.parse(answer(question(name, qtype, qclass), VIEW))
    assert (rcode(record), record.rr, record.auth, record.header.aa) == (want, [], [], 0)
    assert len(record.questions) == 1


def test_the_header_speaks_for_an_authority() -> None:
    header = ask(VIEW, "1.2.0.192").header
    assert (header.qr, header.aa, header.ra, header.rd, header.tc) == (1, 1, 0, 1, 0)
    for bits in range(0x10000):
        if bits & 0xF800 or bits % 37:
            continue
        (flags,) = struct.unpack_from(">H", answer(raw(bits), VIEW), 2)
        assert flags == 0x8400 | bits & (wire.RD | wire.CD)


def test_letter_case_and_number_are_echoed() -> None:
    query = question("1.2.0.192.Bl.eXample.ORG")
    reply = answer(query, VIEW)
    assert reply[:2] == query[:2] and reply[12 : len(query)] == query[12:]
    assert str(dnslib.DNSRecord.parse(reply).rr[0].rname) == "1.2.0.192.Bl.eXample.ORG."


def test_name_servers_bring_their_addresses() -> None:
    record = ask(VIEW, "", "NS")
    assert sorted(f"{rr.rname} {rr.rdata}" for rr in record.ar) == [
        "deep.under.bl.example.org. 192.0.2.54",
        "ns1.bl.example.org. 192.0.2.53",
        "ns1.bl.example.org. 2001:db8::53",
    ]


def test_negative_answers_carry_the_soa_with_the_negative_ttl() -> None:
    soa = ask(view({}, serial=2**32 + 9), "4.3.2.1").auth[0]
    assert (str(soa.rname), soa.ttl, soa.rdata.times[0]) == (ZONE + ".", 60, 9)


@pytest.mark.parametrize(
    ("edns", "transport", "limit"),
    [(None, UDP, 512), (100, UDP, 512), (600, UDP, 600), (1232, UDP, 1232), (65535, UDP, 1232), (None, TCP, 65535)],
)
def test_replies_fit_what_was_asked_for(edns: int | None, transport: object, limit: int) -> None:
    for size in range(0, 1400, 50):
        told = view(LISTED, texts={"192.0.2.1": "x" * size})
        reply = answer(question(f"1.2.0.192.{ZONE}", "TXT", edns=edns), told, transport)
        record = dnslib.DNSRecord.parse(reply)
        full = dnslib.DNSRecord.parse(answer(question(f"1.2.0.192.{ZONE}", "TXT", edns=edns), told, TCP))
        fits = len(full.pack()) <= limit
        assert len(reply) <= limit
        assert (record.header.tc, len(record.rr)) == ((0, 1) if fits else (1, 0))
        assert len(record.ar) == (edns is not None)


def test_a_long_answer_is_cut_between_records() -> None:
    many = dataclasses.replace(SPEC, addresses=tuple(f"192.0.2.{n}" for n in range(200)))
    for size in range(512, 1232, 7):
        reply = answer(question(ZONE, edns=size), view({}, many))
        record = dnslib.DNSRecord.parse(reply)
        assert record.header.tc == 1 and size - 16 < len(reply) <= size
        assert [str(rr.rdata) for rr in record.rr] == [f"192.0.2.{n}" for n in range(len(record.rr))]


def test_glue_that_does_not_fit_is_left_out_in_silence() -> None:
    hosts = tuple(f"ns{n}.{ZONE} 192.0.2.{n}" for n in range(1, 120))
    record = dnslib.DNSRecord.parse(answer(question(ZONE, "NS"), view({}, dataclasses.replace(SPEC, hosts=hosts))))
    assert record.header.tc == 0 and len(record.rr) == 2 and 0 < len(record.ar) < 119


def test_long_texts_come_in_several_strings() -> None:
    text = "".join(chr(97 + n % 26) for n in range(700))
    record = ask(view(LISTED, texts={"192.0.2.1": text}), "1.2.0.192", "TXT", TCP)
    assert [len(piece) for piece in record.rr[0].rdata.data] == [255, 255, 190]
    assert b"".join(record.rr[0].rdata.data).decode() == text


@pytest.mark.parametrize("version", [1, 7, 255])
def test_unknown_edns_versions_get_badvers(version: int) -> None:
    record = dnslib.DNSRecord.question(f"1.2.0.192.{ZONE}")
    record.add_ar(dnslib.EDNS0(udp_len=1232, version=version))
    reply = dnslib.DNSRecord.parse(answer(bytes(record.pack()), VIEW))
    assert (reply.header.rcode, reply.ar[0].ttl >> 24, reply.ar[0].ttl >> 16 & 0xFF, reply.rr) == (0, 1, 0, [])


def test_unknown_edns_options_are_ignored_and_the_do_bit_is_copied() -> None:
    record = dnslib.DNSRecord.question(f"1.2.0.192.{ZONE}")
    options = [dnslib.EDNSOption(65001, b"x" * 40), dnslib.EDNSOption(8, b""), dnslib.EDNSOption(10, b"12345678")]
    record.add_ar(dnslib.EDNS0(udp_len=4096, flags="do", opts=options))
    reply = dnslib.DNSRecord.parse(answer(bytes(record.pack()), VIEW))
    assert outcome(reply) == "127.0.0.2"
    assert (reply.ar[0].edns_len, reply.ar[0].ttl, reply.ar[0].rdata) == (1232, 0x8000, [])  # RFC 3225 section 3


OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
HEAD = struct.Struct(">6H")
NAME = b"\2bl\7example\3org\0"
TAIL = b"\0\1\0\1"


def raw(flags: int = 0, counts: tuple[int, int, int, int] = (1, 0, 0, 0), body: bytes = NAME + TAIL) -> bytes:
    return HEAD.pack(0xABCD, flags, *counts) + body


@pytest.mark.parametrize(
    "query",
    [b"", b"x" * 11, raw(0x8000), raw(0x8400), raw(0xF800, (9, 9, 9, 9))],
    ids=["empty", "short", "answer", "authoritative answer", "answer of another kind"],
)
def test_silence(query: bytes) -> None:
    assert answer(query, VIEW) is None and servfail(query) is None


@pytest.mark.parametrize(
    ("query", "want"),
    [
        (raw(0x0800), wire.NOTIMP),
        (raw(0x2000), wire.NOTIMP),
        (raw(0x2800), wire.NOTIMP),
        (raw(counts=(0, 0, 0, 0), body=b""), wire.FORMERR),
        (raw(counts=(2, 0, 0, 0), body=(NAME + TAIL) * 2), wire.FORMERR),
        (raw(counts=(1, 1, 0, 0)), wire.FORMERR),
        (raw(counts=(1, 0, 0, 0), body=b""), wire.FORMERR),
        (raw(body=NAME), wire.FORMERR),
        (raw(body=NAME + TAIL[:-1]), wire.FORMERR),
        (raw(body=b"\xc0\x0c" + TAIL), wire.FORMERR),
        (raw(body=b"\1a\xc0\x0c" + TAIL), wire.FORMERR),
        (raw(body=b"\x40" + b"a" * 64 + b"\0" + TAIL), wire.FORMERR),
        (raw(body=b"\3ab"), wire.FORMERR),
        (raw(body=b"\1a" * 127 + b"\1a\0" + TAIL), wire.FORMERR),
        (raw(counts=(1, 0, 0, 1)), wire.FORMERR),
        (raw(counts=(1, 0, 0, 1), body=NAME + TAIL + OPT[:-1]), wire.FORMERR),
        (raw(counts=(1, 0, 0, 2), body=NAME + TAIL + OPT * 2), wire.FORMERR),
        (raw(counts=(1, 0, 1, 0), body=NAME + TAIL + OPT), wire.FORMERR),
        (raw(counts=(1, 0, 0, 1), body=NAME + TAIL + b"\1a" + OPT), wire.FORMERR),
        (raw(counts=(1, 0, 0, 1), body=NAME + TAIL + OPT[:-1] + b"\3\0\1\0"), wire.FORMERR),
        (raw(counts=(1, 0, 0, 1), body=NAME + TAIL + OPT[:-1] + b"\5\0\1\0\2x"), wire.FORMERR),
        (raw(counts=(1, 0, 0, 9), body=NAME + TAIL + (b"\0\0\x10" + OPT[3:]) * 9), wire.FORMERR),
        (raw(counts=(1, 0, 0, 65535)), wire.FORMERR),
    ],
)
def test_broken_queries_get_the_bare_header(query: bytes, want: int) -> None:
    assert answer(query, VIEW) == HEAD.pack(0xABCD, 0x8000 | HEAD.unpack_from(query)[1] & 0x7910 | want, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "query",
    [
        raw(body=NAME + TAIL + b"garbage"),
        raw(counts=(1, 0, 0, 2), body=NAME + TAIL + OPT + b"\xc0\x0c\0\xfa\0\xff\0\0\0\0\0\3abc"),
        raw(counts=(1, 0, 0, 1), body=NAME + TAIL + OPT[:-1] + b"\5\0\1\0\1x"),
        raw(body=b"\2BL\7eXample\3ORG\0" + TAIL),
    ],
    ids=["trailing bytes", "TSIG beside OPT", "an option", "letter case"],
)
def test_odd_but_sound_queries_are_answered(query: bytes) -> None:
    assert outcome(dnslib.DNSRecord.parse(answer(query, VIEW))) == "192.0.2.80"


def test_binary_labels_are_names_like_others() -> None:
    reply = answer(raw(body=b"\4\0\xff.\\" + NAME + TAIL), VIEW)
    assert struct.unpack_from(">H", reply, 2)[0] & 15 == wire.NXDOMAIN


def test_the_longest_name_is_answered() -> None:
    name = b"\x3f" + b"a" * 63
    body = name * 3 + b"\x2e" + b"b" * 46 + NAME
    assert len(body) == 255
    record = dnslib.DNSRecord.parse(answer(raw(body=body + TAIL), VIEW))
    assert rcode(record) == "NXDOMAIN" and str(record.auth[0].rname) == ZONE + "."


SEEDS = [
    raw(),
    raw(counts=(1, 0, 0, 1), body=NAME + TAIL + OPT),
    question(f"1.2.0.192.{ZONE}", "TXT", edns=4096),
    question(f"{reversed_name(parse_addr(V6 + '1'))}.{ZONE}", "ANY"),
    question(ZONE, "AXFR"),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real query with bytes changed, cut, doubled or put in."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        piece = draw(st.one_of(st.binary(max_size=4), st.sampled_from([b"\xc0\x0c", b"\0", b"\x3f", b"\xff\xff", OPT])))
        keep = draw(st.integers(0, 4))
        data[at : at + keep] = piece
    return bytes(data)


def is_sound(query: bytes, reply: bytes | Pending | None) -> bool:
    """Whether a reply is silence, a bare header or a message that dnslib reads, and answers this query."""
    if reply is None:
        return len(query) < 12 or query[2] & 0x80 != 0
    assert isinstance(reply, bytes)
    if reply[:2] != query[:2] or not reply[2] & 0x80:
        return False
    if len(reply) == 12:
        return reply[3] & 15 in (wire.FORMERR, wire.NOTIMP)
    counts = struct.unpack_from(">4H", reply, 4)
    read = wire.read_name(reply, 12)
    assert read is not None
    at = read[1] + 4
    for _ in range(sum(counts[1:])):
        record = wire._read_record(reply, at)
        assert record is not None
        at = record[1]
    return at == len(reply)


@settings(max_examples=600)
@given(st.one_of(st.binary(max_size=600), mutated()), st.sampled_from([UDP, TCP]))
def test_no_bytes_upset_it(query: bytes, transport: object) -> None:
    reply = answer(query, VIEW, transport)
    assert is_sound(query, reply)
    assert reply is None or len(reply) <= 1232


@given(st.one_of(st.sampled_from([b"\xc0", b"\x3f", b"\0", b"\1a", OPT]), st.binary(min_size=1, max_size=3)))
@settings(max_examples=60)
def test_no_message_of_full_length_upsets_it(piece: bytes) -> None:
    body = (piece * (65535 // len(piece)))[: 65535 - 12]
    for counts in ((1, 0, 0, 0), (1, 0, 1, 8), (1, 0, 0, 65535)):
        query = raw(counts=counts, body=body)
        assert is_sound(query, answer(query, VIEW, TCP))


KEYS = st.builds(
    lambda base, noise, plen: (mask(base[:3] + noise, plen), plen),
    st.sampled_from([b"\x0a\0\0\0", b"\x0a\x01\0\0", b"\x0a\0\x02\0"]),
    st.binary(min_size=1, max_size=1),
    st.integers(8, 32),
)


@settings(max_examples=150)
@given(st.dictionaries(KEYS, st.sampled_from([PROVEN, EXCLUDED, HEARSAY, SHADOW])), st.data())
def test_the_longest_shown_prefix_decides(entries: dict[tuple[bytes, int], int], data: st.DataObject) -> None:
    """Against a plain search over all entries."""
    made = view({f"{'.'.join(map(str, addr))}/{plen}": value(flags) for (addr, plen), flags in entries.items()})
    addr = data.draw(
        st.one_of(st.sampled_from([a for a, _ in entries] or [b"\x0a\0\0\0"]), KEYS.map(lambda key: key[0]))
    )
    covering = [
        (plen, flags)
        for (network, plen), flags in entries.items()
        if mask(addr, plen) == network and flags in (PROVEN, EXCLUDED)
    ]
    is_listed = bool(covering) and max(covering)[1] == PROVEN
    # A name of single digits is IPv6 too; none of the octets here are all digits of that kind.
    assert outcome(ask(made, reversed_name(addr))) == ("127.0.0.2" if is_listed else "NXDOMAIN")
    if is_listed:
        for depth in (1, 2, 3):
            assert outcome(ask(made, ".".join(map(str, addr[:depth][::-1])))) == "NODATA"
