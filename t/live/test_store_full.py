"""A full disk: listings are refused with an error that says so, nothing is half done, and space makes it work again."""

import contextlib
import os
import subprocess

import pytest

from spamcannibal.errors import StoreError
from spamcannibal.store.check import check
from spamcannibal.store.stores import NewListing
from storekit import check_whole, open_store

NOW = 1_700_000_000.0


@pytest.fixture
def tiny(tmp_path):
    """A file system of 64 MiB in memory."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    path = tmp_path / "tiny"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def fill_up(path):
    """Take all space that is left."""
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def batch(number):
    return [NewListing(bytes((1, number >> 8, number & 255, i)), evidence=os.urandom(900)) for i in range(200)]


@pytest.mark.live
def test_a_full_disk_refuses_listings_and_nothing_else(tiny):
    store = open_store(tiny / "store")
    done = 0
    store.list(batch(done), NOW)
    fill_up(tiny / "ballast")
    with pytest.raises(StoreError, match=r"no space left|free some space|MiB free"):
        for number in range(1, 1000):
            store.list(batch(number), NOW)
            done = number
    for _ in range(3):
        with pytest.raises(StoreError):
            store.list(batch(done + 1), NOW)
    seq = done * 200 + 200
    (tiny / "ballast").unlink()
    assert store.last_seq() == seq
    store.list(batch(done + 1), NOW)
    assert store.last_seq() == seq + 200
    check_whole(store)
    assert list(check(store)) == []
    store.close()


@pytest.mark.live
def test_readers_and_other_processes_live_through_a_full_disk(tiny):
    store = open_store(tiny / "store")
    store.list(batch(0), NOW)
    fill_up(tiny / "ballast")
    with contextlib.suppress(StoreError):
        for number in range(1, 1000):
            store.list(batch(number), NOW)
    pid = os.fork()
    if pid == 0:
        # Another process comes while the disk is full: it reads, or is told why not; no signal kills it.
        with contextlib.suppress(StoreError):
            store.page("evidence", None, 10**6)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with contextlib.suppress(StoreError):
        assert store.get_key(batch(0)[0].key) is not None
    (tiny / "ballast").unlink()
    assert store.get_key(batch(0)[0].key) is not None
    store.close()


@pytest.mark.live
def test_no_room_for_a_new_store_is_said_at_once(tiny):
    fill_up(tiny / "ballast")
    with pytest.raises(StoreError, match=r"MiB free|No space left"):
        open_store(tiny / "store")
    (tiny / "ballast").unlink()
    open_store(tiny / "store").close()
