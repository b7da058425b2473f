"""Questions over TCP (RFC 7766): one a connection, so many connections at a time; the others wait for their turn."""

import errno
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable

from spamcannibal.remote.question import Question

QUEUE_LIMIT = 16384

Endpoint = tuple[str, int]
Answered = Callable[[Question, bytes], None]
Failed = Callable[[Question, str], None]


class Streams:
    """The connections; they tell by `answered` and `failed` what became of a question that is not over."""

    def __init__(self, limit: int, answered: Answered, failed: Failed) -> None:
        self._limit, self._answered, self._failed = limit, answered, failed
        self._selector = selectors.EpollSelector()
        self._waiting: deque[tuple[Question, Endpoint]] = deque()
        self._open: dict[int, _Stream] = {}

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when `turn` has something to do."""
        return self._selector.fileno()

    @property
    def is_busy(self) -> bool:
        """Tell whether `turn` may have something to do."""
        return bool(self._open or self._waiting)

    def ask(self, question: Question, server: Endpoint) -> None:
        """Take a question on."""
        if len(self._waiting) >= QUEUE_LIMIT:
            self._failed(question, "too many questions over TCP")
            return
        self._waiting.append((question, server))

    def turn(self) -> None:
        """Read and write what is ready, drop what is over, and begin what has its turn."""
        for key, _ in self._selector.select(0):
            self._move(self._open[key.fd])
        for stream in [stream for stream in self._open.values() if stream.question.is_over]:
            self._close(stream)
        while self._waiting and len(self._open) < self._limit:
            question, server = self._waiting.popleft()
            if not question.is_over:
                self._begin(question, server)

    def abandon(self) -> None:
        """Close all."""
        for stream in list(self._open.values()):
            self._close(stream)
        self._waiting.clear()

    def close(self) -> None:
        self.abandon()
        self._selector.close()

    def _begin(self, question: Question, server: Endpoint) -> None:
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self._failed(question, f"TCP: {error.strerror}")
            return
        code = sock.connect_ex(server)
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            self._failed(question, f"TCP: {os.strerror(code)}")
            return
        self._open[sock.fileno()] = _Stream(sock, question)
        self._selector.register(sock, selectors.EVENT_WRITE)

    def _move(self, stream: "_Stream") -> None:
        """Send or receive; at the end of both the stream is closed."""
        try:
            if stream.left:
                stream.send()
                if not stream.left:
                    self._selector.modify(stream.sock, selectors.EVENT_READ)
                return
            message = stream.receive()
        except BlockingIOError:
            return
        except OSError as error:
            self._close(stream)
            self._failed(stream.question, f"TCP: {error.strerror or error}")
            return
        if message is not None:
            self._close(stream)
            self._answered(stream.question, message)

    def _close(self, stream: "_Stream") -> None:
        del self._open[stream.sock.fileno()]
        self._selector.unregister(stream.sock)
        stream.sock.close()


class _Stream:
    """One connection: what is left to send, then what was received."""

    def __init__(self, sock: socket.socket, question: Question) -> None:
        self.sock, self.question = sock, question
        self.left = len(question.sent).to_bytes(2, "big") + question.sent
        self._received = b""

    def send(self) -> None:
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        self.left = self.left[self.sock.send(self.left) :]

    def receive(self) -> bytes | None:
        """Return the message once it is whole; it has at most 65,535 bytes, as its length says."""
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionResetError(0, "closed before the answer")
        self._received += data
        size = int.from_bytes(self._received[:2], "big")
        is_whole = len(self._received) >= 2 + max(size, 1)
        return self._received[2 : 2 + size] if is_whole else None
