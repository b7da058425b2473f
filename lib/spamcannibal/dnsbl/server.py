"""The DNS server's shell: datagrams and connections in, replies of answer.py out. Decides nothing about DNS.

    server = Server(endpoints, limits, log)     binds, so that a wrong setting shows at once; queries wait in the kernel
    server.start(view, texts)                   answers in a thread of its own
    server.publish(view)                        another view from the next query on
    server.stop()
    server.close()

One thread runs an asyncio loop for all sockets; the caller's thread is free for signals and the store. A query that
fails in an unforeseen way is counted, logged and answered SERVFAIL.
"""

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from spamcannibal.addr import format_endpoint, parse_addr
from spamcannibal.dnsbl import answer as answers
from spamcannibal.dnsbl.answer import Pending, Transport, View
from spamcannibal.dnsbl.sockets import ANCILLARY_BYTES, Ancillary, bind_pair, reply_source
from spamcannibal.dnsbl.tcp import TcpServer
from spamcannibal.dnsbl.texts import Texts
from spamcannibal.errors import Unavailable

BATCH = 64  # datagrams of one socket before the others have their turn
DATAGRAM_BYTES = 65536
WAITING_LIMIT = 4096  # datagrams that wait for a text; past it they get the zone's own
START_S = 10.0


@dataclass(frozen=True)
class Limits:
    """What peers may take: the longest UDP reply, TCP connections at a time, seconds of silence on one."""

    udp_payload_bytes: int = answers.PAYLOAD_BYTES
    tcp_connections: int = 256
    tcp_idle_s: float = 10.0


class Log(Protocol):
    """events.EventLog."""

    def emit(self, verb: str, /, **fields: Any) -> None: ...


class Server:
    """The sockets of all endpoints, from `start` to `stop`. `counters` counts queries by transport and outcome."""

    _view: View
    _texts: Texts

    def __init__(self, endpoints: Iterable[tuple[bytes, int]], limits: Limits, log: Log) -> None:
        self._limits = limits
        self._log = log
        self._udp = Transport(False, limits.udp_payload_bytes)
        self._buffer = bytearray(DATAGRAM_BYTES)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="dns", daemon=True)
        self._ready = threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.counters: Counter[str] = Counter()
        try:
            for addr, port in endpoints:
                self._pairs.append(bind_pair(addr, port))
        except BaseException:
            self.close()
            raise

    @property
    def endpoints(self) -> list[str]:
        """Where we listen."""
        names = [udp.getsockname() for udp, _ in self._pairs]
        return [format_endpoint(parse_addr(name[0].partition("%")[0]), name[1]) for name in names]

    def start(self, view: View, texts: Texts) -> None:
        """Answer from now on."""
        self._view = view
        self._texts = texts
        self._thread.start()
        if not self._ready.wait(START_S):
            raise Unavailable("dnsbl: the answering thread does not start")

    @property
    def is_alive(self) -> bool:
        """Whether queries are being answered."""
        return self._thread.is_alive()

    def publish(self, view: View) -> None:
        """Answer from another view."""
        self._view = view

    def stop(self) -> None:
        """Answer no more."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def close(self) -> None:
        """Stop, and close the sockets."""
        self.stop()
        for pair in self._pairs:
            for sock in pair:
                sock.close()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        tcp = TcpServer(self._respond_stream, self._limits.tcp_connections, self._limits.tcp_idle_s)
        for udp, listener in self._pairs:
            self._loop.add_reader(udp, self._read_datagrams, udp)
            self._loop.run_until_complete(tcp.listen(listener))
        self._loop.call_soon(self._ready.set)
        self._loop.run_forever()
        self._loop.run_until_complete(tcp.close())
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    def _read_datagrams(self, sock: socket.socket) -> None:
        for _ in range(BATCH):
            try:
                size, ancillary, _, peer = sock.recvmsg_into([self._buffer], ANCILLARY_BYTES)
            except OSError:  # none left, or an error that an earlier reply met
                return
            query = bytes(memoryview(self._buffer)[:size])
            source = reply_source(ancillary)
            result = self._guarded(query, self._udp, self._view)
            if isinstance(result, Pending) and len(self._tasks) >= WAITING_LIMIT:
                result = self._told(query, self._udp, result, b"")
            if isinstance(result, Pending):
                task = self._loop.create_task(self._answer_later(sock, query, result, source, peer))
                self._tasks.add(task)  # the loop itself holds tasks weakly
                task.add_done_callback(self._tasks.discard)
            else:
                self._send(sock, result, source, peer)

    async def _answer_later(
        self, sock: socket.socket, query: bytes, pending: Pending, source: Ancillary, peer: Any
    ) -> None:
        self._send(sock, await self._complete(query, self._udp, pending), source, peer)

    async def _respond_stream(self, query: bytes) -> bytes | None:
        result = self._guarded(query, answers.TCP, self._view)
        if isinstance(result, Pending):
            result = await self._complete(query, answers.TCP, result)
        self._count("tcp", result)
        return result

    async def _complete(self, query: bytes, transport: Transport, pending: Pending) -> bytes | None:
        """Return the reply that waits for a text."""
        try:
            text = await self._texts.fetch(pending.key)
        except Exception as error:
            return self._failed(query, error)
        return self._told(query, transport, pending, text)

    def _told(self, query: bytes, transport: Transport, pending: Pending, text: bytes) -> bytes | None:
        """Return the reply now that the text is known."""
        view = replace(self._view, text=lambda key: text if key == pending.key else b"")
        result = self._guarded(query, transport, view)
        return None if isinstance(result, Pending) else result

    def _guarded(self, query: bytes, transport: Transport, view: View) -> bytes | Pending | None:
        try:
            return answers.answer(query, view, transport)
        except Exception as error:
            return self._failed(query, error)

    def _failed(self, query: bytes, error: Exception) -> bytes | None:
        self.counters["failed"] += 1
        self._log.emit("DNSFAIL", error=f"{type(error).__name__}: {error}", query=query[:64].hex())
        return answers.servfail(query)

    def _send(self, sock: socket.socket, reply: bytes | None, source: Ancillary, peer: Any) -> None:
        self._count("udp", reply)
        if reply is None:
            return
        with contextlib.suppress(OSError):  # a full buffer, no way back, port 0: UDP may lose what it likes
            sock.sendmsg([reply], source, 0, peer)

    def _count(self, transport: str, reply: bytes | None) -> None:
        self.counters[transport if reply is not None else f"{transport}_silent"] += 1
