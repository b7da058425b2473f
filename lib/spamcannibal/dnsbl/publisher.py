"""What the DNS server publishes, kept equal to the store: zones, followed listings, texts.

    publisher = Publisher(store, specs)
    publisher.load()                    the snapshot
    publisher.view                      what answer.py needs, always current
    publisher.follow()                  applies what changed since, in small steps
    publisher.adopt(specs)              other zones, from new settings

The texts of changes go straight into the cache, so a listing and its text become visible together.
"""

from collections.abc import Iterable, Sequence

from spamcannibal.colours import Kind
from spamcannibal.dnsbl.answer import View
from spamcannibal.dnsbl.compiled import compiled
from spamcannibal.dnsbl.listings import Listings
from spamcannibal.dnsbl.texts import Texts
from spamcannibal.dnsbl.zone import Zones, ZoneSpec, compile_zone
from spamcannibal.record import Action
from spamcannibal.store.follow import Follower
from spamcannibal.store.stores import Store

STEP = 500  # changes applied at once: about 5 ms
STEPS_LIMIT = 8 * STEP  # so many once we are behind: a busy writer lets us in once a transaction, which has up to 1,000


class Publisher:
    """The follower side of the server; all methods are for one thread, `view` is for any."""

    def __init__(self, store: Store, specs: Sequence[ZoneSpec]) -> None:
        self._store = store
        self._step = STEP
        self.texts = Texts(lambda key: read_text(store, key))
        self._listings, self._follower, self.view = self._prepared(specs)

    @property
    def seq(self) -> int:
        """The journal record that is published last, -1 before `load`."""
        seq: int = self._follower.seq
        return seq

    @property
    def entries(self) -> int:
        """Return how many listings the zones show."""
        return len(self._listings)

    def load(self) -> int:
        """Read all listings; return how many the zones show."""
        self._follower.load()
        self._tell_serial()
        return len(self._listings)

    def follow(self) -> int:
        """Apply the next changes; return how many (0 too when all was read anew). Less than STEP: none was left."""
        changes = self._follower.poll(self._step)
        is_behind = len(changes) == self._step
        self._step = min(2 * self._step, STEPS_LIMIT) if is_behind else STEP
        self._tell_serial()
        for change in changes:
            if change.action is not Action.UNLIST:
                self.texts.put(change.key, change.text)
        return len(changes)

    def adopt(self, specs: Sequence[ZoneSpec]) -> None:
        """Publish other zones; ConfigError leaves everything as it is."""
        if _kinds(specs) <= set(self._listings.shelves):
            self.view = _view(specs, self._listings, self._follower, self.texts)
        else:
            prepared = self._prepared(specs)
            prepared[1].load()
            self._listings, self._follower, self.view = prepared
        self._tell_serial()

    def close(self) -> None:
        """Stop reading texts."""
        self.texts.close()

    def _tell_serial(self) -> None:
        if self.view.fast is not None:
            self.view.fast.serial = self.view.serial()

    def _prepared(self, specs: Sequence[ZoneSpec]) -> tuple[Listings, Follower, View]:
        listings = Listings(_kinds(specs))
        follower = Follower(self._store, listings)
        return listings, follower, _view(specs, listings, follower, self.texts)


def read_text(store: Store, key: bytes) -> str:
    """Return the own text of the listing of a key."""
    listing = store.get_key(key)
    return store.text(listing) if listing else ""


def _view(specs: Iterable[ZoneSpec], listings: Listings, follower: Follower, texts: Texts) -> View:
    zones = list(map(compile_zone, specs))
    fast = compiled(zones, listings.shelves)
    return View(Zones(zones), listings.shelves, lambda: max(follower.seq, 0), texts.get, fast)


def _kinds(specs: Iterable[ZoneSpec]) -> set[Kind]:
    return {spec.kind for spec in specs}
