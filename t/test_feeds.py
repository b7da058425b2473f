"""Other people's lists: every form, every broken line by its number, and what our own exports say read back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import covers, format_key, parse_addr, parse_key, range_keys
from spamcannibal.errors import AddrError
from spamcannibal.feeds import FORMS, Broken, Entry, guess, read

V4 = st.binary(min_size=4, max_size=4)
V6 = st.binary(min_size=16, max_size=16)


def entries(text, form=""):
    return [e for e in read(text.splitlines(keepends=True), form) if isinstance(e, Entry)]


def broken(text, form=""):
    return [e for e in read(text.splitlines(keepends=True), form) if isinstance(e, Broken)]


def said(text, form=""):
    return [(format_key(e.key), e.text) for e in entries(text, form)]


def test_plain_lines_are_addresses_prefixes_and_ranges_with_a_remark_as_text():
    text = "# a feed\n192.0.2.1  # spam $5\n!192.0.2.9\n\n198.51.100.0/24\n203.0.113.4 - 203.0.113.9\n2001:db8::/48\n"
    assert said(text) == [
        ("192.0.2.1", "spam $$5"),
        ("192.0.2.9", ""),
        ("198.51.100.0/24", ""),
        ("203.0.113.4/30", ""),
        ("203.0.113.8/31", ""),
        ("2001:db8::/48", ""),
    ]
    assert [e.is_exception for e in entries(text)] == [False, True, False, False, False, False]
    assert [e.line for e in entries(text)] == [2, 3, 5, 6, 6, 7]


def test_csv_goes_by_its_header():
    text = 'Country,CIDR,Text\r\nXX,192.0.2.0/28,"a, ""b"""\r\nXX,2001:db8::1,\r\n'
    assert said(text) == [("192.0.2.0/28", 'a, "b"'), ("2001:db8::1", "")]
    assert broken("a,b\n1,2\n", "csv")[0].line == 1


def test_rbldnsd_has_defaults_codes_exceptions_and_short_forms():
    text = (
        "$SOA 300 ns.example. x.example. 0 1 2 3 4\n:127.0.0.4:$ is bad\n192.0.2.1\n!192.0.2.7\n198.51.100\n10.1/16\n"
        "192.0.2.16-31 :2:own\n203.0.113.1 text alone\n$DATASET generic:zone @\nns A 192.0.2.3\n"
        "$DATASET ip6trie:x @\n2001:db8::/32\n"
    )
    assert said(text) == [
        ("192.0.2.1", "$ is bad"),
        ("192.0.2.7", "$ is bad"),
        ("198.51.100.0/24", "$ is bad"),
        ("10.1.0.0/16", "$ is bad"),
        ("192.0.2.16/28", "own"),
        ("203.0.113.1", "text alone"),
        ("2001:db8::/32", "$ is bad"),
    ]
    assert [e.code[-1] for e in entries(text)] == [4, 4, 4, 4, 2, 4, 4]
    assert entries(text)[1].is_exception


def test_spamhaus_drop_comes_as_text_and_as_json():
    assert said("; Spamhaus DROP List\n192.0.2.0/24 ; SBL123\n") == [("192.0.2.0/24", "SBL123")]
    rows = [{"cidr": "192.0.2.0/24", "sblid": "SBL1", "rir": "x"}, {"type": "metadata", "timestamp": 1}]
    assert said("".join(json.dumps(row) + "\n" for row in rows)) == [("192.0.2.0/24", "SBL1")]


def test_our_own_json_lines_keep_code_expiry_and_dollar():
    row = {"key": "192.0.2.1", "code": "127.0.0.5", "expiry_ms": 7, "text": "$ spams", "exception": True}
    assert entries(json.dumps(row)) == [Entry(1, parse_key("192.0.2.1"), "$ spams", bytes((127, 0, 0, 5)), 7, True)]


@pytest.mark.parametrize(
    ("form", "line", "reason"),
    [
        ("plain", "192.0.2.256", "not an address"),
        ("plain", "192.0.2.1/24", "host bits"),
        ("plain", "192.0.2.9-192.0.2.1", "lower address first"),
        ("plain", "192.0.2.9-2001:db8::1", "not a"),
        ("plain", "010.0.0.1", "not an address"),
        ("plain", "x" * 70_000, "too long"),
        ("drop", "garbage ; SBL1", "not an address"),
        ("rbldnsd", "192.0.2.1 :x:text", "not a value"),
        ("rbldnsd", "192.0.2.1 :10.0.0.1:text", "wrong code"),
        ("rbldnsd", "192.0.2.1 :127.0.0.1:text", "wrong code"),
        ("rbldnsd", "192.0.2/33", "wrong prefix length"),
        ("jsonl", "{", "not JSON"),
        ("jsonl", "[1]", "not an object"),
        ("jsonl", "[" * 100_000, "not JSON"),
        ("jsonl", '{"a": 1}', "no address"),
        ("jsonl", '{"ip": "192.0.2.1", "expiry_ms": -1}', "expiry_ms"),
        ("jsonl", '{"ip": "192.0.2.1", "expiry_ms": [1]}', "int"),
        ("jsonl", '{"ip": "192.0.2.1", "expiry_ms": 253402300800000}', "before the year 10000"),
        ("jsonl", '{"ip": "192.0.2.1", "expiry_ms": 1e999}', "infinity"),
        ("jsonl", '{"ip": "192.0.2.1", "code": "::1"}', "wrong code"),
        ("csv", 'ip,text\n192.0.2.1,"x"y', "not CSV"),
    ],
)
def test_a_broken_line_is_told_with_its_number_and_the_rest_goes_on(form, line, reason):
    good = {"csv": "192.0.2.3,", "jsonl": '{"ip": "192.0.2.3"}'}.get(form, "192.0.2.3")
    text = f"{line}\n{good}\n"
    (found,) = broken(text, form)
    assert (found.line, reason in found.reason) == (line.count("\n") + 1, True), found
    assert [format_key(e.key) for e in entries(text, form)] == ["192.0.2.3"]


@pytest.mark.parametrize(
    ("form", "head"),
    [
        ("plain", ["# x", "192.0.2.1"]),
        ("plain", []),
        ("csv", ["ip,text"]),
        ("csv", ["key"]),
        ("drop", ["; Spamhaus DROP"]),
        ("drop", ["192.0.2.0/24 ; SBL1"]),
        ("rbldnsd", [":127.0.0.2:x"]),
        ("rbldnsd", ["192.0.2.1 :127.0.0.2:x"]),
        ("rbldnsd", ["$SOA 1"]),
        ("jsonl", ['{"cidr": "192.0.2.0/24"}']),
    ],
)
def test_the_form_is_guessed_from_the_first_lines(form, head):
    assert guess(head) == form


def test_no_line_is_lost_behind_those_that_were_looked_at_to_guess():
    text = "".join(f"192.0.2.{i}\n" for i in range(200))
    assert len(entries(text)) == 200


@given(text=st.text(max_size=300), form=st.sampled_from(["", *FORMS]))
def test_any_text_gives_entries_and_broken_lines_and_nothing_else(text, form):
    for found in read(text.splitlines(keepends=True), form):
        assert isinstance(found, Entry | Broken)
        if isinstance(found, Entry):
            assert parse_key(format_key(found.key)) == found.key


@given(st.one_of(st.tuples(V4, V4), st.tuples(V6, V6)))
def test_a_range_is_cut_into_disjoint_prefixes_that_hold_it_exactly(ends):
    first, last = sorted(ends)
    keys = range_keys(first, last)
    assert len(keys) <= 2 * len(first) * 8
    at = int.from_bytes(first, "big")
    for key in keys:
        addr, plen = (key, len(key) * 8) if len(key) in (4, 16) else (key[:-1], key[-1])
        assert int.from_bytes(addr, "big") == at
        at += 1 << (len(addr) * 8 - plen)
    assert at == int.from_bytes(last, "big") + 1
    assert covers(keys[0], first)


def test_a_range_upside_down_or_across_families_is_none():
    with pytest.raises(AddrError):
        range_keys(parse_addr("192.0.2.2"), parse_addr("192.0.2.1"))
    with pytest.raises(AddrError):
        range_keys(parse_addr("192.0.2.2"), parse_addr("2001:db8::1"))
