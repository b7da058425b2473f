"""The milter: codec and sessions without I/O, split anywhere; then the listener as a process. Postfix is in t/live."""

import socket
import struct
import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gather_kit import gathering, read_all
from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.errors import WireError
from spamcannibal.gather import milter
from spamcannibal.gather.decision import ORDER as COLOURS
from spamcannibal.gather.decision import Terms
from spamcannibal.gather.desk import Desk, Manner
from spamcannibal.gather.milter_session import ORDER, Session, Stage
from spamcannibal.gather.reporters import Peer, Reporters
from spamcannibal.gather.sink import Sink, World
from spamcannibal.gather.standing import Standing
from spamcannibal.gather.talk import Conversation
from spamcannibal.gather.tally import Tally
from spamcannibal.record import EXCLUDED, PUBLISHED, SHADOW, table_value
from spamcannibal.store.batch import NewListing

PEER = Peer(parse_addr("192.0.2.1"))
BLACK4, BLACK6, WHITE, BROWN, CLEAN = "203.0.113.7", "2001:db8:5::7", "203.0.113.9", "203.0.113.10", "203.0.113.11"
NET6 = "2001:db8:5::/64"
ALL_STEPS = 0x1FFFFF
NO_CONNECT, NO_REPLIES = 0x1, 0xFF080  # what must stay off: not to hear of clients, not to be heard


def packet(command, data=b""):
    return struct.pack(">I", len(data) + 1) + command + data


def offer(version=6, actions=0x1FF, steps=ALL_STEPS):
    return packet(b"O", struct.pack(">III", version, actions, steps))


def client(address, family=None, name=b"client.example"):
    family = family or (b"6" if ":" in address else b"4")
    return packet(b"C", name + b"\0" + family + struct.pack(">H", 40000) + address.encode() + b"\0")


MACROS = packet(b"D", b"Cj\0mx.example.net\0{daemon_name}\0mx\0")
AGREED = packet(b"O", struct.pack(">III", 6, 0, milter.UNWANTED))
LET_IN = packet(b"a")


def refused(address, code="550 5.7.1", text="$ is listed for sending spam"):
    return packet(b"y", f"{code} {text.replace('$', address)}".encode() + b"\0")


# The codec.


@pytest.mark.parametrize(
    ("data", "address"),
    [
        (b"host\x004\x9c\x40192.0.2.7\0", "192.0.2.7"),
        (b"\x004\x00\x00192.0.2.7\0", "192.0.2.7"),
        (b"[192.0.2.7]\x004\0\x19192.0.2.7\0", "192.0.2.7"),
        (b"host\x006\x9c\x402001:db8::7\0", "2001:db8::7"),
        (b"host\x006\x9c\x40IPv6:2001:db8::7\0", "2001:db8::7"),
        (b"host\x006\x9c\x40ipv6:2001:DB8:0::7\0", "2001:db8::7"),
        (b"host\x006\x9c\x40fe80::7%eth0\0", "fe80::7"),
        (b"host\x006\x9c\x40IPv6:::ffff:192.0.2.7\0", "192.0.2.7"),
        (b"localhost\0L\0\0/run/sendmail\0", None),
        (b"localhost\0L\0\0\0", None),
        (b"unknown\0U", None),
    ],
)
def test_a_client_is_read_in_every_form(data, address):
    assert milter.parse_client(data) == (address and parse_addr(address))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"host",
        b"host\0",
        b"host4\0\x19192.0.2.7\0",
        b"host\x005\0\x19192.0.2.7\0",
        b"host\x004",
        b"host\x004\0",
        b"host\x004\0\x19",
        b"host\x004\0\x19\0",
        b"host\x004\0\x19192.0.2.7",
        b"host\x004\0\x19192.0.2.7\0\0",
        b"host\x004\0\x19192.0.2.7\0more",
        b"host\x004\0\x19192.0.2\0",
        b"host\x004\0\x19010.0.0.1\0",
        b"host\x004\0\x192001:db8::7\0",
        b"host\x004\0\x19IPv6:2001:db8::7\0",
        b"host\x006\0\x192001:db8::zz\0",
        b"host\x006\0\x19IPv6:\0",
        b"host\x004\0\x19\xff\xfe\0",
        b"host\0L",
        b"host\0L\0\0/run/sendmail",
        b"host\0U\0\0",
    ],
)
def test_a_malformed_client_is_a_wire_error(data):
    with pytest.raises(WireError, match="milter client"):
        milter.parse_client(data)


@given(st.integers(2, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=8))
def test_we_ask_for_clients_only_and_for_nothing_that_was_not_offered(version, actions, steps, more):
    made = milter.negotiation(milter.parse_offer(struct.pack(">III", version, actions, steps) + more))
    size, command, ours, wanted, left_out = struct.unpack(">IcIII", made)
    assert (size, command, ours, wanted) == (13, b"O", min(version, 6), 0)
    assert left_out & ~steps == 0
    assert left_out & (NO_CONNECT | NO_REPLIES) == 0
    assert milter.UNWANTED & steps == left_out


@pytest.mark.parametrize("data", [b"", struct.pack(">II", 6, 0), struct.pack(">III", 1, 0, 0)])
def test_an_offer_that_is_short_or_too_old_is_a_wire_error(data):
    with pytest.raises(WireError, match="milter negotiation"):
        milter.parse_offer(data)


@given(st.text(max_size=600), st.sampled_from(["reject", "defer"]))
@example("100% of it\r\n250 ok\0", "reject")
@example("%" * 600, "defer")
def test_a_refusal_is_one_short_line_that_no_server_takes_for_a_format(text, act):
    made = milter.refusal(act, text)
    command, body, rest = milter.take_packet(made)
    assert (command, rest) == (milter.REPLY, b"")
    assert body.endswith(b"\0") and len(body) < 980
    line = body[:-1]
    assert line.startswith(b"550 5.7.1 " if act == "reject" else b"451 4.7.1 ")
    assert all(32 <= octet < 127 for octet in line)
    shown = line.replace(b"%%", b"")
    assert b"%" not in shown
    assert len(line.replace(b"%%", b"%")) <= 510


@pytest.mark.parametrize("size", [0, milter.PACKET_LIMIT_BYTES + 1, 2**32 - 1])
def test_a_size_that_is_none_is_refused_before_its_bytes_come(size):
    with pytest.raises(WireError, match="milter packet"):
        milter.take_packet(struct.pack(">I", size))


@given(st.binary(max_size=80))
def test_parsers_raise_nothing_but_wire_errors(data):
    for parse in (milter.take_packet, milter.parse_offer, milter.parse_client):
        try:
            parse(data)
        except WireError as error:
            assert len(str(error)) < 200


# Sessions, by way of a connection's conversation.


def make_desk(**manner):
    standing = Standing()
    for address, flags in ((BLACK4, PUBLISHED), (NET6, PUBLISHED), (WHITE, EXCLUDED), (BROWN, SHADOW)):
        standing.set(parse_key(address), table_value(bytes((127, 0, 0, 2)), 0, flags))
    terms = Terms(dict.fromkeys(COLOURS, 1.0), dict.fromkeys(COLOURS, 86400.0))
    world = World(lambda key: None, standing.find, lambda decision: True)
    manner = Manner(**({"ask": (PEER.addr, "local")} | manner))
    return Desk(Sink(Tally(terms), Reporters([]), world, 64), standing, manner, lambda: 1e9, lambda *_: None)


def converse(*chunks, peer=PEER, **manner):
    """What is answered to chunks, the conversation, and what the desk counted."""
    desk = make_desk(**manner)
    talk = Conversation(desk, peer)
    reply = b""
    for chunk in chunks:
        if not talk.is_over:
            reply += talk.feed(chunk)
    return reply, talk, desk.sink.counts


DOES = b"".join(packet(command, b"x\0") for command in sorted(milter.EVENTS))
SESSIONS = {
    "nothing yet": (offer(), AGREED, False),
    "asked and gone": (offer() + packet(b"Q"), AGREED, True),
    "gone at once": (packet(b"Q"), b"", True),
    "black": (offer() + MACROS + client(BLACK4) + packet(b"Q"), AGREED + refused(BLACK4), True),
    "black, v6": (offer() + MACROS + client(BLACK6), AGREED + refused(BLACK6), False),
    "black, as Sendmail says v6": (offer() + client(f"IPv6:{BLACK6}", b"6"), AGREED + refused(BLACK6), False),
    "not listed": (offer() + MACROS + client(CLEAN) + packet(b"A") + packet(b"Q"), AGREED + LET_IN, True),
    "white": (offer() + client(WHITE), AGREED + LET_IN, False),
    "brown": (offer() + client(BROWN), AGREED + LET_IN, False),
    "local": (offer() + client("/run/socket", b"L"), AGREED + LET_IN, False),
    "unknown": (offer() + packet(b"C", b"unknown\0U"), AGREED + LET_IN, False),
    "what an old server goes on to tell": (
        offer(2, 0, 0) + client(BLACK4) + DOES + packet(b"A") + DOES,
        packet(b"O", struct.pack(">III", 2, 0, 0)) + refused(BLACK4) * 19,
        False,
    ),
    "several clients": (
        offer() + b"".join(MACROS + client(one) + packet(b"K") for one in (BLACK4, CLEAN, BLACK6)) + packet(b"Q"),
        AGREED + refused(BLACK4) + LET_IN + refused(BLACK6),
        True,
    ),
    "more after the end": (offer() + packet(b"Q") + b"black 192.0.2.7\n", AGREED, True),
}


@pytest.mark.parametrize(("data", "reply", "is_over"), SESSIONS.values(), ids=SESSIONS)
def test_a_session_whole_and_byte_by_byte(data, reply, is_over):
    for chunks in ([data], [data[i : i + 1] for i in range(len(data))]):
        got, talk, counts = converse(*chunks)
        assert (got, talk.is_over) == (reply, is_over)
        assert not counts["malformed"]
        assert counts["milter"] == data.count(b"Cclient.") + data.count(b"Cunknown")


@given(st.sampled_from(list(SESSIONS.values())), st.lists(st.integers(1, 300), max_size=6))
def test_split_anywhere_equals_whole(case, cuts):
    edges = sorted({0, len(case[0]), *(cut for cut in cuts if cut < len(case[0]))})
    pieces = [case[0][a:b] for a, b in pairwise(edges)]
    assert converse(*pieces)[0] == case[1]


WRONG = {
    "another client without an end of the first": (offer() + client(CLEAN) + client(CLEAN), AGREED + LET_IN),
    "a client before the negotiation": (client(CLEAN), b""),
    "what a client does, without one": (offer() + packet(b"H", b"helo\0"), AGREED),
    "what the last one does, after another was announced": (
        offer() + client(CLEAN) + packet(b"K") + packet(b"M", b"<>\0"),
        AGREED + LET_IN,
    ),
    "an unknown command": (offer() + packet(b"?"), AGREED),
    "a client without an address": (offer() + client(""), AGREED),
    "an empty packet": (offer() + bytes(4), AGREED),
    "a packet too large": (offer() + struct.pack(">I", 2**31) + b"D", AGREED),
    "another protocol": (b"\0\0\0\rHELO example.net", b""),
}


@pytest.mark.parametrize(("data", "reply"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_ends_the_connection_without_an_answer(data, reply):
    got, talk, counts = converse(data + packet(b"Q"))
    assert (got, talk.is_over, counts["malformed"]) == (reply, True, 1)


PACKETS = st.one_of(
    st.sampled_from([offer(), MACROS, client(BLACK4), client(CLEAN), *(packet(one) for one in (b"A", b"Q", b"K"))]),
    st.builds(packet, st.sampled_from(sorted(milter.ANSWERS)), st.binary(max_size=40)),
    st.builds(packet, st.binary(min_size=1, max_size=1), st.binary(max_size=10)),
)


@given(st.lists(PACKETS, max_size=12), st.booleans())
def test_every_answer_is_a_legal_one_and_errors_are_wire_errors(packets, is_listed):
    session = Session(lambda addr: ("reject", "why") if is_listed else None)
    for data in (offer(), *packets):
        if session.is_over:
            break
        try:
            reply, rest = session.step(data + b"trailing")
        except WireError:
            break
        assert rest == b"trailing"
        legal = milter.ANSWERS[data[4:5]]
        assert bool(reply) == bool(legal)
        if reply:
            command, _, rest = milter.take_packet(reply)
            assert command in legal and rest == b""


def test_the_tables_name_the_same_commands():
    assert frozenset().union(*ORDER.values()) == milter.ANSWERS.keys()
    assert ORDER.keys() == set(Stage)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_are_survived(data, step):
    data = offer() + data
    _, talk, _ = converse(*(data[i : i + step] for i in range(0, len(data), step)))
    talk.end()
    assert talk.is_over


@pytest.mark.parametrize(
    ("act", "reply"),
    [
        ("reject", refused(BLACK4, text="no $")),
        ("defer", refused(BLACK4, "451 4.7.1", "no $")),
        ("dunno", LET_IN),
    ],
)
def test_the_settings_say_what_a_listed_client_gets(act, reply):
    assert converse(offer() + client(BLACK4), milter_act=act, text="no $")[0] == AGREED + reply


def test_to_a_stranger_everybody_is_unlisted():
    stranger = Peer(parse_addr("192.0.2.99"))
    assert converse(offer() + client(BLACK4), peer=stranger)[0] == AGREED + LET_IN


def test_one_connection_serves_many_clients_on_every_kind_of_socket(tmp_path):
    with gathering(tmp_path) as gather:
        items = [NewListing(parse_key(one), text="hit $, 100%", source="admin:test") for one in (BLACK4, NET6)]
        gather.store.list(items, time.time())
        for one in (BLACK4, BLACK6):
            gather.await_answer(one, f"black hit {one}")
        verdicts = {CLEAN: LET_IN, **{one: refused(one, text="hit $, 100%%") for one in (BLACK4, BLACK6)}}
        for which in (0, 1, "socket"):
            with connected(gather, which) as sock:
                exchange(sock, offer(), AGREED)
                for one, verdict in verdicts.items():
                    exchange(sock, MACROS + client(one), verdict)
                    sock.sendall(packet(b"K"))
                sock.sendall(packet(b"Q"))
                assert read_all(sock) == b""
        assert b'spamcannibal_gather_events_total{event="milter"} 9' in gather.say(b"GET /metrics HTTP/1.0\r\n\r\n")


def connected(gather, which):
    if which != "socket":
        return gather.connect(which)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(str(gather.path / which))
    return sock


def exchange(sock, data, reply):
    """Send, and read what must come for it."""
    sock.sendall(data)
    got = b""
    while len(got) < len(reply) and (more := sock.recv(4096)):
        got += more
    assert got == reply
