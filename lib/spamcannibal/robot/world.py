"""The list as the robot's plans see it: never-list, listings, breaker, and what there is to tell about them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from spamcannibal.addr import format_addr, format_key, make_key, mask, split_key
from spamcannibal.breaker import Admission, Breaker, Caps, is_counted
from spamcannibal.errors import NeverListed, Unavailable
from spamcannibal.record import EXCLUDED, SHADOW
from spamcannibal.robot.plan import Item, Known
from spamcannibal.store.batch import NewListing
from spamcannibal.store.recent import listed_since
from spamcannibal.store.reports import PEER
from spamcannibal.store.stores import Store

HISTORY_LIMIT = 10
BREAKER_AGE_S = 60.0


class Breakers:
    """The breaker of a run, or of a daemon, which must not count its whole life as one run and looks again at times."""

    def __init__(self, store: Store, caps: Caps, age_s: float = float("inf")) -> None:
        self._store = store
        self._caps = caps
        self._age_s = age_s
        self._made: tuple[float, Breaker] | None = None

    def now(self, now: float) -> Breaker:
        """Return the breaker, with what all writers listed within the hour."""
        if self._made is None or now - self._made[0] > self._age_s:
            breaker = Breaker(self._caps)
            limit = max(self._caps.per_hour * 2, 1000)
            for change in listed_since(self._store, int((now - 3600) * 1000), limit):
                if is_counted(change.source):
                    breaker.note(change.time_ms / 1000, change.key, change.source)
            self._made = (now, breaker)
        return self._made[1]


class StoredWorld:
    """The World of plan.py at one moment."""

    def __init__(self, store: Store, breaker: Callable[[float], Breaker], now: float) -> None:
        self._store = store
        self._breaker = breaker
        self._now = now

    def forbidden(self, key: bytes) -> str:
        try:
            self._store.guard.check(key)
        except NeverListed as error:
            return error.rule
        return ""

    def known(self, key: bytes) -> Known | None:
        listing = self._store.get_key(key)
        if listing is None:
            return None
        change = self._store.change(listing.seq)
        text, source = (change.text, change.source) if change else ("", "")
        return Known(listing, text, self._store.contrib(key) is None and not source.startswith(PEER))

    def is_excused(self, key: bytes) -> bool:
        addr, plen = split_key(key)
        for length in reversed(self._store.lengths(len(addr))):
            found = self._store.get_key(make_key(mask(addr, length), length)) if length <= plen else None
            if found is not None and not found.flags & SHADOW:
                return bool(found.flags & EXCLUDED)
        return False

    def admit(self, key: bytes, source: str) -> None:
        breaker = self._breaker(self._now)
        if breaker.admit(key, source, self._now) is not Admission.OPEN:
            raise Unavailable(breaker.trips[-1])

    def explain(self, key: bytes) -> Sequence[str]:
        addr, plen = split_key(key)
        found = self._store.get(addr) if plen == len(addr) * 8 else None
        listed = found[0] if found else key
        listing = self._store.get_key(listed)
        told = []
        if listing is None:
            told.append("not listed")
        else:
            end = f", until {_when(listing.expiry_ms)}" if listing.expiry_ms else ""
            pieces = len(self._store.evidence(listed))
            proof = "1 piece" if pieces == 1 else f"{pieces} pieces"
            why = f"proven by {proof} of evidence" if pieces else "as other lists told"
            told.append(f"listed as {format_key(listed)} with {format_addr(listing.code)}, {why}{end}")
        for change in self._store.history(listed, HISTORY_LIMIT):
            text = f": {change.text}" if change.text else ""
            told.append(f"{_when(change.time_ms)} {change.action.name.lower()} by {change.source}{text}")
        rule = self.forbidden(key)
        return [*told, f"the never-list forbids it: {rule}"] if rule else told

    def status(self) -> Sequence[str]:
        counts = self._store.counts()
        return [
            f"{counts['tarpit']} listed ({counts['tarpit_v4']} IPv4, {counts['tarpit_v6']} IPv6), "
            f"{counts['evidence']} with proof, {counts['blcontrib']} as other lists told",
            f"{counts['archive']} others have connected; the journal is at {counts['journal']}",
        ]


def listing_of(item: Item) -> NewListing:
    """Return what an item of a plan lists."""
    return NewListing(
        item.key,
        code=item.code,
        text=item.text,
        source=item.source,
        mode=item.mode,
        expiry_ms=item.expiry_ms,
        evidence=item.evidence,
        flags=item.flags,
    )


def _when(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
