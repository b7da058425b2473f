"""Bench `store`: writing listings and contacts, loading the table, and how soon a commit is enforced.

    python t/bench/bench_store.py [--quick]

Everything runs on stores that hold 1 M IPv4 listings, in a temporary directory (TMPDIR chooses the disk). The peer of
the writing ratios is `Bare`: an ordinary transactional environment of berkeleydb with one B-tree and the same cache and
sync, in which a listing is one put and a touch one get and one put, and nothing else: no journal, evidence, tally,
history, never-list or gate.

| ratio | this | peer |
|---|---|---|
| listings_vs_bare_bdb | Store.list, 1,000 a durable transaction | 1,000 puts a durable transaction |
| single_listings_vs_bare_bdb | Store.list, one a durable transaction | one put a durable transaction |
| touches_vs_bare_bdb | Store.touch, 1,000 a transaction without sync | 1,000 gets and puts, same |
| table_cost_vs_dict | memory (RSS) of an AddrTable of 1 M IPv4 hosts | of a dict of the same keys and values |

Figures: `listings_per_s`, `single_listings_per_s`, `touches_per_s` and the peer's; `notes_per_s`, sightings of unlisted
addresses into archive; `load_1m_s`, a follower filling an AddrTable from the store; `table_1m_mb`, its resident memory
at the peak of loading, `table_1m_allocated_mb`, what it asked of the allocator, `dict_1m_mb`; `enforce_p50_ms` and
`enforce_p99_ms`, from the return of Store.list in a writer process, which also touches 1,000 listings now and then, to
the look-up that sees it in another process, which polls every 100 ms.
"""

import argparse
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

from berkeleydb import db as bdb

from bench.common import Pairs, percentile, progress_line, report
from spamcannibal import layout, record
from spamcannibal._core import AddrTable
from spamcannibal.guard import parse_never_list
from spamcannibal.record import Listing, Mode
from spamcannibal.store import contacts
from spamcannibal.store.env import Env, Txn
from spamcannibal.store.follow import Follower
from spamcannibal.store.stores import NewListing, Store

LISTED = 1_000_000
BATCH = 1000
CACHE_BYTES = 256 << 20
FOLLOW_INTERVAL_S = 0.1  # the default of store.follow_interval_s
SPAWN = multiprocessing.get_context("spawn")
VALUE = layout.pack_listing(Listing(record.PROVEN_CODE, Mode.DEFAULT, record.PUBLISHED, 1, 1, 0, 0))
MB = 1e6


@dataclass(frozen=True)
class Size:
    """How much to do: rounds of pairs; batches and single listings in each; listings to be followed."""

    rounds: int
    batches: int
    singles: int
    followed: int


QUICK, FULL = Size(5, 5, 50, 150), Size(11, 20, 200, 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description="the store and the table")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under a minute")
    size = QUICK if parser.parse_args().quick else FULL
    pairs = Pairs()
    with tempfile.TemporaryDirectory(prefix="bench-store-") as folder:
        figures = bench(Path(folder), size, pairs)
    report("store", pairs, figures)


def bench(folder: Path, size: Size, pairs: Pairs) -> dict[str, float]:
    """Measure everything; give the figures."""
    measure_table(pairs, size, figures := {})
    progress_line("filling two stores with 1 M listings each")
    store, bare = open_store(folder / "store"), Bare(folder / "bare")
    fill(store.env)
    bare.put(hosts(), durable=False)
    measure_load(store, size, figures)
    measure_writing(store, bare, size, pairs, figures)
    bare.close()
    measure_enforcement(folder / "store", store, size, figures)
    store.close()
    return figures


# What there is.


def hosts() -> Iterator[bytes]:
    """Give the listed addresses, spread over 11.0.0.0 to 16.255.255.255."""
    return ((0x0B000000 + n * 97).to_bytes(4) for n in range(LISTED))


def strangers(seed: int) -> Iterator[bytes]:
    """Give addresses without end that are not among the hosts: from 20.0.0.0/6, none twice but by chance."""
    rng = random.Random(seed)
    while True:
        yield (0x14000000 + rng.getrandbits(26)).to_bytes(4)


def open_store(path: Path) -> Store:
    return Store(Env(path, cache_bytes=CACHE_BYTES), parse_never_list("@special", (), "bench"))


def chunks(items: Iterable[bytes]) -> Iterator[list[bytes]]:
    it = iter(items)
    while chunk := list(islice(it, BATCH)):
        yield chunk


def fill(env: Env) -> None:
    """Write the listings as a million calls of Store.list would leave them in tarpit, without their journal."""

    def write(keys: Sequence[bytes], txn: Txn) -> None:
        tarpit, tally = env.db("tarpit"), contacts.read_tally(env, txn)
        for key in keys:
            tarpit.put(key, VALUE, txn)
            tally.count(key, 1)
        contacts.write_tally(env, txn, tally)

    for keys in chunks(hosts()):
        env.run(lambda txn, keys=keys: write(keys, txn), durable=False)
    env.checkpoint()


class Bare:
    """One B-tree in an ordinary transactional environment, without any layer of ours."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.env = bdb.DBEnv()
        self.env.set_cachesize(0, CACHE_BYTES, 1)
        self.env.set_lg_bsize(1 << 20)
        flags = bdb.DB_INIT_TXN | bdb.DB_INIT_LOG | bdb.DB_INIT_LOCK | bdb.DB_INIT_MPOOL | bdb.DB_CREATE
        self.env.open(str(path), flags)
        self.db = bdb.DB(self.env)
        self.db.open("tarpit", dbtype=bdb.DB_BTREE, flags=bdb.DB_CREATE | bdb.DB_AUTO_COMMIT)

    def put(self, keys: Iterable[bytes], durable: bool = True) -> None:
        """Put a listing for each key, BATCH a transaction."""
        for chunk in chunks(keys):
            txn = self.env.txn_begin()
            for key in chunk:
                self.db.put(key, VALUE, txn)
            txn.commit(0 if durable else bdb.DB_TXN_WRITE_NOSYNC)

    def touch(self, keys: Iterable[bytes]) -> None:
        """Read and write each key's listing, BATCH a transaction, without sync."""
        for chunk in chunks(keys):
            txn = self.env.txn_begin()
            for key in chunk:
                self.db.put(key, self.db.get(key, txn=txn), txn)
            txn.commit(bdb.DB_TXN_WRITE_NOSYNC)

    def close(self) -> None:
        self.db.close()
        self.env.close()


# The measurements.


def rate(count: int, work: Callable[[], object]) -> float:
    """Give how many a second, for work that does count."""
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def measure_writing(store: Store, bare: Bare, size: Size, pairs: Pairs, figures: dict[str, float]) -> None:
    listed, fresh, rng = list(hosts()), strangers(1), random.Random(2)
    count = size.batches * BATCH
    notes = []
    for turn in range(-1, size.rounds):
        progress_line(f"writing, round {turn + 1} of {size.rounds}")
        new, alone = list(islice(fresh, count)), list(islice(fresh, size.singles))
        pairs.run(
            "listings_vs_bare_bdb",
            lambda keys=new: rate(count, lambda: [store.list(listings(part), time.time()) for part in chunks(keys)]),
            lambda keys=new: rate(count, lambda: bare.put(keys)),
            turn,
        )
        pairs.run(
            "single_listings_vs_bare_bdb",
            lambda keys=alone: rate(len(keys), lambda: [store.list(listings([key]), time.time()) for key in keys]),
            lambda keys=alone: rate(len(keys), lambda: [bare.put([key]) for key in keys]),
            turn,
        )
        known = rng.sample(listed, count)
        now_ms = int(time.time() * 1000)
        pairs.run(
            "touches_vs_bare_bdb",
            lambda keys=known, ms=now_ms: rate(count, lambda: store.touch([(key, 1, ms, ms) for key in keys])),
            lambda keys=known: rate(count, lambda: bare.touch(keys)),
            turn,
        )
        unknown = [(addr, 1, now_ms, now_ms) for addr in islice(fresh, count)]
        notes.append(rate(count, lambda seen=unknown: store.archive(seen)))
    medians = pairs.medians()
    for name in ("listings", "single_listings", "touches"):
        figures[f"{name}_per_s"] = medians[f"{name}_vs_bare_bdb_this"]
        figures[f"bare_bdb_{name}_per_s"] = medians[f"{name}_vs_bare_bdb_peer"]
    figures["notes_per_s"] = median(notes)


def listings(keys: Iterable[bytes]) -> list[NewListing]:
    return [NewListing(key, source="bench", text="unsolicited mail", flags=record.PUBLISHED) for key in keys]


def measure_load(store: Store, size: Size, figures: dict[str, float]) -> None:
    """Time a follower's first load; the table must then hold every listing."""
    times = []
    for turn in range(size.rounds):
        progress_line(f"loading the table, round {turn + 1}")
        began = time.perf_counter()
        Follower(store, table := AddrTable()).load()
        times.append(time.perf_counter() - began)
        if len(table) != LISTED:
            raise SystemExit(f"bench store: the follower loaded {len(table)} listings, want {LISTED}")
    figures["load_1m_s"] = median(times)


def measure_table(pairs: Pairs, size: Size, figures: dict[str, float]) -> None:
    """Compare memory, each container in a process of its own, since what one frees the next would reuse."""
    peaks, allocated = [], 0
    for turn in range(size.rounds):
        progress_line(f"memory of table and dict, round {turn + 1} of {size.rounds}")
        rss, peak, allocated = in_process(fill_table)
        pairs.add("table_cost_vs_dict", rss, in_process(fill_dict)[0])
        peaks.append(peak)
    medians = pairs.medians()
    figures["table_1m_mb"] = median(peaks) / MB
    figures["table_1m_allocated_mb"] = allocated / MB
    figures["dict_1m_mb"] = medians["table_cost_vs_dict_peer"] / MB


def in_process(fill: Callable[[Connection], None]) -> tuple[int, int, int]:
    """Run fill in a new process; give the bytes it reports: growth of RSS, of its peak, and what was allocated."""
    mine, its = SPAWN.Pipe()
    child = SPAWN.Process(target=fill, args=(its,))
    child.start()
    result: tuple[int, int, int] = mine.recv()
    child.join()
    return result


def states() -> Iterator[tuple[bytes, int]]:
    """Give what a follower reads: keys and numbers, each an object of its own."""
    return ((key, layout.listing_state(VALUE)) for key in hosts())


def fill_table(answer: Connection) -> None:
    before = memory_bytes()
    table = AddrTable()
    table.load(states())
    after = memory_bytes()
    answer.send((after[0] - before[0], after[1] - before[0], table.memory_bytes))


def fill_dict(answer: Connection) -> None:
    before = memory_bytes()
    table = dict(states())
    after = memory_bytes()
    answer.send((after[0] - before[0], after[1] - before[0], len(table)))


def memory_bytes() -> tuple[int, int]:
    """Give this process's resident memory and its peak since the last call."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    Path("/proc/self/clear_refs").write_text("5")
    return int(fields["VmRSS"].split()[0]) << 10, int(fields["VmHWM"].split()[0]) << 10


def measure_enforcement(path: Path, store: Store, size: Size, figures: dict[str, float]) -> None:
    """Follow as the daemon does, while another process lists; compare its commit times with ours of seeing."""
    progress_line("from commit to enforcement")
    table = AddrTable()
    follower = Follower(store, table)
    follower.load()
    mine, its = SPAWN.Pipe()
    writer = SPAWN.Process(target=write_for_follower, args=(path, size.followed, its))
    writer.start()
    seen: dict[bytes, float] = {}
    while len(seen) < size.followed:
        if not writer.is_alive() and not mine.poll():
            raise SystemExit("bench store: the writer process died")
        changes = follower.poll()
        for key in (change.key for change in changes):
            if table.lookup(key):
                seen[key] = time.monotonic()
        time.sleep(FOLLOW_INTERVAL_S)
    waits = [(seen[key] - committed) * 1000 for key, committed in mine.recv().items()]
    writer.join()
    figures["enforce_p50_ms"] = percentile(waits, 50)
    figures["enforce_p99_ms"] = percentile(waits, 99)


def write_for_follower(path: Path, count: int, answer: Connection) -> None:
    """List addresses at odd moments; answer with the time after each commit."""
    rng, committed = random.Random(3), {}
    known = list(islice(hosts(), 100_000))
    store = open_store(path)
    for number in range(count):
        key = (0x18000000 + number * 251).to_bytes(4)
        store.list(listings([key]), time.time())
        committed[key] = time.monotonic()
        if number % 20 == 0:
            ms = int(time.time() * 1000)
            store.touch([(addr, 1, ms, ms) for addr in rng.sample(known, BATCH)])
        time.sleep(rng.uniform(0, 0.05))
    store.close()
    answer.send(committed)


if __name__ == "__main__":
    main()
