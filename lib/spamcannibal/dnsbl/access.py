"""Who may transfer a zone, and who is told of its changes: the words of the settings -> values. Pure.

| setting | words |
|---|---|
| transfer | `192.0.2.0/24` · `key:NAME` · `192.0.2.0/24 key:NAME` (both) |
| also_notify | `192.0.2.53` · `192.0.2.53:5353` · `[2001:db8::53]:53 key:NAME` (signed) |
"""

from collections.abc import Iterable
from typing import NamedTuple

from spamcannibal.addr import mask, parse_addr, parse_endpoint, parse_key, split_key
from spamcannibal.dnsbl.names import Prefix
from spamcannibal.dnsbl.tsig import ALGORITHMS, Key
from spamcannibal.dnsbl.wire import Labels
from spamcannibal.dnsbl.zone import to_labels
from spamcannibal.errors import ConfigError

PORT = 53
SECRET_LIMIT_BYTES = 512
_KEY = "key:"


class Grant(NamedTuple):
    """Who may: an address in `net`, with the key of this name; None means any."""

    net: Prefix | None
    key: Labels | None


class Target(NamedTuple):
    """Who is told, and with which key."""

    addr: bytes
    port: int
    key: Labels | None


def parse_grant(text: str) -> Grant:
    key, rest = _split(text)
    return Grant(split_key(parse_key(rest)) if rest else None, key)


def parse_target(text: str) -> Target:
    key, rest = _split(text)
    return Target(*parse_server(rest), key)


def parse_server(text: str) -> tuple[bytes, int]:
    """Return address and port of "192.0.2.53", "192.0.2.53:5353" or "[2001:db8::53]:53"; AddrError if it is none."""
    has_port = text.startswith("[") or text.count(":") == 1
    return parse_endpoint(text) if has_port else (parse_addr(text), PORT)


def is_granted(grants: Iterable[Grant], addr: bytes, key: Labels | None) -> bool:
    """Tell whether an address may, having shown a key or none."""
    return any((grant.net is None or _is_in(addr, grant.net)) and grant.key in (None, key) for grant in grants)


def keys_named(keys: Iterable[Key]) -> dict[Labels, Key]:
    """Return keys by name; ConfigError for a name that is there twice or an algorithm that is not."""
    named: dict[Labels, Key] = {}
    for key in keys:
        name = b".".join(key.name).decode()
        if key.algorithm not in ALGORITHMS:
            raise ConfigError(f"dnsbl.key: {name}: got algorithm {key.algorithm}, want one of {', '.join(ALGORITHMS)}")
        if not 16 <= len(key.secret) <= SECRET_LIMIT_BYTES:
            raise ConfigError(f"dnsbl.key: {name}: got a secret of {len(key.secret)} bytes, want 16 to 512")
        if named.setdefault(key.name, key) is not key:
            raise ConfigError(f"dnsbl.key: {name} is there twice")
    return named


def _split(text: str) -> tuple[Labels | None, str]:
    """Return the key's name, if any, and what stands before it."""
    words = text.split()
    key = to_labels(words.pop().removeprefix(_KEY)) if words and words[-1].startswith(_KEY) else None
    return key, " ".join(words)


def _is_in(addr: bytes, net: Prefix) -> bool:
    return len(addr) == len(net[0]) and mask(addr, net[1]) == net[0]
