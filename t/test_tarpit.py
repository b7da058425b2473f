"""The reply engine, packet in and packet out: every flag combination in every mode, and the theory's tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.packet import Raw

from spamcannibal._core import Trap, build, siphash24
from tarpit_client import (
    ACK,
    ENDS,
    FIN,
    GREETING,
    LISTED,
    MODES,
    PSH,
    RST,
    SYN,
    URG,
    Client,
    G,
    W,
    as_value,
    new_trap,
)

NEGATIVE = 0xFFFFFFFF  # -1 as a sequence number


@pytest.fixture(params=ENDS)
def client(request: pytest.FixtureRequest) -> Client:
    return Client(ENDS[request.param])


@pytest.mark.parametrize(
    ("length", "digest"),
    [
        (0, 0x726FDB47DD0E0E31),
        (1, 0x74F839C593DC67FD),
        (7, 0xAB0200F58B01D137),
        (8, 0x93F5F5799A932462),
        (15, 0xA129CA6149BE45E5),
        (63, 0x958A324CEB064572),
    ],
)
def test_siphash_agrees_with_its_published_vectors(length: int, digest: int) -> None:
    assert siphash24(bytes(range(16)), bytes(range(length))) == digest


# --- every flag combination ---


def expected_by_flags(flags: int, mode: str) -> tuple[str, str, str | None]:
    """(event, slot action, reply) that the theory asks for; the segment has k = c = 0 and no payload."""
    if flags & RST:
        return "RST", "free", None
    if flags & SYN and flags & FIN:
        return "STRAY", "", None
    if flags & SYN and flags & ACK:
        return "SYNACK", "", "reset"
    if flags & SYN:
        return "TRAP", "open", "synack"
    if flags & FIN:
        return "FIN", "free", None
    if not flags & ACK or mode == "throttle":
        return "STRAY", "", None
    return ("GREET", "", "greeting") if mode == "persist" else ("ARM", "acked", None)


@pytest.mark.parametrize("flags", range(64))
@pytest.mark.parametrize("mode", ["throttle", "persist", "stutter"])
def test_every_flag_combination_has_its_answer(client: Client, mode: str, flags: int) -> None:
    windows = {"throttle": W, "persist": W, "stutter": 0}
    event, slot, answer = expected_by_flags(flags, mode)
    verdict, reply, got_event, got_mode, got_slot, k = new_trap(mode).decide(client.at(0, flags=flags), LISTED)
    assert (verdict, got_event, got_mode, got_slot, k) == ("DROP", event, mode, slot, 0)
    assert (reply is None) == (answer is None)
    if reply is None:
        return
    got = client.read(reply)
    if answer == "reset":
        assert (got[0], got[1], got[3], got[4]) == (RST, 0, 0, b"")
    elif answer == "synack":  # the segment's own number counts as the initial one, 1 above iss
        assert got == (SYN | ACK, 0, 1, windows[mode], b"")
    else:
        assert got == (PSH | ACK, 0, 0, W, GREETING)


@pytest.mark.parametrize("flags", range(256))
@pytest.mark.parametrize(("mode", "verdict", "event"), [("drop", "DROP", "DROPPED"), ("observe", "ACCEPT", "OBSERVED")])
def test_drop_and_observe_look_at_no_flag(client: Client, mode: str, verdict: str, event: str, flags: int) -> None:
    assert new_trap(mode).decide(client.at(0, flags=flags), LISTED) == (verdict, None, event, mode, "", 0)


@pytest.mark.parametrize("extra", [0x40, 0x80, 0xC0])
def test_congestion_flags_of_a_syn_are_accepted_and_not_answered(client: Client, extra: int) -> None:
    _, reply, event, *_ = new_trap().decide(client.raw(SYN | extra, client.iss), LISTED)
    assert event == "TRAP"
    assert reply is not None
    assert client.read(reply)[0] == SYN | ACK


def test_a_syns_payload_is_not_acknowledged(client: Client) -> None:
    _, reply, *_ = new_trap().decide(client.raw(SYN, client.iss, payload=b"EHLO"), LISTED)
    assert reply is not None
    assert client.read(reply) == (SYN | ACK, NEGATIVE, 0, 0, b"")


# --- the initial sequence number ---


def test_it_is_the_clients_plus_a_mask_of_the_connection(client: Client) -> None:
    _, reply, *_ = new_trap("persist").decide(client.syn(), LISTED)
    assert reply is not None
    assert client.read(reply) == (SYN | ACK, NEGATIVE, 0, W, b"")


def test_another_port_address_or_secret_has_another_mask() -> None:
    src, dst = ENDS["v4"]
    ends = [(src, dst), (dst, src), (bytes([192, 0, 2, 2]), dst), ENDS["v6"]]
    clients = [Client(end, port) for end in ends for port in (4312, 4313)]
    replies = {trap.decide(c.syn(), LISTED)[1] for c in clients for trap in (new_trap(), Trap(1, bytes(16)))}
    numbers = {reply[-16:-12] for reply in replies if reply}
    assert len(numbers) == 2 * len(clients)


# --- persist ---

LONG = b"EHLO client.example\r\n"

PERSIST = {
    # name: (k, c, payload) -> (event, ack, window, payload) or event alone
    "handshake": (0, 0, b"", ("GREET", 0, W, GREETING)),
    "keepalive, greeting lost": (0, -1, b"", ("GREET", 0, W, GREETING)),
    "keepalive with garbage, greeting lost": (0, -1, b"\0", ("GREET", 0, W, GREETING)),
    "early": (0, 0, LONG, ("DATA", W, 0, GREETING)),
    "early and short": (0, 0, b"QUIT\r\n", ("DATA", 6, W - 6, GREETING)),
    "early, second piece": (0, 6, b"QUIT\r\n", ("DATA", W, 0, GREETING)),
    "early, one-byte probe": (0, W, b"E", ("GREET", W, 0, GREETING)),
    "early, Linux probe": (0, W - 1, b"", ("GREET", W, 0, GREETING)),
    "early, plain ACK": (0, 6, b"", "ACKED"),
    "early, plain ACK at the end": (0, W, b"", "ACKED"),
    "greeting acknowledged": (G, 0, b"", "ACKED"),
    "keepalive": (G, -1, b"", ("PROBE", 0, W, b"")),
    "keepalive with garbage": (G, -1, b"\0", ("PROBE", 0, W, b"")),
    "keepalive and data": (G, -1, b"\0QUIT\r\n", ("DATA", 6, W - 6, b"")),
    "first data": (G, 0, LONG, ("DATA", W, 0, b"")),
    "first data of just the window": (G, 0, LONG[:W], ("DATA", W, 0, b"")),
    "first data, short": (G, 0, b"QUIT\r\n", ("DATA", 6, W - 6, b"")),
    "first data of one byte": (G, 0, b"Q", ("DATA", 1, W - 1, b"")),
    "more data": (G, 6, b"QUIT\r\n", ("DATA", W, 0, b"")),
    "the last byte": (G, W - 1, b"\n", ("DATA", W, 0, b"")),
    "one-byte probe": (G, W, b"x", ("PROBE", W, 0, b"")),
    "retransmission past the window": (G, W, LONG, ("PROBE", W, 0, b"")),
    "Linux probe": (G, W - 1, b"", ("PROBE", W, 0, b"")),
    "plain ACK": (G, 3, b"", "ACKED"),
    "plain ACK at the end": (G, W, b"", "ACKED"),
    "before all": (0, -2, b"", "STRAY"),
    "past the window": (0, W + 1, b"x", "STRAY"),
    "half a greeting": (G // 2, 0, b"", "STRAY"),
    "more than the greeting": (G + 2, 0, b"", "STRAY"),
}


@pytest.mark.parametrize(("k", "c", "payload", "want"), PERSIST.values(), ids=PERSIST)
def test_persist_answers_by_its_table(client: Client, k: int, c: int, payload: bytes, want: tuple | str) -> None:
    _, reply, event, _, slot, _ = new_trap("persist").decide(client.at(k, c, payload), LISTED)
    assert slot == ""
    if isinstance(want, str):
        assert (event, reply) == (want, None)
        return
    assert reply is not None
    flags = ACK | (PSH if want[3] else 0)
    assert (event, *client.read(reply)) == (want[0], flags, k, *want[1:])


@pytest.mark.parametrize("setting", [1, 2, 3, W, G - 2, G, 65535])
def test_persist_takes_exactly_its_window_and_then_closes_it(client: Client, setting: int) -> None:
    """A client that sends what it may, whatever the window: the edge never moves back, and it ends up probing."""
    trap = new_trap("persist", throttle_window=setting)
    window = min(max(setting, 2), G - 2)
    _, reply, *_ = trap.decide(client.syn(), LISTED)
    assert reply is not None
    assert client.read(reply)[3] == window
    una, edge = 0, window
    while una < edge:
        piece = b"x" * min(3, edge - una)
        _, reply, event, *_ = trap.decide(client.at(G, una, piece), LISTED)
        assert reply is not None
        _, _, una, left, _ = client.read(reply)
        assert una + left == edge
        assert event == "DATA"
    for c, payload in ((edge - 1, b""), (edge, b"x")):
        _, reply, *_ = trap.decide(client.at(G, c, payload), LISTED)
        assert reply is not None
        assert client.read(reply) == (ACK, G, edge, 0, b"")


# --- stutter ---

STUTTER = {
    # name: (k, c, payload) -> (event, slot action, k read, ack of the reply or None)
    "handshake": (0, 0, b"", ("ARM", "acked", 0, None)),
    "one byte": (1, 0, b"", ("ACKED", "acked", 1, None)),
    "many bytes": (70000, 0, b"", ("ACKED", "acked", 70000, None)),
    "as far as it goes": (1 << 20, 0, b"", ("ACKED", "acked", 1 << 20, None)),
    "too far": ((1 << 20) + 1, 0, b"", ("STRAY", "", 0, None)),
    "before all": (0, 1, b"", ("STRAY", "", 0, None)),
    "early talker": (0, 0, LONG, ("PROBE", "acked", 0, 0)),
    "one-byte probe": (33, 0, b"E", ("PROBE", "acked", 33, 0)),
    "Linux probe after the whole greeting": (G, -1, b"", ("ACKED", "acked", G, None)),
}


@pytest.mark.parametrize(("k", "c", "payload", "want"), STUTTER.values(), ids=STUTTER)
def test_stutter_reads_its_position_by_its_table(client: Client, k: int, c: int, payload: bytes, want: tuple) -> None:
    _, reply, event, _, slot, got_k = new_trap("stutter").decide(client.at(k, c, payload), LISTED)
    assert (event, slot, got_k) == want[:3]
    if want[3] is None:
        assert reply is None
    else:
        assert reply is not None
        assert client.read(reply) == (ACK, k, want[3], 0, b"")


# --- who is judged, and how ---


@given(st.integers(0, NEGATIVE), st.integers(0, NEGATIVE), st.binary(max_size=20))
def test_an_ack_of_a_connection_that_is_not_ours_is_dropped_in_silence(seq: int, ack: int, payload: bytes) -> None:
    client = Client()
    d = (ack - seq - client.mask) & NEGATIVE
    if d <= G + 1 or d > NEGATIVE - W:
        return
    verdict, reply, event, *_ = new_trap("persist").decide(client.raw(ACK, seq, ack, payload), LISTED)
    assert (verdict, reply, event) == ("DROP", None, "STRAY")


@pytest.mark.parametrize("mode", MODES)
def test_a_listings_own_mode_goes_before_the_settings(client: Client, mode: str) -> None:
    trap = new_trap("drop" if mode != "drop" else "persist")
    assert trap.decide(client.syn(), as_value(mode)) == new_trap(mode).decide(client.syn(), LISTED)


@pytest.mark.parametrize("value", [0, as_value("drop", 2), as_value("drop", 4), as_value("drop", 7)])
def test_unlisted_excluded_and_shadow_sources_pass(client: Client, value: int) -> None:
    assert new_trap().decide(client.syn(), value) == ("ACCEPT", None, "NONE", "default", "", 0)


def test_a_published_listing_is_held_like_any_other(client: Client) -> None:
    assert new_trap().decide(client.syn(), LISTED | 0x7F000002 << 8 & NEGATIVE | 1 << 4)[2] == "TRAP"


def test_a_stray_synack_is_reset_unless_that_is_off(client: Client) -> None:
    packet = client.raw(SYN | ACK, 77, 12345)
    _, reply, event, *_ = new_trap().decide(packet, LISTED)
    assert event == "SYNACK"
    assert reply is not None
    assert reply[-16:-12] == (12345).to_bytes(4, "big")
    assert new_trap(answer_synack=False).decide(packet, LISTED)[:3] == ("DROP", None, "SYNACK")


V4, V6 = IP(src="192.0.2.1", dst="198.51.100.25"), IPv6(src="2001:db8::1", dst="2001:db8:1::25")
SHAPES = {
    "udp": (V4 / UDP(), "OTHER"),
    "udp6": (V6 / UDP(), "OTHER"),
    "udp-fragment": (IP(src="192.0.2.1", dst="198.51.100.25", frag=5, proto=17) / Raw(bytes(8)), "OTHER"),
    "fragment": (IP(src="192.0.2.1", dst="198.51.100.25", frag=5, proto=6) / Raw(bytes(8)), "DROPPED"),
    "fragment6": (V6 / IPv6ExtHdrFragment(offset=5, nh=6) / Raw(bytes(8)), "DROPPED"),
    "cut": (bytes(V4 / TCP(flags="S"))[:30], "DROPPED"),
    "cut6": (bytes(V6 / TCP(flags="S"))[:50], "DROPPED"),
    "bad": (bytes([0x44]) + bytes(V4 / TCP())[1:], "NONE"),
    "no source": (bytes(V4)[:15], "NONE"),
    "empty": (b"", "NONE"),
}


@pytest.mark.parametrize(("packet", "event"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("other_protocols", [False, True])
def test_what_is_not_plain_tcp_has_its_verdict(packet: bytes, event: str, other_protocols: bool) -> None:
    verdict, reply, got, *_ = new_trap(other_protocols=other_protocols).decide(bytes(packet), LISTED)
    assert (got, reply) == (event, None)
    assert verdict == ("DROP" if event == "DROPPED" or (event == "OTHER" and other_protocols) else "ACCEPT")
    assert new_trap("observe", other_protocols=True).decide(bytes(packet), LISTED)[0] == "ACCEPT"


LO4, LO6 = bytes([127, 0, 0, 1]), bytes(15) + b"\1"


@pytest.mark.parametrize("ends", [(LO4, LO4), (bytes([127, 9, 9, 9]), LO4), (LO6, LO6)], ids=str)
def test_loopback_is_left_alone_unless_asked_for(ends: tuple[bytes, bytes]) -> None:
    client = Client(ends)
    assert new_trap().decide(client.syn(), LISTED)[:3] == ("ACCEPT", None, "NONE")
    _, reply, event, *_ = new_trap(loopback=True).decide(client.syn(), LISTED)
    assert event == "TRAP"
    assert reply is not None
    assert new_trap(loopback=True).decide(Client(ends, 25).syn(), LISTED)[2] == (
        "DROPPED" if ends[0] == ends[1] else "TRAP"
    )


V4_NEVER = [bytes(a) for a in ([0, 0, 0, 0], [0, 1, 2, 3], [224, 0, 0, 1], [239, 9, 9, 9], [240, 0, 0, 1], [255] * 4)]
V6_NEVER = [bytes(16), bytes.fromhex("ff02") + bytes(13) + b"\1"]


@pytest.mark.parametrize("mode", ["throttle", "persist", "stutter"])
@pytest.mark.parametrize("addr", V4_NEVER + V6_NEVER, ids=bytes.hex)
@pytest.mark.parametrize("flags", [SYN, ACK, SYN | ACK])
def test_nothing_is_ever_sent_to_an_address_that_is_not_one_host(addr: bytes, mode: str, flags: int) -> None:
    other = ENDS["v4" if len(addr) == 4 else "v6"][0]
    for ends in ((addr, other), (other, addr), (other, other)):
        packet = build(*ends, 4312, 25, seq=1, ack=2, flags=flags)
        assert new_trap(mode).decide(packet, LISTED)[:3] == ("DROP", None, "DROPPED")


@given(st.binary(max_size=120), st.integers(0, NEGATIVE), st.sampled_from(sorted(MODES)), st.booleans())
def test_any_bytes_get_a_verdict(raw: bytes, value: int, mode: str, other: bool) -> None:
    verdict, reply, event, _, _, _ = new_trap(mode, other_protocols=other).decide(raw, value)
    assert verdict in {"ACCEPT", "DROP"}
    assert reply is None or verdict == "DROP"
    assert value or event == "NONE"


@given(st.sampled_from(sorted(ENDS)), st.integers(0, 255), st.integers(-20, 2 * G), st.integers(-3, 2 * W), st.data())
def test_no_reply_can_answer_another_reply(family: str, flags: int, k: int, c: int, data: st.DataObject) -> None:
    """Two tarpits that meet do not talk: a reply, sent back as it is, is met with silence or a last reset."""
    client = Client(ENDS[family])
    mode = data.draw(st.sampled_from(["throttle", "persist", "stutter"]))
    _, reply, *_ = new_trap(mode).decide(client.at(k, c, data.draw(st.binary(max_size=30)), flags), LISTED)
    if reply is None:
        return
    _, again, event, *_ = new_trap(mode).decide(reply, LISTED)
    assert again is None or event == "SYNACK"


def test_urgent_and_push_change_nothing(client: Client) -> None:
    trap = new_trap("persist")
    plain = trap.decide(client.at(G, 0, LONG), LISTED)
    assert trap.decide(client.at(G, 0, LONG, ACK | PSH | URG), LISTED) == plain
