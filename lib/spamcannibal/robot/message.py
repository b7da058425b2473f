"""Messages as bytes: a bounded MIME tree (RFC 5322, 2045, 2046), lenient about form, strict about size.

In: bytes, as a mail server hands them over, lines ended by LF or CRLF. Out: an Entity, a tree of offsets into those
bytes, so that a signed part is exactly what was signed and nothing is copied; bodies are decoded when asked for.

The parser is our own, since evidence is hostile and the standard library's is not made for that: measured, 112 kB of
nested parts raise RecursionError, one folded field of 0.9 MB takes 21 s, 0.8 MB at 180 levels 5 s, and wrong charset
names raise LookupError or ValueError. Here every limit is a WireError, and time is linear in size x depth:

| what | how it is read |
|---|---|
| line end | LF or CRLF; a CR alone is a character like any other |
| header | up to an empty line, or a line that is neither field nor fold; mbox "From " lines before it are skipped |
| multipart | delimiter lines of the outermost boundary first (RFC 2046, section 5.1.2); a missing end is no error |
| multipart without a boundary, or without a delimiter line | a leaf |
| message/rfc822 | a leaf: what is inside is another message, which read_entity takes when asked |
"""

import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from spamcannibal.errors import WireError
from spamcannibal.robot.fields import as_text, decode_words, parameters, unbase64, unfold

_NAME = re.compile(rb"([!-9;-~]{1,200})[ \t]*:")
_FROM = re.compile(rb">?From ")


@dataclass(frozen=True)
class Limits:
    """Bounds on one message; what exceeds one is refused with a WireError that names it."""

    message_bytes: int = 1 << 20
    depth: int = 16
    parts: int = 200
    headers: int = 1000
    header_bytes: int = 256 << 10


DEFAULT_LIMITS = Limits()


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

    def header(self, name: str) -> str:
        """Return the first field of that name as one decoded line, "" if there is none."""
        return next(iter(self.headers_of(name)), "")

    def headers_of(self, name: str) -> list[str]:
        """Return every field of that name as decoded lines."""
        wanted = name.lower()
        return [decode_words(value) for name, value in self.headers if name.lower() == wanted]

    def header_lines(self) -> tuple[str, ...]:
        """Return every field as "Name: value", unfolded, not decoded."""
        return tuple(f"{name}: {unfold(value)}" for name, value in self.headers)

    def body(self) -> bytes:
        """Return the bytes after the header as they stand."""
        return self.raw[self.body_start : self.end]

    def content(self) -> bytes:
        """Return the body without its transfer encoding; what is wrongly encoded is decoded as far as it goes."""
        encoding = unfold(self.header("content-transfer-encoding")).lower()
        if encoding == "base64":
            return unbase64(self.body())
        if encoding == "quoted-printable":
            return binascii.a2b_qp(self.body())
        return self.body()

    def text(self) -> str:
        """Return the content as text in its charset, lines ended by LF."""
        return as_text(self.content(), self.params.get("charset", "")).replace("\r\n", "\n")

    def leaves(self) -> Iterator["Entity"]:
        """Yield the parts that are no multiparts, in order; itself if it has no parts."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()


def read_entity(raw: bytes, limits: Limits = DEFAULT_LIMITS) -> Entity:
    """Return the MIME tree of a message; WireError if it exceeds a limit."""
    if len(raw) > limits.message_bytes:
        raise WireError(f"message too long: want at most {limits.message_bytes} bytes")
    return _Reader(raw, limits).entity(0, len(raw), "text/plain", 0)


def read_header(raw: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[tuple[tuple[str, str], ...], int]:
    """Return the fields of a message's own header as (name, raw value), and where its body starts; else WireError.

    For a message that is evidence: what is wrong in its body is no reason to refuse it.
    """
    return _Reader(raw, limits).header(0, len(raw))


class _Reader:
    """Reads one message; counts what is bounded over the whole of it."""

    def __init__(self, raw: bytes, limits: Limits) -> None:
        self._raw = raw
        self._limits = limits
        self._parts = 0

    def entity(self, start: int, end: int, default_type: str, depth: int) -> Entity:
        """Return the entity that stands at raw[start:end]."""
        headers, body_start = self.header(start, end)
        value = next((value for name, value in headers if name.lower() == "content-type"), "")
        content_type, params = parameters(value)
        if "/" not in content_type:
            content_type = default_type
        parts: tuple[Entity, ...] = ()
        if content_type.startswith("multipart/"):
            parts = self._multipart(content_type, params.get("boundary", ""), (body_start, end), depth)
        return Entity(self._raw, start, body_start, end, headers, content_type, params, parts)

    def header(self, start: int, end: int) -> tuple[tuple[tuple[str, str], ...], int]:
        """Return the fields, and where the body starts."""
        raw, limits = self._raw, self._limits
        fields: list[tuple[str, list[bytes]]] = []
        at = start
        while at < end:
            stop = raw.find(b"\n", at, end) + 1 or end
            line = raw[at:stop]
            if line in (b"\n", b"\r\n"):
                at = stop
                break
            name = _NAME.match(line)
            if line[:1] in b" \t" and fields:
                fields[-1][1].append(line)
            elif name:
                fields.append((as_text(name[1]), [line[name.end() :]]))
            elif fields or not _FROM.match(line):
                break
            at = stop
            if len(fields) > limits.headers:
                raise WireError(f"too many header fields: want at most {limits.headers} in one header")
            if at - start > limits.header_bytes:
                raise WireError(f"header too long: want at most {limits.header_bytes} bytes")
        return tuple((name, as_text(b"".join(value)).strip("\r\n")) for name, value in fields), at

    def _multipart(self, kind: str, boundary: str, span: tuple[int, int], depth: int) -> tuple[Entity, ...]:
        """Return the parts between the delimiter lines in raw[span]."""
        limits = self._limits
        if depth >= limits.depth:
            raise WireError(f"nested too deep: want at most {limits.depth} levels of parts")
        default_type = "message/rfc822" if kind == "multipart/digest" else "text/plain"
        parts = []
        for start, end in self._sections(boundary, span):
            self._parts += 1
            if self._parts > limits.parts:
                raise WireError(f"too many parts: want at most {limits.parts} in one message")
            parts.append(self.entity(start, end, default_type, depth + 1))
        return tuple(parts)

    def _sections(self, boundary: str, span: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """Yield where each part starts and ends; the line end before a delimiter line belongs to the delimiter."""
        if not boundary or len(boundary) > 200:
            return
        mark = re.escape(boundary.encode("utf-8", "surrogatepass"))
        delimiter = re.compile(rb"^--" + mark + rb"(--)?[ \t]*\r?$", re.MULTILINE)
        start, (at, end) = -1, span
        for match in delimiter.finditer(self._raw, at, end):
            if start >= 0:
                yield start, max(start, self._before_line_end(match.start()))
            start = min(match.end() + 1, end)
            if match[1]:
                return
        if start >= 0:
            yield start, end

    def _before_line_end(self, at: int) -> int:
        """Return the offset before the line end that stands before `at`."""
        return at - 2 if self._raw[at - 2 : at] == b"\r\n" else at - 1
