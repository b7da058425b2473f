"""The sockets behind an Exchange: UDP from changing random ports, TCP where that is needed, one thread, one epoll.

Towards each server PORTS sockets are open, bound to ports that the kernel picks at random and connected: what comes
from anywhere else never reaches them, and a server that is not there is known at once. A question goes out by one of
them at random. After USES questions a socket is replaced, and stays only for answers that are under way.
"""

import os
import select
import socket
import time
from collections import deque
from collections.abc import Sequence

from spamcannibal.addr import format_addr
from spamcannibal.remote.exchange import Exchange, Outcome
from spamcannibal.remote.question import Question, Terms
from spamcannibal.remote.streams import Endpoint, Streams

PORTS = 32
USES = 4096
RETIRED_LIMIT = 256
BURST = 64
READY = 16  # sockets read in a turn: new questions go out while other answers still wait
READ_BYTES = 2048  # longer than any reply that is taken; a longer one is cut and counted as too long
RECEIVE_BYTES = 1 << 20
NOISE_BYTES = 16384


class Noise:
    """Random bytes of the kernel, fetched in blocks."""

    def __init__(self) -> None:
        self._block, self._at = b"", 0

    def __call__(self, count: int) -> bytes:
        at = self._at
        self._at = end = at + count
        if end > len(self._block):
            self._block, at, self._at = os.urandom(NOISE_BYTES), 0, count
        return self._block[at : self._at]


class _Ports:
    """The UDP sockets by number; numbers are never used twice. A server's are opened when it is first asked."""

    def __init__(self, servers: Sequence[Endpoint], linger_s: float, noise: Noise, epoll: select.epoll) -> None:
        self.by_number: dict[int, socket.socket] = {}
        self.by_fd: dict[int, tuple[int, socket.socket]] = {}
        self.broken = ""  # why the last one could not be opened
        self._servers, self._linger_s, self._noise, self._epoll = servers, linger_s, noise, epoll
        self._last = 0
        self._retired: deque[tuple[float, int]] = deque()
        self._uses: dict[int, int] = {}
        self._current: list[list[int]] = [[0] * PORTS for _ in servers]

    def pick(self, server: int) -> int:
        """Return the number of a port from which that server is asked; one that is not in `by_number` is broken."""
        row, place = self._current[server], self._noise(1)[0] % PORTS
        number = row[place]
        left = self._uses.get(number, 0)
        if not left:
            if number in self.by_number:
                self._retired.append((time.monotonic() + self._linger_s, number))
            number = row[place] = self._open(self._servers[server])
            left = USES
        self._uses[number] = left - 1
        return number

    def retire(self, now: float) -> None:
        """Close the replaced ones that nothing can come to any more."""
        while self._retired and (self._retired[0][0] <= now or len(self._retired) > RETIRED_LIMIT):
            self._close(self._retired.popleft()[1])

    def close(self) -> None:
        for number in list(self.by_number):
            self._close(number)

    def _open(self, server: Endpoint) -> int:
        self._last += 1
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self.broken = error.strerror or str(error)
            return self._last
        try:
            sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
            sock.connect(server)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        except OSError as error:
            sock.close()
            self.broken = error.strerror or str(error)
            return self._last
        self.by_number[self._last] = sock
        self.by_fd[sock.fileno()] = self._last, sock
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        return self._last

    def _close(self, number: int) -> None:
        sock = self.by_number.pop(number)
        del self.by_fd[sock.fileno()], self._uses[number]
        self._epoll.unregister(sock.fileno())
        sock.close()


class Resolver:
    """Asks the servers at the endpoints, (addr, port), in their order; no question waits longer than `longest_s`."""

    def __init__(
        self, endpoints: Sequence[tuple[bytes, int]], terms: Terms, tcp_connections: int, longest_s: float
    ) -> None:
        self._servers: list[Endpoint] = [(format_addr(addr), port) for addr, port in endpoints]
        self.noise = Noise()
        self._epoll = select.epoll()
        self._ports = _Ports(self._servers, longest_s, self.noise, self._epoll)
        self._exchange = Exchange(terms, self.noise, self._ports.pick)
        self._streams = Streams(tcp_connections, self._answered, self._failed)
        self._epoll.register(self._streams.fileno(), select.EPOLLIN)
        self._buffer = bytearray(READ_BYTES)
        self.counters = self._exchange.counters

    @property
    def in_flight(self) -> int:
        return self._exchange.in_flight

    def ask(self, question: Question, now: float) -> None:
        """Take a question on; `now` is of the monotonic clock."""
        self._exchange.ask(question, now)

    def use(self, servers: list[int]) -> None:
        """Ask only these servers from now on, at least one."""
        self._exchange.use(servers)

    def turn(self, wait_s: float) -> list[tuple[Question, Outcome]]:
        """Send, wait at most so long for something to happen, receive; return the questions that have ended."""
        exchange = self._exchange
        self._send(time.monotonic())
        if self._streams.is_busy:
            self._streams.turn()
        due = exchange.next_due()
        if exchange.done:
            wait_s = 0.0
        elif due is not None:
            wait_s = min(wait_s, max(0.0, due - time.monotonic()))
        for fd, _ in self._epoll.poll(wait_s, READY):
            self._receive(fd)
        now = time.monotonic()
        exchange.tick(now)
        self._send(now)
        self._ports.retire(now)
        done, exchange.done = exchange.done, []
        return done

    def abandon(self) -> None:
        """Forget all questions in flight."""
        self._exchange.abandon()
        self._streams.abandon()

    def close(self) -> None:
        self._streams.close()
        self._ports.close()
        self._epoll.close()

    def _send(self, now: float) -> None:
        """Send what the exchange wants sent, and have streams opened."""
        exchange = self._exchange
        while exchange.out:
            out, exchange.out = exchange.out, []
            for datagram in out:
                why = self._send_one(datagram.port, datagram.data)
                if why:
                    exchange.unsent(datagram, why, now)
        streams, exchange.streams = exchange.streams, []
        for question, server in streams:
            self._streams.ask(question, self._servers[server])

    def _send_one(self, port: int, data: bytes) -> str:
        """Send a datagram; return why it can't be. What the socket has no room for is as good as lost on its way."""
        sock = self._ports.by_number.get(port)
        if sock is None:
            return f"can't be sent: {self._ports.broken}"
        try:
            sock.send(data)
        except BlockingIOError:
            return ""
        except ConnectionRefusedError:
            return self._send_after(sock, data)
        except OSError as error:
            return f"can't be sent: {error.strerror}"
        return ""

    def _send_after(self, sock: socket.socket, data: bytes) -> str:
        """Send a datagram after the word came that one before it was refused; if not, it was this one's own end."""
        try:
            sock.send(data)
        except OSError as error:
            return f"can't be sent: {error.strerror}"
        return ""

    def _receive(self, fd: int) -> None:
        """Read at most a burst from one socket, so that none starves the others."""
        found = self._ports.by_fd.get(fd)
        if found is None:
            return  # the streams': they have their turn
        number, sock = found
        buffer, heard, receive = self._buffer, self._exchange.heard, sock.recv_into
        now = time.monotonic()
        for _ in range(BURST):
            try:
                size = receive(buffer)
            except BlockingIOError:
                return
            except OSError as error:
                self._exchange.refused(number, f"the resolver is not there: {error.strerror}", now)
                return
            heard(number, bytes(buffer[:size]), now)

    def _answered(self, question: Question, data: bytes) -> None:
        self._exchange.streamed(question, data, time.monotonic())

    def _failed(self, question: Question, why: str) -> None:
        self._exchange.unstreamed(question, why, time.monotonic())
