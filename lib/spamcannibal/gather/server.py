"""The sockets of the gather listener: connections in, the conversations of talk.py over them. Decides nothing.

    server = Server(desk, limits, log)
    server.listen(sock)                 bound and listening: TCP or Unix
    server.listen_tls(sock)             the same with TLS, by the context that is in server.tls then
    server.start() ... server.call(function) ... server.stop()

One thread runs an asyncio loop. Plain connections are accepted in bursts and read at once (core/burst.h): a mail
server's line is mostly there by then, and whoever said it is answered and closed with the burst, without a transport, a
task, or a turn of the loop. The others are watched. TLS goes by asyncio's transports.

Bounds: `connections` in all; one too many closes the one that was silent longest, those that have not said anything
whole first. `idle_s` after it was accepted a connection must have made its request, however slowly it comes; one that
stays (Postfix) may be silent for `kept_s`. While a peer takes no answers nothing more is read from it.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from spamcannibal._core import answer_burst, take_burst
from spamcannibal.addr import parse_addr
from spamcannibal.errors import Unavailable
from spamcannibal.gather.connections import Closable, Plain, Tls
from spamcannibal.gather.desk import Desk
from spamcannibal.gather.line import Refused
from spamcannibal.gather.reporters import Peer
from spamcannibal.gather.talk import Conversation

ACCEPTS = 64  # in one turn of the loop
FIRST_BYTES = 2048  # read of each connection of a burst: any line, and most requests
SWEEP_S = 0.2
PAUSE_S = 0.1  # when the system has no more descriptors
START_S = 10.0
SHUTDOWN_S = 1.0


class Log(Protocol):
    def emit(self, verb: str, /, **fields: Any) -> None: ...


@dataclass(frozen=True)
class Limits:
    """What peers may take."""

    connections: int = 1024
    idle_s: float = 3.0
    kept_s: float = 300.0


class Server:
    """All listening sockets and their connections."""

    def __init__(self, desk: Desk, limits: Limits, log: Log) -> None:
        self.desk = desk
        self.limits = limits
        self.counts: Counter[str] = Counter()
        self.log = log
        self.tls: ssl.SSLContext | None = None
        self.swept_s = 0.0  # when the loop last had a turn, by the monotonic clock
        self.loop = asyncio.new_event_loop()
        self._listeners: list[socket.socket] = []
        self._room = bytearray(ACCEPTS * FIRST_BYTES)
        self._fresh: OrderedDict[Closable, float] = OrderedDict()  # by when they came
        self._kept: OrderedDict[Closable, float] = OrderedDict()  # by when they last got an answer
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gather", daemon=True)

    def __len__(self) -> int:
        return len(self._fresh) + len(self._kept)

    def listen(self, sock: socket.socket) -> None:
        """Serve plain connections of a listening socket, which is ours from now on; before start."""
        self._add(sock, self._accept)

    def listen_tls(self, sock: socket.socket) -> None:
        """Serve TLS connections of a listening socket, which is ours from now on; before start."""
        self._add(sock, self._accept_tls)

    def start(self) -> None:
        """Serve from now on."""
        self._thread.start()
        if not self._ready.wait(START_S):
            raise Unavailable("gather: the serving thread does not start")

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def call(self, function: Callable[[], None]) -> None:
        """Have a function called by the serving thread, soon."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is served any more
            self.loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """Serve no more, and close everything."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
        for sock in self._listeners:
            sock.close()
        if not self.loop.is_closed():
            self.loop.close()

    # What connections tell of themselves.

    def note_fresh(self, connection: Closable) -> None:
        """Take a new connection in; one too many costs another one its place."""
        if len(self) >= self.limits.connections:
            self.counts["evicted"] += 1
            oldest = next(iter(self._fresh or self._kept))
            self.forget(oldest)
            oldest.drop()
        self._fresh[connection] = self.loop.time()

    def note_kept(self, connection: Closable) -> None:
        """Take it that a connection that stays got an answer."""
        self._fresh.pop(connection, None)
        self._kept[connection] = self.loop.time()
        self._kept.move_to_end(connection)

    def forget(self, connection: Closable) -> None:
        self._fresh.pop(connection, None)
        self._kept.pop(connection, None)

    def converse(self, talk: Conversation, data: bytes) -> bytes:
        """Feed a conversation; whatever fails in it costs that connection only."""
        try:
            return talk.feed(data)
        except Exception as error:
            self.counts["failed"] += 1
            self.log.emit("TROUBLE", what="gather", why=f"{type(error).__name__}: {error}")
            talk.is_over = True
            return b""

    # The loop's thread.

    def _add(self, sock: socket.socket, accept: Callable[[socket.socket], None]) -> None:
        sock.setblocking(False)
        self._listeners.append(sock)
        self.loop.add_reader(sock, accept, sock)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self._ready.set)
        self.loop.call_soon(self._sweep)
        self.loop.run_forever()
        for sock in self._listeners:
            self.loop.remove_reader(sock)
        for connection in (*self._fresh, *self._kept):
            connection.drop()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))

    def _accept(self, listener: socket.socket) -> None:
        """Take a burst of plain connections; all that say something whole are answered and closed together."""
        try:
            burst = take_burst(listener.fileno(), self._room, FIRST_BYTES)
        except OSError as error:
            self._pause(listener, self._accept, error)
            return
        self.counts["accepted"] += len(burst)
        is_local = listener.family == socket.AF_UNIX
        replies: list[tuple[int, bytes]] = []
        talks: list[Conversation] = []
        for descriptor, addr, data in burst:
            talk = Conversation(self.desk, Peer(addr))
            reply = b""
            if data == b"" or not (addr or is_local):  # without an address it would pass for a local one
                talk.end()
            elif data:
                reply = self.converse(talk, data)
            if talk.is_over:
                replies.append((descriptor, reply))
                talks.append(talk)
            else:
                Plain(self, _socket(listener, descriptor), talk).answer(reply)
        for descriptor, sent in answer_burst(replies) if replies else ():
            at, reply = next((i, reply) for i, (fd, reply) in enumerate(replies) if fd == descriptor)
            Plain(self, _socket(listener, descriptor), talks[at]).answer(reply[sent:])

    def _accept_tls(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS):
            try:
                sock, name = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(listener, self._accept_tls, error)
                return
            self.counts["accepted"] += 1
            self._begin_tls(sock, _peer(name[0]))

    def _pause(self, listener: socket.socket, accept: Callable[[socket.socket], None], error: OSError) -> None:
        """Accept no more for a moment: the system lacks descriptors or memory."""
        self.counts["accept_failed"] += 1
        self.log.emit("TROUBLE", what="accept", why=str(error))
        self.loop.remove_reader(listener)
        self.loop.call_later(PAUSE_S, self.loop.add_reader, listener, accept, listener)

    def _begin_tls(self, sock: socket.socket, peer: Peer) -> None:
        assert self.tls is not None
        sock.setblocking(False)
        connection = Tls(self, sock, peer)
        self.note_fresh(connection)
        task = self.loop.create_task(self._shake_hands(connection, self.tls))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _shake_hands(self, connection: Tls, context: ssl.SSLContext) -> None:
        try:
            await self.loop.connect_accepted_socket(
                lambda: connection,
                connection.sock,
                ssl=context,
                ssl_handshake_timeout=self.limits.idle_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except (OSError, ValueError) as error:  # ValueError: it was dropped meanwhile
            self.forget(connection)
            connection.sock.close()
            self.desk.refuse(connection.peer, Refused("tls_failed", str(error)))

    def _sweep(self) -> None:
        """Close what has been silent for too long."""
        now = self.swept_s = self.loop.time()
        for connections, limit_s in ((self._fresh, self.limits.idle_s), (self._kept, self.limits.kept_s)):
            while connections:
                oldest = next(iter(connections))
                if now - connections[oldest] < limit_s:
                    break
                self.counts["timed_out"] += 1
                del connections[oldest]
                oldest.drop()
        self.loop.call_later(SWEEP_S, self._sweep)


def _socket(listener: socket.socket, descriptor: int) -> socket.socket:
    """Return the socket of a connection, whose kind is its listener's: nobody is asked for it."""
    sock = socket.socket(listener.family, listener.type, listener.proto, descriptor)
    sock.setblocking(False)
    return sock


@lru_cache(4096)
def _peer(host: str) -> Peer:
    return Peer(parse_addr(host.partition("%")[0]))
