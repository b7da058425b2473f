"""What the tests of the API share: a site with tokens, and a client that speaks JSON with one of them."""

from contextlib import contextmanager
from datetime import UTC, datetime

from spamcannibal.addr import parse_key
from spamcannibal.record import PUBLISHED
from spamcannibal.store.stores import NewListing
from spamcannibal.web.tokens import Token, Tokens
from webkit import NOW, client, make_site

LISTED = "192.0.2.7"
NET = "203.0.113.0/24"
FORBIDDEN = "198.51.100.9"  # storekit.NEVER has its network


class Program:
    """A program with a token (none: nobody)."""

    def __init__(self, site, secret=None, web=None):
        self.web = web or client(site)
        self.secret = secret

    def ask(self, method, path, body=None, **headers):
        fields = {name.replace("_", "-"): text for name, text in headers.items()}
        if self.secret:
            fields.setdefault("Authorization", f"Bearer {self.secret}")
        given = {} if body is None else {"json": body}
        return self.web.open(f"/api/v1{path}", method=method, headers=fields, **given)

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)


def make_token(site, name, *scopes, **about):
    """Make a token and return its secret."""
    return Tokens(site.store.env).add(name, Token("", scopes, int(NOW * 1000), **about), site.clock())


def put(site, *keys, now=NOW, **said):
    """List keys; give the last change's number."""
    said = {"text": "spam", "source": "gather:mx1", "flags": PUBLISHED, **said}
    return site.store.list([NewListing(parse_key(key), **said) for key in keys], now)[-1]


@contextmanager
def api_site(path, **sections):
    """Yield a site with a few listings, and a program that may do everything."""
    with make_site(path, **sections) as site:
        site.pause = site.clock.pass_by
        put(site, LISTED, NET, "2001:db8::/64")
        secret = make_token(site, "all", "read", "write", "admin")
        yield site, Program(site, secret)


def text_of(time_s):
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
