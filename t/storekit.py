"""What the tests of the store share: an open store, a plain table, and the comparison of a table with the store."""

from spamcannibal import layout
from spamcannibal.guard import parse_never_list
from spamcannibal.store.env import Env
from spamcannibal.store.handles import NAMES
from spamcannibal.store.prune import floor
from spamcannibal.store.stores import Limits, Store

NEVER = parse_never_list("198.51.100.0/24\n@special\n", (), "never-list")


class DictTable(dict):
    """The follower's table as a dict."""

    def set(self, key, value):
        self[key] = value

    def discard(self, key):
        return self.pop(key, None) is not None

    def load(self, pairs):
        self.update(pairs)

    def items(self):
        return list(super().items())


def open_store(path, limits=None, **options):
    options.setdefault("cache_bytes", 1 << 20)
    return Store(Env(path, **options), NEVER, limits or Limits())


def listed(store):
    """Give {key: table value} of the whole list, read in small pages."""
    found, after = {}, None
    while page := store.states(after, 7):
        found.update(page)
        after = page[-1][0]
    return found


def everything(store):
    """Give all rows of all databases."""
    return {name: store.env.read(lambda name=name: store.env.db(name).items()) for name in NAMES}


def check_whole(store):
    """Assert what must always hold between the stores: every test that wrote ends with this."""
    env = store.env
    rows = {
        name: dict(env.read(lambda name=name: env.db(name).items())) for name in ("tarpit", "blcontrib", "evidence")
    }
    listings = {key: layout.unpack_listing(data) for key, data in rows["tarpit"].items()}
    assert rows["blcontrib"].keys() | rows["evidence"].keys() == listings.keys()
    assert not rows["blcontrib"].keys() & rows["evidence"].keys()
    expiry = {row[8:]: layout.unpack_seq(row[:8]) for row in env.read(lambda: env.db("expiry").keys())}
    assert expiry == {key: listing.expiry_ms for key, listing in listings.items() if listing.expiry_ms}
    changes = store.read(0, 10**6)
    pruned_to = floor(store)
    assert [c.seq for c in changes if c.seq > pruned_to] == list(range(pruned_to + 1, store.last_seq() + 1))
    newest = {change.key: change.seq for change in changes}
    assert all(newest[key] == listing.seq for key, listing in listings.items())
    assert {row[1:] for row in env.read(lambda: env.db("history").keys())} == {
        change.key + layout.pack_seq(change.seq) for change in changes
    }
    counts = store.counts()
    assert counts["tarpit"] == len(listings) == counts["tarpit_v4"] + counts["tarpit_v6"]
    for name in ("archive", "blcontrib", "evidence"):
        assert counts[name] == len(env.read(lambda name=name: env.db(name).keys())), name
