"""Listings on trial: they count, hide nothing, give way to listings for good, are promoted when they prove good."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.breaker import Breaker, Caps
from spamcannibal.colours import COLOURS
from spamcannibal.commands import main
from spamcannibal.jobs.blcheck import BlCheck, Plan
from spamcannibal.jobs.rules import Answer, Rules, early, late
from spamcannibal.record import EXCLUDED, HEARSAY_CODE, PUBLISHED, SHADOW, Cause
from spamcannibal.remote.lists import RemoteList
from spamcannibal.remote.verdict import Outcome, Verdict
from spamcannibal.store import trials
from spamcannibal.store.batch import Amendment
from spamcannibal.store.check import check
from spamcannibal.store.dump import dump
from spamcannibal.store.examine import Settlement, known, settle
from spamcannibal.store.load import load
from spamcannibal.store.stores import Hearsay, NewListing
from spamcannibal.store.trial_rows import TRIAL, Feed, Trial, pack_trial, problem, sighted, unpack_trial
from spamcannibal.trial import Measure, Seen, Terms, judge, measure, shortfalls, wilson
from storekit import check_whole as _check_whole
from storekit import open_store as _open_store

open_store: Callable[..., Any] = _open_store
check_whole: Callable[..., Any] = _check_whole

HOST, OTHER = parse_key("192.0.2.7"), parse_key("192.0.2.8")
NET, WIDE = parse_key("192.0.2.0/24"), parse_key("192.0.2.0/23")
HEARD = Hearsay((Cause("drop", HEARSAY_CODE),))


def shadow(key: bytes, source: str = "import:drop", **more: Any) -> NewListing:
    return NewListing(key, HEARSAY_CODE, "x", source, contrib=HEARD, flags=SHADOW, **more)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    opened = open_store(tmp_path / "store")
    yield opened
    assert list(check(opened)) == []
    check_whole(opened)
    opened.close()


class _Everything:
    def find(self, addr: bytes) -> str | None:
        return "0.0.0.0/0"


EVERYTHING = _Everything()


# ---- what the daemon's sightings do ----


def test_a_sighting_counts_for_the_trial_and_goes_on_as_if_it_were_not_there(store: Any) -> None:
    store.list([shadow(HOST), shadow(NET, "admin:joe")], 1.0)
    store.contacts([(HOST, 3, 5000, 6000)], [(HOST, 1, 7000, 8000), (OTHER, 2, 7000, 7000)])
    assert trials.trial(store, HOST) == Trial(4, 5000, 8000)
    assert trials.trial(store, NET) == Trial(6, 5000, 8000)  # each would have refused
    assert (store.contact(HOST).count, store.contact(OTHER).count) == (4, 2)  # blcheck will look at them
    assert store.get_key(HOST).contact_ms == 8000


def test_behind_a_trial_the_listing_around_it_is_touched_and_an_exception_ends_the_counting(store: Any) -> None:
    store.list([shadow(HOST), NewListing(NET, text="net"), shadow(WIDE)], 1.0)
    store.list([NewListing(OTHER, text="ours", flags=EXCLUDED)], 1.0)
    store.contacts([(HOST, 1, 5000, 5000)], [(OTHER, 1, 6000, 6000)])
    assert trials.trial(store, HOST).count == 1 and store.get_key(NET).contact_ms == 5000
    assert trials.trial(store, WIDE).count == 0 and store.contact(HOST) is None and store.contact(OTHER) is None


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 99), st.integers(0, 99)), max_size=8))
def test_sightings_add_up(seen: list[tuple[int, int, int]]) -> None:
    trial: Trial | None = None
    for count, a, b in seen:
        trial = sighted(trial, count, min(a, b), max(a, b))
        assert unpack_trial(pack_trial(trial)) == trial
    if trial is not None:
        wanted = (sum(s[0] for s in seen), min(min(s[1:]) for s in seen), max(max(s[1:]) for s in seen))
        assert (trial.count, trial.first_ms, trial.last_ms) == wanted


# ---- what is listed for good takes its place ----


def test_hearsay_takes_the_place_of_a_proven_trial_and_confirms_it(store: Any) -> None:
    store.list([NewListing(HOST, text="ours", source="admin:joe", flags=PUBLISHED | SHADOW)], 1.0)
    store.archive([(HOST, 1, 1, 1)])
    assert not known(store, [HOST], [HOST])[0].is_listed  # blcheck examines it
    heard = NewListing(HOST, HEARSAY_CODE, "told", "blcheck:zen.example", contrib=HEARD)
    settle(store, Settlement([heard], done=[HOST]), 2.0)
    assert (store.get_key(HOST).flags, store.contact(HOST), store.evidence(HOST)) == (0, None, [])
    assert store.contrib(HOST) is not None and trials.confirmed(store) == {"admin:joe": 1}
    (change,) = [change for change in store.history(HOST) if change.source.startswith("blcheck")]
    assert change.action.name == "AMEND"


@pytest.mark.parametrize(("source", "count"), [("robot:F", 1), ("import:drop", 0), ("admin:joe", 0), ("promote:x", 0)])
def test_who_confirms_a_trial(store: Any, source: str, count: int) -> None:
    store.list([shadow(HOST)], 1.0)
    store.list([NewListing(HOST, text="proof", source=source)], 2.0)
    assert trials.confirmed(store) == ({"import:drop": count} if count else {})


def test_a_trial_that_ends_leaves_nothing(store: Any) -> None:
    store.list([shadow(HOST)], 1.0)
    store.contacts([], [(HOST, 1, 5000, 5000)])
    assert trials.count_seen(store) == 1
    store.unlist([HOST], "admin:joe", "over", 2.0)
    assert trials.count_seen(store) == 0 and trials.trial(store, HOST) == Trial()


def test_what_a_feed_says_replaces_what_the_last_one_said(store: Any) -> None:
    store.list([shadow(HOST), shadow(OTHER)], 1.0)
    store.contacts([], [(HOST, 1, 5000, 5000)])
    trials.feed(store, Feed(10, 1, 2, 9), {HOST: (3, 1), parse_key("192.0.2.9"): (1, 1)})
    assert trials.trial(store, HOST) == Trial(1, 5000, 5000, 10, 3, 1)
    trials.feed(store, Feed(20, 1, 2, 9), {OTHER: (0, 2)})
    assert trials.trial(store, HOST) == Trial(1, 5000, 5000, 10, 3, 0)  # an accepted mail is not forgotten
    trials.feed(store, Feed(30, 1, 2, 9), {HOST: (0, 7), OTHER: (0, 2)})
    assert trials.trial(store, HOST) == Trial(1, 5000, 5000, 30, 3, 7)
    trials.feed(store, Feed(40, 1, 2, 9), {OTHER: (0, 2)})
    assert {each.key: each.trial.rejected for each in trials.tried(store)} == {HOST: 0, OTHER: 2}
    assert trials.count_seen(store) == 2


def test_another_list_that_stands_over_or_inside_is_told(store: Any) -> None:
    store.list([shadow(NET), shadow(parse_key("203.0.113.7")), shadow(parse_key("2001:db8::/32"))], 1.0)
    store.contacts([], [(parse_addr(text), 1, 1, 1) for text in ("192.0.2.1", "203.0.113.7", "2001:db8::1")])
    assert not any(each.is_listed for each in trials.tried(store))
    store.list([NewListing(HOST, text="inside", source="robot:F")], 1.0)
    store.list([NewListing(parse_key("203.0.112.0/20"), text="over", source="import:drop")], 1.0)  # its own word
    store.list([NewListing(parse_key("2001:db9::/64"), text="beside", source="robot:F")], 1.0)
    assert {each.key for each in trials.tried(store) if each.is_listed} == {NET}


def test_a_dump_carries_trials(store: Any, tmp_path: Path) -> None:
    store.list([shadow(HOST)], 1.0)
    store.contacts([], [(HOST, 1, 5000, 5000)])
    trials.feed(store, Feed(10, 1, 2, 9), {HOST: (3, 1)})
    lines = list(dump(store))
    other = open_store(tmp_path / "other")
    load(other, lines, "dump", 5.0)
    assert trials.trial(other, HOST) == trials.trial(store, HOST) and trials.last_feed(other) == Feed(10, 1, 2, 9)
    other.close()
    assert problem(TRIAL + HOST, pack_trial(Trial())) == "" and problem(b"\x09", b"") == "none of the three kinds"


# ---- the judgement ----


def test_an_accepted_mail_outweighs_everything() -> None:
    assert judge(Seen(1, 1, 99, True)) == "wrong"
    assert judge(Seen(1, 0, 1, False)) == judge(Seen(0, 0, 0, True)) == "right"
    assert judge(Seen(10**6, 0, 0, False)) == "unknown"


SEEN = st.builds(Seen, st.integers(0, 9), st.integers(0, 2), st.integers(0, 2), st.booleans())


@given(st.lists(SEEN, max_size=50), st.integers(0, 5))
def test_unknown_moves_nothing(entries: list[Seen], confirmed: int) -> None:
    found = measure(entries, confirmed)
    assert found.right + found.wrong + found.unknown == len(entries) + confirmed
    more = measure([*entries, Seen(9, 0, 0, False)], confirmed)
    assert (more.precision, more.assured) == (found.precision, found.assured) and more.judged <= found.judged


@given(st.integers(0, 300), st.integers(1, 300))
def test_the_assured_precision_lies_below_the_measured_and_grows_with_observations(good: int, count: int) -> None:
    good = min(good, count)
    assert 0 <= wilson(good, count) <= good / count + 1e-12
    assert wilson(good, count) <= wilson(good + 1, count + 1)
    assert wilson(good, count) <= wilson(2 * good, 2 * count) + 1e-12


def test_the_figures_of_the_docs() -> None:
    assert (round(wilson(20, 20), 2), round(wilson(100, 100), 3)) == (0.88, 0.974)
    assert wilson(51, 51) < 0.95 <= wilson(52, 52) and wilson(0, 0) == 0


@pytest.mark.parametrize(
    ("found", "age_s", "short"),
    [
        (Measure(right=60), 0.0, []),
        (Measure(right=60), None, ["no logs"]),
        (Measure(right=60), 8 * 86_400.0, ["logs fed end"]),
        (Measure(right=49), 0.0, ["49 observations", "assured precision"]),
        (Measure(right=60, wrong=1), 0.0, ["assured precision"]),
        (Measure(right=60, unknown=1000), 0.0, ["of what was seen is judged"]),
        (Measure(unknown=1000), 0.0, ["0 observations", "is judged", "assured precision"]),
    ],
)
def test_what_is_missing_is_told(found: Measure, age_s: float | None, short: list[str]) -> None:
    told = shortfalls(found, Terms(), age_s)
    assert len(told) == len(short) and all(part in line for part, line in zip(short, told, strict=True))


# ---- the commands ----


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "never-list").write_text("198.51.100.0/24\n203.0.113.66\n")
    (tmp_path / "c.toml").write_text(
        '[store]\npath = "store"\ncache_bytes = "1MiB"\n[guard]\nnever_list = "never-list"\n'
        "[shadow]\nobservations = 10\nprecision = 0.75\n"
    )
    return tmp_path


def run(site: Path, *args: object, stdin: str | None = None) -> Any:
    result = CliRunner().invoke(main.cli, ["-c", str(site / "c.toml"), *map(str, args)], input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def rows(site: Path, *args: object) -> Any:
    return json.loads(run(site, "list", *args, "--json").stdout)


def tried(site: Path, right: int, wrong: int, unknown: int = 0, source: str = "import:drop", net: int = 0) -> None:
    """Put entries on trial, seen at work, with logs that say what they are; one more was never seen."""
    keys = [bytes((203, 0, 113, net + n)) for n in range(right + wrong + unknown + 1)]
    store = open_store(site / "store")
    store.list([shadow(key, source) for key in keys], time.time())
    store.contacts([], [(key, 1, 1, 1) for key in keys[:-1]])
    now_ms = int(time.time() * 1000)
    says = dict.fromkeys(keys[:right], (0, 1)) | dict.fromkeys(keys[right : right + wrong], (1, 0))
    trials.feed(store, Feed(now_ms, 1, now_ms, 100), says)
    store.close()


def test_adding_to_the_trial_leaves_alone_what_is_listed_for_good(site: Path) -> None:
    run(site, "list", "add", "192.0.2.7", "--text", "real")
    done = {row["key"]: row["done"] for row in rows(site, "add", "192.0.2.7", "192.0.2.8", "--shadow", "--text", "try")}
    assert done == {"192.0.2.7": "left", "192.0.2.8": "listed"}
    (shown,) = rows(site, "show", "192.0.2.8")
    assert shown["flags"] == ["published", "shadow"] and shown["trial"]["packets"] == 0
    assert rows(site, "show", "192.0.2.7")[0]["flags"] == ["published"]
    assert "0 packets passed that it would refuse" in run(site, "explain", "192.0.2.8").stdout
    (said,) = json.loads(run(site, "explain", "192.0.2.8", "--json").stdout)
    assert said["decision"] == "passes"
    run(site, "list", "add", "192.0.2.8", "--text", "now for good")
    assert rows(site, "show", "192.0.2.8")[0]["flags"] == ["published"]


def test_an_import_on_trial_refreshes_what_was_promoted_and_spares_the_rest(site: Path) -> None:
    run(site, "list", "add", "192.0.2.7", "--text", "ours")
    feed = "192.0.2.7\n192.0.2.8\n192.0.2.9\n"
    run(site, "list", "import", "-", "--as", "drop", "--shadow", stdin=feed)
    store = open_store(site / "store")
    store.amend(HOST[:3] + b"\x08", Amendment(flags=0), "promote:joe (x)", time.time())
    store.close()
    again = json.loads(
        run(site, "list", "import", "-", "--as", "drop", "--shadow", "--expires", "3d", "--json", stdin=feed).stdout
    )
    assert (again[0]["changed"], again[0]["same"], again[0]["listed"]) == (2, 1, 0)
    found = {row["key"]: (row["flags"], row["expires"] is not None) for row in rows(site, "show")}
    assert found == {"192.0.2.7": (["published"], False), "192.0.2.8": ([], True), "192.0.2.9": (["shadow"], True)}


def test_a_source_that_proved_good_is_promoted_and_that_can_be_undone(site: Path) -> None:
    tried(site, right=20, wrong=1)
    (row,) = rows(site, "shadow")
    assert (row["source"], row["seen"], row["right"], row["wrong"], row["ready"]) == ("import:drop", 21, 20, 1, "yes")
    assert rows(site, "promote", "--dry-run")[0]["promoted"] == 21
    assert len(rows(site, "find", "--flag", "shadow")) == 22
    result = run(site, "list", "promote", "--json")
    (row,) = json.loads(result.stdout)
    assert (row["promoted"], row["left"], result.exit_code) == (21, 1, 0)  # with the one never seen, without the wrong
    assert [row["key"] for row in rows(site, "find", "--flag", "shadow")] == ["203.0.113.20"]
    (shown,) = rows(site, "show", "203.0.113.0")
    assert shown["source"].startswith("promote:") and "(20 of 21 right, 0.8" in shown["source"]
    assert run(site, "explain", "203.0.113.0").exit_code == 1
    run(site, "list", "undo", "--source", "promote:*", "--since", "1h")
    assert len(rows(site, "find", "--flag", "shadow")) == 22
    assert rows(site, "shadow")[0]["ready"] == "yes"  # measured as before
    assert rows(site, "promote", "--confirmed")[0]["promoted"] == 20


def test_what_is_not_good_enough_stays_on_trial_and_is_told_why(site: Path) -> None:
    result = run(site, "list", "promote")
    assert result.exit_code == 1
    tried(site, right=8, wrong=4)
    tried(site, right=0, wrong=0, unknown=30, source="import:other", net=100)
    result = run(site, "list", "promote", "--json")
    assert result.exit_code == 1 and all(row["promoted"] == 0 for row in json.loads(result.stdout))
    why = {row["source"]: row["why"] for row in json.loads(result.stdout)}
    assert "0 observations, want 10" in why["import:other"]
    # The second feed said nothing of the first source's entries: what was right is unknown now, what was wrong is not.
    assert "4 observations" in why["import:drop"]
    assert run(site, "list", "promote", "--precision", "1").exit_code == 2


def test_without_logs_nothing_is_promoted(site: Path) -> None:
    store = open_store(site / "store")
    keys = [bytes((203, 0, 113, n)) for n in range(20)]
    store.list([shadow(NET), *map(shadow, keys)], 1.0)
    store.list([NewListing(key, text="proof", source="robot:F") for key in keys], 2.0)
    store.close()
    (row,) = rows(site, "shadow")
    assert (row["right"], row["ready"]) == (20, "no") and "no logs" in row["why"]
    assert run(site, "list", "promote").exit_code == 1


def test_the_never_list_is_asked_and_a_colour_of_gather_is_no_trial(site: Path) -> None:
    tried(site, right=20, wrong=0, net=50)  # 203.0.113.66 is among them: listed by who had another never-list
    store = open_store(site / "store")
    brown = COLOURS["brown"]
    store.list([NewListing(HOST, brown.code, "x", "import:drop", flags=brown.flags)], 1.0)
    store.contacts([], [(HOST, 1, 1, 1)])
    store.close()
    result = run(site, "list", "promote", "--json")
    (row,) = json.loads(result.stdout)
    assert (row["promoted"], row["forbidden"]) == (20, 1) and "203.0.113.66" in result.stderr
    assert {one["key"] for one in rows(site, "find", "--flag", "shadow")} == {"203.0.113.66", "192.0.2.7"}


def test_each_entry_tells_how_it_fares(site: Path) -> None:
    tried(site, right=1, wrong=1, unknown=1)
    found = rows(site, "shadow", "--entries")
    assert [(row["key"], row["verdict"], row["packets"], row["accepted"], row["rejected"]) for row in found] == [
        ("203.0.113.0", "right", 1, 0, 1),
        ("203.0.113.1", "wrong", 1, 1, 0),
        ("203.0.113.2", "unknown", 1, 0, 0),
    ]
    assert rows(site, "shadow", "--source", "gather:*") == []
    assert json.loads(run(site, "status", "--json").stdout)["shadow"]["seen"] == 3
    assert "3 listings on trial seen at work" in run(site, "status").stdout


# ---- blcheck: rules and lists on trial ----


def test_a_list_on_trial_decides_nothing_that_others_decide() -> None:
    lists = {"a.example": RemoteList("a.example"), "b.example": RemoteList("b.example")}
    rules = Rules(lists=lists, trials=frozenset({"b.example"}))

    def judged(a: Outcome, b: Outcome) -> tuple[Answer, bool | None]:
        verdicts = [Verdict("a.example", a, weight=1.0), Verdict("b.example", b, weight=1.0)]
        found = late(rules, HOST, early(rules, HOST), verdicts)
        return found.answer, found.finding.is_trial if found.finding else None

    listed, clear, unknown = Outcome.LISTED, Outcome.CLEAR, Outcome.UNKNOWN
    assert judged(listed, clear) == judged(listed, listed) == judged(listed, unknown) == (Answer.LIST, False)
    assert judged(clear, listed) == (Answer.LIST, True)
    assert judged(unknown, listed)[0] is Answer.UNSURE
    assert judged(clear, unknown) == judged(clear, clear) == (Answer.PASS, None)


def test_a_rule_on_trial_hides_no_list_and_lists_on_trial_where_all_others_pass() -> None:
    rules = Rules(block=EVERYTHING, lists={"a.example": RemoteList("a.example")}, trials=frozenset({"block_list"}))
    before = early(rules, HOST)
    assert before.answer is Answer.PASS and before.finding is not None and before.finding.is_trial
    by_list = late(rules, HOST, before, [Verdict("a.example", Outcome.LISTED, weight=1.0)])
    assert by_list.finding is not None and by_list.finding.zone == "a.example" and not by_list.finding.is_trial
    alone = late(rules, HOST, before, [Verdict("a.example", Outcome.CLEAR)])
    assert alone.answer is Answer.LIST and alone.finding is not None and alone.finding.is_trial


def test_what_is_only_listed_on_trial_is_marked_so_and_not_asked_about_each_run(store: Any) -> None:
    rules = Rules(block=EVERYTHING, trials=frozenset({"block_list"}))
    for _ in range(2):
        store.contacts([], [(HOST, 1, 5000, 5000)])
        report = BlCheck(store, rules, None, Breaker(Caps()), Plan(clock=lambda: 100.0)).run()
    assert report.counts["fresh"] == 1 and store.get_key(HOST).flags == SHADOW
    assert len(store.history(HOST)) == 1 and trials.trial(store, HOST).count == 1


def test_a_rule_that_does_not_exist_can_t_be_on_trial(site: Path) -> None:
    text = (site / "c.toml").read_text()
    (site / "c.toml").write_text(text + '[jobs]\nshadow = ["contries"]\n')
    result = run(site, "config", "check")
    assert result.exit_code and "jobs.shadow: got contries, want block_list" in result.output
    (site / "c.toml").write_text(
        text + '[remote]\nlists = ["zen.example"]\n[jobs]\nshadow = ["zen.example", "countries"]\n'
    )
    assert "jobs.shadow" not in run(site, "config", "check").output
