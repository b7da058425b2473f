"""What the tests of the web share: a site on a store of its own, its names and mails under the test's control."""

import io
from contextlib import contextmanager

import msgspec

from spamcannibal.commands.explain import zone_kinds
from spamcannibal.events import EventLog
from spamcannibal.settings import Settings
from spamcannibal.settings.dnsbl import DnsblSettings, ZoneSettings
from spamcannibal.web.app import create_app
from spamcannibal.web.site import Site
from storekit import open_store

NOW = 1_800_000_000.0


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now=NOW):
        self.now = now

    def __call__(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


class Book:
    """Names as a test wants them: what is missing is None, unknown; see asked.Names."""

    def __init__(self):
        self.ptr, self.a, self.txt = {}, {}, {}

    def pointers(self, addr):
        return self.ptr.get(addr)

    def addresses(self, name):
        return self.a.get(name)

    def texts(self, name):
        return self.txt.get(name)


class Post:
    """The mails that were sent: (sender, recipients, message)."""

    def __init__(self):
        self.sent = []

    def __call__(self, sender, recipients, message):
        self.sent.append((sender, list(recipients), message))


def make_settings(**sections):
    """Return settings with a zone bl.example.net; `web={"name": "x"}` replaces keys of a section."""
    settings = Settings(dnsbl=DnsblSettings(zone=(ZoneSettings(name="bl.example.net"),)))
    for name, keys in sections.items():
        settings = msgspec.structs.replace(settings, **{name: msgspec.structs.replace(getattr(settings, name), **keys)})
    return settings


@contextmanager
def make_site(path, **sections):
    """Yield a Site on a new store: `site.clock`, `site.names`, `site.send` are a Clock, a Book, a Post."""
    settings = make_settings(**sections)
    store = open_store(path)
    log = EventLog(io.StringIO(), limit_per_s=0)
    site = Site(settings, lambda: store, zone_kinds(settings), Book(), Post(), log, clock=Clock())
    try:
        yield site
    finally:
        site.close()
        store.close()


def client(site):
    """Return a test client of the site's application."""
    return create_app(site).test_client()
