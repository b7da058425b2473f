"""DNS answers in C: byte for byte those of answer.py wherever C answers, and what it leaves to Python."""

from __future__ import annotations

import dataclasses
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnsbl_peers import EXCLUDED, HEARSAY, PROVEN, SHADOW, SPEC, ZONE, question, value, view
from spamcannibal._core import DnsView, Shelf
from spamcannibal.addr import format_addr, parse_addr, reversed_name
from spamcannibal.dnsbl.answer import Pending, Transport, View, answer
from spamcannibal.dnsbl.compiled import compiled
from spamcannibal.dnsbl.zone import ZoneSpec, compile_zone

ENTRIES = {
    "192.0.2.1": value(),
    "198.51.100.0/24": value(),
    "198.51.100.7": value(EXCLUDED),
    "198.51.100.64/26": value(EXCLUDED),
    "203.0.113.5": value(HEARSAY, "127.0.0.4"),
    "203.0.113.6": value(SHADOW | PROVEN),
    "203.0.113.7": value(HEARSAY, "127.255.255.255"),
    "203.0.113.8": value(HEARSAY, "127.0.0.1"),
    "203.0.113.9": value(EXCLUDED | PROVEN, "127.0.0.1"),
    "203.0.113.10": value(SHADOW | PROVEN, "127.0.0.4"),
    "1.2.3.4": value(),
    "4.3.2.0/23": value(),
    "10.0.0.0/8": value(),
    "2001:db8:1:2::/64": value(),
    "2001:db8:1:3::/64": value(EXCLUDED),
    "2001:db8:1:4::1": value(),
    "2001:db8::/32": value(HEARSAY, "127.0.0.9"),
    "1234::/16": value(),
    "127.0.0.1": value(),
}
TEXTS = {"192.0.2.77": "caught: $", "2001:db8:1:5::/64": "six"}
VIEWS = {
    "plain": view(ENTRIES),
    "promiscuous": view(ENTRIES, dataclasses.replace(SPEC, promiscuous=True)),
    "colours": view(ENTRIES, dataclasses.replace(SPEC, colours=("black", "white", "yellow", "brown", "nobl"))),
    "sunset": view(ENTRIES, dataclasses.replace(SPEC, sunset=True)),
    "long text": view(ENTRIES, dataclasses.replace(SPEC, text="$$ " + "costs $ and $$$ " * 90), serial=2**33 + 5),
    "text of one string": view(ENTRIES, dataclasses.replace(SPEC, text="x" * 255)),
    "empty text": view(ENTRIES, dataclasses.replace(SPEC, text="")),
    "many records": view(ENTRIES, dataclasses.replace(SPEC, addresses=tuple(f"192.0.2.{n}" for n in range(120)))),
    "much glue": view(ENTRIES, dataclasses.replace(SPEC, hosts=tuple(f"n{n}.{ZONE} 192.0.2.{n}" for n in range(99)))),
    "least": view({}, ZoneSpec(ZONE)),
    "own texts": view({**ENTRIES, **dict.fromkeys(TEXTS, value())}, texts=TEXTS),
}
TYPES = ["A", "AAAA", "TXT", "MX", "NS", "SOA", "ANY", "SRV", "PTR", "HINFO"]
PLAIN_TYPES = [1, 2, 5, 6, 12, 15, 16, 28, 33, 48, 65, 255, 256, 257, 65280]


def agree(shown: View, query: bytes, limit: int = 1232) -> bool:
    """Whether C answered; then it said what Python says."""
    assert shown.fast is not None
    answered, reply = shown.fast.answer(query, limit)
    if answered:
        assert reply == answer(query, shown, Transport(False, limit))
    return answered


def all_names() -> list[str]:
    names = ["", "www", "ns1", "under", "deep.under", "x.ns1", "*", "_tcp", "n7", "white", "1.2.0.192.brown"]
    for text in [*(key.partition("/")[0] for key in ENTRIES), *TEXTS, "192.0.2.2", "198.51.100.200", "127.0.0.2", "::"]:
        labels = reversed_name(parse_addr(text.partition("/")[0])).split(".")
        names += [".".join(labels[at:]) for at in range(len(labels))]
    names += [".".join((bytes(10) + b"\xff\xff" + parse_addr("192.0.2.1")).hex()[::-1])[at:] for at in range(0, 64, 2)]
    names += ["4.3.2.1", "1.1.1.1", "9.9", "256.2.0.192", "01.2.0.192", "1.2.3.4.5", "a.b.c", "0x1.2.3.4", "f.f.f.f.0"]
    return names


@pytest.mark.parametrize("shown", VIEWS.values(), ids=VIEWS)
def test_every_plain_name_and_type_is_answered_in_c_as_in_python(shown: View) -> None:
    left = 0
    for name in all_names():
        full = f"{name}.{ZONE}" if name else ZONE
        for qtype in TYPES:
            for edns in (None, 400, 512, 1232, 4096):
                left += not agree(shown, question(full, qtype, edns=edns))
            agree(shown, question(full, qtype, edns=1232, flags="do"))
    has_own_texts = shown is VIEWS["own texts"]
    assert (left > 0) == has_own_texts  # only these need Python


LABELS = st.one_of(
    st.integers(0, 300).map(lambda n: b"%d" % n),
    st.sampled_from([b"0", b"2", b"127", b"192", b"f", b"A", b"00", b"1e", b"www", b"ns1", b"\xff\0.", b"x" * 63]),
    st.binary(min_size=1, max_size=6),
)
SUFFIXES = st.sampled_from([ZONE, ZONE, ZONE, f"white.{ZONE}", f"x{ZONE}", "example.org", "", "Bl.Example.oRG"])
NAMES = st.one_of(
    st.tuples(st.sampled_from(all_names()), SUFFIXES).map(
        lambda two: [part for part in ".".join(two).split(".") if part]
    ),
    st.tuples(st.lists(LABELS, max_size=34), SUFFIXES).map(
        lambda two: [*two[0], *(part.encode() for part in two[1].split(".") if part)]
    ),
)


@st.composite
def queries(draw: st.DrawFn) -> bytes:
    """Nearly all of them sound: a question, perhaps an OPT, and what else may stand in a message."""
    labels = [label.encode() if isinstance(label, str) else label for label in draw(NAMES)]
    if draw(st.booleans()):
        labels = [label.swapcase() for label in labels]
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    qtype = draw(st.one_of(st.sampled_from(PLAIN_TYPES), st.sampled_from(range(40, 42)), st.integers(0, 65535)))
    body = name + struct.pack(">HH", qtype, draw(st.sampled_from([1, 1, 1, 1, 3, 255])))
    options = draw(
        st.sampled_from([b"", b"", b"", b"\0\x0c\0\2\0\0", b"\0\x03\0\0", b"\0\x0a\0\x08abcdefgh", b"\0\1\0"])
    )
    version = draw(st.sampled_from([0, 0, 0, 1]))
    size = draw(st.one_of(st.integers(0, 65535), st.sampled_from([512, 1232, 4096])))
    opt = (
        b"\0" + struct.pack(">HHBBHH", 41, size, 0, version, draw(st.sampled_from([0, 0x8000])), len(options)) + options
    )
    additional = draw(st.sampled_from([0, 1, 1, 2]))
    flags = draw(st.integers(0, 65535)) & draw(st.sampled_from([0x87FF & ~0x8000, 0xFFFF]))
    counts = (1, 0, 0, additional) if draw(st.integers(0, 9)) else draw(st.tuples(*[st.integers(0, 2)] * 4))
    return (
        struct.pack(">6H", draw(st.integers(0, 65535)), flags, *counts)
        + body
        + opt * additional
        + draw(st.sampled_from([b"", b"", b"tail"]))
    )


@settings(max_examples=1500, deadline=None)
@given(queries(), st.sampled_from(sorted(VIEWS)), st.sampled_from([512, 1232, 4096]))
def test_any_sound_query_gets_the_same_answer_from_both(query: bytes, shown: str, limit: int) -> None:
    agree(VIEWS[shown], query, limit)


@settings(max_examples=1500, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.tuples(queries(), st.integers(0, 80), st.binary(max_size=3))), st.data())
def test_no_bytes_upset_it(given_: bytes | tuple[bytes, int, bytes], data: st.DataObject) -> None:
    query = given_ if isinstance(given_, bytes) else given_[0][: given_[1]] + given_[2] + given_[0][given_[1] + 2 :]
    query = query[: data.draw(st.integers(0, len(query)))] if data.draw(st.booleans()) else query
    agree(VIEWS["colours"], query)


@pytest.mark.parametrize(
    "query",
    [
        question(f"1.2.0.192.{ZONE}", "AXFR"),
        question(f"1.2.0.192.{ZONE}", "IXFR"),
        question(f"1.2.0.192.{ZONE}", qclass="CH"),
        question("version.bind", "TXT", "CH"),
        question(f"77.2.0.192.{ZONE}", "TXT"),
        question(f"{reversed_name(parse_addr('2001:db8:1:5::9'))}.{ZONE}", "TXT"),
        struct.pack(">6H", 1, 0x2000, 1, 0, 0, 0) + question(ZONE)[12:],
        struct.pack(">6H", 1, 0, 1, 0, 1, 0) + question(ZONE)[12:],
    ],
    ids=["AXFR", "IXFR", "another class", "CHAOS", "own text", "own text of a network", "NOTIFY", "authority"],
)
def test_what_is_odd_is_left_to_python(query: bytes) -> None:
    shown = VIEWS["own texts"]
    assert shown.fast is not None and shown.fast.answer(query) == (False, None)
    assert not isinstance(answer(query, shown), Pending)


def test_a_guarded_zone_is_left_to_python_and_the_others_are_not() -> None:
    zones = [compile_zone(ZoneSpec("open.test")), compile_zone(ZoneSpec("closed.test", allow=("192.0.2.0/24",)))]
    fast = compiled(zones, {zone.kind: Shelf() for zone in zones})
    assert fast.answer(question("2.0.0.127.open.test"))[0]
    assert fast.answer(question("2.0.0.127.closed.test")) == (False, None)


def test_the_most_specific_zone_answers() -> None:
    specs = [ZoneSpec("a.test", ttl_s=1), ZoneSpec("b.a.test", ttl_s=2), ZoneSpec("test", ttl_s=3)]
    zones = list(map(compile_zone, specs))
    fast = compiled(zones, {zone.kind: Shelf() for zone in zones})
    for name, ttl_s in (("a.test", 1), ("b.a.test", 2), ("test", 3), ("xb.a.test", 0), ("c.test", 0)):
        _, reply = fast.answer(question(f"2.0.0.127.{name}"))
        assert reply is not None
        assert (reply[-10:-6] == struct.pack(">I", ttl_s)) == (ttl_s > 0)


@settings(max_examples=300)
@given(
    st.one_of(
        st.binary(min_size=16, max_size=16), st.lists(st.sampled_from([0, 0, 1, 0xF0, 0xFFFF]), min_size=8, max_size=8)
    )
)
def test_addresses_are_written_as_python_writes_them(given_: bytes | list[int]) -> None:
    addr = given_ if isinstance(given_, bytes) else struct.pack(">8H", *given_)
    shelf = Shelf()
    shelf.set(bytes(16) + b"\0", value())
    fast = compiled([compile_zone(SPEC)], {compile_zone(SPEC).kind: shelf})
    _, reply = fast.answer(question(f"{'.'.join(addr.hex()[::-1])}.{ZONE}", "TXT"))
    assert reply is not None
    if not addr.startswith(bytes(10) + b"\xff\xff"):
        assert reply.endswith(f"{format_addr(addr)} is listed".encode())


def test_the_serial_is_told_at_once() -> None:
    fast = VIEWS["least"].fast
    assert fast is not None
    for serial in (1, 2**32 - 1, 2**32 + 3):
        fast.serial = serial
        _, reply = fast.answer(question(ZONE, "SOA"))
        assert reply is not None and struct.unpack_from(">I", reply, len(reply) - 20)[0] == serial % 2**32
    fast.serial = VIEWS["least"].serial()


RECORD = (b"\xc0\0\0\1\0\1\0\0\0\1\0\4abcd", (0,), False)
ZONE_TUPLE = (b"\4test\0", Shelf(), False, False, 0, 300, b"text", RECORD, ((b"", ((1, (RECORD,)),)),), ())


@pytest.mark.parametrize(
    ("at", "wrong"),
    [
        (0, b"test"),
        (0, b"\5test\0"),
        (0, b"\0"),
        (0, "test"),
        (1, None),
        (4, 1 << 32),
        (5, -1),
        (6, "text"),
        (7, (b"short", (), False)),
        (7, (RECORD[0], (15,), False)),
        (7, (RECORD[0], (0,) * 5, False)),
        (7, (RECORD[0], (0,), True)),
        (7, [*RECORD]),
        (8, ((b"x" * 256, ()),)),
        (8, ((b"", ((65536, ()),)),)),
        (8, (b"",)),
        (9, (RECORD[:2],)),
        (9, 5),
    ],
)
def test_zones_that_are_none_are_refused(at: int, wrong: object) -> None:
    DnsView((ZONE_TUPLE,))
    with pytest.raises((TypeError, ValueError, OverflowError)):
        DnsView(((*ZONE_TUPLE[:at], wrong, *ZONE_TUPLE[at + 1 :]),))


def test_more_kinds_than_a_view_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 8 shelves"):
        DnsView(tuple((b"\1%c\0" % letter, Shelf(), *ZONE_TUPLE[2:]) for letter in b"abcdefghi"))
