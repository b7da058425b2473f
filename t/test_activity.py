"""The activity's figures: adding up loses nothing, in any order; holdings are told from first packet to last."""

import json
import os

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spamcannibal.activity.changes import count_changes
from spamcannibal.activity.figures import (
    DAY,
    HOLDS,
    HOUR,
    LENGTH_S,
    LIMIT,
    MINUTE,
    Entry,
    Figures,
    Gauge,
    Hold,
    Holdings,
    Lists,
    Ranking,
    add_figures,
    add_lists,
    add_rankings,
    longest,
    rank,
    start_of,
)
from spamcannibal.activity.holds import Holds
from spamcannibal.activity.spool import Line, pack_line, read_lines
from spamcannibal.store import activity_rows
from spamcannibal.store.activity import GONE_LIMIT, Activity, Keep
from spamcannibal.store.backup import backup
from spamcannibal.store.catchup import SPOOL_FILE, catch_up
from spamcannibal.store.check import check
from spamcannibal.store.dump import dump
from spamcannibal.store.load import load
from spamcannibal.store.restore import restore
from spamcannibal.store.stores import NewListing
from storekit import open_store

NOW = 1_800_000_000.0
A, B = b"\x0a\0\0\1", b"\x0a\0\0\2"

names = st.sampled_from(["packets.held", "dns.NOERROR", "list.list"])
numbers = st.integers(0, 1 << 40)
gauges = st.builds(Gauge, st.integers(0, 1000), st.integers(0, 100), st.integers(0, 1000))
figures = st.builds(Figures, st.dictionaries(names, numbers), st.dictionaries(st.sampled_from("ab"), gauges))
rankings = st.builds(Ranking, st.dictionaries(st.text(max_size=3), numbers, max_size=5), numbers)
holds = st.builds(Hold, st.sampled_from([A, B]), st.integers(0, 50), st.integers(50, 99), st.integers(0, 9))
lists = st.builds(Lists, st.dictionaries(names, rankings), st.lists(holds, max_size=6))


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


# Adding up.


@given(figures, figures, figures)
def test_figures_add_up_in_any_grouping_and_order(a, b, c):
    assert add_figures([add_figures([a, b]), c]) == add_figures([a, add_figures([b, c])])
    assert add_figures([a, b, c]) == add_figures([c, b, a])
    assert add_figures([a, Figures()]) == a


@given(lists, lists, lists)
def test_lists_below_their_limits_add_up_in_any_grouping(a, b, c):
    assert add_lists([add_lists([a, b]), c]) == add_lists([a, add_lists([b, c])]) == add_lists([c, a, b])


@given(st.lists(st.dictionaries(st.integers(0, 2000).map(str), numbers, max_size=LIMIT * 2), max_size=4))
@settings(max_examples=25)
def test_a_ranking_that_overflows_keeps_the_sum_and_tells_at_least(parts):
    truth: dict[str, int] = {}
    for part in parts:
        for key, count in part.items():
            truth[key] = truth.get(key, 0) + count
    ranking = add_rankings([Ranking(), *(rank(part) for part in parts)])
    assert ranking.total == sum(truth.values())
    assert len(ranking.rows) <= LIMIT
    assert all(count <= truth[key] for key, count in ranking.rows.items())
    assert list(ranking.rows.values()) == sorted(ranking.rows.values(), reverse=True)


holdings = st.builds(Hold, st.binary(min_size=4, max_size=4), st.just(0), numbers, st.just(1))


@given(st.lists(st.lists(holdings, max_size=HOLDS * 2), max_size=3))
@settings(max_examples=25)
def test_the_longest_holdings_are_the_same_however_they_were_added(parts):
    every = [hold for part in parts for hold in part]
    assert longest(hold for part in parts for hold in longest(part)) == longest(every)
    lengths = sorted({hold.addr: hold for hold in sorted(every)}.values(), key=lambda hold: -hold.length_ms)
    assert [hold.length_ms for hold in longest(every)] == [hold.length_ms for hold in lengths[:HOLDS]]


# Holdings.


def test_a_holding_ends_after_the_gap_and_the_next_one_is_another():
    table = Holds(1000, 10)
    table.note(A, 1, 0, 0)
    table.note(A, 2, 900, 1500)
    table.note_port(A, 25)
    table.end(2500)
    assert (len(table), table.gone(), table.begun) == (1, [], 1)
    table.note(A, 1, 2501, 2501)  # more than the gap after 1500
    assert table.gone() == [Hold(A, 0, 1500, 3, 25)]
    table.end(9999)
    assert table.gone()[1:] == [Hold(A, 2501, 2501, 1)]
    assert (len(table), table.begun) == (0, 2)


def test_the_table_of_holdings_has_a_limit_and_counts_what_it_sheds():
    table = Holds(1000, 3)
    for number in range(5):
        table.note(bytes((10, 0, 0, number)), 1, 0, number)
    assert (len(table), table.shed) == (3, 2)
    assert [hold.addr[3] for hold in table.longest(2)] == [2, 1]
    assert dict(table.fresh()) == {bytes((10, 0, 0, number)): 1 for number in range(3)}
    table.settle()
    assert (list(table.fresh()), table.shed, len(table)) == ([], 0, 3)


def test_holdings_go_on_over_a_restart():
    before = Holds(1000, 10)
    before.note(A, 5, 0, 800)
    after = Holds(1000, 10, before.longest(10))
    after.note(A, 1, 1500, 1600)
    assert after.longest(1) == [Hold(A, 0, 1600, 6)]
    assert dict(after.fresh()) == {A: 1}


# The database.


def entry(time_s, **counts):
    return Entry(time_s, Figures(counts), Lists({"ports": rank(counts)}))


@given(st.lists(st.tuples(st.integers(0, 86_399), st.integers(1, 9)), max_size=8))
@settings(max_examples=8, deadline=None)
def test_minutes_add_up_to_hours_and_hours_to_days(tmp_path_factory, when):
    store = open_store(tmp_path_factory.mktemp("s") / "store")
    day = start_of(DAY, NOW)
    try:
        activity = Activity(store.env)
        for offset, count in when:
            activity.add([entry(day + offset, held=count)], NOW + 86_400)
        wanted = sum(count for _, count in when)
        for unit in (MINUTE, HOUR, DAY):
            spans = activity.figures(unit, day, day + 86_400)
            assert add_figures(value for _, value in spans).counts.get("held", 0) == wanted
            assert [start for start, _ in spans] == sorted({start_of(unit, day + offset) for offset, _ in when})
        for unit in (HOUR, DAY):
            assert add_lists(value for _, value in activity.lists(unit, day, day + 86_400)).ranks.get(
                "ports", Ranking()
            ).total == wanted  # fmt: skip
        assert list(check(store)) == []
    finally:
        store.close()


def test_what_is_too_old_goes_and_what_is_ahead_counts_as_now(store):
    activity = Activity(store.env, Keep(1, 2, 3))
    activity.add([entry(NOW, a=1)], NOW)
    later = NOW + 1.5 * 86_400
    activity.add([entry(later + 1e9, a=1), entry(NOW, b=1)], later)
    whole = (0, 1 << 40)
    assert [start for start, _ in activity.figures(MINUTE, *whole)] == [start_of(MINUTE, later)]
    assert len(activity.figures(HOUR, *whole)) == 2
    assert len(activity.lists(HOUR, *whole)) == 2
    activity.add([], NOW + 9 * 86_400)
    assert [activity.figures(unit, *whole) for unit in LENGTH_S] == [[], [], []]
    assert activity.lists(HOUR, *whole) == activity.lists(DAY, *whole) == []


def test_held_and_gone_are_what_was_written_last(store, monkeypatch):
    monkeypatch.setattr("spamcannibal.store.activity.GONE_LIMIT", 3)
    activity = Activity(store.env)
    held = [Hold(A, 0, 10, 1), Hold(B, 0, 20, 2, 25)]
    activity.add([], NOW, Holdings(held))
    assert activity.held() == held[::-1]
    activity.add([], NOW, Holdings(dropped=[A, bytes(4)], gone=[Hold(A, 0, n, 1) for n in range(10, 15)]))
    assert activity.held() == held[1:]
    assert [hold.last_ms for hold in activity.gone(9)] == [14, 13, 12]
    assert activity.place("gone") == 3 < GONE_LIMIT
    assert list(check(store)) == []


def test_changes_are_counted_once_by_their_source_however_many_count(store):
    activity, other = Activity(store.env), Activity(store.env)
    store.list([NewListing(A, source="robot:x"), NewListing(B, source="<b>evil")], NOW)
    store.unlist([A], "admin:me", "sorry", NOW + 60)
    changes = store.read(0, 9)
    assert catch_up(store, activity, NOW + 99, limit=1) == 2
    assert not other.take_over("journal", (0, 3), count_changes(changes), NOW)
    assert catch_up(store, other, NOW + 99) == 0 == catch_up(store, activity, NOW + 99)
    day = activity.figures(DAY, 0, 1 << 40)[0][1]
    assert day.counts == {"list.list": 2, "list.unlist": 1}
    ranks = activity.lists(DAY, 0, 1 << 40)[0][1].ranks
    assert ranks["listed"].rows == {"<b>evil": 1, "robot:x": 1}
    assert ranks["unlisted"].rows == {"admin:me": 1}
    assert activity.place("journal") == store.last_seq()


def spool(store, *lines):
    with (store.env.path / SPOOL_FILE).open("ab") as stream:
        stream.writelines(pack_line(line) for line in lines)


def test_the_spool_is_taken_over_line_by_line_and_never_twice(store):
    activity, start, at = Activity(store.env), start_of(MINUTE, NOW), int(NOW * 1000)
    catch_up(store, activity, NOW)
    spool(store, Line(at, start, {"dns.NOERROR": 5}, {"zones": rank({"bl.example": 5})}))
    catch_up(store, activity, NOW)
    spool(store, Line(at + 1, start, {"dns.NOERROR": 2}), Line(at + 1, start, {"dns.NOERROR": 100}))
    with (store.env.path / SPOOL_FILE).open("ab") as stream:
        stream.write(b'{"at":99')  # cut short
    for _ in range(2):
        catch_up(store, activity, NOW)
    assert activity.figures(MINUTE, start, start + 60)[0][1].counts == {"dns.NOERROR": 7}
    assert activity.lists(DAY, 0, 1 << 40)[0][1].ranks == {"zones": rank({"bl.example": 5})}


def test_a_long_spool_is_read_whole_or_from_its_end(store):
    activity, at = Activity(store.env), int(NOW * 1000)
    spool(store, *(Line(at + n, start_of(MINUTE, NOW), {"dns.NOERROR": 1}) for n in range(3000)))
    catch_up(store, activity, NOW + 3)
    spool(store, Line(at + 5000, start_of(MINUTE, NOW), {"dns.NOERROR": 1}))
    catch_up(store, activity, NOW + 5)
    assert activity.figures(DAY, 0, 1 << 40)[0][1].counts == {"dns.NOERROR": 3001}


@given(st.lists(st.binary(max_size=60)))
def test_no_line_of_a_spool_raises(lines):
    assert [line.at for line in read_lines([*lines, pack_line(Line(7, 60, {"a": 1}))], 6)] == [7]


# Dumps, copies, stores of earlier releases.


def fill(store):
    held = [Hold(A, 0, 10, 1), Hold(bytes(16), 0, 20, 2, 25)]
    store.list([NewListing(A, source="robot:é")], NOW)
    activity = Activity(store.env)
    gauged = Entry(NOW, Figures({"a": 1}, {"sources": Gauge(1.5, 2, 1)}), Lists({}, held))
    activity.add([entry(NOW, b=3), gauged], NOW, Holdings(held, gone=held))
    catch_up(store, activity, NOW)


def rows(store):
    return store.env.read(lambda: store.env.db("activity").items())


def test_a_dump_brings_the_figures_back_and_what_it_counted_is_not_counted_again(store, tmp_path):
    fill(store)
    lines = list(dump(store))
    mine = [json.loads(line) for line in lines if b'"activity"' in line]
    assert len(mine) == len(rows(store)) > 8
    other = open_store(tmp_path / "other")
    Activity(other.env).add([entry(NOW, b=3)], NOW)  # a daemon that ran on it already
    load(other, iter(lines), "dump", NOW)
    assert rows(other) == rows(store)
    before = Activity(other.env).figures(DAY, 0, 1 << 40)
    catch_up(other, Activity(other.env), NOW)
    assert Activity(other.env).figures(DAY, 0, 1 << 40) == before
    assert list(check(other)) == []
    other.close()


@pytest.mark.parametrize(
    "line",
    [
        {"row": "0103" + "00" * 8, "value": [{"a": "x"}, {}]},
        {"row": "0104" + "00" * 8, "value": [{}, {}]},
        {"row": "0101" + "00" * 7 + "01", "value": [{}, {}]},
        {"row": "030a000001", "value": ["CgAAAg==", 1, 2, 3, 0]},
        {"row": "0599", "value": 1},
        {"row": "05" + b"journal".hex(), "value": -1},
        {"row": "05" + b"journal".hex(), "value": [1]},
        {"row": "06" + "00" * 8, "value": [{}, {}]},
    ],
)
def test_a_dump_with_a_wrong_row_is_refused(store, line):
    head, end = {"record": "head", "format": 2}, {"record": "end", "lines": 1}
    text = [json.dumps(each).encode() for each in (head, {"record": "activity", **line}, end)]
    with pytest.raises(Exception, match="dump:2: ") as caught:
        load(store, text, "dump", NOW)
    assert caught.type.__name__ == "WireError"


def test_check_names_rows_that_are_none(store):
    fill(store)
    wrong = {b"\x09x": b"", b"\x01\x01" + bytes(8): b"\x01\xff", b"\x03" + B: activity_rows.pack(Hold(A, 0, 0, 0))}
    for key, data in wrong.items():
        store.env.run(lambda txn, key=key, data=data: store.env.db("activity").put(key, data, txn))
    assert len(list(check(store))) == len(wrong)


@pytest.mark.parametrize("name", ["activity", "cabinet"])
def test_a_store_of_an_earlier_release_opens_and_its_backup_comes_back(tmp_path, name):
    old = open_store(tmp_path / "old")
    old.list([NewListing(A)], NOW)
    backup(old.env, tmp_path / "copy")
    old.close()
    for path in ("old", "copy"):
        (tmp_path / path / name).unlink()
    for region in (tmp_path / "old").glob("__db.*"):
        region.unlink()
    restore(tmp_path / "copy", tmp_path / "back")
    for path in ("old", "back"):
        store = open_store(tmp_path / path)
        assert (store.counts()["tarpit"], store.env.read(lambda store=store: store.env.db(name).items())) == (1, [])
        assert list(check(store)) == []
        store.close()


def test_who_may_only_read_finds_an_earlier_releases_store_without_figures(tmp_path):
    writer = open_store(tmp_path / "store")
    writer.list([NewListing(A)], NOW)
    pid = os.fork()
    if not pid:  # a process of its own: one process has one kind of handles
        code = 1
        try:
            (tmp_path / "store" / "activity").rename(tmp_path / "aside")
            reader = open_store(tmp_path / "store", readonly=True)
            activity = Activity(reader.env)
            found = activity.figures(DAY, 0, 1 << 40), activity.held(), activity.gone(9), activity.place("journal")
            code = 0 if found == ([], [], [], 0) and reader.counts()["tarpit"] == 1 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    (tmp_path / "aside").rename(tmp_path / "store" / "activity")
    writer.close()


def test_values_of_another_layout_are_refused():
    with pytest.raises(Exception, match="version"):
        activity_rows.unpack(Hold, b"\x02" + msgspec.msgpack.encode(Hold(A, 0, 0, 0)))
