"""Lists of networks: every form of the original's, IPv6, what a wrong line says, which of several lines counts."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import parse_addr
from spamcannibal.errors import AddrError, ConfigError
from spamcannibal.jobs.nets import PROBLEMS_LIMIT, parse_nets, parse_range
from spamcannibal.jobs.spans import Spans


@pytest.mark.parametrize(
    ("line", "first", "last"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("192.0.2.7-192.0.2.9", "192.0.2.7", "192.0.2.9"),
        (" 192.0.2.7 - 192.0.2.9 ", "192.0.2.7", "192.0.2.9"),
        ("192.0.2.250-203.0.113.3", "192.0.2.250", "203.0.113.3"),
        ("192.0.2.7-192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("192.0.2.0/24", "192.0.2.0", "192.0.2.255"),
        ("192.0.2.20/28", "192.0.2.16", "192.0.2.31"),
        ("192.0.2.20 / 255.255.255.240", "192.0.2.16", "192.0.2.31"),
        ("192.0.2.7/32", "192.0.2.7", "192.0.2.7"),
        ("192.0.2.7/255.255.255.255", "192.0.2.7", "192.0.2.7"),
        ("128.0.0.0/1", "128.0.0.0", "255.255.255.255"),
        ("128.0.0.0/128.0.0.0", "128.0.0.0", "255.255.255.255"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::1"),
        ("2001:db8::1 - 2001:db8::ff", "2001:db8::1", "2001:db8::ff"),
        ("2001:db8:0:1::7/48", "2001:db8::", "2001:db8:0:ffff:ffff:ffff:ffff:ffff"),
        ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.20/124", "192.0.2.16", "192.0.2.31"),
        ("::ffff:192.0.2.7-192.0.2.9", "192.0.2.7", "192.0.2.9"),
        ("192.0.2.7 # why", "192.0.2.7", "192.0.2.7"),
    ],
)  # fmt: skip
def test_a_line_holds_its_first_to_its_last_address_and_no_more(line, first, last):
    nets = parse_nets(f"\n# a comment\n{line}\n", "list")
    first, last = ipaddress.ip_address(first), ipaddress.ip_address(last)
    assert nets.find(first.packed) == nets.find(last.packed) == "list:3"
    for outside in (int(first) - 1, int(last) + 1):
        if 0 <= outside < 1 << first.max_prefixlen:
            assert nets.find(outside.to_bytes(len(first.packed), "big")) is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mail.example.org", "not an address: got 'mail.example.org'"),
        ("10/8", "not an address: got '10'"),
        ("192.168.1", "not an address: got '192.168.1'"),
        ("010.0.0.1", "not an address: got '010.0.0.1'"),
        ("192.0.2.256", "not an address: got '192.0.2.256'"),
        ("192.0.2.0/33", "wrong prefix, got '192.0.2.0/33', want ADDRESS, FIRST-LAST"),
        ("192.0.2.0/", "wrong prefix, got '192.0.2.0/'"),
        ("192.0.2.0/024", "wrong prefix, got '192.0.2.0/024'"),
        ("192.0.2.0/255.0.255.0", "wrong prefix, got '192.0.2.0/255.0.255.0'"),
        ("192.0.2.0/0.0.0.255", "wrong prefix, got '192.0.2.0/0.0.0.255'"),
        ("192.0.2.0/255.255.256.0", "not an address: got '255.255.256.0'"),
        ("192.0.2.0/\u0662\u0664", "wrong prefix, got '192.0.2.0/\\u0662\\u0664'"),
        ("2001:db8::/129", "wrong prefix, got '2001:db8::/129'"),
        ("2001:db8::/255.255.0.0", "wrong prefix, got '2001:db8::/255.255.0.0'"),
        ("::ffff:192.0.2.0/24", "wrong prefix, got '::ffff:192.0.2.0/24'"),
        ("192.0.2.9-192.0.2.7", "a range that ends before it begins, got '192.0.2.9-192.0.2.7'"),
        ("192.0.2.9-2001:db8::1", "a range over both families"),
        ("192.0.2.9-", "not an address: got ''"),
        ("-", "not an address: got ''"),
        ("0.0.0.0/0", "holds every address, got '0.0.0.0/0'"),
        ("192.0.2.7/0.0.0.0", "holds every address"),
        ("0.0.0.0-255.255.255.255", "holds every address"),
        ("::/0", "holds every address, got '::/0'"),
        ("192.0.2.1 192.0.2.2", "not an address: got '192.0.2.1192.0.2.2'"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_an_error_with_its_number(line, message):
    with pytest.raises(ConfigError) as caught:
        parse_nets(f"192.0.2.1\n{line}\n\n{line}\n", "list")
    assert len(caught.value.problems) == 2
    for number, problem in zip((2, 4), caught.value.problems, strict=True):
        assert problem.startswith(f"list:{number}: {message}")


def test_a_file_that_is_something_else_stops_after_a_hundred_errors():
    with pytest.raises(ConfigError) as caught:
        parse_nets("nonsense\n" * 10_000, "list")
    assert len(caught.value.problems) == PROBLEMS_LIMIT


def test_an_empty_list_holds_nothing():
    nets = parse_nets("", "list")
    assert nets.find(bytes(4)) is nets.find(bytes(16)) is None


@given(st.text(alphabet="0123456789abcf.:/-# x\u0660", max_size=40))
def test_no_text_raises_anything_but_an_error_of_ours(text):
    try:
        size, first, last = parse_range(text)
    except AddrError:
        return
    assert size in (4, 16) and 0 <= first <= last < 1 << size * 8


CORNERS = {
    4: [0, 1, 2, 3, 250, 2**31, 2**32 - 2, 2**32 - 1],
    16: [0, 1, 2**64 - 1, 2**64, 2**64 + 1, 2**127, 2**128 - 2, 2**128 - 1],
}


def sealed(size, ranges):
    spans = Spans(size)
    for each in ranges:
        spans.add(*each)
    return spans.seal()


@given(st.data())
def test_a_look_up_finds_a_range_that_holds_the_address_and_the_earliest_of_them(data):
    size = data.draw(st.sampled_from([4, 16]))
    numbers = st.sampled_from(CORNERS[size])
    pairs = data.draw(st.lists(st.tuples(numbers, numbers).map(sorted), max_size=8))
    spans = sealed(size, [(first, last, i) for i, (first, last) in enumerate(pairs, 1)])
    for value in CORNERS[size]:
        got = spans.find(value.to_bytes(size, "big"))
        holders = [i for i, (first, last) in enumerate(pairs, 1) if first <= value <= last]
        assert bool(got) == bool(holders)
        assert not got or got in holders


def test_of_overlapping_ranges_the_one_that_begins_first_counts():
    nets = parse_nets("192.0.2.8-192.0.2.20\n192.0.2.0-192.0.2.10\n192.0.2.0/32\n", "list")
    found = {last: nets.find(parse_addr(f"192.0.2.{last}")) for last in (0, 8, 10, 11, 20, 21)}
    assert found == {0: "list:2", 8: "list:2", 10: "list:2", 11: "list:1", 20: "list:1", 21: None}


def test_a_long_list_takes_a_few_bytes_a_line():
    lines = 200_000
    spans = sealed(4, ((i * 8, i * 8 + 1, i + 1) for i in range(lines)))
    assert len(spans) == 2 * lines
    assert spans.memory_bytes() <= 8 * len(spans)
