"""DNS cookies: who brings back the one that we gave is no forger (RFC 7873, made as RFC 9018 says). Pure.

A client's option is its own cookie (8 bytes) and, once it has one, the server's behind it (16 bytes of ours, up to 32
of others). Every reply brings a server cookie that is good for an hour at this address. core/dnscookie.h makes and
checks them. Of several secrets the first makes cookies and all are accepted, so that secrets can be changed.
"""

from collections.abc import Sequence
from typing import NamedTuple

from spamcannibal._core import cookie_check, cookie_make

CLIENT_BYTES = 8
SECRET_BYTES = 16
_SERVER_SIZES = range(8, 33)
_BAD, _GOOD = 0, 1


class Judged(NamedTuple):
    """Whether the server cookie is ours, whether there was one, and the cookies of the reply."""

    is_valid: bool
    has_server: bool
    reply: bytes


def is_well_formed(cookie: bytes) -> bool:
    """Tell whether an option has a length that a cookie can have."""
    return len(cookie) == CLIENT_BYTES or len(cookie) - CLIENT_BYTES in _SERVER_SIZES


class Cookies:
    """The secrets of a server."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._first = secrets[0]
        self.secrets = b"".join(secrets)

    def judge(self, cookie: bytes, addr: bytes, now: int) -> Judged:
        """Return what a client's well-formed option is worth."""
        client, server = cookie[:CLIENT_BYTES], cookie[CLIENT_BYTES:]
        state = cookie_check(self.secrets, client, server, addr, now & 0xFFFFFFFF) if server else _BAD
        if state != _GOOD:
            fresh = cookie_make(self._first, client, addr, now & 0xFFFFFFFF)
            return Judged(state != _BAD, bool(server), client + fresh)
        return Judged(True, True, cookie)
