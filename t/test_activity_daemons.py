"""What the daemons note for the activity report: nothing is lost or told twice, at any pace of writing."""

import json
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.activity.figures import Gauge, Hold, add_figures, add_lists, rank
from spamcannibal.activity.holds import Holds
from spamcannibal.activity.now import read_now
from spamcannibal.dnsbl import diary as diaries
from spamcannibal.dnsbl.diary import Diary
from spamcannibal.dnsbl.metrics import Told
from spamcannibal.dnsbl.tellings import named_counts as dns_counts
from spamcannibal.errors import WireError
from spamcannibal.record import EXCLUDED, PROVEN_CODE, SHADOW, Mode, table_value
from spamcannibal.store.activity import Activity
from spamcannibal.store.catchup import SPOOL_FILE, catch_up
from spamcannibal.tarpit.ledger import KEPT, Ledger, holds_packets, named_counts
from storekit import open_store

A, B, C = b"\x0a\0\0\1", b"\x0a\0\0\2", bytes(15) + b"\x01"
MS = 1_800_000_000_000

steps = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.booleans()),
    max_size=12,
)


@given(steps)
def test_what_the_ledger_writes_adds_up_to_the_counters_whenever_it_is_written(steps):
    counters = {"accepted": 7, "dropped": 9, "events_trap": 4, "events_observed": 1, "bytes_in": 5, "held": 2}
    first = dict(counters)
    ledger = Ledger(counters, Holds(1000, 10), MS)
    entries, packets = [], 0
    for turn, (passed, held, dropped, is_written) in enumerate(steps):
        counters = counters | {
            "accepted": counters["accepted"] + passed,
            "dropped": counters["dropped"] + held + dropped,
            "events_trap": counters["events_trap"] + held,
        }
        ledger.note(
            [(A, held, MS + turn, MS + turn)] if held else [], [(MS, "TRAP", "stutter", A, 9, B, 25)], {A}.__contains__
        )
        packets += held
        ledger.sample(counters, MS + turn)
        if is_written:
            entries.append(ledger.entry())
            ledger.settle(MS / 1000)
    entries.append(ledger.entry())
    total = add_figures(entry.figures for entry in entries)
    lists = add_lists(entry.lists for entry in entries)
    wanted = named_counts({name: counters[name] - first[name] for name in counters})
    assert {name: total.counts.get(name, 0) for name in wanted} == wanted
    assert total.counts.get("sources.new", 0) == (packets > 0)
    assert total.gauges.get("connections", Gauge()).samples == len(steps)
    assert total.gauges.get("connections", Gauge(most=2)).most == 2
    if packets:
        assert lists.ranks["networks"].rows == {"10.0.0.0/24": packets}
        assert [(hold.addr, hold.packets) for hold in lists.holds] == [(A, packets)]
    if steps:
        assert lists.ranks["ports"].rows == {"25": len(steps)}


def test_a_packet_has_one_verdict():
    grown = {"packets": 100, "accepted": 60, "dropped": 40, "events_trap": 5, "events_probe": 20, "events_dropped": 10}
    counts = named_counts({**grown, "events_stray": 5, "events_observed": 15, "unseen": 3})
    assert counts == {
        "packets.held": 25,
        "packets.dropped": 15,
        "packets.observed": 15,
        "packets.passed": 45,
        "packets.unseen": 3,
    }


def test_only_who_is_not_held_any_more_is_taken_off_what_is_kept():
    before = [Hold(A, MS - 900, MS - 500, 3), Hold(B, MS - 90_000, MS - 80_000, 3)]
    ledger = Ledger({}, Holds(1000, 10, before), MS)
    ledger.note([(A, 1, MS, MS), (C, 2, MS, MS + 5)], [], lambda addr: True)
    ledger.sample({}, MS + 100)
    held, dropped, gone = ledger.holdings()
    assert held == [Hold(A, MS - 900, MS, 4), Hold(C, MS, MS + 5, 2)]
    assert (list(dropped), list(gone)) == ([B], [before[1]])
    assert ledger.entry().figures.counts == {"sources.new": 1, "sources.gone": 1}
    assert ledger.now(MS).holds == held
    ledger.settle(MS / 1000)
    assert ledger.holdings()[1:] == ([], [])
    assert KEPT == 10_000


@pytest.mark.parametrize(
    ("value", "mode", "is_held"),
    [
        (table_value(PROVEN_CODE, Mode.DEFAULT, 0), "stutter", True),
        (table_value(PROVEN_CODE, Mode.DEFAULT, 0), "observe", False),
        (table_value(PROVEN_CODE, Mode.THROTTLE, 0), "observe", True),
        (table_value(PROVEN_CODE, Mode.DROP, 0), "persist", False),
        (table_value(PROVEN_CODE, Mode.STUTTER, EXCLUDED), "stutter", False),
        (table_value(PROVEN_CODE, Mode.STUTTER, SHADOW), "stutter", False),
        (0, "stutter", False),
    ],
)
def test_held_is_who_gets_an_answer_that_holds(value, mode, is_held):
    assert holds_packets(value, mode) is is_held


def test_dns_counts_have_every_reply_and_silence_once():
    told = {Told("udp", "bl.example", "A", "NOERROR"): 5, Told("tcp", "", "", "REFUSED"): 2}
    counts, zones = dns_counts(
        told, {"limited": 1, "udp_silent": 2, "slipped": 9}, {"refused": 4, "silent": 1, "limited": 3}
    )
    assert counts == {
        "dns.NOERROR": 5,
        "dns.REFUSED": 6,
        "dns.type.A": 5,
        "dns.type.none": 2,
        "dns.type.other": 4,
        "dns.limited": 4,
        "dns.silent": 3,
    }
    assert zones == {"bl.example": 5}


class Log:
    def __init__(self):
        self.lines = []

    def emit(self, verb, /, **fields):
        self.lines.append((verb, fields))


def test_the_diary_of_the_dns_server_reaches_the_store(tmp_path, monkeypatch):
    store = open_store(tmp_path / "store")
    counted = [{"dns.NOERROR": 5}, {"bl.example": 5}]
    log = Log()
    clock = [MS / 1000]
    monkeypatch.setattr(diaries.time, "time", lambda: clock[0])
    diary = Diary(store.env.path, lambda: (dict(counted[0]), dict(counted[1])), log)
    diary._try(diary._turn)
    clock[0] += 60
    diary._try(diary._turn)
    counted[0]["dns.NOERROR"] = 7
    clock[0] -= 3600  # set back: the line's number goes on
    diary._try(diary._note)
    other = Diary(store.env.path, lambda: ({"dns.NXDOMAIN": 1}, {}), log)  # the next process
    other._try(other._note)
    activity = Activity(store.env)
    catch_up(store, activity, MS / 1000 + 99)
    days = (0, 1 << 40)
    assert add_figures(value for _, value in activity.figures(3, *days)).counts == {
        "dns.NOERROR": 7,
        "dns.NXDOMAIN": 1,
        "dns.minutes": 3,
    }
    assert add_lists(value for _, value in activity.lists(3, *days)).ranks == {"zones": rank({"bl.example": 5})}
    told = read_now((store.env.path / "dnsbl.now").read_bytes())
    assert told.counts == {"dns.NOERROR": 5}
    assert stat.S_IMODE((store.env.path / SPOOL_FILE).stat().st_mode) & 0o007 == 0
    assert log.lines == []
    store.close()


def test_the_spool_has_a_bound_and_keeps_the_newest(tmp_path, monkeypatch):
    monkeypatch.setattr(diaries, "SPOOL_BYTES", 2000)
    for number in range(200):
        diaries._append(tmp_path / "spool", json.dumps({"at": number + 1, "start": 0}).encode() + b"\n")
        assert (tmp_path / "spool").stat().st_size <= 2000
    assert diaries._last(tmp_path / "spool") == 200
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]


def test_a_diary_that_can_not_write_says_so_once(tmp_path):
    log = Log()
    (tmp_path / "dnsbl.now").mkdir()
    diary = Diary(tmp_path, lambda: ({}, {}), log)
    for _ in range(3):
        diary._try(diary._turn)
    assert [verb for verb, _ in log.lines] == ["TROUBLE"]
    (tmp_path / "dnsbl.now").rmdir()
    diary.start()
    diary.close()
    assert len(log.lines) == 1


def test_what_no_daemon_wrote_is_told_as_such():
    with pytest.raises(WireError):
        read_now(b"{}")
