"""`spamcannibal explain`: what it says is what the packet path's core decides and what the DNS path answers."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import around, parse_addr, parse_key
from spamcannibal.colours import COLOURS
from spamcannibal.commands import main
from spamcannibal.explain import explain
from spamcannibal.guard import is_forbidden
from spamcannibal.record import EXCLUDED, PUBLISHED, SHADOW, Cause, Mode
from spamcannibal.store.stores import Hearsay, NewListing
from spamcannibal.store.timeline import with_history
from spamcannibal.tables import Tables
from storekit import open_store

LISTED = [
    ("192.0.2.0/24", PUBLISHED, Mode.DEFAULT, "127.0.0.2"),
    ("192.0.2.1", PUBLISHED | EXCLUDED, Mode.DEFAULT, "127.0.0.1"),
    ("192.0.2.2", PUBLISHED | SHADOW, Mode.DEFAULT, "127.0.0.4"),
    ("192.0.2.3", PUBLISHED, Mode.DROP, "127.0.0.2"),
    ("192.0.2.4", PUBLISHED, Mode.OBSERVE, "127.0.0.2"),
    ("203.0.113.0/24", 0, Mode.DEFAULT, "127.0.0.5"),
    ("203.0.113.5", PUBLISHED, Mode.DEFAULT, "127.0.0.2"),
    ("2001:db8:1::/48", PUBLISHED, Mode.DEFAULT, "127.0.0.2"),
    ("2001:db8:1:2::/64", PUBLISHED | EXCLUDED, Mode.DEFAULT, "127.0.0.3"),
    ("203.0.115.2", PUBLISHED | SHADOW, Mode.DEFAULT, "127.0.0.4"),
]
ASKED = [
    "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.77", "192.0.3.1", "203.0.113.4", "203.0.113.5",
    "2001:db8:1::5", "2001:db8:1:2::5", "2001:db8:2::5", "203.0.115.2", "127.0.0.2", "127.0.0.1",
]  # fmt: skip


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "never-list").write_text("@special\n198.51.100.0/24\n")
    path = tmp_path / "spamcannibal.toml"
    path.write_text(
        f'[store]\npath = "{tmp_path}/store"\ncache_bytes = "1MiB"\n[tarpit]\nmode = "persist"\n'
        '[[dnsbl.zone]]\nname = "bl.example.org"\ncolours = ["white", "brown", "black"]\n'
        '[[dnsbl.zone]]\nname = "all.example.org"\npromiscuous = true\n'
        '[[dnsbl.zone]]\nname = "gone.example.org"\nsunset = true\n'
    )
    return path


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def run(settings):
    def call(*args):
        result = CliRunner().invoke(main.cli, ["-c", str(settings), *args])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def fill(store, now=1000.0):
    for text, flags, mode, code in LISTED:
        contrib = None if flags else Hearsay((Cause("zen.example", bytes((127, 0, 0, 4)), text="told"),))
        key = parse_key(text)
        store.list([NewListing(key, parse_addr(code), f"w {text}", "robot:F", mode, 0, None, contrib, flags)], now)


def test_dns_answers_are_those_of_the_server(run, store):
    fill(store)
    said = json.loads(run("explain", *ASKED, "--json").stdout)
    asked = json.loads(run("dnsbl", "query", "--store", *ASKED, "--json").stdout)
    zones = {row["zone"] for row in asked}
    assert len(zones) == 6
    server = {(row["address"], row["zone"]): row["code"] for row in asked}
    ours = {(one["address"], row["zone"]): row["code"] for one in said for row in one["dns"]}
    assert ours == server
    assert {code for code in ours.values() if code} >= {"127.0.0.1", "127.0.0.2", "127.0.0.4", "127.0.0.5"}


@pytest.mark.parametrize(
    ("address", "decision", "mode"),
    [
        ("192.0.2.77", "refused", "persist"),
        ("192.0.2.1", "passes", "persist"),
        ("192.0.2.2", "refused", "persist"),  # a shadow hides nothing
        ("203.0.115.2", "passes", "persist"),
        ("192.0.2.3", "refused", "drop"),
        ("192.0.2.4", "observed", "observe"),
        ("203.0.113.4", "refused", "persist"),
        ("192.0.3.1", "passes", None),
        ("2001:db8:1::9", "refused", "persist"),
        ("2001:db8:1:2::9", "passes", "persist"),
    ],
)
def test_the_decision_is_that_of_the_longest_entry(run, store, address, decision, mode):
    fill(store)
    result = run("explain", address, "--json")
    (said,) = json.loads(result.stdout)
    assert (said["decision"], said["mode"]) == (decision, mode)
    assert result.exit_code == (1 if decision == "refused" else 0)


def test_the_decision_is_the_core_s(store):
    fill(store)
    tables = Tables()
    tables.load(store.states(None, 1000))
    for text in ASKED:
        account = explain(store, {}, parse_addr(text))
        found = tables.listings.match(parse_addr(text)) or tables.shadows.match(parse_addr(text))
        assert (account.deciding.change.state if account.deciding else None) == (found[1] if found else None)


def test_everything_is_told_for_people_too(run, store):
    fill(store)
    text = run("explain", "203.0.113.5").stdout
    for part in (
        "is refused (persist), by 203.0.113.5",
        "listed by   203.0.113.0/24 127.0.0.5 since 1970-01-01T00:16:40Z #6",
        "told by   zen.example: 127.0.0.4 told",
        "evidence  1970-01-01T00:16:40Z robot:F: w 203.0.113.5",
        "bl.example.org: 127.0.0.2 by 203.0.113.5",
        "gone.example.org: not listed",
        "#7 1970-01-01T00:16:40Z list 203.0.113.5 by robot:F",
    ):
        assert part in text, text
    assert "never-list" in run("explain", "198.51.100.1").stdout
    assert "would list  nothing, while the never-list has it" in run("explain", "198.51.100.1").stdout
    assert "an exception (excluded)" in run("explain", "192.0.2.1").stdout
    assert "only counted (shadow)" in run("explain", "203.0.115.2").stdout


def test_outside_text_can_t_reach_the_terminal_raw(run, store):
    store.list([NewListing(parse_key("192.0.2.7"), text="\x1b[2J\nx", evidence=b"\x1b]0;x\x07\nSubject: y")], 1.0)
    out = run("explain", "192.0.2.7").stdout
    assert "\x1b" not in out and "\x07" not in out


def test_the_past_is_told_as_it_was(run, store):
    key = parse_key("192.0.2.7")
    store.list([NewListing(key, text="first")], 1000.0)
    store.unlist([key], "web:removal", "owner mended it", 2000.0)
    store.list([NewListing(parse_key("192.0.2.0/24"), text="net")], 3000.0)
    store.unlist([parse_key("192.0.2.0/24")], "expiry", "expired", 4000.0)

    def matches(*args):
        (said,) = json.loads(run("explain", "192.0.2.7", "--json", *args).stdout)
        return [match["key"] for match in said["matches"]]

    assert matches() == []
    assert matches("--at", "1970-01-01T00:16:40Z") == ["192.0.2.7"]
    assert matches("--at", "#2") == []
    assert matches("--at", "#3") == ["192.0.2.0/24"]
    assert "was refused (persist), by 192.0.2.7" in run("explain", "192.0.2.7", "--at", "#1").stdout
    assert "it was until 1970-01-01T01:06:40Z (expired)" in run("explain", "192.0.2.7").stdout


def test_one_that_is_not_listed_is_told_what_would_list_it(run, store, settings):
    settings.write_text(
        settings.read_text()
        + '[remote]\nlists = ["zen.example"]\n[[robot.submitter]]\nname = "a"\nfingerprint = "'
        + "A" * 40
        + '"\n[[gather.reporter]]\nname = "mx1"\naddresses = ["192.0.2.25"]\n'
    )
    store.archive([(parse_addr("192.0.2.9"), 3, 5000, 6000)])
    text = run("explain", "192.0.2.9").stdout
    assert "3 times, first 1970-01-01T00:00:05Z, last 1970-01-01T00:00:06Z" in text
    assert "blcheck (is due), if of 1 remote lists those that have it weigh 1 or more" in text
    assert "a signed report to the robot by one of 1 submitters" in text
    assert "reports of mail servers that weigh 2 within 3600 s" in text


def test_every_colour_zone_shows_its_colour_alone(run, store):
    for number, colour in enumerate(COLOURS.values()):
        store.list([NewListing(parse_key(f"192.0.2.{number}"), colour.code, flags=colour.flags)], 1.0)
    said = json.loads(run("explain", *(f"192.0.2.{n}" for n in range(len(COLOURS))), "--json").stdout)
    white = [next(row["code"] for row in one["dns"] if row["zone"] == "white.bl.example.org") for one in said]
    assert [bool(code) for code in white] == [name == "white" for name in COLOURS]


def test_a_prefix_is_told_by_what_covers_all_of_it(run, store):
    fill(store)
    account = explain(store, {}, parse_key("203.0.113.0/25"))
    assert [match.key for match in account.matches] == [parse_key("203.0.113.0/24")]
    assert [change.key for change in account.history] == [parse_key("203.0.113.0/24")]
    assert not explain(store, {}, parse_key("203.0.112.0/23")).matches
    assert run("explain", "203.0.113.0/25").stdout.startswith("203.0.113.0/25 is ")


def test_the_keys_with_history_are_those_that_have_one(store):
    keys = sorted({prefix for text, *_ in LISTED for prefix in around(parse_key(text))})
    listed = {key for number, key in enumerate(keys) if number % 7 in (0, 1, 4)}
    store.list([NewListing(key) for key in listed if not is_forbidden(store.guard, key)], 1.0)
    known = {change.key for change in store.read(0, 1000)}

    @given(st.lists(st.sampled_from(keys), max_size=40))
    def check(asked):
        assert sorted(with_history(store, asked)) == sorted(known & set(asked))

    assert len(known) > 20
    check()
