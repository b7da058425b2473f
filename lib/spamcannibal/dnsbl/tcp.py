"""DNS over TCP (RFC 7766): each message after its length in two bytes, as many queries a connection as the client
likes.

A client has `idle_s` to begin a message, again to end it, and again to take a reply, so that slow ones do not stay.
Queries of a connection are answered as their answers are ready, up to PIPELINE at a time (6.2.1.1); what is not read
waits in the kernel. When the connections are all taken, a new one closes the one that has been silent longest: holding
them keeps nobody out.
"""

import asyncio
import contextlib
import socket
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection

from spamcannibal.addr import parse_addr

BUFFER_BYTES = 4096  # read ahead for pipelined queries; a longer message is read past it

PIPELINE = 16

Respond = Callable[[bytes, bytes], AsyncGenerator[bytes, None]]


class TcpServer:
    """The connections of all listening sockets together.

    `respond(query, address)` yields the messages to send; none, and the connection ends.
    """

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
            peer = writer.get_extra_info("peername")
            if peer is not None:  # None: gone already
                await self._converse(reader, writer, parse_addr(peer[0].partition("%")[0]))
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()  # close would wait for a client that takes nothing

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, addr: bytes) -> None:
        pending: set[asyncio.Task[None]] = set()
        turn = asyncio.Lock()
        # A client that goes away, or is too slow, is no event: its connection just ends.
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            while True:
                query = await self._read(reader, pending)
                if writer in self._open:
                    self._open.move_to_end(writer)
                if len(pending) >= PIPELINE:
                    await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                task = asyncio.create_task(self._answer(query, addr, writer, turn))
                pending.add(task)
                task.add_done_callback(pending.discard)
        if pending:  # one that closed its side still reads; each message has its own time-out
            await asyncio.wait(pending)

    async def _read(self, reader: asyncio.StreamReader, pending: Collection[object]) -> bytes:
        head = b""
        while not head:
            try:
                async with asyncio.timeout(self._idle_s):
                    head = await reader.readexactly(2)
            except TimeoutError:
                if not pending:  # who waits for a long transfer has nothing to say
                    raise
        async with asyncio.timeout(self._idle_s):
            return await reader.readexactly(int.from_bytes(head, "big"))

    async def _answer(self, query: bytes, addr: bytes, writer: asyncio.StreamWriter, turn: asyncio.Lock) -> None:
        """Send the messages that answer a query, each whole; end the connection if there are none or it takes none."""
        is_answered = False
        with contextlib.suppress(OSError, TimeoutError):
            async with contextlib.aclosing(self._respond(query, addr)) as messages:
                async for message in messages:
                    async with turn, asyncio.timeout(self._idle_s):
                        writer.write(len(message).to_bytes(2, "big") + message)
                        await writer.drain()
                    is_answered = True
                    if writer in self._open:  # one that takes a transfer is not silent
                        self._open.move_to_end(writer)
            if is_answered:
                return
        writer.transport.abort()
