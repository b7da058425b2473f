"""As much of HTTP/1.1 as reports need: one request a connection, bytes in, Request and response out. Pure.

A library would be more than this needs: there are two paths to post to and two to read, a body is whole or refused, and
the bounds (bytes, time, connections) are those of the listener that has the connection. A browser says by Origin that a
page has it post, and is refused: any page that somebody at a reporter's address reads could report in his name.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from spamcannibal.errors import WireError

HEAD_LIMIT_BYTES = 8192
BODY_LIMIT_BYTES = 1 << 20
STATUS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    413: "Content Too Large",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
}


class Request(NamedTuple):
    """`secret` is that of "Authorization: Bearer SECRET"."""

    method: str
    path: str
    body: bytes = b""
    secret: str = ""


class HttpError(WireError):
    """A request that gets this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def take_request(data: bytes) -> Request | None:
    """Return the request that the bytes begin with, None where more must come; HttpError if it won't do."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if len(head) > HEAD_LIMIT_BYTES:
        raise HttpError(431, f"head too long, want at most {HEAD_LIMIT_BYTES} bytes")
    if not end:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise HttpError(400, "not a request of HTTP/1.1")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "origin" in headers:
        raise HttpError(403, "not for web pages")
    size = _body_size(words[0], headers)
    if len(rest) < size:
        return None
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    path = words[1].partition("?")[0]
    return Request(words[0], path, rest[:size], secret.strip() if scheme.lower() == "bearer" else "")


def response(status: int, value: Any, allow: str = "") -> bytes:
    """Return a response: a text as it is, anything else as JSON."""
    kind = "text/plain; charset=utf-8" if isinstance(value, str) else "application/json"
    body = (value if isinstance(value, str) else json.dumps(value) + "\n").encode()
    head = f"HTTP/1.1 {status} {STATUS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return (head + (f"Allow: {allow}\r\n" if allow else "") + "Connection: close\r\n\r\n").encode() + body


def _body_size(method: str, headers: Mapping[str, str]) -> int:
    """Return how long a request's body is."""
    if "transfer-encoding" in headers:
        raise HttpError(411, "want Content-Length, no Transfer-Encoding")
    text = headers.get("content-length", "" if method == "POST" else "0")
    if not text.isdecimal() or not text.isascii() or len(text) > 12:
        raise HttpError(411, "want a Content-Length")
    if int(text) > BODY_LIMIT_BYTES:
        raise HttpError(413, f"body too long, want at most {BODY_LIMIT_BYTES} bytes")
    return int(text)
