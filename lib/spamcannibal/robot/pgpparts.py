"""OpenPGP in a message: PGP/MIME (RFC 3156) and armor in the text (RFC 9580, section 6 and 7), found, not checked.

In: an Entity. Out: the outermost, first protected thing, as the bytes that gpg takes. What it protects is the report;
anything around it (a list's footer, a gateway's note) was signed by nobody and is not to be looked at.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from spamcannibal.errors import WireError
from spamcannibal.robot.message import Entity

_ARMOR = re.compile(rb"^-----BEGIN PGP (SIGNED MESSAGE|MESSAGE)-----[ \t]*\r?$", re.MULTILINE)
_ENDS = {
    b"MESSAGE": re.compile(rb"^-----END PGP MESSAGE-----", re.MULTILINE),
    b"SIGNED MESSAGE": re.compile(rb"^-----END PGP SIGNATURE-----", re.MULTILINE),
}
_SIGNATURE = re.compile(rb"^-----BEGIN PGP SIGNATURE-----", re.MULTILINE)
_TEXT_LIKE = {"application/octet-stream", "application/pgp", "application/pgp-encrypted", "application/pgp-keys"}


@dataclass(frozen=True)
class Encrypted:
    """An encrypted message in ASCII armor."""

    armor: bytes


@dataclass(frozen=True)
class Signed:
    """PGP/MIME: `content` exactly as it was signed, lines ended by CRLF; `signature` in ASCII armor."""

    content: bytes
    signature: bytes


@dataclass(frozen=True)
class Clearsigned:
    """A text signed inline, from its BEGIN line to its END line."""

    armor: bytes

    def cleartext(self) -> bytes:
        """Return the text without its frame and dash escapes, unchecked: for show, not for belief."""
        text = self.armor.replace(b"\r\n", b"\n").partition(b"\n\n")[2]
        return re.sub(rb"^- ", b"", text.partition(b"\n-----BEGIN PGP SIGNATURE")[0], flags=re.MULTILINE)


Protected = Encrypted | Signed | Clearsigned


def find_pgp(entity: Entity) -> Protected | None:
    """Return the outermost PGP part of a message, the first of several; None if there is none, WireError if cut off."""
    return next(_protected(entity), None)


def _protected(entity: Entity) -> Iterator[Protected]:
    protocol = entity.params.get("protocol", "").lower()
    if entity.content_type == "multipart/encrypted" and protocol in ("", "application/pgp-encrypted"):
        yield _encrypted(entity)
    if entity.content_type == "multipart/signed" and protocol == "application/pgp-signature":
        yield _signed(entity)
    if not entity.parts and _may_hold_armor(entity.content_type):
        yield from _inline(entity.content())
    for part in entity.parts:
        yield from _protected(part)


def _encrypted(entity: Entity) -> Encrypted:
    """Return the second part of a multipart/encrypted."""
    found = next(_inline(entity.parts[1].content()), None) if len(entity.parts) > 1 else None
    if not isinstance(found, Encrypted):
        raise WireError("multipart/encrypted without a PGP message: want it in the second part, in ASCII armor")
    return found


def _signed(entity: Entity) -> Signed:
    """Return the two parts of a multipart/signed."""
    if len(entity.parts) < 2:
        raise WireError(f"multipart/signed cut off: got {len(entity.parts)} parts, want the message and its signature")
    message, signature = entity.parts[:2]
    text = signature.content()
    begin = _SIGNATURE.search(text)
    end = _ENDS[b"SIGNED MESSAGE"].search(text, begin.end()) if begin else None
    if not begin or not end:
        raise WireError("multipart/signed without a PGP signature, or with one cut off: want it in the second part")
    content = re.sub(rb"\r?\n", b"\r\n", message.raw[message.start : message.end])
    return Signed(content, text[begin.start() : end.end()] + b"\n")


def _inline(text: bytes) -> Iterator[Encrypted | Clearsigned]:
    """Yield the first armor of a text."""
    begin = _ARMOR.search(text)
    if not begin:
        return
    end = _ENDS[begin[1]].search(text, begin.end())
    if not end:
        raise WireError(f"PGP {begin[1].decode().lower()} cut off: it has no END line")
    armor = text[begin.start() : end.end()] + b"\n"
    yield Encrypted(armor) if begin[1] == b"MESSAGE" else Clearsigned(armor)


def _may_hold_armor(content_type: str) -> bool:
    return (content_type.startswith("text/") and content_type != "text/html") or content_type in _TEXT_LIKE
