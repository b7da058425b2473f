"""The zone: what it holds, templates as dnslib reads them, the publishing rule, texts."""

import dataclasses

import dnslib
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsbl_peers import SPEC, ZONE
from spamcannibal.addr import parse_reversed
from spamcannibal.colours import answer_code
from spamcannibal.dnsbl import wire
from spamcannibal.dnsbl.names import holds_test_point, is_host, readings
from spamcannibal.dnsbl.zone import (
    TEXT_LIMIT,
    Zones,
    ZoneSpec,
    character_strings,
    compile_zone,
    expand,
    to_labels,
    with_serial,
)
from spamcannibal.errors import ConfigError
from spamcannibal.record import EXCLUDED, PUBLISHED, table_value
from spamcannibal.settings.dnsbl import ZoneSettings

ZONES = Zones([compile_zone(SPEC)])


def message(template_bytes: bytes, labels: tuple[bytes, ...]) -> dnslib.RR:
    """Read a filled template behind a question for `labels`."""
    question = wire.pack_name(labels) + b"\0\1\0\1"
    data = wire.HEADER.pack(1, wire.QR, 1, 1, 0, 0) + question + template_bytes
    return dnslib.DNSRecord.parse(data).rr[0]


@pytest.mark.parametrize("before", [(), (b"4", b"3", b"2", b"1"), (b"x" * 63, b"y" * 63)], ids=len)
def test_templates_read_the_same_behind_any_question(before: tuple[bytes, ...]) -> None:
    zone = compile_zone(SPEC)
    labels = (*before, *zone.labels)
    zone_at = wire.HEADER.size + wire.name_size(labels) - zone.size
    read = {
        rtype: [message(one.fill(zone_at), labels) for one in templates] for rtype, templates in zone.nodes[()].items()
    }
    assert {str(rr.rname) for records in read.values() for rr in records} == {ZONE + "."}
    assert [str(rr.rdata) for rr in read[wire.NS]] == ["ns1.bl.example.org.", "ns.elsewhere.example."]
    assert [str(rr.rdata) for rr in read[wire.MX]] == ["10 mx.elsewhere.example."]
    assert [str(rr.rdata) for rr in read[wire.A] + read[wire.AAAA]] == ["192.0.2.80", "2001:db8::80"]
    assert [rr.rdata.data for rr in read[wire.TXT]] == [[b"a list of example senders"]]
    soa = read[wire.SOA][0].rdata
    assert (str(soa.mname), soa.rname.label) == ("ns1.bl.example.org.", (b"post.master", b"example", b"org"))
    assert soa.times == (0, 900, 300, 604800, 60)
    glue = [message(one.fill(zone_at), labels) for one in zone.glue]
    assert {str(rr.rname) for rr in glue} == {"ns1.bl.example.org.", "deep.under.bl.example.org."}


def test_what_looks_like_a_pointer_in_the_data_stays() -> None:
    zone = compile_zone(dataclasses.replace(SPEC, addresses=("192.0.192.0", "255.255.255.255", "c000:ffff::c000")))
    for records in zone.nodes[()].values():
        for template in records:
            assert template.fill(12)[2:] != b""
    filled = [template.fill(12) for rtype in (wire.A, wire.AAAA) for template in zone.nodes[()][rtype]]
    assert [data[12:].hex() for data in filled] == ["c000c000", "f" * 8, "c000ffff" + "0" * 20 + "c000"]


def test_a_zone_without_servers_names_itself_as_server_and_contact() -> None:
    zone = compile_zone(ZoneSpec("bl.test"))
    soa = message(zone.negative_soa.fill(12), zone.labels).rdata
    assert (str(soa.mname), str(soa.rname)) == ("bl.test.", "hostmaster.bl.test.")
    assert str(message(zone.nodes[()][wire.NS][0].fill(12), zone.labels).rdata) == "bl.test."


def test_the_negative_ttl_is_the_smaller_one() -> None:
    for soa_ttl_s, minimum_s in ((300, 60), (30, 60)):
        zone = compile_zone(dataclasses.replace(SPEC, soa_ttl_s=soa_ttl_s, minimum_s=minimum_s))
        assert message(zone.negative_soa.fill(12), zone.labels).ttl == min(soa_ttl_s, minimum_s)


@pytest.mark.parametrize(("sequence", "serial"), [(0, 0), (7, 7), (2**32, 0), (2**32 + 5, 5)])
def test_the_serial_is_the_sequence_modulo_32_bits(sequence: int, serial: int) -> None:
    zone = compile_zone(SPEC)
    assert message(with_serial(zone.negative_soa.fill(12), sequence), zone.labels).rdata.times[0] == serial


@pytest.mark.parametrize(
    ("hosts", "wrong"),
    [
        (("ns1.example.org 192.0.2.1",), "does not lie in"),
        (("bl.example.org 192.0.2.1",), "does not lie in"),
        (("7.bl.example.org 192.0.2.1",), "part of an address"),
        (("ns.200.bl.example.org 192.0.2.1",), "part of an address"),
        (("f.bl.example.org 192.0.2.1",), "part of an address"),
    ],
    ids=["outside", "the zone", "octet", "below an octet", "nibble"],
)
def test_hosts_that_cannot_be_are_refused(hosts: tuple[str, ...], wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        compile_zone(dataclasses.replace(SPEC, hosts=hosts))


@pytest.mark.parametrize(
    "name", ["", "a..b", "x" * 64, ".".join(["x" * 60] * 5)], ids=["empty", "gap", "label", "name"]
)
def test_names_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="not a domain name"):
        to_labels(name)


def test_the_most_specific_zone_answers() -> None:
    zones = Zones([compile_zone(ZoneSpec(name)) for name in ("example.org", "bl.example.org", "other.test")])
    found = [
        zones.find(to_labels(name)) for name in ("1.bl.example.org", "x.example.org", "OTHER.test", "org", "xbl.test")
    ]
    assert [zone and b".".join(zone.labels).decode() for zone in found] == [
        "bl.example.org",
        "example.org",
        "other.test",
        None,
        None,
    ]


def test_a_zone_may_stand_once() -> None:
    with pytest.raises(ConfigError, match="twice"):
        Zones([compile_zone(ZoneSpec("a.test")), compile_zone(ZoneSpec("A.test"))])


@pytest.mark.parametrize(
    ("code", "flags", "plain", "promiscuous"),
    [
        ("127.0.0.2", PUBLISHED, "127.0.0.2", "127.0.0.2"),
        ("127.0.0.9", PUBLISHED, "127.0.0.2", "127.0.0.2"),
        ("127.0.0.3", 0, None, "127.0.0.3"),
        ("127.0.0.2", 0, None, "127.0.0.3"),
        ("127.0.0.1", 0, None, "127.0.0.3"),
        ("127.0.1.2", 0, None, "127.0.1.2"),
        ("127.255.254.255", 0, None, "127.255.254.255"),
        ("127.255.255.1", 0, None, "127.0.0.3"),
        ("127.0.0.2", PUBLISHED | EXCLUDED, None, None),
        ("127.0.0.2", EXCLUDED, None, None),
    ],
)
def test_hearsay_is_hidden_or_never_two(code: str, flags: int, plain: str | None, promiscuous: str | None) -> None:
    value = table_value(bytes(map(int, code.split("."))), 3, flags)
    shown = [answer_code(value, is_promiscuous) for is_promiscuous in (False, True)]
    assert [found and ".".join(map(str, found)) for found in shown] == [plain, promiscuous]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (b"see http://x/?$", b"see http://x/?192.0.2.1"),
        (b"$ and $", b"192.0.2.1 and 192.0.2.1"),
        (b"for 5$$", b"for 5$"),
        (b"$$$", b"$192.0.2.1"),
        (b"", b""),
    ],
)
def test_dollar_is_the_address(text: bytes, want: bytes) -> None:
    assert expand(text, "192.0.2.1") == want


def test_a_text_never_outgrows_its_limit() -> None:
    assert len(expand(b"$ " * TEXT_LIMIT, "2001:db8::1")) == TEXT_LIMIT


@given(st.binary(max_size=1200))
def test_texts_of_any_length_come_back_from_their_strings(text: bytes) -> None:
    data = character_strings(text)
    pieces, at = [], 0
    while at < len(data):
        pieces.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    assert at == len(data) and b"".join(pieces) == text and len(pieces) == max(1, -(-len(text) // 255))


def test_settings_and_spec_name_the_same_things() -> None:
    defaults = msgspec.structs.asdict(ZoneSettings("bl.test"))
    assert ZoneSpec(**defaults) == ZoneSpec("bl.test")
    assert {*defaults, "colour"} == {field.name for field in dataclasses.fields(ZoneSpec)}


LABELS = st.one_of(
    st.integers(0, 300).map(str), st.sampled_from("0123456789abcdefg"), st.sampled_from(["01", "", "0x1", "+1", "1a"])
)


@given(st.lists(LABELS, min_size=1, max_size=34))
def test_whole_addresses_are_read_as_by_the_address_parser(labels: list[str]) -> None:
    wire_labels = tuple(label.encode() for label in labels)
    hosts = [addr for addr, plen in readings(wire_labels) if is_host(addr, plen)]
    assert hosts == [addr for addr in [parse_reversed(".".join(labels))] if addr is not None]


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("4.3.2.1", ["01020304/32", "1234" + "0" * 28 + "/16"]),
        ("2.1", ["01020000/16", "12" + "0" * 30 + "/8"]),
        ("10", ["0a000000/8"]),
        ("f", ["f" + "0" * 31 + "/4"]),
        ("01", []),
        ("256", []),
        ("4.3.2.1.0", ["01234" + "0" * 27 + "/20"]),
        ("10.3.2.1.0", []),
        (".".join("f" * 4 + "0" * 20), ["00000000/0"]),
        (".".join("f7" + "f" * 4 + "0" * 20), ["7f000000/8"]),
        (".".join("20000" + "0f7" + "f" * 4 + "0" * 20), ["7f000002/32"]),
        (".".join("0" * 33), []),
    ],
)
def test_labels_have_every_meaning_they_can_have(name: str, want: list[str]) -> None:
    found = readings(tuple(name.encode().split(b".")))
    assert [f"{addr.hex()}/{plen}" for addr, plen in found] == want


def test_the_test_point_lies_under_every_prefix_of_it_and_no_other() -> None:
    for point in (bytes((127, 0, 0, 2)), bytes(10) + b"\xff\xff\x7f\0\0\2"):
        for plen in range(len(point) * 8 + 1):
            number, shift = int.from_bytes(point, "big"), len(point) * 8 - plen
            inside = (number >> shift << shift).to_bytes(len(point), "big")
            assert holds_test_point(inside, plen)
            if plen:
                other = ((number >> shift ^ 1) << shift).to_bytes(len(point), "big")
                assert not holds_test_point(other, plen)
