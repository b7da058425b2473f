"""The location database: an address has the country of the deepest network around it; no bytes raise anything else."""

import struct
from ipaddress import ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spamcannibal.addr import MAPPED, parse_addr
from spamcannibal.errors import ConfigError
from spamcannibal.jobs.location import Location

NETWORKS = {
    "1.2.0.0/16": "XA", "1.2.3.0/24": "XB", "1.2.3.4/32": "XC", "2001:db8::/32": "XD", "2001:db8:5::/48": "\0\0",
    "255.255.255.255/32": "XE", "::/128": "XF",
}  # fmt: skip


def database(networks):
    """Make a database as `location` writes it: header, networks, tree."""
    nodes = [[0, 0, 0xFFFFFFFF]]
    for number, text in enumerate(networks):
        net = ip_network(text)
        addr = net.network_address.packed
        bits = MAPPED + addr if len(addr) == 4 else addr
        at = 0
        for place in range((len(bits) - len(addr)) * 8 + net.prefixlen):
            bit = bits[place // 8] >> 7 - place % 8 & 1
            if not nodes[at][bit]:
                nodes[at][bit] = len(nodes)
                nodes.append([0, 0, 0xFFFFFFFF])
            at = nodes[at][bit]
        nodes[at][2] = number
    data = b"".join(struct.pack(">2s2xIH2x", country.encode(), 64500, 0) for country in networks.values())
    tree = b"".join(struct.pack(">3I", *node) for node in nodes)
    start = 8192
    sections = (0, 0, start, len(data), start + len(data), len(tree), 0, 0, 0, 0)
    header = struct.pack(">7sBQ3I10I", b"LOCDBXX", 1, 1_700_000_000, 0, 0, 0, *sections)
    return header.ljust(start, b"\0") + data + tree


WHOLE = database(NETWORKS)


@pytest.mark.parametrize(
    ("text", "country"),
    [
        ("1.2.0.0", "XA"), ("1.2.255.255", "XA"), ("1.2.3.3", "XB"), ("1.2.3.4", "XC"), ("1.2.3.5", "XB"),
        ("1.1.255.255", None), ("1.3.0.0", None), ("255.255.255.255", "XE"), ("255.255.255.254", None),
        ("2001:db8::1", "XD"), ("2001:db8:5::1", None), ("2001:db8:6::", "XD"), ("2001:db9::", None),
    ],
)  # fmt: skip
def test_an_address_has_the_country_of_the_deepest_network_around_it(text, country):
    assert Location(WHOLE, "location.db").find(parse_addr(text)) == country


def test_all_bits_of_an_address_count():
    assert Location(WHOLE, "location.db").find(bytes(16)) == "XF"
    assert Location(WHOLE, "location.db").find(bytes(15) + b"\1") is None


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (b"", "no location database of version 1"),
        (b"LOCDBXX", "no location database of version 1"),
        (b"LOCDBXX\2" + WHOLE[8:], "no location database of version 1"),
        (WHOLE[:-1], f"cut off after {len(WHOLE) - 1} bytes; fetch it anew"),
        (WHOLE[:60], "cut off after 60 bytes"),
    ],
)
def test_another_file_is_refused(data, wrong):
    with pytest.raises(ConfigError, match=f"^location.db: {wrong}"):
        Location(data, "location.db")


@given(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16), st.data())
@example(parse_addr("1.2.3.4"), None)
def test_no_bytes_raise_anything_else(addr, data):
    broken = bytearray(WHOLE)
    if data is not None:
        for at, byte in data.draw(
            st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=30)
        ):
            broken[at] = byte
    try:
        country = Location(bytes(broken), "location.db").find(addr)
    except ConfigError:
        return
    assert country is None or len(country) == 2
