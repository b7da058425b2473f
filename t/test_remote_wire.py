"""Questions as bytes, replies as Reply: dnslib agrees, and no bytes do harm."""

import dnslib
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from spamcannibal.addr import format_addr
from spamcannibal.errors import WireError
from spamcannibal.remote import query, wire
from spamcannibal.remote.query import PTR, TXT, TYPES, A
from spamcannibal.remote.wire import Match, Reply, match, read_reply

ADDRS = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
QUESTION = query.pack_question(query.list_name(bytes((192, 0, 2, 7)), query.pack_name("bl.test")), A)
NAME = "7.2.0.192.bl.test"
SOA = dnslib.RR("bl.test", 6, rdata=dnslib.SOA("ns.bl.test", "h.bl.test", (1, 2, 3, 4, 40)), ttl=90)


def reply(*rrs: dnslib.RR, rcode: int = 0, auth: tuple[dnslib.RR, ...] = (), qtype: str = "A") -> bytes:
    made = dnslib.DNSRecord.question(NAME, qtype).reply()
    made.header.id, made.header.rcode = 1, rcode
    made.add_answer(*rrs)
    made.add_auth(*auth)
    return bytes(made.pack())


def a(code: str, ttl: int = 60, name: str = NAME) -> dnslib.RR:
    return dnslib.RR(name, rdata=dnslib.A(code), ttl=ttl)


def cname(owner: str, target: str, ttl: int = 60) -> dnslib.RR:
    return dnslib.RR(owner, 5, rdata=dnslib.CNAME(target), ttl=ttl)


@given(ADDRS, st.sampled_from(sorted(TYPES)), st.integers(0, 65535), st.booleans(), st.binary(min_size=99, max_size=99))
def test_dnslib_reads_what_is_asked(addr: bytes, qtype: str, ident: int, edns: bool, noise: bytes) -> None:
    name = query.list_name(addr, query.pack_name("key.bl.test"))
    mixed = query.mix_case(name, noise[: len(name)])
    assert mixed.lower() == name and len(mixed) == len(name)
    record = dnslib.DNSRecord.parse(query.pack_query(ident, query.pack_question(mixed, TYPES[qtype]), edns))
    text = format_addr(addr)
    want = ".".join(reversed(text.split("."))) if len(addr) == 4 else ".".join(reversed(addr.hex()))
    assert str(record.q.qname).lower() == f"{want}.key.bl.test."
    assert (record.header.id, record.header.rd, dnslib.QTYPE[record.q.qtype]) == (ident, 1, qtype)
    assert [rr.rclass for rr in record.ar] == ([1232] if edns else [])


@given(ADDRS)
def test_names_in_reverse_dns_are_those_of_the_standard(addr: bytes) -> None:
    labels, end = wire.read_name(bytes(12) + query.pointer_name(addr), 12)
    text = wire.name_text(labels)
    assert end == 12 + len(labels)
    if len(addr) == 4:
        assert text == ".".join(map(str, reversed(addr))) + ".in-addr.arpa"
    else:
        assert text == ".".join(reversed(addr.hex())) + ".ip6.arpa"


def test_letters_change_with_the_noise_and_nothing_else_does() -> None:
    name = query.pack_name("7.2.0.192.bl-x_1.test")
    assert query.mix_case(name, b"\xff" * len(name)) == name.upper()
    assert query.mix_case(name, bytes(len(name))) == name


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (reply(a("127.0.0.2"), a("127.0.0.3", 30)), Reply(0, (b"\x7f\0\0\2", b"\x7f\0\0\3"), 30)),
        (reply(rcode=3), Reply(3)),
        (reply(rcode=3, auth=(SOA,)), Reply(3, (), 40)),
        (reply(auth=(SOA,)), Reply(0, (), 40)),
        (reply(cname(NAME, "a.test", 20), rcode=3, auth=(SOA,)), Reply(3, (), 20)),
        (reply(cname(NAME, "a.test", 20), a("127.0.0.2", name="A.test")), Reply(0, (b"\x7f\0\0\2",), 20)),
        (reply(a("127.0.0.9", name="b.test"), cname(NAME, "a.test"), a("127.0.0.2", name="a.test")),
         Reply(0, (b"\x7f\0\0\2",), 60)),
        (reply(a("127.0.0.2", (1 << 31) + 5)), Reply(0, (b"\x7f\0\0\2",), 0)),
        (reply(a("127.0.0.2", (1 << 31) - 1)), Reply(0, (b"\x7f\0\0\2",), wire.TTL_LIMIT_S)),
        (reply(rcode=2), Reply(2)),
        (reply(rcode=5), Reply(5)),
    ],
)  # fmt: skip
def test_a_reply_is_read(data: bytes, want: Reply) -> None:
    assert match(data, QUESTION) is Match.SAME
    assert read_reply(data, QUESTION) == want


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (reply(), "an answer without answers"),
        (reply(a("127.0.0.2", name="other.test")), "an answer without answers"),
        (reply(dnslib.RR(NAME, 16, rdata=dnslib.TXT("x"))), "an answer without answers"),
        (reply(a("127.0.0.2"), rcode=3), "NXDOMAIN with answers"),
        (reply(cname(NAME, NAME)), "a loop of CNAMEs"),
        (reply(*(a(f"127.0.1.{n}") for n in range(65))), "too many records: 65 answers"),
        (reply(auth=(SOA,) * 65), "too many records: 0 answers, 65"),
        (reply()[:10] + b"\1\1" + reply()[12:], "too many records: 0 answers, 0 of authority, 257 additional"),
        (reply(auth=(dnslib.RR("bl.test", 6, rdata=dnslib.RD(b"\0\0abc")),)), "an SOA record of the wrong length"),
        (reply(dnslib.RR(NAME, 1, rdata=dnslib.RD(b"\x7f\0\2"))), "an A record of 3 bytes"),
    ],
)
def test_a_reply_that_proves_nothing_is_an_error(data: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        read_reply(data, QUESTION)


def test_the_upper_bits_of_an_rcode_count() -> None:
    made = dnslib.DNSRecord.parse(reply(auth=(SOA,)))
    made.add_ar(dnslib.EDNS0(ext_rcode=1))
    assert read_reply(bytes(made.pack()), QUESTION) == Reply(16)


def test_texts_are_joined_and_must_fill_their_record() -> None:
    question = query.pack_question(QUESTION[:-4], TXT)
    long = dnslib.TXT([b"x" * 250, b"y"])
    assert read_reply(reply(dnslib.RR(NAME, 16, rdata=long), qtype="TXT"), question).data == (b"x" * 250 + b"y",)
    endless = dnslib.RR(NAME, 16, rdata=dnslib.TXT([b"x" * 250] * 20))
    assert read_reply(reply(endless, qtype="TXT"), question).data == (b"x" * wire.DATA_LIMIT,)
    for raw in (b"\5abc", b"\0\7"):
        with pytest.raises(WireError, match="a TXT string breaks off"):
            read_reply(reply(dnslib.RR(NAME, 16, rdata=dnslib.RD(raw)), qtype="TXT"), question)


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        (b"\2MX\7example\0", b"mx.example"),
        (b"\3a.b\4\"\\\xff\0\0", b"a\\046b.\\034\\092\\255\\000"),
        (b"\0", b"."),
    ],
)
def test_a_pointers_name_is_plain_text_whatever_it_holds(raw: bytes, want: bytes) -> None:
    question = query.pack_question(QUESTION[:-4], PTR)
    assert read_reply(reply(dnslib.RR(NAME, 12, rdata=dnslib.RD(raw)), qtype="PTR"), question).data == (want,)


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (reply(), Match.SAME),
        (reply().replace(b"test", b"TEST"), Match.OTHER_CASE),
        (reply().replace(b"test", b"tesu"), Match.OTHER),
        (reply()[:4] + b"\0\2" + reply()[6:], Match.OTHER),
        (b"\0\0\x80\2" + bytes(8), Match.BARE),
        (b"\0\0\x80\3" + bytes(8), Match.OTHER),
        (b"\0\0\x80\0" + bytes(8), Match.OTHER),
    ],
)
def test_a_reply_belongs_to_the_question_it_repeats(data: bytes, want: Match) -> None:
    assert match(data, QUESTION) is want


HEAD = st.tuples(*(st.sampled_from((0, 1, 2, 64, 65, 256, 65535)) for _ in range(3)))
WHOLE = reply(cname(NAME, "a.test"), a("127.0.0.2", name="a.test"), auth=(SOA,))


@given(st.binary(max_size=200), HEAD, st.sampled_from((A, TXT, PTR)), st.sampled_from((0, 3)))
@example(b"\xc0\x0c" * 30, (64, 64, 64), A, 0)
def test_no_bytes_behind_a_question_do_harm(tail: bytes, counts: tuple[int, ...], qtype: int, rcode: int) -> None:
    question = query.pack_question(QUESTION[:-4], qtype)
    head = b"\0\0\x80" + bytes((rcode,)) + b"\0\1" + b"".join(count.to_bytes(2, "big") for count in counts)
    try:
        found = read_reply(head + question + tail, question)
    except WireError:
        return
    assert all(qtype != A or len(one) == 4 for one in found.data)
    assert 0 <= found.ttl_s <= wire.TTL_LIMIT_S


@given(st.integers(12 + len(QUESTION), len(WHOLE) - 1), st.integers(0, 255), st.integers(0, len(WHOLE)))
def test_a_reply_with_a_byte_changed_or_its_end_missing_is_read_or_refused(at: int, byte: int, keep: int) -> None:
    data = bytearray(WHOLE)
    data[at] = byte
    for mutant in (bytes(data), bytes(data[: max(12 + len(QUESTION), keep)])):
        try:
            found = read_reply(mutant, QUESTION)
        except WireError:
            continue
        assert found.data == () or all(len(one) == 4 for one in found.data)


@given(st.lists(st.tuples(st.integers(0, (1 << 24) - 1), st.integers(0, 1000)), min_size=1, max_size=20))
def test_dnslib_and_we_read_the_same_answers(records: list[tuple[int, int]]) -> None:
    codes = [b"\x7f" + number.to_bytes(3, "big") for number, _ in records]
    data = reply(*(a(format_addr(code), ttl) for code, (_, ttl) in zip(codes, records, strict=True)))
    theirs = dnslib.DNSRecord.parse(data)
    ours = read_reply(data, QUESTION)
    assert [format_addr(code) for code in ours.data] == [str(rr.rdata) for rr in theirs.rr]
    assert ours.ttl_s == min(rr.ttl for rr in theirs.rr)


@given(st.binary(max_size=80), st.integers(0, 80))
def test_names_end_or_are_refused(data: bytes, at: int) -> None:
    assume(at <= len(data))
    try:
        name, end = wire.read_name(data, at)
    except WireError:
        return
    assert len(name) <= 255 and at < end <= len(data)
    assert wire.read_name(bytes(12) + name, 12) == (name, 12 + len(name))
    assert wire.skip_name(data, at) == end
