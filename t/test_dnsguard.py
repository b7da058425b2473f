"""What protects others from forged queries: cookies, the rate limit, who asks most, the pages that tell of it."""

import asyncio
import dataclasses
import json
import struct
import time

import dnslib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsbl_peers import PROVEN, SPEC, ZONE, question, rcode, value, view
from spamcannibal._core import RateLimit, Talkers, cookie_check, cookie_make
from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.dnsbl import metrics, wire
from spamcannibal.dnsbl.answer import UDP, Asker, Reply, cut, respond
from spamcannibal.dnsbl.cookies import Cookies
from spamcannibal.dnsbl.metrics import Told
from spamcannibal.dnsbl.pages import Pages
from spamcannibal.dnsbl.responder import Policy, Responder

SECOND_NS = 10**9
NOW = 1_700_000_000
CLIENT, ADDR = bytes(range(8)), parse_addr("198.51.100.9")
SECRETS = bytes(range(16)), bytes(range(16, 32))
VECTORS = [  # RFC 9018, appendix A: client cookie, address, time, secret, server cookie
    ("2464c4abcf10c957", "198.51.100.100", 1559731985, "e5e973e5a6b2a43f48e7dc849e37bfcf",
     "010000005cf79f111f8130c3eee29480"),
    ("2464c4abcf10c957", "198.51.100.100", 1559734385, "e5e973e5a6b2a43f48e7dc849e37bfcf",
     "010000005cf7a871d4a564a1442aca77"),
    ("22681ab97d52c298", "2001:db8:220:1:59de:d0f4:8769:82b8", 1559741961, "445536bcd2513298075a5d379663c962",
     "010000005cf7c609a6bb79d16625507a"),
]  # fmt: skip


@pytest.mark.parametrize(("client", "addr", "now", "secret", "want"), VECTORS, ids=["new", "renewed", "ipv6"])
def test_cookies_are_those_of_rfc_9018(client: str, addr: str, now: int, secret: str, want: str) -> None:
    made = cookie_make(bytes.fromhex(secret), bytes.fromhex(client), parse_addr(addr), now)
    assert made.hex() == want
    assert cookie_check(bytes.fromhex(secret), bytes.fromhex(client), made, parse_addr(addr), now) == 1


@pytest.mark.parametrize(
    ("age_s", "want"),
    [(0, 1), (1800, 1), (1801, 2), (3600, 2), (3601, 0), (-300, 1), (-301, 0), (2**31, 0)],
)
def test_a_cookie_is_good_for_an_hour_and_renewed_after_half(age_s: int, want: int) -> None:
    made = cookie_make(SECRETS[0], CLIENT, ADDR, NOW)
    assert cookie_check(SECRETS[0], CLIENT, made, ADDR, (NOW + age_s) % 2**32) == want


def test_a_cookie_is_for_one_client_one_address_and_our_secrets() -> None:
    made = cookie_make(SECRETS[1], CLIENT, ADDR, NOW)
    assert cookie_check(b"".join(SECRETS), CLIENT, made, ADDR, NOW) == 2  # by the old secret: good, and due
    assert cookie_check(SECRETS[0], CLIENT, made, ADDR, NOW) == 0
    assert cookie_check(SECRETS[1], CLIENT[::-1], made, ADDR, NOW) == 0
    assert cookie_check(SECRETS[1], CLIENT, made, parse_addr("198.51.100.8"), NOW) == 0
    assert cookie_check(SECRETS[1], CLIENT, made[:-1], ADDR, NOW) == 0
    for bit in range(128):
        bent = (int.from_bytes(made, "big") ^ 1 << bit).to_bytes(16, "big")
        assert cookie_check(SECRETS[1], CLIENT, bent, ADDR, NOW) == 0


def verdicts(
    limit: RateLimit, count: int, addr: str = "192.0.2.1", name: bytes = b"n", now_s: float = 1.0
) -> list[int]:
    return [limit.check(parse_addr(addr), 0, 1, name, int(now_s * SECOND_NS)) for _ in range(count)]


def test_a_network_gets_a_seconds_worth_of_one_reply_then_every_second_one_cut() -> None:
    limit = RateLimit(5, 0, 2, 64, ())
    assert verdicts(limit, 11) == [0] * 5 + [2, 1, 2, 1, 2, 1]
    assert verdicts(limit, 2, "192.0.2.200") == [2, 1]
    assert verdicts(limit, 6, "192.0.3.1") == [0] * 5 + [2]
    assert verdicts(limit, 6, name=b"other") == [0] * 5 + [2]
    assert verdicts(limit, 3, now_s=1.4) == [0, 0, 2]
    assert verdicts(limit, 6, now_s=9.0) == [0] * 5 + [2]


def test_ipv6_networks_are_56_bits_long() -> None:
    limit = RateLimit(2, 0, 0, 64, ())
    assert verdicts(limit, 3, "2001:db8:0:1::1") == [0, 0, 2]
    assert verdicts(limit, 1, "2001:db8:0:ff::1") == [2]
    assert verdicts(limit, 1, "2001:db8:0:100::1") == [0]


@pytest.mark.parametrize(("slip", "want"), [(0, [2, 2, 2, 2]), (1, [1, 1, 1, 1]), (3, [2, 2, 1, 2])])
def test_slip_says_how_many_are_cut(slip: int, want: list[int]) -> None:
    assert verdicts(RateLimit(1, 0, slip, 64, ()), 5)[1:] == want


def test_all_replies_together_have_a_limit_of_their_own() -> None:
    limit = RateLimit(0, 3, 0, 64, ())
    assert [limit.check(ADDR, 0, 1, b"%d" % n, SECOND_NS) for n in range(5)] == [0, 0, 0, 2, 2]
    assert verdicts(RateLimit(0, 0, 2, 64, ()), 100) == [0] * 100


def test_errors_are_of_one_class_whatever_was_asked() -> None:
    limit = RateLimit(2, 0, 0, 64, ())
    assert [limit.check(ADDR, wire.REFUSED, qtype, b"", SECOND_NS) for qtype in (1, 16, 28)] == [0, 0, 2]
    assert limit.check(ADDR, wire.FORMERR, 0, b"", SECOND_NS) == 0


def test_exempt_networks_are_not_limited() -> None:
    limit = RateLimit(1, 1, 2, 64, (parse_key("192.0.2.0/25"), parse_key("2001:db8::5")))
    assert verdicts(limit, 50, "192.0.2.127") == [0] * 50
    assert verdicts(limit, 50, "2001:db8::5") == [0] * 50
    assert verdicts(limit, 2, "192.0.2.128") == [0, 2]
    with pytest.raises(ValueError, match="at most 64"):
        RateLimit(1, 1, 2, 64, tuple(bytes((10, 0, 0, n)) for n in range(65)))


def test_a_flood_from_everywhere_leaves_the_table_as_small_as_it_was() -> None:
    limit = RateLimit(1, 0, 0, 64, ())
    assert all(limit.check(n.to_bytes(4, "big"), 0, 1, b"", SECOND_NS) in (0, 2) for n in range(0, 2**24, 997))
    assert verdicts(limit, 2, now_s=3.0) == [0, 2]


def test_who_asks_most_stays_in_the_table_whatever_comes() -> None:
    talkers = Talkers(64)
    for number in range(20_000):
        talkers.note(number.to_bytes(4, "big"))
        if number % 10 == 0:
            talkers.note(ADDR, number % 20 == 0)
    addr, count, error, limited = talkers.top(1)[0]
    assert addr == ADDR and 2000 <= count <= 2000 + error and 0 < limited <= 1000
    found = talkers.top(1000)
    assert len(found) == 64 and [row[1] for row in found] == sorted((row[1] for row in found), reverse=True)


@given(st.lists(st.integers(0, 40), max_size=400))
@settings(max_examples=60, deadline=None)
def test_counts_are_never_too_low_and_at_most_error_too_high(askers: list[int]) -> None:
    talkers = Talkers(16)
    for number in askers:
        talkers.note(bytes((2, *bytes(6), number, *bytes(8))))
    for addr, count, error, _ in talkers.top(100):
        assert count - error <= askers.count(addr[7]) <= count


def with_cookie(cookie: bytes, name: str = f"1.2.0.192.{ZONE}", qtype: str = "A", size: int = 1232) -> bytes:
    record = dnslib.DNSRecord.question(name, qtype)
    record.add_ar(dnslib.EDNS0(udp_len=size, opts=[dnslib.EDNSOption(10, cookie)]))
    return bytes(record.pack())


VIEW = view({"192.0.2.1": value(PROVEN)}, SPEC)
VIEW_WITH_COOKIES = dataclasses.replace(VIEW, cookies=Cookies(SECRETS))


class Silent:
    def emit(self, verb: str, /, **fields: object) -> None:
        raise AssertionError(fields)


def responder(limit: RateLimit | None = None) -> Responder:
    made = Responder(UDP, Policy(Cookies(SECRETS), limit, Talkers(64)), Silent())
    made.publish(VIEW, None)
    return made


def send(made: Responder, query: bytes, addr: bytes = ADDR) -> bytes | None:
    sent: list[bytes | None] = []
    made.datagram(query, addr, sent.append)
    return sent[0]


def cookie_of(reply: bytes) -> bytes:
    options = [option for rr in dnslib.DNSRecord.parse(reply).ar for option in rr.rdata if option.code == 10]
    return bytes(options[0].data) if options else b""


def full_rcode(reply: bytes) -> int:
    record = dnslib.DNSRecord.parse(reply)
    return record.header.rcode | sum(rr.ttl >> 24 << 4 for rr in record.ar if rr.rtype == dnslib.QTYPE.OPT)


def test_past_the_limit_strangers_get_tc_or_nothing_and_cookies_badcookie() -> None:
    made = responder(RateLimit(1, 0, 2, 64, ()))
    plain, first = question(f"1.2.0.192.{ZONE}"), with_cookie(CLIENT)
    assert dnslib.DNSRecord.parse(send(made, plain)).rr
    replies = [send(made, plain) for _ in range(4)]
    assert replies[0] is replies[2] is None
    slipped = dnslib.DNSRecord.parse(replies[1])
    assert (slipped.header.tc, slipped.rr, len(replies[1])) == (1, [], len(plain))
    refused = [send(made, first) for _ in range(2)]
    told = next(reply for reply in refused if reply)
    assert full_rcode(told) == wire.BADCOOKIE and cookie_of(told)[:8] == CLIENT
    known = with_cookie(cookie_of(told))
    assert all(dnslib.DNSRecord.parse(send(made, known)).rr for _ in range(50))
    assert made.counters["limited"] and made.counters["slipped"]
    assert made.told[Told("udp", ZONE, "A", "NOERROR")] == 57


def test_no_reply_that_a_stranger_can_have_sent_is_much_longer_than_its_query() -> None:
    """The bound on amplification: replies of the whole list, bytes out for bytes in, with and without the limit."""
    texts = {"192.0.2.1": "x" * 2000}
    long = view({"192.0.2.1": value(PROVEN)}, SPEC, texts)
    worst, worst_limited = 0.0, 0.0
    for qtype in ("A", "TXT", "ANY", "AAAA", "NS", "SOA", "MX"):
        for name in (ZONE, f"1.2.0.192.{ZONE}", f"9.9.9.9.{ZONE}", "elsewhere.example"):
            for edns in (None, 512, 1232, 4096):
                query = question(name, qtype, edns=edns)
                reply = respond(query, long, Asker(UDP, ADDR, NOW))
                assert isinstance(reply, Reply)
                assert len(reply.data) <= max(512, min(edns or 512, 1232))
                worst = max(worst, len(reply.data) / len(query))
                worst_limited = max(worst_limited, len(cut(reply)) / len(query))
    assert worst < 1232 / (12 + len(ZONE) + 6) and worst_limited <= 1
    limited = cut(respond(with_cookie(CLIENT), VIEW_WITH_COOKIES, Asker(UDP, ADDR, NOW)))  # type: ignore[arg-type]
    assert len(limited) <= len(with_cookie(CLIENT)) + 16


def test_what_a_forger_gets_sent_in_a_second_is_bounded() -> None:
    made = responder(RateLimit(10, 50, 2, 1024, ()))
    queries = [question(f"{n % 250}.2.0.192.{ZONE}", "TXT", edns=4096) for n in range(5000)]
    began_s = time.monotonic()
    sent = [len(reply) for query in queries if (reply := send(made, query))]
    took_s = time.monotonic() - began_s  # on a busy machine it is no second
    whole = made.told.total() - made.counters["limited"] - made.counters["slipped"]
    assert whole <= 50 * (took_s + 2)  # 50 a second and the burst
    assert sum(sent) <= sum(map(len, queries)) + whole * max(sent)


def test_others_get_refused_where_a_zone_names_its_clients() -> None:
    shut = view({"192.0.2.1": value(PROVEN)}, dataclasses.replace(SPEC, allow=("198.51.100.0/29", "2001:db8::/32")))
    for addr, want in (("198.51.100.7", "NOERROR"), ("198.51.100.8", "REFUSED"), ("2001:db8::1", "NOERROR")):
        reply = respond(question(f"1.2.0.192.{ZONE}"), shut, Asker(UDP, parse_addr(addr), NOW))
        assert isinstance(reply, Reply)
        record = dnslib.DNSRecord.parse(reply.data)
        assert (rcode(record), bool(record.rr), bool(record.auth)) == (want, want == "NOERROR", False)


def test_old_data_is_servfail_in_our_zones_alone() -> None:
    made = responder()
    made.is_stale = True
    assert rcode(dnslib.DNSRecord.parse(send(made, question(f"1.2.0.192.{ZONE}")))) == "SERVFAIL"
    assert rcode(dnslib.DNSRecord.parse(send(made, question("elsewhere.example")))) == "REFUSED"
    made.is_stale = False
    assert dnslib.DNSRecord.parse(send(made, question(f"1.2.0.192.{ZONE}"))).rr


def test_metrics_are_what_prometheus_reads() -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    told = {Told("udp", "bl.example.org", "A", "NOERROR"): 3, Told("tcp", "", "", "REFUSED"): 1}
    text = metrics.exposition(told, {"limited": 2}, {"queries": 7}, {"lag_seconds": 0.25, "stale": False})
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    assert set(families) == {
        f"spamcannibal_dnsbl_{name}" for name in ("replies", "events", "fast", "lag_seconds", "stale")
    }
    samples = families["spamcannibal_dnsbl_replies"].samples
    assert {
        (s.labels["transport"], s.labels["zone"], s.labels["type"], s.labels["rcode"]): s.value for s in samples
    } == {tuple(key): count for key, count in told.items()}
    assert families["spamcannibal_dnsbl_lag_seconds"].samples[0].value == 0.25


def test_top_is_json_of_networks() -> None:
    rows = json.loads(metrics.top([(ADDR, 9, 1, 2), (parse_addr("2001:db8::"), 3, 0, 0)]))
    assert rows[0] == {"address": "198.51.100.9", "queries": 9, "error": 1, "limited": 2}
    assert rows[1]["address"] == "2001:db8::/64"


@pytest.mark.parametrize(
    ("line", "want"),
    [
        (b"GET /x HTTP/1.1", b"200"),
        (b"GET /x?a=b HTTP/1.0", b"200"),
        (b"GET /y HTTP/1.1", b"404"),
        (b"POST /x HTTP/1.1", b"405"),
        (b"GET /x", b"400"),
        (b"\xff\xfe \xff HTTP/1.1", b"405"),
        (b"", b"400"),
    ],
)
def test_pages_answer_get_and_nothing_else(line: bytes, want: bytes) -> None:
    response = Pages({"/x": ("text/plain", lambda: "it is\n")}).respond(line)
    assert response.split(b" ")[1] == want
    head, _, body = response.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


def test_a_client_of_the_pages_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spamcannibal.dnsbl.pages.REQUEST_S", 0.1)

    async def talk() -> list[bytes]:
        server = await asyncio.start_server(
            Pages({"/x": ("text/plain", lambda: "y")})._serve, "127.0.0.1", 0, limit=8192
        )
        port = server.sockets[0].getsockname()[1]
        heard = []
        for words in (b"", b"x" * 20_000, b"GET /x HTTP/1.1\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(words)
            try:
                heard.append(await reader.read())
            except ConnectionResetError:
                heard.append(b"")
            writer.close()
        server.close()
        return heard

    silent, endless, sound = asyncio.run(talk())
    assert (silent, endless) == (b"", b"") and sound.endswith(b"\r\n\r\ny")


@given(st.binary(max_size=60), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_any_cookie_gets_an_answer_of_the_same_client_or_formerr(cookie: bytes, now: int) -> None:
    reply = respond(with_cookie(cookie), VIEW_WITH_COOKIES, Asker(UDP, ADDR, now))
    assert isinstance(reply, Reply)
    if len(cookie) == 8 or 16 <= len(cookie) <= 40:
        echoed = cookie_of(reply.data)
        assert echoed[:8] == cookie[:8] and cookie_check(SECRETS[0], cookie[:8], echoed[8:], ADDR, now) == 1
    elif cookie:
        assert struct.unpack_from(">H", reply.data, 2)[0] & 15 == wire.FORMERR
