"""DNS over TCP (RFC 7766): each message after its length in two bytes, as many queries a connection as the client
likes.

A client has `idle_s` to begin a message, again to end it, and again to take a reply, so that slow ones do not stay.
When the connections are all taken, a new one closes the one that has been silent longest: holding them keeps nobody
out.
"""

import asyncio
import contextlib
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable

BUFFER_BYTES = 4096  # read ahead for pipelined queries; a longer message is read past it

Respond = Callable[[bytes], Awaitable[bytes | None]]


class TcpServer:
    """The connections of all listening sockets together."""

    def __init__(self, respond: Respond, connections: int, idle_s: float) -> None:
        self._respond = respond
        self._limit = connections
        self._idle_s = idle_s
        self._servers: list[asyncio.Server] = []
        self._open: OrderedDict[asyncio.StreamWriter, None] = OrderedDict()  # the longest silent first
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._open)

    async def listen(self, sock: socket.socket) -> None:
        """Accept connections on a listening socket from now on."""
        self._servers.append(await asyncio.start_server(self._serve, sock=sock, limit=BUFFER_BYTES))

    async def close(self) -> None:
        """Close sockets and connections."""
        for server in self._servers:
            server.close()
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= self._limit:
            oldest, _ = self._open.popitem(last=False)
            oldest.transport.abort()
            self.evicted += 1
        self._open[writer] = None
        writer.transport.set_write_buffer_limits(high=0)  # drain waits until the kernel has taken the reply
        try:
            # A client that goes away, or is too slow, is no event: its connection just ends.
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                await self._converse(reader, writer)
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()  # close would wait for a client that takes nothing

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(self._idle_s):
                size = int.from_bytes(await reader.readexactly(2), "big")
            async with asyncio.timeout(self._idle_s):
                query = await reader.readexactly(size)
            if writer in self._open:
                self._open.move_to_end(writer)
            reply = await self._respond(query)
            if reply is None:
                return
            writer.write(len(reply).to_bytes(2, "big") + reply)
            async with asyncio.timeout(self._idle_s):
                await writer.drain()
