"""Kill -9 at random moments: writers, readers and followers die in the middle of anything; nobody else notices.

Each round forks, kills and replaces processes of every role. Before each write a worker notes its intent, after the
commit that it is done, in a file of its own (one write(2), which outlives it). At the end: everybody who lives has gone
on to the last moment and stops when told, every table equals the list, what was done is there, what was undone is not,
and the stores are whole.
"""

import contextlib
import mmap
import os
import random
import shutil
import signal
import struct
import time
import traceback
from collections import Counter

import pytest

from spamcannibal.store.backup import backup
from spamcannibal.store.follow import Follower
from spamcannibal.store.shared import OPENINGS_LIMIT
from spamcannibal.store.stores import NewListing
from storekit import DictTable, check_whole, listed, open_store

ROUNDS = int(os.environ.get("SPAMCANNIBAL_KILL_ROUNDS", "120"))
PATIENCE_S = 60.0
WORKERS = {"list": 2, "burst": 1, "contacts": 1, "read": 1, "keep": 1, "follow": 2}


class Worker:
    """One forked process: its role, its number, its progress counter in memory shared with the parent."""

    def __init__(self, path, role, number, notes):
        self.role, self.number = role, number
        self.progress = mmap.mmap(-1, 8)
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                self._work(path, notes)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)

    def steps(self):
        return struct.unpack("Q", self.progress[:])[0]

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def _work(self, path, notes):
        store = open_store(path, wait_s=PATIENCE_S)
        act = getattr(self, "_" + self.role)(store, notes)
        while not (path.parent / ("stop follow" if self.role == "follow" else "stop")).exists():
            act()
            self.progress[:] = struct.pack("Q", self.steps() + 1)
        if self.role == "follow":
            while self.follower.poll():
                pass
            assert dict(self.follower._table.items()) == listed(store)
        store.close()

    def _list(self, store, notes, count=1):
        fd = os.open(notes / str(self.number), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        chance = random.Random(self.number)
        serial, mine = 0, []

        def note(mark, keys):
            os.write(fd, b"".join(mark + key for key in keys))

        def act():
            nonlocal serial, mine
            if len(mine) > 3 * count and chance.random() < 0.4:
                keys, mine = mine[:count], mine[count:]
                note(b"u", keys)
                store.unlist(keys, "test:kill", "", time.time())
                note(b"U", keys)
                return
            keys = [
                struct.pack(">BHB", 11, self.number, 0)[:3] + struct.pack(">B", (serial + i) & 255)
                for i in range(count)
            ]
            serial += count
            note(b"l", keys)
            store.list([NewListing(key, text=f"{serial}", expiry_ms=serial) for key in keys], time.time())
            note(b"L", keys)
            mine = [key for key in mine if key not in keys] + keys

        return act

    def _burst(self, store, notes):
        return self._list(store, notes, count=50)

    def _contacts(self, store, notes):
        chance = random.Random(self.number)

        def act():
            seen = [(bytes((12, 0, chance.randrange(40), chance.randrange(256))), 1, 1, 2) for _ in range(300)]
            store.contacts(seen[:100], seen[100:])

        return act

    def _read(self, store, notes):
        def act():
            assert len(store.page("archive", None, 500)) <= 500
            for change in store.read(max(0, store.last_seq() - 20), 20):
                store.get(change.key)

        return act

    def _keep(self, store, notes):
        def act():
            store.env.checkpoint()
            copy = notes.parent / f"copy{self.number}"
            backup(store.env, copy)
            shutil.rmtree(copy)

        return act

    def _follow(self, store, notes):
        table = DictTable()
        if self.number % 2:
            with contextlib.suppress(ImportError):
                from spamcannibal._core import AddrTable as table_type

                table = table_type()
        self.follower = Follower(store, table)
        return self.follower.poll


def wait_for(what, condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def ended(worker):
    pid, status = os.waitpid(worker.pid, os.WNOHANG)
    if pid:
        assert os.waitstatus_to_exitcode(status) == 0, f"{worker.role} {worker.number} failed"
    return bool(pid)


def notes_of(directory):
    """Give {key: last note} over all workers: l, u (intended) or L, U (done)."""
    last = {}
    for file in directory.iterdir():
        data = file.read_bytes()
        for at in range(0, len(data) - len(data) % 5, 5):
            last[data[at + 1 : at + 5]] = chr(data[at])
    return last


@pytest.mark.live
def test_killed_processes_hang_nobody_and_lose_nothing(tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    path = tmp_path / "store"
    chance = random.Random(int(os.environ.get("SPAMCANNIBAL_KILL_SEED", "1")))
    numbers = iter(range(1, 60_000))
    workers = [Worker(path, role, next(numbers), notes) for role, count in WORKERS.items() for _ in range(count)]
    killed = Counter()
    try:
        for _ in range(ROUNDS):
            time.sleep(chance.expovariate(1 / 0.03))
            victims = chance.sample(range(len(workers)), chance.choice((1, 1, 1, 2, 3)))
            for at in victims:
                workers[at].kill()
                killed[workers[at].role] += 1
                workers[at] = Worker(path, workers[at].role, next(numbers), notes)
        before = [worker.steps() for worker in workers]
        wait_for("somebody hangs", lambda: all(w.steps() > was for w, was in zip(workers, before, strict=True)))
        for stop in ("stop", "stop follow"):
            (tmp_path / stop).touch()
            for worker in [worker for worker in workers if (worker.role == "follow") == (stop == "stop follow")]:
                wait_for(f"{worker.role} {worker.number} does not stop", lambda worker=worker: ended(worker))
                workers.remove(worker)
    finally:
        for worker in workers:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                worker.kill()

    store = open_store(path)
    present = listed(store)
    for key, note in notes_of(notes).items():
        if note in "LU":
            assert (key in present) == (note == "L"), (key, note)
    check_whole(store)
    recoveries = store.env._current_shared().generation
    store.close()
    print(f"killed {dict(killed)}, recovered {recoveries} times, {len(present)} listed")
    assert recoveries > 1


@pytest.mark.live
def test_what_the_dead_left_open_is_cleared_before_it_fills_the_regions(tmp_path):
    store = open_store(tmp_path / "store")
    first = store.env._current_shared().generation
    for count in range(1, 3 * OPENINGS_LIMIT + 1):
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                store.contacts([], [(b"\x0c\0\0\1", 1, 1, 1)])
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        assert store.contact(b"\x0c\0\0\1").count == count
    assert 3 <= store.env._current_shared().generation - first <= 4
    check_whole(store)
    store.close()
