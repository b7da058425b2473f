"""What our SMTP servers share (the robot's LMTP, the spam trap): a thread with the event loop, reading mail.

The thread only moves bytes; whoever deals with messages does that in threads of his own.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

STOP_S = 20.0


class Content(NamedTuple):
    """What was kept of a message, and how long it is; more than was asked for if reading stopped there."""

    kept: bytes
    size: int


async def read_content(reader: asyncio.StreamReader, keep_bytes: int, most_bytes: int = 1 << 62) -> Content:
    """Return the message up to the lone dot, without its dots (RFC 5321, section 4.5.2), whatever its lines are like.

    At most `keep_bytes` of it are kept; once it is longer than `most_bytes` the rest is left unread.
    """
    kept, size, is_line_start = bytearray(), 0, True
    while True:
        try:
            piece = bytes(await reader.readuntil(b"\r\n"))
        except asyncio.LimitOverrunError as error:
            piece = bytes(await reader.read(error.consumed))
        if is_line_start and piece == b".\r\n":
            return Content(bytes(kept), size)
        if is_line_start and piece.startswith(b"."):
            piece = piece[1:]
        is_line_start = piece.endswith(b"\r\n")
        size += len(piece)
        kept += piece[: keep_bytes - len(kept)]
        if size > most_bytes:
            return Content(bytes(kept), size)


class SmtpLoop:
    """A server on bound sockets, from `start` to `stop`; `converse` makes a connection's protocol."""

    def __init__(
        self,
        name: str,
        socks: Sequence[socket.socket],
        converse: Callable[[], asyncio.BaseProtocol],
        is_busy: Callable[[], bool],
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self._socks = socks
        self._converse = converse
        self._is_busy = is_busy
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._servers: list[asyncio.AbstractServer] = []

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def answers(self, wait_s: float) -> bool:
        """Tell whether the loop does anything within a time."""
        try:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result(wait_s)
        except (TimeoutError, RuntimeError):  # it stands still, or has ended
            return False
        return True

    def stop(self) -> None:
        """Take no more; what is being dealt with is finished, and its sender told, within STOP_S."""
        if self._thread.is_alive():
            with contextlib.suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._drain(), self.loop).result(STOP_S)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(STOP_S)
        for sock in self._socks:
            sock.close()

    async def _drain(self) -> None:
        for server in self._servers:
            server.close()
        while self._is_busy():
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.02)  # the reply is on its way now

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            for sock in self._socks:
                self._servers.append(self.loop.run_until_complete(self._bind(sock)))
            self.loop.run_forever()
        finally:
            for server in self._servers:
                server.close()
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()

    async def _bind(self, sock: socket.socket) -> asyncio.AbstractServer:
        if sock.family == socket.AF_UNIX:
            return await self.loop.create_unix_server(self._converse, sock=sock)
        return await self.loop.create_server(self._converse, sock=sock)
