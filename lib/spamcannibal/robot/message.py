"""Messages as bytes: a bounded MIME tree, the PGP parts in it, the messages embedded in it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on one message; what exceeds one is refused with a WireError that names it."""

    message_bytes: int = 1 << 20
    depth: int = 16
    parts: int = 200
    headers: int = 1000
    header_bytes: int = 256 << 10


@dataclass(frozen=True)
class Entity:
    """A message or MIME part, as offsets into the message's bytes.

    `headers` are (name as written, raw value, folds included); `content_type` is lower case, `params` its parameters
    by lower-case name. `parts` are those of a multipart, which has no content of its own.
    """

    raw: bytes
    start: int
    body_start: int
    end: int
    headers: tuple[tuple[str, str], ...]
    content_type: str
    params: Mapping[str, str]
    parts: tuple["Entity", ...]


@dataclass(frozen=True)
class Encrypted:
    """An encrypted message in ASCII armor."""

    armor: bytes


@dataclass(frozen=True)
class Signed:
    """PGP/MIME (RFC 3156): `content` exactly as it was signed, lines ended by CRLF; `signature` in ASCII armor."""

    content: bytes
    signature: bytes


@dataclass(frozen=True)
class Clearsigned:
    """A text signed inline, from its BEGIN line to its END line."""

    armor: bytes


@dataclass(frozen=True)
class Embedded:
    """A message inside the message: `header_lines` unfolded "Name: value" in order, `raw` all of it.

    `kind` is "attached", "inline" or "arf"; `arf` the fields of the feedback report (RFC 5965) by lower-case name.
    """

    header_lines: tuple[str, ...]
    raw: bytes
    kind: str
    arf: Mapping[str, tuple[str, ...]] | None = None
