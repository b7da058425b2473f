"""Conversations: every protocol on one port, split anywhere equals whole, every bound reached, any bytes survive."""

import json
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.errors import WireError
from spamcannibal.gather import http, postfix, talk
from spamcannibal.gather.decision import ORDER, Terms, Voice
from spamcannibal.gather.desk import Desk, Manner
from spamcannibal.gather.line import LINE_LIMIT_BYTES
from spamcannibal.gather.reporters import Peer, Reporter, Reporters
from spamcannibal.gather.sink import Sink, World
from spamcannibal.gather.standing import Standing
from spamcannibal.gather.tally import Tally
from spamcannibal.record import PUBLISHED, table_value

PEER = Peer(parse_addr("192.0.2.1"))
TERMS = Terms(dict.fromkeys(ORDER, 1.0), dict.fromkeys(ORDER, 86400.0))
LISTED = "203.0.113.7"


def make_desk(*others):
    standing = Standing()
    standing.set(parse_key(LISTED), table_value(bytes((127, 0, 0, 2)), 0, PUBLISHED))
    reporters = Reporters(
        [
            Reporter(Voice("mx", 1.0, 1.0), (parse_key("192.0.2.1"),), per_s=1e6, per_hour=10**6),
            *(others or (Reporter(Voice("key", 1.0, 1.0), secret=b"sesame"),)),
        ]
    )
    world = World(lambda key: None, standing.find, lambda decision: True)
    desk = Desk(Sink(Tally(TERMS), reporters, world, 64), standing, Manner((PEER.addr,)), lambda: 1e9, lambda *_: None)
    desk.status = lambda: {"up": True}
    desk.metrics = lambda: "metric 1\n"
    return desk


def converse(*chunks, peer=PEER, desk=None):
    """What is answered to chunks, whether it is over, and the desk."""
    desk = desk or make_desk()
    conversation = talk.Conversation(desk, peer)
    replies = b""
    for chunk in chunks:
        if conversation.is_over:
            break
        replies += conversation.feed(chunk)
    return replies, conversation, desk


def policy(**attributes):
    lines = {"request": "smtpd_access_policy", "protocol_state": "RCPT", "client_address": LISTED} | attributes
    return "".join(f"{name}={value}\n" for name, value in lines.items()).encode() + b"\n"


def post(path, body, *headers):
    head = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


REPORT = json.dumps({"colour": "black", "address": "198.51.100.7"}).encode()
TALKS = [
    (b"black 198.51.100.7\n", b"ok black\n", True),
    (b"black 198.51.100.7\r\n", b"ok black\n", True),
    (b"black 198.51.100.7\nand more that nobody reads\n", b"ok black\n", True),
    (b"query 203.0.113.7\n", b"black 203.0.113.7 is listed for sending spam\n", True),
    (b"status\n", b'{"up": true}\n', True),
    (b"\n", b"refused: empty\n", True),
    (b"brown \n", b"refused: no_address\n", True),
    (policy(), b"action=DUNNO\n\n", False),
    (policy(policy_context="reject") * 2, b"action=REJECT 203.0.113.7 is listed for sending spam\n\n" * 2, False),
    (policy(policy_context="black"), b"action=DUNNO\n\n", False),
    (b"client_address=1.2.3.4\nrequest=smtpd_access_policy\n\n", b"action=DUNNO\n\n", False),
    (b"get 203.0.113.7\n", b"200 DUNNO\n", False),
    (b"get 203.0.113.9\nget %32\n", b"500 none\n500 none\n", False),
    (b"18:colour 203.0.113.7,6:colour,", b"8:OK black,9:NOTFOUND ,", False),
    (REPORT + b"\n" + REPORT + b"\n\n", b"ok black\nok\n", False),
    (b"[" + REPORT + b",3]\n", b"ok black\nrefused: want an object, got 3\n", False),
    (b"{]\n", b"refused: not JSON|", True),
    (post("/report", REPORT), b'HTTP/1.1 200 OK\r\n|{"taken": 1, "refused": []}\n', True),
    (
        post("/rspamd", b'{"ip":"198.51.100.7","action":"reject"}'),
        b'HTTP/1.1 200 OK\r\n|{"taken": 1, "refused": []}\n',
        True,
    ),
    (
        post("/rspamd", b'{"ip":"198.51.100.7","action":"no action"}'),
        b'HTTP/1.1 200 OK\r\n|{"taken": 0, "refused": []}\n',
        True,
    ),
    (post("/report", b"{"), b"HTTP/1.1 400 Bad Request\r\n|not JSON", True),
    (post("/report", REPORT, "Origin: http://x.test"), b"HTTP/1.1 403 Forbidden\r\n|not for web pages\n", True),
    (post("/other", b"{}"), b"HTTP/1.1 404 Not Found\r\n|there are /report, /rspamd, /metrics, /status\n", True),
    (post("/metrics", b""), b"HTTP/1.1 405 Method Not Allowed\r\n|want GET\n", True),
    (b"GET /report HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed\r\n|want POST\n", True),
    (b"GET /metrics HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n|metric 1\n", True),
    (b"GET /status?x HTTP/1.1\r\n\r\n", b'HTTP/1.1 200 OK\r\n|{"up": true}', True),
    (b"POST /report HTTP/1.1\r\n\r\n", b"HTTP/1.1 411 Length Required\r\n|want a Content-Length\n", True),
    (b"POST /report HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 411 Length Required\r\n|want", True),
    (b"POST /report HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n", b"HTTP/1.1 413 Content Too Large\r\n|body", True),
    (b"NONSENSE HTTP/\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n|not a request of HTTP/1.1\n", True),
    (b"BLACK 198.51.100.7\n", b"refused: want one of black, white, yellow, brown, nobl\n", True),
    (b'{"colour": "black", "address": "198.51.100.7", "peer": true}\n', b"refused: another site|peer = true", False),
]


@pytest.mark.parametrize(("data", "reply", "is_over"), TALKS, ids=[repr(data)[:50] for data, *_ in TALKS])
def test_a_conversation_and_the_same_in_pieces(data, reply, is_over):
    head, is_cut, part = reply.partition(b"|")  # HTTP's headers, or the rest of a message, are not shown
    for chunks in ([data], [data[i : i + 1] for i in range(len(data))]):
        got, conversation, _ = converse(*chunks)
        assert got.startswith(head) and part in got if is_cut else got == reply
        assert conversation.is_over == is_over


@given(st.sampled_from(TALKS), st.lists(st.integers(0, 400), max_size=6))
def test_split_anywhere_equals_whole(case, cuts):
    data = case[0]
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in pairwise(edges)]
    whole, split = converse(data), converse(*pieces)
    assert whole[0] == split[0] and whole[1].is_over == split[1].is_over
    assert whole[2].sink.counts == split[2].sink.counts


STARTS = [
    b"",
    b"black ",
    b"get ",
    b"12:",
    b"9",
    b"{",
    b"[",
    b"a=",
    b"request=",
    b"POST /report HTTP/1.1\r\n",
    b"query ",
]


@given(st.builds(bytes.__add__, st.sampled_from(STARTS), st.binary(max_size=300)), st.integers(1, 50))
@example(b"POST / HTTP/1.1\r\ncontent-length: \xb2\r\n\r\n", 1)
@example(b"request=\xff\n\n", 3)
def test_any_bytes_are_survived(data, step):
    _, conversation, _ = converse(*(data[i : i + step] for i in range(0, len(data), step)))
    conversation.end()
    assert conversation.is_over


@pytest.mark.parametrize(
    ("start", "limit"),
    [
        (b"black 192.0.2.7 ", LINE_LIMIT_BYTES),
        (b"", LINE_LIMIT_BYTES),
        (b"get ", LINE_LIMIT_BYTES),
        (b"{", talk.JSON_LIMIT_BYTES),
        (b"request=", postfix.POLICY_LIMIT_BYTES),
        (b"1024:", postfix.NETSTRING_LIMIT_BYTES),
        (b"POST / HTTP/1.1\r\nX: ", http.HEAD_LIMIT_BYTES),
    ],
)
def test_ten_megabytes_without_an_end_are_cut_off_at_a_bound(start, limit):
    desk = make_desk()
    conversation = talk.Conversation(desk, PEER)
    conversation.feed(start)
    fed = len(start)
    while not conversation.is_over and fed < 10_000_000:
        conversation.feed(b"x" * 500)
        fed += 500
    assert conversation.is_over and fed <= limit + 1000
    assert desk.sink.counts["malformed"] + desk.sink.counts["too_long"] + desk.sink.counts["unknown_verb"] == 1


@pytest.mark.parametrize(
    "start", [b"[", b"POST /report HTTP/1.1\r\nContent-Length: 999999\r\n\r\n"], ids=["json", "http"]
)
def test_a_stranger_may_have_us_keep_less_than_a_reporter(start):
    data = start + b" " * talk.STRANGER_BYTES
    for peer, is_over in ((PEER, False), (Peer(parse_addr("192.0.2.99")), True)):
        reply, conversation, desk = converse(
            data, peer=peer, desk=make_desk(Reporter(Voice("socket", 1.0, 1.0), is_local=True))
        )
        assert (reply, conversation.is_over, desk.sink.counts["stranger"]) == (b"", is_over, int(is_over))


def test_a_line_cut_short_is_no_report():
    _, conversation, desk = converse(b"black 198.51.100.7")
    conversation.end()
    assert conversation.is_over and dict(desk.sink.counts) == {"cut_short": 1}


def test_strangers_are_answered_as_if_nobody_were_listed():
    stranger = Peer(parse_addr("192.0.2.99"))
    for data, reply in (
        (b"query 203.0.113.7\n", b"none\n"),
        (b"status\n", b"none\n"),
        (policy(policy_context="reject"), b"action=DUNNO\n\n"),
        (b"18:colour 203.0.113.7,", b"9:NOTFOUND ,"),
        (b"get 203.0.113.7\n", b"500 none\n"),
    ):
        assert converse(data, peer=stranger)[0] == reply
    assert b"403 Forbidden" in converse(b"GET /status HTTP/1.1\r\n\r\n", peer=stranger)[0]
    assert b"403 Forbidden" in converse(post("/report", REPORT), peer=stranger)[0]


def test_a_key_comes_with_a_line_an_object_or_a_header():
    stranger = Peer(parse_addr("192.0.2.99"))
    for data in (
        b"black 198.51.100.7 key=sesame\n",
        b'{"colour":"black","address":"198.51.100.7","key":"sesame"}\n',
        post("/report", REPORT, "Authorization: Bearer sesame"),
    ):
        replies, _, desk = converse(data, peer=stranger)
        assert desk.sink.by_reporter["key"]["black"] == 1, replies


@given(st.text(min_size=1, max_size=200))
def test_what_tcp_table_gets_it_reads_back(value):
    reply = postfix.tcp_reply(value)
    assert reply.startswith(b"200 ") and reply.endswith(b"\n")
    assert all(33 <= octet <= 126 for octet in reply[4:-1])
    assert postfix.parse_tcp_request(b"get " + reply[4:-1]) == value


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4))
def test_netstrings_are_taken_one_by_one(payloads):
    data = b"".join(b"%d:%s," % (len(payload), payload) for payload in payloads)
    for payload in payloads:
        taken, data = postfix.take_netstring(data)
        assert taken == payload
    assert data == b""


@pytest.mark.parametrize("data", [b":x,", b"01:x,", b"99999:", b"1025:x", b"1:xy", b"-1:x,", b"\xb2:x,"])
def test_what_is_no_netstring_is_a_wire_error(data):
    with pytest.raises(WireError):
        postfix.take_netstring(data)
