"""The never-list: overlap both ways against the standard library, keywords, and what a wrong file says."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal import addr as a
from spamcannibal.errors import AddrError, ConfigError, NeverListed
from spamcannibal.guard import (
    KEYWORDS,
    TABLES,
    NeverList,
    parse_fib_trie,
    parse_if_inet6,
    parse_never_list,
)

ALL = "\n".join(KEYWORDS)


@st.composite
def keys(draw):
    """Keys that often nest: few distinct bits, any length."""
    size = draw(st.sampled_from([4, 16]))
    host = draw(st.lists(st.sampled_from([0, 1, 128, 255]), min_size=size, max_size=size).map(bytes))
    plen = draw(st.integers(0, size * 8))
    return a.make_key(a.mask(host, plen), plen)


def network(key):
    return ipaddress.ip_network(a.split_key(key))


@given(st.lists(keys(), max_size=20), st.lists(keys(), max_size=20))
def test_a_key_is_refused_exactly_when_it_overlaps_a_rule(rules, questions):
    never = NeverList((rule, a.format_key(rule)) for rule in rules)
    for key in [*rules, *questions]:
        rule = never.find(key)
        assert (rule is not None) == any(network(key).overlaps(network(each)) for each in rules)
        assert rule is None or network(key).overlaps(ipaddress.ip_network(rule))


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        ("127.0.0.2", "@special"),
        ("::1", "@special"),
        ("::ffff:127.0.0.2", "@special"),
        ("169.254.1.1", "@special"),
        ("fe80::1", "@special"),
        ("2002:102:304::/48", "@special"),
        ("224.0.0.1", "@special"),
        ("0.0.0.0/0", "@special"),
        ("::/0", "@special"),
        ("10.1.2.0/24", "@private"),
        ("192.168.1.1", "@private"),
        ("fd00::/64", "@private"),
        ("192.0.2.7", "@documentation"),
        ("2001:db8:1::/64", "@documentation"),
        ("8.8.8.8", "@resolvers"),
        ("8.8.8.0/24", "@resolvers"),
        ("2001:4860:4860::/64", "@resolvers"),
        ("2606:4700:4700::1111", "@resolvers"),
        ("9.9.9.9", "@resolvers"),
        ("5.6.7.8", "@own"),
        ("5.6.0.0/16", "@own"),
    ],
)
def test_each_keyword_forbids_its_addresses(text, keyword):
    key = a.parse_key(text)
    never = parse_never_list(ALL, [a.parse_addr("5.6.7.8")], "never-list")
    with pytest.raises(NeverListed, match=f"never-list:.*{keyword}") as caught:
        never.check(key)
    assert caught.value.key == key
    assert parse_never_list(ALL.replace(keyword, ""), [a.parse_addr("5.6.7.8")], "x").find(key) is None or "/0" in text


@pytest.mark.parametrize(
    "text", ["5.6.7.8", "172.32.0.1", "2a00:1450:4001::/64", "192.0.3.0/24", "8.8.8.9", "128.0.0.1"]
)
def test_ordinary_addresses_may_be_listed(text):
    parse_never_list(ALL, [], "never-list").check(a.parse_key(text))


def test_private_and_documentation_ranges_are_free_when_left_out():
    never = parse_never_list("@special\n@resolvers\n", [], "never-list")
    for text in ("10.0.0.1", "192.0.2.1", "2001:db8::/64", "fd00::1"):
        never.check(a.parse_key(text))


def test_every_range_that_the_stdlib_calls_private_is_in_a_table():
    never = parse_never_list("@special\n@private\n@documentation\n", [], "x")
    for text in ("0.1.2.3", "10.0.0.1", "127.1.2.3", "169.254.0.1", "172.16.0.1", "192.0.0.1", "192.0.2.1",
                 "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "240.0.0.1", "255.255.255.255", "::1",
                 "100::1", "2001::1", "2001:2::1", "2001:db8::1", "2001:10::1", "fc00::1", "fe80::1",
                 "ff02::1"):  # fmt: skip
        ip = ipaddress.ip_address(text)
        assert ip.is_private or ip.is_multicast or ip.is_reserved
        assert never.find(a.parse_addr(text)), text


def test_every_table_entry_is_a_proper_prefix():
    for table in TABLES.values():
        assert len({a.parse_key(prefix) for prefix, _ in table}) == len(table)
        assert all(why for _, why in table)


def test_a_rule_names_file_line_and_reason():
    never = parse_never_list("# mine\n\n5.6.7.0/24  # the office\n@own\n", [a.parse_addr("5.9.9.9")], "etc/never-list")
    assert never.find(a.parse_addr("5.6.7.8")) == "etc/never-list:3: 5.6.7.0/24"
    assert never.find(a.parse_addr("5.9.9.9")) == "etc/never-list:4: @own, 5.9.9.9"
    assert len(never) == 2


def test_all_wrong_lines_are_named():
    with pytest.raises(ConfigError) as caught:
        parse_never_list("@specal\n1.2.3.4\n1.2.3.4/24\n1.2.3\n", [], "never-list")
    first, second, third = caught.value.problems
    assert first.startswith("never-list:1: unknown keyword '@specal', did you mean @special?")
    assert second == "never-list:3: host bits set: got 1.2.3.4/24, want 1.2.3.0/24"
    assert third.startswith("never-list:4: not an address")


@given(st.text(max_size=200))
def test_arbitrary_text_gives_a_list_or_a_config_error(text):
    try:
        parse_never_list(text, [], "never-list")
    except ConfigError as error:
        assert all("\n" not in problem for problem in error.problems)


FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.9.0.0/24 2 0 1
        |-- 10.9.0.0
           /24 link UNICAST
           /32 link BROADCAST
        |-- 10.9.0.2
           /32 host LOCAL
Local:
  +-- 127.0.0.0/8 2 0 2
     |-- 127.0.0.0
        /8 host LOCAL
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 10.9.0.255
        /32 link BROADCAST
"""


def test_the_own_addresses_of_fib_trie_are_its_local_hosts():
    assert list(parse_fib_trie(FIB_TRIE)) == [a.parse_addr("10.9.0.2"), a.parse_addr("127.0.0.1")]
    assert list(parse_fib_trie("")) == []


def test_the_own_addresses_of_if_inet6_are_its_first_column():
    text = (
        "00000000000000000000000000000001 01 80 10 80       lo\nfe80000000000000025056fffec00008 02 40 20 80     eth0\n"
    )
    assert list(map(a.format_addr, parse_if_inet6(text))) == ["::1", "fe80::250:56ff:fec0:8"]
    with pytest.raises(AddrError):
        list(parse_if_inet6("nonsense"))
