"""Hide in text what points at a person or at us: recipients in all their spellings, URL tokens, our hosts and nets."""

import base64
import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from spamcannibal.addr import parse_key
from spamcannibal.guard import NeverList
from spamcannibal.ranges import PRIVATE
from spamcannibal.robot.hoptext import read_literal

FORMS_LIMIT = 64  # recipients whose encoded spellings are looked for; a message to more is to nobody in particular
URL_LIMIT = 2000
TOKEN_LENGTH = 20

_ROLES = {"abuse", "admin", "hello", "hostmaster", "mail", "office", "postmaster", "sales", "support", "webmaster"}
_SIGNS = ("@", "=", "%40", "&#64;", "&#064;", "&#x40;", "&commat;", "(at)", "[at]", " at ")
_CIPHERS = ("TLS_", "ECDHE-", "DHE-", "AES", "SHA")

_URL = re.compile(rf"\b(https?://)([^\s<>\"'/?#]{{1,{URL_LIMIT}}})([^\s<>\"']{{0,{URL_LIMIT}}})", re.IGNORECASE)
_URL_END = ").,;:!*"
_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9._~-]{0,24}|\[token\]")
_RUN = re.compile(rf"[A-Za-z0-9+/_-]{{{TOKEN_LENGTH},}}={{0,2}}")
_HOP_ADDR = re.compile(
    r"(?<![\w.:])(?:IPv6:)?(?:\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,44})(?![\w:])"
)
_CASE_CHANGE = re.compile(r"[a-z](?=[A-Z])|[A-Z](?=[a-z])")
_UNUSUAL = re.compile(r"[^\n\t -~]")


@dataclass(frozen=True)
class Hidden:
    """What is hidden. `recipients` are mail addresses in lower case and as written, `people` their names, `domains` of
    mail, `names` of hosts (one that starts with a dot stands for all below it), `keys` of nets.
    """

    recipients: Sequence[str]
    people: Sequence[str]
    domains: Sequence[str]
    names: Sequence[str]
    keys: Sequence[bytes]


@dataclass(frozen=True)
class Scrub:
    """Hides what `hidden` names, and what looks like a token."""

    hidden: Hidden

    def text(self, text: str) -> str:
        """Return a text with a placeholder in brackets for each thing hidden."""
        lower = text.lower()
        for pattern, literal, placeholder in self._patterns:
            if literal in lower or literal in text:
                text = re.sub(pattern, placeholder, text, flags=re.IGNORECASE)
                lower = text.lower()
        text = _URL.sub(_url, text)
        text = _RUN.sub(lambda match: "[token]" if is_token(match[0]) else match[0], text)
        return _HOP_ADDR.sub(self._addr, text)

    def _addr(self, match: re.Match[str]) -> str:
        addr = read_literal(match[0].rstrip(".:"))
        return "[our address]" if addr is not None and self._ranges.find(addr) else match[0]

    @cached_property
    def _ranges(self) -> NeverList:
        return NeverList((key, "ours") for key in (*self.hidden.keys, *(parse_key(net) for net, _ in PRIVATE)))

    @cached_property
    def _patterns(self) -> tuple[tuple[str, str, str], ...]:
        return tuple(_patterns(self.hidden))


def escape(text: str) -> str:
    """Return a text with what does not print, line ends and tabs aside, written as an escape; odd blanks are blanks."""
    return _UNUSUAL.sub(_escaped, text)


def is_token(run: str) -> bool:
    """Tell whether a run of letters, digits and base64's signs is more likely a token than a word."""
    digits = sum(map(str.isdigit, run))
    letters = sum(map(str.isalpha, run))
    if run.startswith(_CIPHERS) and run.isupper():
        return False
    return (digits >= 2 and letters >= 2) or digits >= TOKEN_LENGTH or len(_CASE_CHANGE.findall(run)) >= 8


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    if unicodedata.category(char) == "Zs":
        return " "
    return char if char.isprintable() else ascii(char)[1:-1]


def _patterns(hidden: Hidden) -> Iterator[tuple[str, str, str]]:
    """Yield (pattern, text that must be there for it to match, in lower case or as it is, placeholder).

    Most texts hold few of them, and compiling a pattern takes longer than looking for its text.
    """
    for address in hidden.recipients[:FORMS_LIMIT]:
        for form in _forms(address):
            yield re.escape(form), form, "[recipient]"
    # Whole names first: of "Alice Smith" to alice@ the rest would stay.
    for name in hidden.people[:FORMS_LIMIT]:
        yield _word(re.escape(name)), name.lower(), "[recipient]"
    for address in hidden.recipients[:FORMS_LIMIT]:
        local = address.rpartition("@")[0]
        if len(local) >= 5 and local not in _ROLES:
            yield _word(re.escape(local)), local, "[recipient]"
    for domain in hidden.domains:
        signs = "|".join(map(re.escape, _SIGNS))
        form = rf"[\w.+-]{{1,64}}(?:{signs})(?:[\w-]{{1,63}}\.){{0,5}}{re.escape(domain)}"
        yield form, domain.lower(), "[recipient]"
    for name in sorted(hidden.names, key=len, reverse=True):
        if "." in name.strip("."):
            below = r"(?:[\w-]{1,63}\.){1,10}" if name.startswith(".") else ""
            yield _word(below + re.escape(name.lstrip("."))), name.lstrip(".").lower(), "[our host]"


def _word(form: str) -> str:
    """Return a pattern for a form that is no part of a word, and no placeholder."""
    return rf"(?<![\w\[.-]){form}(?![\w-])"


def _forms(address: str) -> Iterator[str]:
    """Yield the spellings of a mail address that mail holds, base64 and hashes as URLs carry them included."""
    local, _, domain = address.rpartition("@")
    for sign in _SIGNS:
        yield f"{local}{sign}{domain}"
    yield "".join(char if char.isalnum() else f"%{ord(char):02x}" for char in address)
    raw = address.encode("utf-8", "backslashreplace")
    yield raw.hex()
    for name in ("md5", "sha1", "sha256"):
        yield hashlib.new(name, raw, usedforsecurity=False).hexdigest()
    for before in range(3):
        # Six bits a character: those that hold bits of what stands before or after the address are left out.
        coded = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        core = coded[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6]
        yield core
        if "+" in core or "/" in core:
            yield core.replace("+", "-").replace("/", "_")


def _url(match: re.Match[str]) -> str:
    """Return a URL without what may tell its reader apart."""
    scheme, authority, rest = match.groups()
    whole = authority + rest
    bare = whole.rstrip(_URL_END)
    authority, rest, tail = bare[: len(authority)], bare[len(authority) :], whole[len(bare) :]
    user, at, host = authority.rpartition("@")
    host = ".".join("[token]" if _is_telling(label, 16) else label for label in host.split("."))
    path = re.split("[?#]", rest, maxsplit=1)[0]
    query = rest[len(path) :]
    shown = "/".join(_segment(segment) for segment in path.split("/"))
    asked = f"{query[0]}[token]" if len(query) > 1 else query
    return f"{scheme}{'[token]@' if at and user else ''}{host}{shown}{asked}{tail}"


def _segment(segment: str) -> str:
    return segment if _PLAIN_SEGMENT.fullmatch(segment) and not _is_telling(segment, 25) else "[token]"


def _is_telling(text: str, length: int) -> bool:
    """Tell whether a short text may be a token: long, many digits, or digits among letters of both cases."""
    if text.startswith("[") or not text:
        return False
    digits = sum(map(str.isdigit, text))
    is_mixed = digits > 0 and any(map(str.isupper, text)) and any(map(str.islower, text))
    return len(text) >= length or digits > 4 or (is_mixed and len(text) >= 5)
