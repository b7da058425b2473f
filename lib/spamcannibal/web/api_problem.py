"""Answers that are errors (RFC 9457): their kinds, statuses and when they come. Pure."""

from typing import Any


class Problem(Exception):
    """An answer that is an error (RFC 9457): `kind` is one of PROBLEMS, `extra` are members of its own."""

    def __init__(self, kind: str, detail: str, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra

    @property
    def status(self) -> int:
        return PROBLEMS[self.kind][0]


# Status, title and, for whoever reads the API's description, when it comes.
PROBLEMS = {
    "bad-request": (400, "Bad request", "Path, query or body are not what the operation takes; `field` says which."),
    "unauthorized": (401, "A token is needed", "There is no token in the Authorization header, or none that is known."),
    "forbidden": (403, "Not for this token", "The token lacks the scope, or is used from elsewhere than it may."),
    "not-found": (404, "Not there", "There is no such listing, change or operation."),
    "never-listed": (409, "On the never-list", "The never-list forbids to list it; `rule` says which line of it."),
    "changed": (412, "Changed meanwhile", "If-Match or If-None-Match do not hold: it is not what you saw."),
    "unsupported-type": (415, "Not JSON", "The body's Content-Type is not application/json."),
    "too-many": (429, "Too many requests", "The token's or the address's rate is spent; Retry-After says how long."),
    "breaker": (429, "A breaker is open", "So much was changed within the hour that no more is taken; see [guard]."),
    "unavailable": (503, "Not now", "The database is not available; Retry-After says when to come again."),
}
