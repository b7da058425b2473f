"""The packet codec against scapy: fields, checksums, every truncation, every contradiction of lengths."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.ipsec import AH
from scapy.packet import Packet, Raw

from spamcannibal._core import build, decode

A4, B4 = "192.0.2.1", "198.51.100.25"
A6, B6 = "2001:db8::1", "2001:db8:1::25"
SEGMENT = TCP(sport=4312, dport=25, seq=0x01020304, ack=0xFFFEFDFC, flags="PA", window=4711)
DATA = b"EHLO client.example\r\n"
V4, V6 = IP(src=A4, dst=B4), IPv6(src=A6, dst=B6)
HOPS, DEST = IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(4))]), IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(12))])
ROUTING, ATOMIC = IPv6ExtHdrRouting(addresses=[B6], segleft=0), IPv6ExtHdrFragment(offset=0, m=0)
TCP_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7)]

TCP_PACKETS = {
    "v4": V4 / SEGMENT / DATA,
    "v4-empty": V4 / SEGMENT,
    "v4-options": IP(src=A4, dst=B4, options=[IPOption_NOP(), IPOption_RR(length=39, routers=["0.0.0.0"] * 9)])
    / SEGMENT
    / DATA,
    "v4-tcp-options": V4 / TCP(sport=4312, dport=25, flags="S", options=TCP_OPTIONS) / DATA,
    "v6": V6 / SEGMENT / DATA,
    "v6-empty": V6 / SEGMENT,
    "v6-hops": V6 / HOPS / SEGMENT / DATA,
    "v6-chain": V6 / HOPS / DEST / ROUTING / ATOMIC / DEST / SEGMENT / DATA,
    "v6-eight": V6 / HOPS / DEST / DEST / DEST / DEST / DEST / DEST / DEST / SEGMENT / DATA,
    "v6-ah": V6 / AH(nh=6, payloadlen=4, icv=bytes(12)) / Raw(bytes(V6 / SEGMENT / DATA)[40:]),
    "v6-tcp-options": V6 / TCP(sport=4312, dport=25, flags="S", options=TCP_OPTIONS) / DATA,
}


def tcp_of(packet: Packet) -> Packet:
    """The TCP layer; behind AH scapy leaves it as bytes."""
    return packet[TCP] if TCP in packet else TCP(bytes(packet[Raw]))


def expected(packet: Packet) -> dict[str, Any]:
    """What scapy reads in the packet, from its bytes."""
    whole = packet.__class__(bytes(packet))
    ip, tcp = whole, tcp_of(whole)
    return {
        "family": ip.version,
        "src": ipaddress.ip_address(ip.src).packed,
        "dst": ipaddress.ip_address(ip.dst).packed,
        "proto": 6,
        "sport": tcp.sport,
        "dport": tcp.dport,
        "seq": tcp.seq,
        "ack": tcp.ack,
        "flags": int(tcp.flags) & 0xFF,
        "window": tcp.window,
        "payload_len": len(tcp.payload),
        "total_len": len(bytes(packet)),
    }


def kind(packet: Packet | bytes, verify: bool = False) -> str:
    return decode(bytes(packet), verify)[0]


@pytest.mark.parametrize("packet", TCP_PACKETS.values(), ids=TCP_PACKETS)
def test_a_tcp_packet_decodes_as_scapy_reads_it(packet: Packet) -> None:
    assert decode(bytes(packet), True) == ("TCP", expected(packet))


@pytest.mark.parametrize("packet", TCP_PACKETS.values(), ids=TCP_PACKETS)
def test_cut_at_any_length_it_is_truncated_or_the_same(packet: Packet) -> None:
    raw = bytes(packet)
    _, fields = decode(raw)
    assert fields is not None
    tcp_end = len(raw) - len(tcp_of(packet).payload)
    fixed = 20 if raw[0] >> 4 == 4 else 40
    for length in range(len(raw)):
        got_kind, got = decode(raw[:length], True)
        if length >= tcp_end:
            assert (got_kind, got) == ("TCP", fields)
        elif got_kind == "TRUNCATED":
            assert (got is None) == (length < fixed)
            assert got is None or got["src"] == fields["src"]
        else:  # the fixed 20 bytes of TCP suffice, its options are not looked at
            assert (got_kind, got) == ("TCP", fields)
            assert length >= tcp_end - 20


@pytest.mark.parametrize("packet", TCP_PACKETS.values(), ids=TCP_PACKETS)
def test_bytes_after_the_packet_are_not_of_it(packet: Packet) -> None:
    assert decode(bytes(packet) + b"padding", True) == decode(bytes(packet), True)


OTHERS = {
    "v4-udp": V4 / UDP(),
    "v4-icmp": V4 / ICMP(),
    "v4-ah": V4 / AH(nh=6, payloadlen=4, icv=bytes(12)) / SEGMENT,
    "v6-udp": V6 / HOPS / UDP(),
    "v6-none": IPv6(src=A6, dst=B6, nh=59),
    "v6-esp": IPv6(src=A6, dst=B6, nh=50) / Raw(bytes(40)),
}


@pytest.mark.parametrize("packet", OTHERS.values(), ids=OTHERS)
def test_another_protocol_is_told_with_its_source(packet: Packet) -> None:
    got_kind, fields = decode(bytes(packet), True)
    assert got_kind == "OTHER"
    assert fields is not None
    assert fields["src"] == ipaddress.ip_address(packet.src).packed
    assert fields["sport"] == fields["payload_len"] == 0


FRAGMENTS = {
    "v4-first": IP(src=A4, dst=B4, flags="MF") / SEGMENT / DATA,
    "v4-middle": IP(src=A4, dst=B4, flags="MF", frag=100, proto=6) / Raw(bytes(8)),
    "v4-last": IP(src=A4, dst=B4, frag=1, proto=6) / Raw(bytes(8)),
    "v6-first": V6 / IPv6ExtHdrFragment(offset=0, m=1) / SEGMENT,
    "v6-last": V6 / HOPS / IPv6ExtHdrFragment(offset=185, m=0, nh=6) / Raw(bytes(8)),
}


@pytest.mark.parametrize("packet", FRAGMENTS.values(), ids=FRAGMENTS)
def test_a_fragment_is_told_as_one(packet: Packet) -> None:
    got_kind, fields = decode(bytes(packet), True)
    assert got_kind == "FRAGMENT"
    assert fields is not None
    assert fields["proto"] == 6


def edited(packet: Packet, at: int, value: int) -> bytes:
    raw = bytearray(bytes(packet))
    raw[at] = value
    return bytes(raw)


BAD = {
    **{f"version-{n}": bytes([n << 4]) + bytes(60) for n in range(16) if n not in {4, 6}},
    **{f"v4-ihl-{n}": edited(V4 / SEGMENT, 0, 0x40 | n) for n in range(5)},
    "v4-ihl-past-the-end": edited(V4 / SEGMENT, 0, 0x4F),
    "v4-length-0": edited(V4 / SEGMENT, 3, 0),
    "v4-length-19": edited(V4 / SEGMENT, 3, 19),
    "v4-no-room-for-tcp": edited(V4 / SEGMENT, 3, 39),
    **{f"v4-offset-{n}": edited(V4 / SEGMENT, 32, n << 4) for n in range(5)},
    "v4-offset-past-the-end": edited(V4 / SEGMENT, 32, 0x60),
    "v6-length-0": edited(V6 / SEGMENT, 5, 0),
    "v6-no-room-for-tcp": edited(V6 / SEGMENT, 5, 19),
    "v6-offset-4": edited(V6 / SEGMENT, 52, 0x40),
    "v6-extension-past-the-end": edited(V6 / HOPS / SEGMENT, 41, 255),
    "v6-extension-cut-by-length": edited(V6 / HOPS / SEGMENT, 5, 7),
}


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD)
def test_lengths_that_contradict_each_other_are_bad(raw: bytes) -> None:
    assert kind(raw) == "BAD"


def test_more_extension_headers_than_are_looked_at_count_as_truncated() -> None:
    packet = V6
    for _ in range(9):
        packet = packet / DEST
    assert kind(packet / SEGMENT) == "TRUNCATED"


@pytest.mark.parametrize("name", ["v4", "v4-options", "v6", "v6-chain"])
def test_a_wrong_bit_fails_the_checksum_only_if_that_is_asked(name: str) -> None:
    raw = bytes(TCP_PACKETS[name])
    tcp_at = len(raw) - len(tcp_of(TCP_PACKETS[name]))
    ip_at = [8, 10, 13, 17] if raw[0] >> 4 == 4 else [9, 30]
    for at in (*ip_at, tcp_at + 1, tcp_at + 6, tcp_at + 17, len(raw) - 1):
        wrong = edited(raw, at, raw[at] ^ 4)
        assert kind(wrong) == "TCP"
        assert kind(wrong, verify=True) == "BAD"


def test_a_cut_packet_is_not_asked_for_its_checksum() -> None:
    raw = edited(V4 / SEGMENT / DATA, 36, 0)
    assert kind(raw, verify=True) == "BAD"
    assert kind(raw[:-1], verify=True) == "TCP"


def test_a_routing_header_still_under_way_is_not_asked_for_its_checksum() -> None:
    raw = bytes(V6 / IPv6ExtHdrRouting(addresses=["2001:db8::99"], segleft=0) / SEGMENT)
    assert kind(edited(raw, 43, 1), verify=True) == "TCP"


U16, U32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)


@st.composite
def segments(draw: st.DrawFn) -> dict[str, Any]:
    size = draw(st.sampled_from([4, 16]))
    return {
        "src": draw(st.binary(min_size=size, max_size=size)),
        "dst": draw(st.binary(min_size=size, max_size=size)),
        "sport": draw(U16),
        "dport": draw(U16),
        "seq": draw(U32),
        "ack": draw(U32),
        "flags": draw(st.integers(0, 255)),
        "window": draw(U16),
        "payload": draw(st.binary(max_size=512)),
    }


def by_scapy(src: bytes, dst: bytes, payload: bytes, **fields: int) -> bytes:
    ends = {"src": str(ipaddress.ip_address(src)), "dst": str(ipaddress.ip_address(dst))}
    if len(src) == 4:
        return bytes(IP(**ends, id=0, flags="DF", ttl=64) / TCP(**fields) / payload)
    return bytes(IPv6(**ends, hlim=64) / TCP(**fields) / payload)


@given(segments())
@example({"src": bytes(4), "dst": bytes(4), "sport": 0, "dport": 0, "payload": b""})
@example({"src": b"\xff" * 16, "dst": b"\xff" * 16, "sport": 0xFFFF, "dport": 0xFFFF, "payload": b"\xff" * 511})
def test_built_packets_are_scapys_and_decode_to_what_was_built(segment: dict[str, Any]) -> None:
    raw = build(**segment)
    assert raw == by_scapy(**{"seq": 0, "ack": 0, "flags": 0, "window": 0, **segment})
    got_kind, fields = decode(raw, True)
    assert got_kind == "TCP"
    assert fields is not None
    assert fields["payload_len"] == len(segment["payload"])
    assert {k: fields[k] for k in segment if k != "payload"} == {k: v for k, v in segment.items() if k != "payload"}


def test_build_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="4 and 16"):
        build(bytes(4), bytes(16), 1, 2)
    with pytest.raises(ValueError, match="at most 512"):
        build(bytes(4), bytes(4), 1, 2, payload=bytes(513))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_have_a_kind(raw: bytes, verify: bool) -> None:
    got_kind, fields = decode(raw, verify)
    assert got_kind in {"TCP", "OTHER", "FRAGMENT", "TRUNCATED", "BAD"}
    assert fields is not None or got_kind in {"TRUNCATED", "BAD"}


@given(st.sampled_from(sorted(TCP_PACKETS)), st.data())
def test_a_packet_with_any_bytes_changed_has_a_kind(name: str, data: st.DataObject) -> None:
    raw = bytearray(bytes(TCP_PACKETS[name]))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    got_kind, fields = decode(bytes(raw[:cut]), data.draw(st.booleans()))
    if got_kind == "TCP":
        assert fields is not None
        assert fields["payload_len"] <= fields["total_len"]
