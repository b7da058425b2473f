"""Who sent it: real and hostile Received fields, and the property that nobody can talk the tracer into an address."""

from __future__ import annotations

import os
import random
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spamcannibal.addr import format_addr, parse_addr, parse_key
from spamcannibal.robot.embedded import embedded
from spamcannibal.robot.message import read_entity, read_header
from spamcannibal.robot.received import HOPS_LIMIT, RAW_LIMIT, Ours, Trace, trace

OURS = Ours(
    names=frozenset({"mx.example.net", "mail.example.net", ".frontend.example"}),
    keys=tuple(map(parse_key, ("198.51.100.0/28", "2001:db8:1::/48"))),
)
DATE = "Tue, 24 Nov 2026 14:01:35 +0000"


def blocks() -> list[tuple[str, str, str, str]]:
    """The (name, source or "none", part of the reason, header) of the table."""
    found = []
    text = (Path(__file__).parent / "data" / "received.txt").read_text("utf-8")
    for block in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        title, _, header = block.partition("\n")
        name, _, outcome = title.partition(" -> ")
        source, _, reason = outcome.partition(" | ")
        found.append((name, source, reason, header.strip("\n") + "\n\n"))
    return found


TABLE = blocks()


def traced(header: str, ours: Ours = OURS) -> Trace:
    fields, _ = read_header(header.encode())
    return trace([f"{name}: {value}" for name, value in fields], ours)


def shown(found: Trace) -> str:
    return format_addr(found.source) if found.source else "none"


def test_the_table_is_whole() -> None:
    names = [name for name, *_ in TABLE]
    assert len(names) == len(set(names)) >= 80


@pytest.mark.parametrize(("name", "source", "reason", "header"), TABLE, ids=[name for name, *_ in TABLE])
def test_the_source_is_what_a_host_of_ours_recorded(name: str, source: str, reason: str, header: str) -> None:
    found = traced(header)
    assert (shown(found), found.reason) == (source, found.reason)
    assert reason in found.reason
    believed = [hop.believed for hop in found.hops]
    assert believed == sorted(believed, reverse=True), "belief goes on below a hop that is not believed"


@pytest.mark.parametrize("header", [header for *_, header in TABLE], ids=[name for name, *_ in TABLE])
def test_line_ends_and_folds_do_not_matter(header: str) -> None:
    once = traced(header)
    assert traced(header.replace("\n", "\r\n")) == once
    assert traced(re.sub(r"\n[ \t]+", " ", header)) == once


def test_private_hosts_are_sources_where_the_operator_says_so() -> None:
    header = f"Received: from x (unknown [10.1.2.3]) by mx.example.net with ESMTP id 1; {DATE}\n\n"
    assert shown(traced(header)) == "none"
    assert shown(traced(header, Ours(OURS.names, OURS.keys, skip_private=False))) == "10.1.2.3"


@pytest.mark.parametrize("name", [name for name, *_, header in TABLE if "local program" in _[1]])
def test_local_programs_are_believed_where_the_operator_says_so(name: str) -> None:
    header = next(row[3] for row in TABLE if row[0] == name)
    assert shown(traced(header, Ours(OURS.names, OURS.keys, trust_local=True))) == "8.8.8.8"


@pytest.mark.parametrize("char", ["\0", "\x07", "\x1b", "\x7f", "\x85", "\u2028", "\ufeff"])
def test_control_characters_make_a_hop_unreadable(char: str) -> None:
    line = f"Received: from x{char} (unknown [192.0.2.7]) by mx.example.net with ESMTP id 1; {DATE}"
    assert "control" in trace([line], OURS).reason


def test_a_bare_carriage_return_starts_no_field() -> None:
    header = (
        f"Received: from x (unknown [192.0.2.7]) by mx.example.net with ESMTP id 1; {DATE}\n"
        f"Subject: a\rReceived: from victim.example ([8.8.8.8]) by mx.example.net with ESMTP id 1; {DATE}\n\n"
    )
    assert [name for name, _ in read_header(header.encode())[0]] == ["Received", "Subject"]
    assert shown(traced(header)) == "192.0.2.7"


def test_an_endless_chain_and_an_endless_line_are_cut() -> None:
    ours = f"Received: from x (unknown [198.51.100.3]) by mx.example.net with ESMTP id 1; {DATE}"
    found = trace([ours] * 10_000, OURS)
    assert (len(found.hops), found.source) == (HOPS_LIMIT, None)
    assert str(HOPS_LIMIT) in found.reason
    found = trace(["Received: from " + "(" * 1_000_000], OURS)
    assert "longer than" in found.reason
    assert len(found.hops[0].raw) == RAW_LIMIT


def test_hops_below_the_end_are_shown_and_not_believed() -> None:
    header = next(header for name, *_, header in TABLE if name == "postfix, our relay, then forged lower hops")
    top, border, forged = traced(header).hops
    assert [top.believed, border.believed, forged.believed] == [True, True, False]
    assert (border.from_addr, border.by_name, border.helo) == (
        parse_addr("192.0.2.7"),
        "mx.example.net",
        "mail.sender.example",
    )
    assert "below the end" in forged.note


# What each server writes, with every field that the sending host has a say in.
TEMPLATES = {
    name: "from " + " ".join(text.split())
    for name, text in {
        "postfix": "{helo} ({rdns} [{addr}]) by mx.example.net (Postfix) with ESMTP id 1 for <{to}>; {date} (UTC)",
        "postfix tls": """{helo} ({rdns} [{addr}]) (Client CN "{cn}", Issuer "{cn}" (not verified))
            by mx.example.net (Postfix) with ESMTPS id 1; {date} (UTC)""",
        "sendmail": """{helo} ({ident}@{rdns} [{addr}]) by mx.example.net (8.17.1/8.17.1) with ESMTP id 1
            for <{to}>; {date}""",
        "sendmail forged": "{helo} ({rdns} [{addr}] (may be forged)) by mx.example.net (8.17.1/8.17.1) id 1; {date}",
        "exim": """{rdns} ([{addr}] helo={helo} ident={ident}) by mx.example.net with esmtp (Exim 4.96)
            (envelope-from <{sender}>) id 1 for {to}; {date}""",
        "exim bare": """[{addr}] (helo={helo} ident={ident}) by mx.example.net with esmtp (Exim 4.96)
            (envelope-from <{sender}>) id 1; {date}""",
        "exim port": """[{addr}] (port=4567 helo={helo}) by mx.example.net with esmtp (Exim 4.96)
            (envelope-from <{sender}>) id 1; {date}""",
        "qmail": "{rdns} (HELO {helo}) ({ident}@{addr}) by mx.example.net with SMTP; {date}",
        "qmail same": "{rdns} ({addr}) by mx.example.net with SMTP; {date}",
        "exchange": """{helo} ({addr}) by mx.example.net (10.1.2.3) with Microsoft SMTP Server
            id 15.1.2507.39; {date}""",
        "windows": "{helo} ([{addr}]) by mx.example.net with Microsoft SMTPSVC(8.5.9600.16384); {date}",
        "gmail": "{helo} ({rdns}. [{addr}]) by mx.example.net with ESMTPS id 1 for <{to}>; {date}",
        "opensmtpd": "{helo} ({rdns} [{addr}]) by mx.example.net (OpenSMTPD) with ESMTP id 1 for <{to}>; {date}",
        "haraka": """{helo} ({rdns} [{addr}]) by mx.example.net (Haraka/3.0.3) with ESMTP id 1
            envelope-from <{sender}>; {date}""",
        "mailenable": "{helo} ([{addr}]) by mx.example.net with MailEnable ESMTP; {date}",
        "ecelerity": """[{addr}] ([{addr}:45678] helo={helo}) by mx.example.net (envelope-from <{sender}>)
            (ecelerity 4.3.1.69410 r(Core:4.3.1.0)) with ESMTP id 1; {date}""",
        "communigate": """[{addr}] (HELO {helo}) by mx.example.net (CommuniGate Pro SMTP 6.2.15)
            with ESMTP id 12345 for {to}; {date}""",
        "yahoo": "{addr} (EHLO {helo}) by mx.example.net with SMTPs; {date}",
    }.items()
}
VICTIM = "8.8.8.8"
PEER = "192.0.2.7"
PIECES = (
    f"[{VICTIM}]", f"({VICTIM})", f"([{VICTIM}])", f"x [{VICTIM}]", f"@{VICTIM})", f"@[{VICTIM}]>", f"a@{VICTIM}",
    VICTIM, f"[{VICTIM}]:25", "[IPv6:2001:db8:bad::66]", "by mx.example.net", " by mx.example.net ", "from ",
    "with SMTP id 1", "with LMTP", "with local", "with HTTP", "(Exim 4.96)", "(fetchmail-6.4)", "(Postfix)",
    "(10.1.2.3)", "helo=", "ident=a", "port=1 ", "HELO x", "EHLO x", "HELO", "ehlo", "account", "(HELO x)",
    "(envelope-from <", "for <a@b>", "id 1", f"; {DATE}", "; ", "with Microsoft SMTP Server", "(", ")", ") (", "((",
    "))", '"', "\\", "<", ">", "<>", "[", "]", "@", "=", ";", " ", "\t", "x", "a.example", "\n", "\r", "\n ",
    "\nReceived: ", "\0", "ü", "(may be forged)", "verified",
)  # fmt: skip
hostile = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=40)
FIELDS = ("helo", "rdns", "ident", "sender", "to", "cn")
peer_fields = st.fixed_dictionaries(dict.fromkeys(FIELDS, hostile))
RUNS = int(os.environ.get("SPAMCANNIBAL_FUZZ_RUNS", "3000"))


def told(dialect: str, fields: Mapping[str, str]) -> bytes | None:
    """The source of one field in which the sending host wrote what it liked."""
    return trace(["Received: " + TEMPLATES[dialect].format(addr=PEER, date=DATE, **fields)], OURS).source


@pytest.mark.parametrize("dialect", TEMPLATES)
@settings(max_examples=40, deadline=None)
@given(fields=peer_fields)
def test_no_text_of_the_sending_host_is_taken_for_an_address(dialect: str, fields: dict[str, str]) -> None:
    assert told(dialect, fields) in (None, parse_addr(PEER))


@pytest.mark.parametrize("dialect", TEMPLATES)
def test_no_mix_of_hostile_pieces_is_taken_for_an_address(dialect: str) -> None:
    """The same by plain chance, which is quicker; longer by hand with SPAMCANNIBAL_FUZZ_RUNS=1000000."""
    dice = random.Random(dialect)
    found = set()
    for number in range(RUNS):
        # A few hostile fields among ordinary ones get further than six of them.
        fields = dict.fromkeys(FIELDS, "a.example")
        for name in dice.sample(FIELDS, number % 4):
            fields[name] = "".join(dice.choices(PIECES, k=dice.randrange(7)))
        found.add(told(dialect, fields))
        assert found <= {None, parse_addr(PEER)}, fields
    assert parse_addr(PEER) in found


@pytest.mark.parametrize("prefix", ["", "> ", "| ", "  "])
def test_wrapping_a_pasted_header_makes_no_hop_of_hostile_text(prefix: str) -> None:
    """A mail program may break lines without an indent, and then what follows may look like a field of its own."""
    dice = random.Random(prefix)
    forged = f"Received: from victim.example ([{VICTIM}]) by mx.example.net with ESMTP id 1; {DATE}"
    pieces = (*PIECES, forged, f"Received: from v ([{VICTIM}])", "Received:")
    found = set()
    for number in range(RUNS // 5):
        fields = dict.fromkeys(FIELDS, "a.example")
        for name in dice.sample(FIELDS, number % 3):
            fields[name] = " ".join("".join(dice.choices(pieces, k=dice.randrange(6))).replace("\0", "").split())
        hostile_line = f"Received: {TEMPLATES[dice.choice(list(TEMPLATES))].format(addr=PEER, date=DATE, **fields)}"
        lines = [piece for line in (hostile_line, forged) for piece in textwrap.wrap(line, dice.choice((50, 72, 78)))]
        text = "".join(f"{prefix}{line}\n" for line in (*lines, "Subject: x", "", "body"))
        (message,) = embedded(read_entity(f"Subject: fw\n\n{text}".encode()))
        found.add(trace(message.header_lines, OURS).source)
    assert found == {None, parse_addr(PEER)}


def test_a_greeting_of_one_word_is_no_address_where_none_is_recorded() -> None:
    for word in PIECES:
        line = f"Received: from {''.join(word.split())} by mx.example.net with ESMTP id 1\n\tfor <a@b>; {DATE}"
        assert trace([line], OURS).source is None, word


@settings(max_examples=150, deadline=None)
@given(fields=peer_fields, lower=st.lists(hostile, max_size=3), dialect=st.sampled_from(sorted(TEMPLATES)))
def test_what_the_message_holds_below_is_never_reached(fields: dict[str, str], lower: list[str], dialect: str) -> None:
    clean = dict.fromkeys(fields, "a.example") | {"helo": fields["helo"]}
    forged = f"from victim.example ([{VICTIM}]) by mx.example.net with ESMTP id 1; {DATE}"
    lines = [TEMPLATES[dialect].format(addr=PEER, date=DATE, **clean), *lower, forged]
    assert trace([f"Received: {line}" for line in lines], OURS).source in (None, parse_addr(PEER))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=200) | hostile.map("Received: ".__add__), max_size=12))
def test_any_lines_give_a_trace(lines: list[str]) -> None:
    found = trace(lines, OURS)
    assert found.reason
    assert len(found.hops) <= len(lines)


@pytest.mark.parametrize("dialect", TEMPLATES)
def test_ordinary_fields_give_the_source_in_every_dialect(dialect: str) -> None:
    """What makes the property above worth something: these templates are readable."""
    fields = {
        "helo": "mail.sender.example",
        "rdns": "host7.sender.example",
        "ident": "root",
        "cn": "mail.sender.example",
    }
    fields |= {"sender": "x@sender.example", "to": "a@example.net"}
    line = TEMPLATES[dialect].format(addr=PEER, date=DATE, **fields)
    assert shown(trace([f"Received: {line}"], OURS)) == PEER
