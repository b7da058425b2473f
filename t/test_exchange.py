"""Dump, load, backup and check: what comes back is what was there, also under writers; damage is found and named."""

import json
import os
import signal
import threading
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from spamcannibal import layout, record
from spamcannibal.addr import parse_key
from spamcannibal.errors import StoreError, Unavailable, WireError
from spamcannibal.guard import parse_never_list
from spamcannibal.record import EXCLUDED, PUBLISHED, Cause, Checked, Mode
from spamcannibal.store.backup import backup
from spamcannibal.store.cabinet import Drawer
from spamcannibal.store.check import check
from spamcannibal.store.dump import dump
from spamcannibal.store.examine import Settlement, hits, settle
from spamcannibal.store.load import load
from spamcannibal.store.seen import Seen
from spamcannibal.store.stores import Amendment, Hearsay, NewListing, Store
from storekit import NEVER, check_whole, everything, listed, open_store

NOW = 1_700_000_000.0
KEYS = [parse_key(text) for text in ("1.2.3.4", "1.2.3.0/24", "5.6.7.8", "2001:db8:1::/64", "2001:db8:2::1")]
TREES = ("tarpit", "archive", "blcontrib", "evidence", "journal", "history", "expiry", "checked", "seen", "cabinet")


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def other(tmp_path):
    opened = open_store(tmp_path / "other")
    yield opened
    opened.close()


def fill(store):
    store.list([NewListing(KEYS[0], text="spam", source="robot:é", evidence=b"\xff\x00raw", flags=PUBLISHED)], NOW)
    store.list([NewListing(KEYS[1], mode=Mode.DROP, expiry_ms=5, text='quo"te\n')], NOW)
    heard = Hearsay((Cause("bl.example", b"\x7f\0\0\x09", KEYS[0], "é"), Cause("b2.example", b"\x7f\0\0\x02")))
    store.list([NewListing(key, contrib=heard, text="x") for key in KEYS[2:]], NOW)
    store.amend(KEYS[1], Amendment(flags=EXCLUDED), "admin:me", NOW)
    store.unlist([KEYS[0], KEYS[4]], "web:owner", "sorry", NOW + 1)
    store.list([NewListing(KEYS[0], text="again", evidence=b"mail")], NOW + 2)
    settle(store, Settlement(checked={KEYS[3]: Checked(7, 2), KEYS[2]: Checked(8)}, passed=2), NOW)
    store.transact(NOW, lambda batch: Seen(store.env).note(1_699_999_000, b"s" * 32, 0.0, batch.txn))
    Drawer(store.env, "user", record.Piece, 9).put("é", record.Piece(1, "x", b"\0"), NOW)
    Seen(store.env).note_complaint(b"c" * 32, 1_699_999_000_000, 0)
    store.contacts([(KEYS[0], 2, 10, 20)], [(b"\x09\x09\x09\x09", 3, 5, 7), (bytes(15) + b"\x07", 1, 1, 1)])


def trees(store):
    return {name: store.env.read(lambda name=name: store.env.db(name).items()) for name in TREES}


def test_what_is_dumped_and_loaded_is_the_same_in_every_store(store, other):
    fill(store)
    loaded = load(other, dump(store), "dump", NOW)
    assert trees(other) == trees(store)
    assert (other.counts(), hits(other)) == (store.counts(), hits(store))
    assert (loaded.listings, loaded.contacts, loaded.changes, loaded.refused) == (4, 2, 9, [])
    check_whole(other)
    assert list(check(other)) == []


def test_every_line_of_a_dump_is_json(store):
    fill(store)
    lines = [json.loads(line) for line in dump(store)]
    assert lines[0] == {"record": "head", "format": 2}
    assert lines[-1] == {"record": "end", "lines": len(lines) - 2}


def test_a_dump_taken_while_others_write_is_of_one_moment(store, other, monkeypatch):
    monkeypatch.setattr("spamcannibal.store.dump.PAGE_LIMIT", 3)
    keys = [bytes((1, 1, 1, i)) for i in range(40)]
    store.list([NewListing(key) for key in keys[:20]], NOW)
    lines, todo = [], iter(range(40))
    for line in dump(store):
        lines.append(line)
        step = next(todo, None)
        if step is not None and step % 2:
            store.unlist([keys[step // 2]], "t", "", NOW)
        elif step is not None:
            store.list([NewListing(keys[39 - step // 2], text="new")], NOW)
    load(other, lines, "dump", NOW)
    moment = other.last_seq()
    assert 20 < moment <= store.last_seq()
    replayed = {}
    for change in store.read(0, moment):
        replayed.pop(change.key, None)
        if change.action is not record.Action.UNLIST:
            replayed[change.key] = change.state
    assert listed(other) == replayed
    check_whole(other)


def test_the_never_list_of_today_holds_for_a_load(store, tmp_path):
    fill(store)
    strict = Store(open_store(tmp_path / "other").env, parse_never_list("5.6.7.0/24", (), "never-list"))
    loaded = load(strict, dump(store), "dump", NOW)
    assert loaded.refused == ["5.6.7.8"]
    assert strict.get_key(KEYS[2]) is None
    assert strict.change(strict.last_seq()).source == "load"
    check_whole(strict)
    strict.close()


def test_a_dry_load_says_the_same_and_writes_nothing(store, other, tmp_path):
    fill(store)
    strict = Store(other.env, parse_never_list("5.6.7.8\n", (), "never-list"))
    before = everything(other)
    told = load(strict, dump(store), "dump", NOW, is_dry=True)
    assert everything(other) == before
    assert told == load(strict, dump(store), "dump", NOW)
    assert told.refused == ["5.6.7.8"]
    with pytest.raises(StoreError, match="not empty"):
        load(strict, dump(store), "dump", NOW, is_dry=True)
    with closing(open_store(tmp_path / "third")) as third, pytest.raises(WireError, match="cut short"):
        load(third, list(dump(store))[:-1], "dump", NOW, is_dry=True)


def test_a_store_that_is_not_empty_is_not_loaded_over(store, other):
    fill(store)
    with pytest.raises(StoreError, match="not empty"):
        load(store, dump(store), "dump", NOW)


@pytest.mark.parametrize(
    "spoil, match",
    [
        (lambda lines: lines[:-1], "cut short"),
        (lambda lines: lines[:3] + lines[4:], "cut short"),
        (lambda lines: lines[1:], "dump:1: not a dump"),
        (lambda lines: [lines[0], b'{"record":"nonsense"}\n', *lines[1:]], "dump:2: "),
        (lambda lines: [lines[0], b"\xff\n", *lines[1:]], "dump:2: "),
        (lambda lines: [lines[0], b'{"record":"gone","key":"1.2.3"}\n', *lines[1:]], "dump:2: not an address"),
        (lambda lines: [*lines, lines[1]], "after the end"),
        (lambda lines: [line.replace(b'"drop"', b'"fly"') for line in lines], "mode: got 'fly'"),
        (lambda lines: [line.replace(b'"excluded"', b'"odd"') for line in lines], "flags: got 'odd'"),
        (lambda lines: [line.replace(b'"127.0.0.2"', b'"10.0.0.2"') for line in lines], "want an address in 127"),
        (lambda lines: [line.replace(b'"count":3', b'"count":-3') for line in lines], "dump:"),
    ],
)
def test_a_damaged_dump_is_refused_by_line_and_can_be_loaded_again(store, other, spoil, match):
    fill(store)
    good = list(dump(store))
    with pytest.raises(WireError, match=match):
        load(other, spoil(good), "dump", NOW)
    with pytest.raises(Unavailable, match="being loaded"):
        other.list([NewListing(KEYS[0])], NOW)
    assert any("not loaded to its end" in problem for problem in check(other))
    load(other, good, "dump", NOW)
    assert trees(other) == trees(store)


def test_a_backup_under_writers_opens_as_a_store_with_all_that_was_committed_before(tmp_path, store, monkeypatch):
    monkeypatch.setattr("spamcannibal.store.backup.PIECE_BYTES", 4096 * 5)
    fill(store)
    serials, stop = iter(range(1, 60_000)), threading.Event()

    def write():
        while not stop.is_set():
            batch = [
                NewListing(bytes((9, n >> 16, n >> 8 & 255, n & 255)), text="x" * 300)
                for n, _ in zip(serials, range(50), strict=False)
            ]
            if not batch:
                return  # enough was written: the checks take their time with each listing
            store.list(batch, NOW)
            store.unlist([batch[0].key], "t", "", NOW)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for number in range(3):
            before = store.last_seq()
            assert backup(store.env, tmp_path / f"copy{number}") > 0
            copy = open_store(tmp_path / f"copy{number}")
            assert before <= copy.last_seq() <= store.last_seq()
            check_whole(copy)
            assert list(check(copy)) == []
            assert copy.read(0, before) == store.read(0, before)
            copy.close()
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert list(check(store)) == []


def test_a_backup_needs_a_new_name_and_leaves_nothing_when_it_fails(tmp_path, store, monkeypatch):
    (tmp_path / "there").mkdir()
    with pytest.raises(StoreError, match="exists"):
        backup(store.env, tmp_path / "there")
    with pytest.raises(StoreError, match="No such file"):
        backup(store.env, tmp_path / "no" / "copy")
    monkeypatch.setattr(
        "spamcannibal.store.backup._copy_logs", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(StoreError, match="No space"):
        backup(store.env, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "there"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who acts as the store's owner")
def test_root_backs_up_what_is_a_daemons_user_into_what_is_roots(tmp_path):
    with TemporaryDirectory(prefix="sc-owner-") as place:  # pytest's are closed to other users
        path = Path(place, "store")
        Path(place).chmod(0o755)
        path.mkdir(mode=0o750)
        os.chown(path, 65534, 65534)
        store = open_store(path)
        fill(store)
        assert backup(store.env, tmp_path / "copy") > 0
        assert {file.stat().st_uid for file in path.iterdir()} == {65534}
        store.close()
    copy = open_store(tmp_path / "copy")
    check_whole(copy)
    copy.close()


def test_a_killed_backup_stops_holding_the_logs(tmp_path, store, monkeypatch):
    pid = os.fork()
    if pid == 0:
        monkeypatch.setattr("spamcannibal.store.backup._copy_logs", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        backup(store.env, tmp_path / "copy")
    os.waitpid(pid, 0)
    assert not store.env._current_shared().gate.are_logs_held()
    backup(store.env, tmp_path / "copy")


SPOILERS = {
    "its journal record is lost": lambda db, txn: db("journal").delete(layout.pack_seq(2), txn),
    "a reason is lost": lambda db, txn: db("evidence").delete(KEYS[1], txn),
    "a reason too many": lambda db, txn: db("evidence").put(KEYS[2], layout.pack_evidence([]), txn),
    "a reason without a listing": lambda db, txn: db("tarpit").delete(KEYS[2], txn),
    "an expiry is lost": lambda db, txn: db("expiry").delete(layout.pack_seq(5) + KEYS[1], txn),
    "an expiry of nothing": lambda db, txn: db("expiry").put(layout.pack_seq(9) + KEYS[2], b"", txn),
    "history is lost": lambda db, txn: db("history").truncate(txn),
    "a record is damaged": lambda db, txn: db("tarpit").put(KEYS[0], b"\x01short", txn),
    "a record is of another version": lambda db, txn: db("archive").put(b"\1\1\1\1", b"\x07", txn),
    "a key is none": lambda db, txn: db("archive").put(b"abc", layout.merge_contact(None, 1, 1, 1), txn),
    "the tally is wrong": lambda db, txn: db("meta").put(b"tally", layout.pack_tally(record.Tally.empty()), txn),
}


@pytest.mark.parametrize("name", SPOILERS)
def test_check_finds_what_does_not_agree(store, name):
    fill(store)
    assert list(check(store)) == []
    store.env.run(lambda txn: SPOILERS[name](store.env.db, txn))
    assert list(check(store)) != []


def test_check_finds_a_damaged_page(tmp_path, store):
    store.list([NewListing(bytes((1, 1, i >> 8, i & 255))) for i in range(1000)], NOW)
    store.close()
    with (tmp_path / "store" / "tarpit").open("r+b") as file:
        file.seek(4096 * 3 + 200)
        file.write(b"\xff" * 500)
    damaged = Store(open_store(tmp_path / "store").env, NEVER)
    assert any(problem.startswith("tarpit") for problem in check(damaged))
