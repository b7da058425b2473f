"""Tokens of programs: who may use the API from where and for what; kept in the drawer `token`, secrets as hashes.

| scope | lets read or change |
|---|---|
| read | listings, evidence, the journal, the never-list, remote lists, status |
| write | listings: add, amend, remove, add evidence |
| admin | undo |
| bouncer | decisions for CrowdSec's bouncers (read does, too) |
| metrics | /metrics from anywhere (read does, too) |

A secret is sc_NAME_RANDOM: whoever finds one in a log sees whose it is and can revoke it. RANDOM has 256 bits, so its
SHA-256 is enough at rest. A name is never given twice at a time; what a token does is told in the journal as api:NAME.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence

import msgspec

from spamcannibal.errors import SpamCannibalError
from spamcannibal.store.cabinet import Drawer
from spamcannibal.store.env import Env
from spamcannibal.web.visitor import is_trusted

LIMIT = 1000
SCOPES = ("read", "write", "admin", "bouncer", "metrics")
NAME_FORM = "1 to 32 of a-z, 0-9, dot, hyphen, a letter first"
SECRET_LIMIT = 200
SOURCE = "api:"


class Token(msgspec.Struct, frozen=True):
    """`digest` is that of the secret, `nets` from where it may be used (none: from anywhere), 0 no rate of its own."""

    digest: str
    scopes: tuple[str, ...]
    made_ms: int
    until_ms: int = 0
    nets: tuple[str, ...] = ()
    per_minute: int = 0

    def may(self, *scopes: str) -> bool:
        """Tell whether it has one of the scopes."""
        return not set(scopes).isdisjoint(self.scopes)

    def is_from(self, addr: bytes) -> bool:
        return not self.nets or is_trusted(addr, self.nets)


class Tokens:
    """The tokens of a store."""

    def __init__(self, env: Env, random: Callable[[], str] = secrets.token_urlsafe) -> None:
        self._drawer = Drawer(env, "token", Token, LIMIT)
        self._random = random

    def add(self, name: str, wanted: Token, now: float) -> str:
        """Keep a token, whose digest is made here, and return its secret; SpamCannibalError if that won't do."""
        if not is_name(name):
            raise SpamCannibalError(f"the token's name won't do: want {NAME_FORM}")
        unknown = set(wanted.scopes) - set(SCOPES)
        if unknown or not wanted.scopes:
            raise SpamCannibalError(f"token {name}: want scopes of {', '.join(SCOPES)}")
        secret = f"sc_{name}_{self._random()}"
        made = msgspec.structs.replace(wanted, digest=digest(secret))

        def keep(old: Token | None) -> Token:
            if old is not None:
                raise SpamCannibalError(f"there is a token {name} already: revoke it first")
            return made

        self._drawer.change(name, keep, now, wanted.until_ms / 1000)
        return secret

    def all(self, now: float) -> list[tuple[str, Token]]:
        return self._drawer.page("", LIMIT, now)

    def revoke(self, name: str, now: float) -> bool:
        """Take a token out; False if there is none."""
        return is_name(name) and self._drawer.take(name, now) is not None

    def find(self, secret: str, now: float) -> tuple[str, Token] | None:
        """Return the name and the token that a secret is of."""
        name = name_in(secret)
        token = self._drawer.get(name, now) if name else None
        if token is None or not hmac.compare_digest(token.digest, digest(secret)):
            return None
        return name, token


def is_name(text: str) -> bool:
    return re.fullmatch(r"[a-z][a-z0-9.-]{0,31}", text) is not None


def name_in(secret: str) -> str:
    """Return the name that stands in a secret, "" if it can be none of ours."""
    if len(secret) > SECRET_LIMIT or not secret.isascii():
        return ""
    mark, _, rest = secret.partition("_")
    name, _, random = rest.partition("_")
    return name if mark == "sc" and random and is_name(name) else ""


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def scopes_of(words: Sequence[str]) -> tuple[str, ...]:
    """Return scopes in their order, each once."""
    return tuple(scope for scope in SCOPES if scope in words)
