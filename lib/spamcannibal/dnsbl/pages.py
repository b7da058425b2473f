"""A few pages by HTTP for operators: GET only, one request a connection, everything bounded.

    pages = Pages({"/metrics": (content type, function that makes the text)})
    await pages.listen(socket)

Enough of HTTP/1.1 (RFC 9112) for Prometheus, curl and `spamcannibal dnsbl top`, and no more: it listens on loopback.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping

REQUEST_BYTES = 8192
REQUEST_S = 5.0
CONNECTIONS = 16

Page = tuple[str, Callable[[], str]]


class Pages:
    """The pages by path."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._open = 0

    async def listen(self, sock: socket.socket) -> asyncio.Server:
        """Serve on a listening socket from now on."""
        return await asyncio.start_server(self._serve, sock=sock, limit=REQUEST_BYTES)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        # Who sends too much, too slowly or nothing gets nothing.
        errors = (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError)
        try:
            with contextlib.suppress(*errors):
                async with asyncio.timeout(REQUEST_S):
                    if self._open <= CONNECTIONS:
                        request = await reader.readuntil(b"\r\n\r\n")
                        writer.write(self.respond(request.split(b"\r\n", 1)[0]))
                        await writer.drain()
                    writer.close()
                    await writer.wait_closed()
        finally:
            self._open -= 1
            writer.transport.abort()

    def respond(self, line: bytes) -> bytes:
        """Return the response to a request line."""
        words = line.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response("400 Bad Request", "text/plain", "not a request\n")
        if words[0] != b"GET":
            return _response("405 Method Not Allowed", "text/plain", "GET only\n", "Allow: GET\r\n")
        page = self._pages.get(words[1].partition(b"?")[0].decode("ascii", "replace"))
        if page is None:
            return _response("404 Not Found", "text/plain", f"there are {', '.join(self._pages)}\n")
        kind, make = page
        return _response("200 OK", kind, make())


def _response(status: str, kind: str, text: str, more: str = "") -> bytes:
    body = text.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {len(body)}\r\n{more}"
    return f"{head}Connection: close\r\n\r\n".encode() + body
