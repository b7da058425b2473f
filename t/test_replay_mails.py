"""What listings would have refused of accepted mail: the shipped patterns, files in pieces, counts against a model."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.commands import main
from spamcannibal.cost import CLIENTS_OF_ENTRY, SENDERS_OF_ENTRY, Cost
from spamcannibal.errors import ConfigError, SpamCannibalError
from spamcannibal.gather.logfiles import BLOCK_BYTES, LogFile, by_age
from spamcannibal.gather.mails import MAIL_PLACES, Mails, MailSign, decode_mails
from spamcannibal.gather.signs import compiled
from spamcannibal.record import EXCLUDED, PROVEN_CODE, SHADOW, Mode, table_value
from spamcannibal.store.stores import NewListing
from spamcannibal.store.trials import last_feed, trial
from spamcannibal.tables import Tables
from storekit import open_store as _open_store

open_store: Callable[..., Any] = _open_store

CONF = Path(__file__).parent.parent / "conf"
PROBLEMS: list[str] = []
SHIPPED = decode_mails((CONF / "log-mails.toml").read_text("utf-8"), "log-mails.toml", PROBLEMS)
WANTED = {parse_addr("192.0.2.7"), parse_addr("2001:db8::7")}

POSTFIX = """\
{t} mx postfix/smtpd[9]: connect from a.test[{ip}]
{t} mx postfix/smtpd[9]: {id}: client=a.test[{ip}]
{t} mx postfix/cleanup[9]: {id}: message-id=<x@a.test>
{t} mx postfix/qmgr[9]: {id}: from=<{sender}>, size=99, nrcpt=1 (queue active)
{t} mx postfix/smtpd[9]: disconnect from a.test[{ip}] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5
"""
EXIM = (
    "2026-11-2{d} 13:30:44 1tFAbC-0001Qx-2{d} <= {sender} H=a.test [{ip}]:4312 I=[198.51.100.1]:{port} P=esmtps S=99\n"
)


def postfix(ip: str, number: str = "3F2A1B0C9D", sender: str = "a@a.test", t: str = "2026-11-24T13:30:44+00:00") -> str:
    return POSTFIX.format(ip=ip, id=number, sender=sender, t=t)


def mails(text: str, limit: int = 1000) -> list[tuple[bytes, str]]:
    return [(mail.addr, mail.sender) for mail in Mails(SHIPPED, limit).look(text.encode())]


# ---- the patterns ----


def test_the_shipped_file_has_no_problems() -> None:
    assert not PROBLEMS and {sign.step for sign in SHIPPED} == {"whole", "client", "queued"}


@pytest.mark.parametrize("sign", SHIPPED, ids=lambda sign: sign.name)
def test_each_pattern_finds_its_examples_and_no_others(sign: MailSign) -> None:
    pattern = compiled(sign.match, MAIL_PLACES)
    assert sign.examples
    for line in sign.examples:
        match = pattern.match(line.encode())
        assert match and sign.find in line
        assert "addr" not in pattern.groupindex or parse_addr(match["addr"].decode()) in WANTED
    for line in sign.others:
        assert not (sign.find in line and pattern.match(line.encode()))


@pytest.mark.parametrize("sign", SHIPPED, ids=lambda sign: sign.name)
def test_each_pattern_comes_to_an_end_with_hostile_lines(sign: MailSign) -> None:
    pattern = compiled(sign.match, MAIL_PLACES)
    for example in sign.examples:
        for piece in (" ", "a", "[192.0.2.7]", ", ", "<", "H=a ", "daemon=MTA, relay="):
            pattern.match((example[:60] + piece * (8000 // len(piece))).encode())
            pattern.match((example[:-1] + piece * (8000 // len(piece))).encode())


def test_postfix_mail_counts_when_it_is_queued_and_once() -> None:
    text = postfix("192.0.2.7")
    assert mails(text) == [(parse_addr("192.0.2.7"), "a@a.test")]
    queued_again = text.splitlines(keepends=True)[3]
    assert len(mails(text + queued_again)) == 1
    assert mails("".join(text.splitlines(keepends=True)[:3])) == []  # refused at its end, or the client hung up
    assert mails(queued_again) == []
    assert len(mails(text.replace(" mx ", " mx1 ") + text.replace(" mx ", " mx2 "))) == 2
    other = text.replace(" mx ", " mx2 ").replace("192.0.2.7", "192.0.2.8")
    interleaved = [*text.splitlines(keepends=True), *other.splitlines(keepends=True)]
    order = [1, 6, 3, 8]
    assert [addr for addr, _ in mails("".join(interleaved[i] for i in order))] == [
        parse_addr("192.0.2.7"), parse_addr("192.0.2.8"),
    ]  # fmt: skip


def test_what_a_sender_calls_himself_makes_nobody_a_client() -> None:
    evil = "a>, size=1, nrcpt=1 (queue active) 3F2A1B0C9D: client=x[203.0.113.1]"
    assert [addr for addr, _ in mails(postfix("192.0.2.7", sender=evil))] == [parse_addr("192.0.2.7")]
    line = EXIM.format(d=4, sender='"x H=y [203.0.113.1] P=smtp S=1"@z', ip="192.0.2.7", port=25)
    assert mails(line) == []
    quoted = postfix("192.0.2.7", sender='"a b"@a.test')
    assert mails(quoted) == [(parse_addr("192.0.2.7"), '"a b"@a.test')]


def test_messages_under_way_are_bounded() -> None:
    reader = Mails(SHIPPED, limit=2)
    lines = [postfix("192.0.2.7", f"AAAAA{n}").splitlines(keepends=True) for n in range(4)]
    assert not list(reader.look("".join(one[1] for one in lines).encode()))
    assert len(list(reader.look("".join(one[3] for one in lines).encode()))) == 2
    assert reader.forgotten == 2


def test_this_host_itself_is_no_client() -> None:
    assert mails(postfix("127.0.0.1")) == mails(postfix("::1")) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[mail]]\nname='a'\nfind='abcd'\nstep='whole'\nmatch='{syslog}x'", "got 0 of {addr}, want one"),
        ("[[mail]]\nname='a'\nfind='abcd'\nstep='queued'\nmatch='{syslog}x'", "got 0 of {id}, want one"),
        ("[[mail]]\nname='a'\nfind='abcd'\nstep='whole'\nmatch='.*{addr}'", "want {syslog} or {exim} first"),
        ("[[mail]]\nname='a'\nfind='abcd'\nstep='whole'\nmatch='{syslog}({addr}'", "not a regular expression"),
        ("[[mail]]\nname='a'\nfind='abcd'\nstep='other'\nmatch='{syslog}{addr}'", "step"),
        ("[[mial]]\nname='a'", 'unknown section (did you mean "mail"?)'),
        ("x = [", "not TOML"),
        ("mail = 3", "want tables: [[mail]]"),
    ],
)
def test_what_is_wrong_with_a_pattern_is_told(text: str, problem: str) -> None:
    problems: list[str] = []
    assert decode_mails(text, "f.toml", problems) == []
    assert any("f.toml" in one for one in problems) and problem.partition(" (did")[0] in problems[0]


# ---- the files ----


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, bz2.compress], ids=["plain", "gz", "xz", "bz2"])
def test_blocks_are_whole_lines_and_nothing_is_lost(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    lines = b"".join(b"%d %s\n" % (i, b"x" * (i % 200)) for i in range(30_000)) + b"no end"
    path = tmp_path / "log"
    path.write_bytes(pack(lines))
    log = LogFile(str(path))
    blocks = list(log)
    assert b"".join(blocks) == lines and not log.damage and len(blocks) > 2
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    if pack is not bytes:
        path.write_bytes(pack(lines)[:-20])
        log = LogFile(str(path))
        assert lines.startswith(b"".join(log)[:1000]) and log.damage


def test_a_line_without_end_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a\n" + b"x" * (5 * BLOCK_BYTES) + b"\nb\n")
    assert max(map(len, LogFile(str(path)))) <= 3 * BLOCK_BYTES
    assert b"".join(LogFile(str(path))).endswith(b"\nb\n")
    with pytest.raises(SpamCannibalError, match="No such file"):
        list(LogFile(str(tmp_path / "missing")))


def test_the_oldest_file_comes_first(tmp_path: Path) -> None:
    for age, name in enumerate(("mail.log", "mail.log.1", "mail.log.2.gz")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    names = [str(tmp_path / name) for name in ("mail.log", "mail.log.1", "mail.log.2.gz")]
    assert by_age([*names, names[0]]) == names[::-1]


# ---- the counts ----

ENTRIES = {
    "192.0.2.0/24": 0,
    "192.0.2.7": EXCLUDED,
    "192.0.0.0/16": SHADOW,
    "192.0.2.7/31": SHADOW,
    "203.0.113.5": SHADOW,
}
ADDRS = st.sampled_from([parse_addr(f"192.0.{a}.{b}") for a in (2, 3) for b in (6, 7, 9)] + [parse_addr("203.0.113.5")])


@given(st.lists(st.tuples(ADDRS, st.sampled_from("xyz"), st.integers(1, 10**12)), max_size=40))
def test_the_counts_are_those_of_the_mails_one_by_one(said: list[tuple[bytes, str, int]]) -> None:
    tables = Tables()
    for text, flags in ENTRIES.items():
        key = parse_key("192.0.2.6/31" if text.endswith("/31") else text)
        tables.set(key, table_value(PROVEN_CODE, Mode.DEFAULT, flags))
    cost = Cost(tables)
    for mail in said:
        cost.accepted(*mail)
    net, wide, pair, lone = map(parse_key, ("192.0.2.0/24", "192.0.0.0/16", "192.0.2.6/31", "203.0.113.5"))
    texts = {addr: ".".join(map(str, addr)) for addr, *_ in said}
    refused = [mail for mail in said if texts[mail[0]] in ("192.0.2.6", "192.0.2.9")]
    shadow = Counter(
        {"192.0.2.6": pair, "192.0.2.9": wide, "203.0.113.5": lone}.get(texts[addr], wide)
        for addr, *_ in said
        if texts[addr] != "192.0.2.7"  # the exception is longer than what is on trial around it
    )
    assert (cost.mails, cost.refused_mails) == (len(said), len(refused))
    assert {key: toll.mails for key, toll in cost.refused.items()} == ({net: len(refused)} if refused else {})
    assert {key: toll.mails for key, toll in cost.shadowed.items()} == dict(shadow)
    assert cost.refused_clients == {addr for addr, *_ in refused} and cost.clients == {addr for addr, *_ in said}
    assert sum(day.mails for day in cost.days.values()) == len(said)
    if refused:
        toll = cost.refused[net]
        assert toll.senders == {sender for _, sender, _ in refused}
        assert (toll.first_ms, toll.last_ms) == (min(r[2] for r in refused), max(r[2] for r in refused))


def test_what_is_kept_of_an_entry_is_bounded() -> None:
    tables = Tables()
    tables.set(parse_key("10.0.0.0/8"), table_value(PROVEN_CODE, Mode.DEFAULT, 0))
    cost = Cost(tables)
    for n in range(CLIENTS_OF_ENTRY + 50):
        cost.accepted((0x0A000000 + n).to_bytes(4, "big"), f"s{n}", 1 + n * 86_400_000)
    toll = cost.refused[parse_key("10.0.0.0/8")]
    assert (toll.mails, len(toll.clients), len(toll.senders)) == (
        CLIENTS_OF_ENTRY + 50,
        CLIENTS_OF_ENTRY,
        SENDERS_OF_ENTRY,
    )
    assert len(cost.days) == 3660


# ---- the command ----


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "never-list").write_text("198.51.100.0/24\n")
    for name in ("log-mails.toml", "log-signs.toml"):
        (tmp_path / name).write_text((CONF / name).read_text())
    (tmp_path / "c.toml").write_text(
        '[store]\npath = "store"\ncache_bytes = "1MiB"\n[guard]\nnever_list = "never-list"\n'
    )
    store = open_store(tmp_path / "store")
    store.list([NewListing(parse_key("192.0.2.0/24"), text="x", source="admin:joe")], 1000.0)
    store.list([NewListing(parse_key("203.0.113.0/24"), source="import:drop", flags=SHADOW)], 2000.0)
    store.close()
    return tmp_path


def run(site: Path, *args: object) -> Any:
    result = CliRunner().invoke(main.cli, ["-c", str(site / "c.toml"), *map(str, args)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def logs(site: Path) -> list[Path]:
    """A month of logs in three files, rotated in the middle of a message; Exim's beside them."""
    whole = [postfix(ip, f"ABCDE{n}", f"s{n}@a.test", f"2026-11-0{n}T10:00:00+00:00") for n, ip in enumerate(
        ("192.0.2.7", "192.0.2.8", "203.0.113.9", "198.18.0.1", "192.0.2.7"), 1)]  # fmt: skip
    pregreet = (
        "2026-11-05T11:00:00+00:00 mx postfix/postscreen[8]: PREGREET 9 after 0 from [203.0.113.77]:4312: EHLO x\n"
    )
    text = "".join(whole) + pregreet
    cut = text.index("cleanup", len(text) // 2)
    cut = text.rindex("\n", 0, cut) + 1
    old, new, exim = site / "mail.log.1.gz", site / "mail.log", site / "mainlog"
    old.write_bytes(gzip.compress(text[:cut].encode()))
    new.write_text(text[cut:])
    exim.write_text(
        EXIM.format(d=1, sender="e@a.test", ip="192.0.2.50", port=25)
        + EXIM.format(d=2, sender="e@a.test", ip="192.0.2.50", port=587)
    )
    for age, path in enumerate((new, old, exim)):
        os.utime(path, (10**9 - age, 10**9 - age))
    return [new, old, exim]


def test_the_cost_of_a_policy_is_told_by_entry_and_source(site: Path) -> None:
    said = json.loads(run(site, "replay", "--lists", *logs(site), "--json").stdout)
    assert (said["mails"], said["clients"], said["refused_mails"], said["refused_clients"]) == (6, 5, 4, 3)
    assert (said["refused_senders"], said["shadow_mails"], said["rejects"]) == (4, 1, 1)
    assert (said["from"], said["to"][:10]) == ("2026-11-01T10:00:00Z", "2026-11-21")
    assert [
        (row["entry"], row["listed_by"], row["shadow"], row["mails"], row["rejects"]) for row in said["entries"]
    ] == [
        ("192.0.2.0/24", "admin:joe", False, 4, None),
        ("203.0.113.0/24", "import:drop", True, 1, 1),
    ]
    assert said["entries"][0]["some_senders"] == ["e@a.test", "s1@a.test", "s2@a.test", "s5@a.test"]
    assert [row["entries"] for row in said["sources"]] == [1, 1]
    assert sum(day["refused"] for day in said["days"]) == 4
    assert said["kept"] is False and said["read"]["damage"] == []
    text = run(site, "replay", "--lists", *logs(site), "--picture", site / "a.svg")
    assert "would be refused 4 mails (66.6667%) of 3 clients" in text.stdout and text.exit_code == 0
    assert "<svg" in (site / "a.svg").read_text()


def test_an_untried_list_can_be_priced_from_its_file(site: Path) -> None:
    (site / "drop.txt").write_text("198.18.0.0/15\n")
    said = json.loads(run(site, "replay", "--lists", *logs(site), "--listings", site / "drop.txt", "--json").stdout)
    assert [(row["entry"], row["mails"]) for row in said["entries"]] == [("198.18.0.0/15", 1)]
    assert run(site, "replay", "--lists", site / "mainlog", "--keep", "--listings", site / "drop.txt").exit_code == 2


def test_feeding_the_same_logs_twice_counts_them_once(site: Path) -> None:
    for _ in range(2):
        assert json.loads(run(site, "replay", "--lists", *logs(site), "--keep", "--json").stdout)["kept"]
    store = open_store(site / "store")
    found, fed = trial(store, parse_key("203.0.113.0/24")), last_feed(store)
    assert fed is not None
    assert (found.accepted, found.rejected, fed.mails) == (1, 1, 6)
    store.close()
    run(site, "replay", "--lists", site / "mainlog", "--keep")
    store = open_store(site / "store")
    found = trial(store, parse_key("203.0.113.0/24"))
    assert (found.accepted, found.rejected) == (1, 0) and getattr(last_feed(store), "mails", 0) == 1
    store.close()


def test_logs_without_accepted_mail_are_not_taken_for_a_policy_without_cost(site: Path) -> None:
    (site / "foreign").write_bytes(bytes(range(256)) * 8)
    assert "NO ACCEPTED MAIL" in run(site, "replay", "--lists", site / "foreign").stdout
    assert "NO ACCEPTED MAIL" not in run(site, "replay", "--lists", *logs(site), "--keep").stdout
    result = run(site, "replay", "--lists", site / "foreign", "--keep", "--json")
    assert (result.exit_code, json.loads(result.stdout)["kept"]) == (1, False)
    assert "no accepted mail was found; what was noted before stays" in result.stderr
    store = open_store(site / "store")
    fed = last_feed(store)
    assert fed is not None and fed.mails == 6
    store.close()


def test_damage_is_told_with_exit_4_and_nothing_is_kept(site: Path) -> None:
    files = logs(site)
    files[1].write_bytes(files[1].read_bytes()[:-12])
    result = run(site, "replay", "--lists", *files, "--keep")
    assert result.exit_code == 4 and "DAMAGED" in result.stdout and "noted" not in result.stdout
    store = open_store(site / "store")
    assert last_feed(store) is None
    store.close()
    (site / "log-mails.toml").write_text("[[mial]]")
    with pytest.raises(ConfigError, match="mial"):
        run(site, "replay", "--lists", *files)


def test_outside_text_can_t_reach_the_terminal_raw(site: Path) -> None:
    (site / "evil.log").write_text(postfix("192.0.2.7", sender="\x1b[2Jx"))
    out = run(site, "replay", "--lists", site / "evil.log").stdout
    assert "\x1b" not in out and re.search(r"would be refused 1 mails", out)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_no_log_breaks_the_reading(blocks: Sequence[bytes]) -> None:
    reader = Mails(SHIPPED)
    for block in blocks:
        for line in (b"%b", b" <= %b", b": client=%b", b"(queue active)%b"):
            list(reader.look(line.replace(b"%b", block)))
