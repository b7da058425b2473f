"""Lines of mail servers: what is a report, what is refused and why, and that nothing else can come of any bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import format_key, parse_addr, parse_key
from spamcannibal.errors import WireError
from spamcannibal.gather import jsons, logs
from spamcannibal.gather.line import (
    LINE_LIMIT_BYTES,
    REASON_LIMIT,
    VERBS,
    Asked,
    Refused,
    Report,
    Said,
    is_prefix,
    parse_line,
)

V4, V6 = parse_key("192.0.2.7"), parse_key("2001:db8:1:2::/64")
LINES = [
    (b"black 192.0.2.7", Said(Report("black", V4))),
    (b"black 192.0.2.7\r", Said(Report("black", V4))),
    (b"  white   192.0.2.7  ", Said(Report("white", V4))),
    (b"yellow ::ffff:192.0.2.7", Said(Report("yellow", V4))),
    (b"brown 2001:db8:1:2::7", Said(Report("brown", V6))),
    (b"nobl 2001:DB8:1:2:0:0:0:7", Said(Report("nobl", V6))),
    (b"black 192.0.2.7 six unknown recipients", Said(Report("black", V4, "six unknown recipients"))),
    (b"black 192.0.2.7 key=s3cret why", Said(Report("black", V4, "why"), "s3cret")),
    (b"black 192.0.2.7 why key=s3cret", Said(Report("black", V4, "why key=s3cret"))),
    (b"black 192.0.2.0/24", Said(Report("black", parse_key("192.0.2.0/24")))),
    (b"black 2001:db8::/48", Said(Report("black", parse_key("2001:db8::/48")))),
    (b"black 192.0.2.7 \xc3\xa9\x00\x1b[2J", Said(Report("black", V4, "???[2J"))),
    (b"query 192.0.2.7", Asked("query", V4)),
    (b"explain 2001:db8::7", Asked("explain", parse_addr("2001:db8::7"))),
    (b"status", Asked("status")),
]
REFUSED = [
    (b"", "empty"),
    (b"   \r", "empty"),
    (b"brown ", "no_address"),
    (b"black", "no_address"),
    (b"black  key=s3cret six unknown recipients", "no_address"),
    (b"black key=s3cret 192.0.2.7", "no_address"),
    (b"query", "no_address"),
    (b"BLACK 192.0.2.7", "unknown_verb"),
    (b"delist 192.0.2.7", "unknown_verb"),
    (b"black\t192.0.2.7", "unknown_verb"),
    (b"black\x00192.0.2.7", "unknown_verb"),
    (b"black 192.0.2.7\x00", "bad_address"),
    (b"black 192.0.2", "bad_address"),
    (b"black 192.0.2.07", "bad_address"),
    (b"black 192.0.2.256", "bad_address"),
    (b"black fe80::1%eth0", "bad_address"),
    (b"black mail.example.org", "bad_address"),
    (b"black \xff\xfe", "bad_address"),
    (b"black 192.0.2.7/24", "bad_address"),
    (b"black 192.0.0.0/16", "wide_prefix"),
    (b"black 0.0.0.0/0", "wide_prefix"),
    (b"black 2001:db8::/32", "wide_prefix"),
    (b"black 192.0.2.7 " + b"x" * LINE_LIMIT_BYTES, "too_long"),
    (b"query example.org", "bad_address"),
]


@pytest.mark.parametrize(("line", "want"), LINES, ids=[repr(line)[:40] for line, _ in LINES])
def test_a_line_says(line, want):
    assert parse_line(line) == want


@pytest.mark.parametrize(("line", "why"), REFUSED, ids=[repr(line)[:40] for line, _ in REFUSED])
def test_a_line_is_refused(line, why):
    refused = parse_line(line)
    assert isinstance(refused, Refused) and refused.why == why
    assert refused.detail.isprintable() and len(refused.detail) < 300


@given(
    st.one_of(
        st.binary(max_size=600), st.builds(lambda v, b: v.encode() + b" " + b, st.sampled_from(VERBS), st.binary())
    )
)
def test_any_bytes_give_a_report_of_a_real_key_or_a_refusal(line):
    said = parse_line(line)
    if isinstance(said, Said):
        assert said.report.colour in VERBS
        assert parse_key(format_key(said.report.key)) == said.report.key
        assert len(said.report.reason) <= REASON_LIMIT
        assert said.report.reason.isascii() and (said.report.reason.isprintable() or not said.report.reason)
    else:
        assert isinstance(said, Asked | Refused)


@given(st.sampled_from(VERBS), st.ip_addresses(), st.sampled_from(["", "\r"]))
def test_what_a_mail_server_writes_is_read_back(colour, address, end):
    said = parse_line(f"{colour} {address}{end}".encode(), v6_plen=128)
    assert isinstance(said, Said)
    assert said.report == Report(colour, parse_addr(str(address)))


def test_a_host_is_no_prefix_and_the_listed_network_of_a_host_neither():
    assert not is_prefix(V4) and not is_prefix(V6)
    assert is_prefix(parse_key("192.0.2.0/25")) and is_prefix(parse_key("2001:db8::/56"))


# JSON says the same in other words.

JSONS = [
    (b'{"colour":"black","address":"192.0.2.7","reason":"why","key":"k"}', [Said(Report("black", V4, "why"), "k")]),
    (b'[{"colour":"white","address":"2001:db8:1:2::7"}, 3]', [Said(Report("white", V6)), "not_json"]),
    (b'{"colour":["black"],"address":"192.0.2.7"}', ["unknown_verb"]),
    (b'{"colour":"black","address":7}', ["no_address"]),
    (b'{"colour":"black"}', ["no_address"]),
    (b'{"colour":"black","address":"192.0.2.7","reason":{}}', ["not_json"]),
    (b'{"colour":"black","address":"everybody"}', ["bad_address"]),
    (b"[]", []),
]


@pytest.mark.parametrize(("data", "want"), JSONS, ids=[data.decode()[:40] for data, _ in JSONS])
def test_json_says(data, want):
    taken = jsons.parse_reports(jsons.load(data), 64)
    assert [one.why if isinstance(one, Refused) else one for one in taken] == want


RSPAMD = [
    ({"action": "reject"}, "black"),
    ({"action": "add header"}, "brown"),
    ({"action": "rewrite subject"}, "brown"),
    ({"action": "no action"}, None),
    ({"action": "greylist"}, None),
    ({"action": "soft reject"}, None),
    ({"action": "reject", "user": "somebody@example.org"}, None),
    ({"action": "reject", "user": "unknown"}, "black"),
]


@pytest.mark.parametrize(("about", "colour"), RSPAMD, ids=str)
def test_rspamd_reports_by_its_action(about, colour):
    symbols = [
        {"name": "LOW", "score": 0.5},
        {"name": "HIGH", "score": 8.2},
        {"name": "GOOD", "score": -3},
        "x",
        {"name": 1},
    ]
    taken = jsons.parse_rspamd({"ip": "192.0.2.7", "symbols": symbols, **about}, 64)
    assert taken == ([Said(Report(colour, V4, "HIGH LOW"))] if colour else [])


def test_rspamd_without_an_address_is_refused():
    assert jsons.parse_rspamd({"action": "reject", "ip": "unknown"}, 64) == [Refused("no_address")]


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 100_000, b"", b"nan", b'"\\ud800"'])
def test_what_is_no_json_of_ours_is_a_wire_error_or_refused(data):
    try:
        value = jsons.load(data)
    except WireError:
        return
    assert all(isinstance(one, Refused) for one in jsons.parse_reports(value, 64))
    with pytest.raises(WireError):
        jsons.parse_rspamd(value, 64)


def test_too_many_reports_at_once_are_refused():
    with pytest.raises(WireError, match="want at most 1000"):
        jsons.parse_reports([{}] * 1001, 64)


def test_an_old_log_lists_what_it_says_often_enough():
    lines = (
        [b"black 192.0.2.7\n"] * 3
        + [b"black 192.0.2.8\n", b"black \n", b"white 192.0.2.9\n"]
        + [b"black 192.0.2.9\n"] * 9
    )
    counted = logs.count_lines(lines, 64)
    assert (counted.lines, counted.refused) == (15, {"no_address": 1})
    found = {format_key(key): colour for key, colour in logs.verdicts(counted.colours, 3).items()}
    assert found == {"192.0.2.7": "black", "192.0.2.8": "brown", "192.0.2.9": "white"}
