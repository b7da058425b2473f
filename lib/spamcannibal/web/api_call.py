"""What an operation of the API is, gets and gives; api.py puts it onto HTTP, api_openapi.py into words.

An operation is a Route: who may call it, what it reads from path, query and body as strict structs, and the function
that does it. A function gets a Call and returns an Answer, or raises a Problem (or an error of ours).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from spamcannibal.web.api_conditions import Conditions
from spamcannibal.web.api_fuse import Fuse
from spamcannibal.web.api_stream import Places
from spamcannibal.web.site import Site


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class Tools(NamedTuple):
    """What operations share: places for those that wait, fuses that melt where too much is changed."""

    places: Places
    listings: Fuse
    removals: Fuse


class Caller(NamedTuple):
    """Who calls: the token's name, empty for anybody; its scopes."""

    name: str = ""
    scopes: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """How the journal names him."""
        return f"api:{self.name}"


class Call(NamedTuple):
    """A request, decoded: `tools` is what the application keeps between requests."""

    site: Site
    tools: Tools
    caller: Caller
    path: Any
    query: Any
    body: Any
    conditions: Conditions = Conditions()
    last_event_id: str = ""
    is_gone: Callable[[], bool] = lambda: False  # the client has hung up


class Answer(NamedTuple):
    """`value` is a struct, or for a stream an iterator of bytes; `etag` an entity tag of its own, unquoted."""

    value: Any
    status: int = 200
    etag: str = ""
    headers: dict[str, str] = {}


class Route(NamedTuple):
    """An operation. `path` is Flask's rule below /api/v1; `scopes`: one of these is needed, none for anybody."""

    method: str
    path: str
    name: str
    about: str
    run: Callable[[Call], Answer]
    answer: Any
    scopes: tuple[str, ...] = ()
    keys: type[msgspec.Struct] = Nothing
    query: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] | None = None
    problems: tuple[str, ...] = ()
    media: str = "application/json"
    creates: bool = False
