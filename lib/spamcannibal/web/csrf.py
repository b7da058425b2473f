"""Whether a request that changes something was meant: a token bound to the session, and what the browser says. Pure."""

import hashlib
import hmac
from collections.abc import Collection


def token(secret: str) -> str:
    """Return the token of whoever holds this secret: that of a session, or of a browser that has none yet."""
    return hmac.digest(secret.encode("utf-8", "replace"), b"form", hashlib.sha256).hex()


def is_token(secret: str, given: str) -> bool:
    """Tell whether a form's token belongs to a secret."""
    return bool(secret) and hmac.compare_digest(token(secret).encode(), given.encode("utf-8", "replace"))


def is_same_site(fetch_site: str | None, origin: str | None, hosts: Collection[str]) -> bool:
    """Tell whether the browser says that the request comes from a page of ours.

    `fetch_site` and `origin` are the fields Sec-Fetch-Site and Origin, `hosts` the names (with port) that are ours. A
    client that sends neither is no browser that could be led astray.
    """
    if fetch_site is not None:
        return fetch_site == "same-origin"
    if origin is None:
        return True
    scheme, mark, host = origin.partition("://")
    return bool(mark) and scheme in ("http", "https") and host.lower() in {each.lower() for each in hosts}
