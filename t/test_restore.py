"""`db restore` and `db compact`: a backup comes back, under nobody's feet; room comes back, and nothing else moves."""

import json
import multiprocessing
import os
import tempfile
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from spamcannibal.addr import parse_key
from spamcannibal.commands import main
from spamcannibal.dnsbl.difference import changed
from spamcannibal.dnsbl.shown import TooLong
from spamcannibal.errors import StoreError, Unavailable
from spamcannibal.record import PUBLISHED
from spamcannibal.store.backup import backup
from spamcannibal.store.check import check
from spamcannibal.store.compact import compact
from spamcannibal.store.restore import restore
from spamcannibal.store.stores import NewListing
from storekit import check_whole, listed, open_store

A, B = parse_key("192.0.2.1"), parse_key("192.0.2.2")


def make(path, *keys):
    store = open_store(path)
    store.list([NewListing(key, text="x", flags=PUBLISHED) for key in keys], 1.0)
    return store


def test_a_backup_comes_back_and_what_was_there_stays_beside_it(tmp_path):
    store = make(tmp_path / "store", A)
    backup(store.env, tmp_path / "copy")
    store.list([NewListing(B)], 2.0)
    store.close()
    mode = (tmp_path / "store").stat().st_mode
    steps = []
    assert restore(tmp_path / "copy", tmp_path / "store", steps.append) == tmp_path / "store.before-restore"
    assert sum(steps) > 0
    assert (tmp_path / "store").stat().st_mode == mode
    for path, keys in (("store", {A}), ("store.before-restore", {A, B}), ("copy", {A})):
        store = open_store(tmp_path / path)
        assert listed(store).keys() == keys
        assert list(check(store)) == []
        store.close()
    assert restore(tmp_path / "copy", tmp_path / "store").name == "store.before-restore-2"
    assert restore(tmp_path / "copy", tmp_path / "new") is None
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("ends_unlisted", [False, True])
def test_numbers_are_not_given_twice(tmp_path, ends_unlisted):
    store = make(tmp_path / "store", A, B)
    if ends_unlisted:
        store.unlist([B], "admin:x", "gone", 2.0)
    said = [(change.key, change.text) for change in store.read(0, 9)][-1:]
    known = store.last_seq()
    backup(store.env, tmp_path / "copy")
    store.list([NewListing(bytes((9, 9, 9, i))) for i in range(5)], 3.0)
    last = store.last_seq()
    store.close()
    restore(tmp_path / "copy", tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert store.last_seq() > last
    assert listed(store).keys() == ({A} if ends_unlisted else {A, B})
    assert [(change.key, change.text) for change in store.read(last, 9)] == said
    assert list(check(store)) == []
    for serial in (1, known, known + 1, last):
        with pytest.raises((Unavailable, TooLong)):
            changed(store, serial, store.last_seq(), 10_000)
    store.list([NewListing(parse_key("192.0.2.9"))], 4.0)
    assert changed(store, store.last_seq() - 1, store.last_seq(), 10) == {parse_key("192.0.2.9")}
    store.close()


def _hold(path, ready, done):
    store = open_store(path)
    ready.set()
    done.wait(60)
    store.close()


def test_a_store_that_anybody_has_open_is_not_touched(tmp_path):
    store = make(tmp_path / "store", A)
    backup(store.env, tmp_path / "copy")
    store.close()
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "store", ready, done))
    other.start()
    try:
        assert ready.wait(60)
        with pytest.raises(Unavailable, match="in use"):
            restore(tmp_path / "copy", tmp_path / "store")
        with pytest.raises(Unavailable, match="in use as a database itself"):
            restore(tmp_path / "store", tmp_path / "elsewhere")
        with pytest.raises(Unavailable, match="in use; stop"):
            run(tmp_path, "restore", tmp_path / "copy", "--dry-run")
    finally:
        done.set()
        other.join(60)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "store"]
    assert restore(tmp_path / "copy", tmp_path / "store")


def test_what_is_no_backup_is_refused(tmp_path):
    (tmp_path / "copy").mkdir()
    with pytest.raises(StoreError, match="no backup, lacks tarpit, archive"):
        restore(tmp_path / "copy", tmp_path / "store")
    for name in ("tarpit", "archive", "blcontrib", "evidence", "journal", "history", "expiry", "meta"):
        (tmp_path / "copy" / name).touch()
    with pytest.raises(StoreError, match="no backup"):
        restore(tmp_path / "copy", tmp_path / "store")
    with pytest.raises(StoreError, match="no backup"):
        run(tmp_path, "restore", tmp_path / "copy", "--dry-run")
    assert not (tmp_path / "store").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_restores_for_the_owner_of_the_store():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others
        Path(folder).chmod(0o755)
        restore_as_root(Path(folder))


def restore_as_root(tmp_path):
    store = make(tmp_path / "store", A)
    backup(store.env, tmp_path / "copy")
    store.close()
    for path in [tmp_path / "store", *(tmp_path / "store").iterdir()]:
        os.chown(path, 65534, 65534)
    restore(tmp_path / "copy", tmp_path / "store")
    owners = {path.name: path.stat().st_uid for path in [tmp_path / "store", *(tmp_path / "store").iterdir()]}
    assert set(owners.values()) == {65534}, owners


def test_compaction_gives_room_back_while_others_write(tmp_path):
    keys = [bytes((9, i >> 8 & 255, i & 255, 1)) for i in range(12_000)]
    store = open_store(tmp_path / "store")
    for at in range(0, len(keys), 1000):
        store.list([NewListing(key, text="x" * 40) for key in keys[at : at + 1000]], 1.0)
    for at in range(0, len(keys), 1000):
        store.unlist([key for key in keys[at : at + 1000] if key[2] % 8], "admin:x", "", 2.0)
    kept = listed(store)
    wrote = []

    def write():
        for i in range(50):
            store.list([NewListing(bytes((10, 0, 0, i)))], 3.0)
            wrote.append(i)

    writer = threading.Thread(target=write)
    writer.start()
    rows = []
    sizes = compact(store.env, rows.append)
    writer.join()
    assert len(wrote) == 50
    assert sizes["tarpit"][1] < sizes["tarpit"][0] / 2
    assert {key: value for key, value in listed(store).items() if key[0] == 9} == kept
    assert sum(rows) >= len(kept)
    check_whole(store)
    store.close()


def test_compaction_can_be_stopped(tmp_path):
    store = make(tmp_path / "store", A, B)
    assert compact(store.env, stop=lambda: True)["tarpit"][1]
    check_whole(store)
    store.close()


def run(site, *args):
    config = site / "spamcannibal.toml"
    config.write_text(f'[store]\npath = "{site}/store"\ncache_bytes = "1MiB"\n')
    result = CliRunner().invoke(main.cli, ["-c", str(config), "db", *map(str, args), "--json"])
    config.unlink()
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return json.loads(result.stdout)


def test_by_command(tmp_path):
    make(tmp_path / "store", A).close()
    (tmp_path / "never-list").write_text("")
    run(tmp_path, "backup", tmp_path / "copy")
    assert run(tmp_path, "restore", tmp_path / "copy", "--dry-run")[0]["was_put"] is None
    assert not (tmp_path / "store.before-restore").exists()
    (row,) = run(tmp_path, "restore", tmp_path / "copy")
    assert row["was_put"] == str(tmp_path / "store.before-restore")
    assert {row["file"] for row in run(tmp_path, "compact")} >= {"tarpit", "journal"}
