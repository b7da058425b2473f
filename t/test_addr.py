"""Addresses: the standard library as oracle, round trips, and the texts that must not be taken."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal import addr as a
from spamcannibal.errors import AddrError, WireError

V4 = st.binary(min_size=4, max_size=4)
# Sparse bytes make runs of zero groups likely, which is where IPv6 text is hard.
V6 = st.one_of(
    st.binary(min_size=16, max_size=16),
    st.lists(st.sampled_from([b"\0\0", b"\0\1", b"\x12\0", b"\xff\xff"]), min_size=8, max_size=8).map(b"".join),
)
HOSTS = st.one_of(V4, V6).map(a.unmap)


@st.composite
def keys(draw):
    host = draw(HOSTS)
    plen = draw(st.integers(0, len(host) * 8))
    return a.make_key(a.mask(host, plen), plen)


def network(key):
    host, plen = a.split_key(key)
    return ipaddress.ip_network((host, plen))


def oracle_addr(text):
    """What ipaddress says a text is, with our two extra rules: no zone, mapped means IPv4."""
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    if getattr(ip, "scope_id", None) is not None:
        return None
    return a.unmap(ip.packed)


@given(HOSTS)
def test_address_text_is_the_stdlibs_and_comes_back(host):
    text = a.format_addr(host)
    assert text == str(ipaddress.ip_address(host))
    assert a.parse_addr(text) == host
    assert a.parse_addr(ipaddress.ip_address(host).exploded) == host


@given(keys())
def test_key_text_is_the_stdlibs_and_comes_back(key):
    text = a.format_key(key)
    assert text == (str(network(key)) if len(key) in (5, 17) else str(ipaddress.ip_address(key)))
    assert a.parse_key(text) == key


@given(st.text(alphabet="0123456789abcfF.:/% g", max_size=45))
def test_arbitrary_text_is_taken_exactly_when_the_stdlib_takes_it(text):
    want = oracle_addr(text)
    if want is None:
        with pytest.raises(AddrError):
            a.parse_addr(text)
    else:
        assert a.parse_addr(text) == want


@given(V6, st.integers(0, 50), st.sampled_from("0:.fx1%/ "))
def test_a_changed_character_is_judged_as_the_stdlib_judges_it(host, at, char):
    text = str(ipaddress.IPv6Address(host))
    at %= len(text) + 1
    text = text[:at] + char + text[at:]
    want = oracle_addr(text)
    if want is None:
        with pytest.raises(AddrError):
            a.parse_addr(text)
    else:
        assert a.parse_addr(text) == want


@given(st.text(max_size=80))
def test_parsers_raise_nothing_but_addr_error(text):
    for parse in (a.parse_addr, a.parse_key):
        try:
            parse(text)
        except AddrError as error:
            assert "\n" not in str(error)
    assert a.parse_reversed(text) is None or isinstance(a.parse_reversed(text), bytes)


@given(st.binary(max_size=20))
def test_bytes_are_a_key_exactly_when_text_gives_them_back(key):
    try:
        text = a.format_key(key)
    except AddrError:
        return
    assert key.startswith(a.MAPPED) or a.parse_key(text) == key


@pytest.mark.parametrize(
    "text",
    ["", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.04", "0x1.2.3.4", "256.1.1.1", "1.2.3.4 ", " 1.2.3.4", "1.2.3.-4",
     "16909060", "1.2.3.4/32", "\u0661.2.3.4", "1.2.3.4\n", "::1%lo", "1::2::3", ":::", ":", "1:2:3:4:5:6:7",
     "1:2:3:4:5:6:7:8:9", "1:2:3:4::5:6:7:8", "12345::", "::1.2.3", "::1.2.3.04", "1.2.3.4::", "::g", "[::1]", "1:",
     ":1::", "::1\n", "::" + "0" * 4000],
)  # fmt: skip
def test_text_that_is_not_one_address_is_refused(text):
    with pytest.raises(AddrError):
        a.parse_addr(text)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("1.2.3.4/32", "1.2.3.4"),
        ("1.2.3.0/24", "1.2.3.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("2001:DB8:0:0::/64", "2001:db8::/64"),
        ("2001:db8::1/128", "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("::ffff:1.2.3.0/120", "1.2.3.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::1.2.3.4", "::102:304"),
    ],
)
def test_a_prefix_has_one_key(text, want):
    assert a.format_key(a.parse_key(text)) == want


def test_host_bits_are_refused_and_the_right_network_is_named():
    with pytest.raises(AddrError, match=r"got 1\.2\.3\.4/24, want 1\.2\.3\.0/24"):
        a.parse_key("1.2.3.4/24")
    with pytest.raises(AddrError, match="want 2001:db8::/64"):
        a.make_key(a.parse_addr("2001:db8::1"), 64)


@pytest.mark.parametrize("text", ["1.2.3.0/", "1.2.3.0/33", "1.2.3.0/024", "1.2.3.0/+4", "::/129", "1.2.3.0/24/24",
                                  "1.2.3.0/255.255.255.0", "/8", "1.2.3.0/\uff12\uff14"])  # fmt: skip
def test_a_wrong_prefix_is_refused(text):
    with pytest.raises(AddrError):
        a.parse_key(text)


@pytest.mark.parametrize("key", [b"", b"abc", b"\1\2\3\4\x20", b"\1\2\3\4\x18", b"\1\2\3\0\xff", bytes(6), bytes(18)])
def test_bytes_that_are_no_key_are_refused(key):
    with pytest.raises(AddrError):
        a.split_key(key)


@given(keys(), keys())
def test_set_relations_are_the_stdlibs(x, y):
    same_family = network(x).version == network(y).version
    assert a.covers(x, y) == (same_family and network(y).subnet_of(network(x)))
    assert a.overlaps(x, y) == network(x).overlaps(network(y))
    assert a.covers(x, x)


@given(HOSTS, st.data())
def test_a_mask_clears_what_the_stdlib_clears(host, data):
    plen = data.draw(st.integers(0, len(host) * 8))
    assert a.mask(host, plen) == ipaddress.ip_network((host, plen), strict=False).network_address.packed
    assert a.covers(a.make_key(a.mask(host, plen), plen), host)


@given(HOSTS)
def test_reversed_names_are_the_stdlibs_and_come_back(host):
    name = a.reversed_name(host)
    pointer = ipaddress.ip_address(host).reverse_pointer
    assert name == pointer.removesuffix(".in-addr.arpa").removesuffix(".ip6.arpa")
    assert a.parse_reversed(name) == host
    assert a.parse_reversed(name.upper()) == host


@pytest.mark.parametrize("labels", ["", "4.3.2", "4.3.2.1.", ".4.3.2.1", "04.3.2.1", "4.3.2.256", "5.4.3.2.1",
                                    "a.b.c.d", ".".join("0" * 31), ".".join("0" * 33), ".".join("g" + "0" * 31),
                                    ".".join(["00", *"0" * 31])])  # fmt: skip
def test_labels_that_are_no_whole_address_give_none(labels):
    assert a.parse_reversed(labels) is None


def test_mapped_test_points_are_the_ipv4_ones():
    nibbles = ".".join(bytes.fromhex("00000000000000000000ffff7f000002").hex()[::-1])
    assert a.parse_reversed(nibbles) == a.parse_addr("::ffff:7f00:2") == a.parse_addr("127.0.0.2")


@given(HOSTS, st.integers(0, 65535))
def test_endpoints_come_back(host, port):
    text = a.format_endpoint(host, port)
    assert a.parse_endpoint(text) == (host, port)
    assert text.startswith("[") == (len(host) == 16)


@pytest.mark.parametrize("text", ["", "1.2.3.4", "1.2.3.4:", ":25", "1.2.3.4:65536", "1.2.3.4:025", "1.2.3.4:+5",
                                  "::1:25", "[::1]", "[::1]25", "[1.2.3.4]:25", "[::1:25", "::1]:25", "[[::1]]:25",
                                  "[::1%lo]:25"])  # fmt: skip
def test_text_that_is_no_endpoint_is_refused(text):
    with pytest.raises(AddrError):
        a.parse_endpoint(text)


def test_an_ipv6_host_is_listed_as_its_network():
    assert a.format_key(a.listing_key(a.parse_addr("2001:db8:1:2:3::4"))) == "2001:db8:1:2::/64"
    assert a.format_key(a.listing_key(a.parse_addr("2001:db8::1"), 128)) == "2001:db8::1"
    assert a.format_key(a.listing_key(a.parse_addr("1.2.3.4"))) == "1.2.3.4"


def test_an_addr_error_is_a_wire_error_and_a_value_error():
    assert issubclass(AddrError, WireError) and issubclass(AddrError, ValueError)
