"""Passwords: what may be one, and argon2id hashes of them (RFC 9106), at most two made at once: each takes 64 MiB."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from spamcannibal.errors import SpamCannibalError, Unavailable
from spamcannibal.web.turn import away

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LEAST_CHARACTERS = 12
LIMIT_BYTES = 1024
AT_ONCE = 2
WAIT_S = 5.0
COSTS: dict[str, Any] = {}  # what differs from the library's: RFC 9106's second choice

_places = threading.BoundedSemaphore(AT_ONCE)


def check(password: str, name: str) -> None:
    """Raise SpamCannibalError if a text will not do as the password of a user."""
    if len(password) < LEAST_CHARACTERS:
        raise SpamCannibalError(f"the password is too short: want at least {LEAST_CHARACTERS} characters")
    if is_too_long(password):
        raise SpamCannibalError(f"the password is too long: want at most {LIMIT_BYTES} bytes")
    if len(set(password)) < 4 or password.lower().replace(name, "") == "":
        raise SpamCannibalError("the password is too simple: it repeats itself, or is the user's name")


def is_too_long(password: str) -> bool:
    return len(_raw(password)) > LIMIT_BYTES


def hashed(password: str) -> str:
    """Return the hash of a password, with its salt and costs in it."""
    with _place():
        return _hasher().hash(_raw(password))


def matches(known: str | None, password: str) -> bool:
    """Tell whether a hash is a password's; without a hash (None) it takes as long, and is False."""
    from argon2.exceptions import InvalidHashError, VerificationError

    if is_too_long(password):
        return False
    with _place():
        try:
            return _hasher().verify(known or nobody(), _raw(password)) and known is not None
        except (VerificationError, InvalidHashError):
            return False


def is_stale(known: str) -> bool:
    """Tell whether a hash was made at other costs than those of now."""
    return _hasher().check_needs_rehash(known)


@contextmanager
def _place() -> Iterator[None]:
    """Be one of those who hash while this lasts; Unavailable if all places stay taken for too long."""
    with away():
        if not _places.acquire(timeout=WAIT_S):
            raise Unavailable("too many logins at once; try again in a moment")
        try:
            yield
        finally:
            _places.release()


def _hasher() -> PasswordHasher:
    # Imported here, since most pages need none of it.
    from argon2 import PasswordHasher

    return PasswordHasher(**COSTS)


@functools.cache
def nobody() -> str:
    """Return a hash that nobody has, of the costs of now."""
    return _hasher().hash(b"")


def _raw(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")
