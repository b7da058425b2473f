"""Requests to be taken off the list, as kept: the requests, how often what was done of late, and the removal itself.

    drawer `removal`       id of removal.py: a Request
    drawer `removal_rate`  what is counted, as "mail:" and a digest: when it was done, of the last day
    drawer `removal_no`    the text of a key: when the operator refused a request about it

Every step is one durable transaction, so a token counts once, however many processes get it at once.
"""

import hashlib
from collections.abc import Iterator, Mapping

import msgspec
from msgspec.structs import replace

from spamcannibal import layout, removal
from spamcannibal.addr import around, format_key
from spamcannibal.record import SHADOW, Action
from spamcannibal.removal import Case, Request, State
from spamcannibal.store.batch import Batch
from spamcannibal.store.cabinet import Drawer
from spamcannibal.store.env import Env
from spamcannibal.store.stores import Store

SOURCE = "web:removal"
DAY_S = 86400.0
HISTORY_LIMIT = 1000
RATES_LIMIT = 100_000
PAGE_LIMIT = 500


class Times(msgspec.Struct, frozen=True):
    times: tuple[float, ...] = ()


class Removals:
    """The requests of one store: at most `limit`; what is settled is kept `kept_s`."""

    def __init__(self, env: Env, limit: int = 20_000, kept_s: float = 90 * DAY_S) -> None:
        self._requests = Drawer(env, "removal", Request, limit)
        self._rates = Drawer(env, "removal_rate", Times, RATES_LIMIT)
        self._refusals = Drawer(env, "removal_no", Times, limit)
        self._kept_s = kept_s

    def get(self, id_: str, now: float) -> Request | None:
        return self._requests.get(id_, now)

    def add(self, id_: str, request: Request, now: float, until: float) -> None:
        """Keep a new request until then, if it is not proven before; Unavailable if there are too many."""
        self._requests.put(id_, request, now, until)

    def move(
        self, id_: str, state: State, now: float, said: Mapping[str, object], may: State | None = None
    ) -> Request | None:
        """Bring a request into another state, with fields `said`, and return it; None if it is not there, can't go
        there, or is not in the state `may`.
        """
        done: list[Request] = []

        def step(old: Request | None) -> Request | None:
            done.clear()
            if old is None or not removal.may_move(old, state) or may not in (None, old.state):
                return old
            done.append(replace(old, **{**said, "state": state, "moved_ms": int(now * 1000)}))
            return done[0]

        self._requests.change(id_, step, now, now + self._kept_s)
        return done[0] if done else None

    def all(self, now: float) -> Iterator[tuple[str, Request]]:
        """Yield (id, request) of all, in no order that means anything."""
        after = ""
        while page := self._requests.page(after, PAGE_LIMIT, now):
            yield from page
            after = page[-1][0]

    def waiting(self, now: float) -> list[tuple[str, Request]]:
        """Return those that wait for the operator, the oldest first."""
        return sorted((each for each in self.all(now) if each[1].state == "queued"), key=lambda each: each[1].made_ms)

    def allow(self, what: str, whom: str, most: int, now: float) -> bool:
        """Count one more within a day, durably; False if there were `most` of it already."""
        allowed: list[bool] = []

        def step(old: Times | None) -> Times:
            times = tuple(each for each in (old.times if old else ()) if now - DAY_S < each <= now)
            allowed.append(len(times) < most)
            return Times((*times, now) if allowed[-1] else times)

        self._rates.change(f"{what}:{_digest(whom)}", step, now, now + DAY_S)
        return allowed[-1]

    def refused_s(self, key: bytes, now: float) -> float:
        """Return when the operator last refused a request about an entry, 0 if he did not."""
        found = self._refusals.get(format_key(key), now)
        return found.times[-1] if found and found.times else 0.0

    def note_refusal(self, key: str, now: float) -> None:
        self._refusals.put(key, Times((now,)), now, now + self._kept_s)


def case_of(store: Store, addr: bytes) -> Case | None:
    """Return what is known of the entry that decides about an address, without its names; None if there is none."""
    keys = around(addr)
    entries = [(key, row) for key, row in zip(keys, store.records("tarpit", keys), strict=True) if row is not None]
    if not entries:
        return None
    key, listing = next((each for each in entries if not each[1].flags & SHADOW), entries[0])
    change, contrib, pieces = store.change(listing.seq), store.contrib(key), store.evidence(key)
    history = store.history(key, HISTORY_LIMIT)
    return Case(
        addr=addr,
        key=key,
        seq=listing.seq,
        kind=(change.source if change else "").partition(":")[0],
        flags=listing.flags,
        zones=tuple(cause.zone for cause in contrib.causes) if contrib else (),
        listed_s=listing.listed_ms / 1000,
        proof_s=max([listing.listed_ms, *(piece.time_ms for piece in pieces)]) / 1000,
        removals=tuple(one.time_ms / 1000 for one in history if one.action is Action.UNLIST and one.source == SOURCE),
    )


def unlist(store: Store, case: Case, source: str, reason: str, now: float) -> int:
    """Remove the entry of a case, unless it was changed or got evidence since; return the journal's number, or 0."""

    def write(batch: Batch) -> int:
        if batch.seq_of(case.key) != case.seq:
            return 0
        raw = store.env.db("evidence").get(case.key, txn=batch.txn)
        newest = max((piece.time_ms for piece in layout.unpack_evidence(raw)), default=0) if raw is not None else 0
        return batch.unlist(case.key, source, reason) if newest <= case.proof_s * 1000 else 0

    return store.transact(now, write)


def _digest(whom: str) -> str:
    return hashlib.sha256(whom.lower().encode()).hexdigest()[:40]
