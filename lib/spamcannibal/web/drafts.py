"""What was previewed, kept until it is confirmed: so what is done is what was seen, once, by who saw it.

A draft is in the drawer `draft` under a hash of its handle, which stands in the form; it belongs to one session.
"""

import msgspec

from spamcannibal.errors import SpamCannibalError
from spamcannibal.store.cabinet import Drawer
from spamcannibal.web.sessions import Visit
from spamcannibal.web.site import Site
from spamcannibal.web.users import digest

LIMIT = 200
KEPT_S = 1800.0


class Draft(msgspec.Struct, frozen=True):
    """One change that waits: keys as text, what was said, a text that is kept whole, and what each key would become."""

    kind: str
    session: str
    keys: tuple[str, ...] = ()
    said: dict[str, str] = {}
    body: str = ""
    numbers: tuple[int, ...] = ()
    outcome: tuple[str, ...] = ()


class Stale(SpamCannibalError):
    """There is no such draft any more."""


def keep(site: Site, visit: Visit, kind: str, handle: str = "", **what: object) -> str:
    """Keep a draft and return its handle: a new one, or the one given, whose draft this replaces."""
    handle, now = handle or site.token(), site.clock()
    draft = msgspec.convert({"kind": kind, "session": digest(visit.secret), **what}, Draft)
    _drawer(site).put(digest(handle), draft, now, now + KEPT_S)
    return handle


def take(site: Site, visit: Visit, kinds: tuple[str, ...], handle: str) -> Draft:
    """Take a draft out; Stale if there is none of this session and kind (any more)."""
    taken: list[Draft] = []

    def step(old: Draft | None) -> Draft | None:
        taken.clear()
        if old is None or old.session != digest(visit.secret) or old.kind not in kinds:
            return old
        taken.append(old)
        return None

    _drawer(site).change(digest(handle), step, site.clock(), site.clock() + KEPT_S)
    if not taken:
        raise Stale("This was confirmed before, or waited too long. Nothing was done now: look at it again.")
    return taken[0]


def _drawer(site: Site) -> Drawer[Draft]:
    return Drawer(site.store.env, "draft", Draft, LIMIT)
