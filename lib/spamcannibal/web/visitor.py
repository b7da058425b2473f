"""Who asks: the address of a visitor, through proxies that are trusted to say it. Pure."""

from collections.abc import Sequence
from functools import lru_cache

from spamcannibal.addr import mask, parse_addr, parse_key, split_key
from spamcannibal.checks import LOCAL
from spamcannibal.errors import AddrError

NOBODY = bytes(4)


def visitor(remote: str | None, forwarded: str, proxies: Sequence[str]) -> bytes:
    """Return the packed address of who asks; NOBODY if even the peer's can't be read.

    `remote` is the peer's address (on a Unix socket: none), `forwarded` the X-Forwarded-For field. Read from the
    right: as long as an address is a trusted proxy's, the one before it counts; a field that can't be read ends there.
    """
    addr = _addr(remote or "")
    if not is_trusted(addr, proxies):
        return addr or NOBODY
    for text in reversed(forwarded.split(",")[-20:]):
        found = _addr(text.strip())
        if found is None:
            break
        addr = found
        if not is_trusted(addr, proxies):
            break
    return addr or NOBODY


def is_trusted(addr: bytes | None, proxies: Sequence[str]) -> bool:
    """Tell whether a peer (None: on a Unix socket) is one of the proxies."""
    if addr is None:
        return LOCAL in proxies
    return any(_holds(_net(text), addr) for text in proxies if text != LOCAL)


def is_local(remote: str | None) -> bool:
    """Tell whether a peer has no address: it came by a Unix socket, of which waitress says "localhost"."""
    return _addr(remote or "") is None


def neighbourhood(addr: bytes) -> bytes:
    """Return what rates are counted by: an IPv4 address, or the /64 of an IPv6 one."""
    return addr if len(addr) == 4 else mask(addr, 64)


@lru_cache(256)
def _net(text: str) -> tuple[bytes, int]:
    return split_key(parse_key(text))


def _holds(net: tuple[bytes, int], addr: bytes) -> bool:
    return len(net[0]) == len(addr) and mask(addr, net[1]) == net[0]


def _addr(text: str) -> bytes | None:
    try:
        return parse_addr(text)
    except AddrError:
        return None
