"""The connections of the gather listener: bytes between a socket and a conversation (talk.py). Decides nothing."""

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from hashlib import sha256
from typing import Any, Protocol

from spamcannibal.gather.desk import Desk
from spamcannibal.gather.reporters import Peer
from spamcannibal.gather.talk import Conversation

RECEIVE_BYTES = 16384  # requests at once: the rest waits in the kernel, and others have their turn


class Closable(Protocol):
    def drop(self) -> None: ...


class Host(Protocol):
    """The server that a connection belongs to."""

    desk: Desk
    loop: asyncio.AbstractEventLoop
    counts: Counter[str]

    def note_fresh(self, connection: Closable) -> None: ...
    def note_kept(self, connection: Closable) -> None: ...
    def forget(self, connection: Closable) -> None: ...
    def converse(self, talk: Conversation, data: bytes) -> bytes: ...


class Plain:
    """A connection without TLS."""

    __slots__ = ("_is_watched", "_out", "_server", "_sock", "_talk")

    def __init__(self, server: Host, sock: socket.socket, talk: Conversation) -> None:
        self._server = server
        self._sock = sock
        self._talk = talk
        self._out = b""
        self._is_watched = False

    def read(self) -> None:
        """Take what has come, and answer."""
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._close()
            return
        if data:
            self.answer(self._server.converse(self._talk, data))
        else:
            self._talk.end()
            self._close()

    def answer(self, reply: bytes) -> None:
        """Send what a conversation says, and go on with it unless it is over."""
        talk = self._talk
        if reply:
            self._send(reply)
            if talk.is_kept and not talk.is_over:
                self._watch()
                self._server.note_kept(self)
        if self._out:
            return
        if talk.is_over:
            self._close()
        else:
            self._watch()

    def drop(self) -> None:
        """Close, as the server wants it."""
        self._close()

    def _send(self, reply: bytes) -> None:
        """Send; what the kernel does not take waits, and nothing is read meanwhile."""
        try:
            sent = self._sock.send(reply)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._talk.is_over = True
            return
        if sent < len(reply):
            self._server.counts["stalled"] += 1
            self._watch()
            self._out = reply[sent:]
            self._server.loop.remove_reader(self._sock)
            self._server.loop.add_writer(self._sock, self._flush)

    def _flush(self) -> None:
        out, self._out = self._out, b""
        loop = self._server.loop
        loop.remove_writer(self._sock)
        try:
            sent = self._sock.send(out)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close()
            return
        if sent < len(out):
            self._out = out[sent:]
            loop.add_writer(self._sock, self._flush)
        elif self._talk.is_over:
            self._close()
        else:
            loop.add_reader(self._sock, self.read)

    def _watch(self) -> None:
        if not self._is_watched:
            self._is_watched = True
            self._server.note_fresh(self)
            self._server.loop.add_reader(self._sock, self.read)

    def _close(self) -> None:
        if self._is_watched:
            self._server.forget(self)
            self._server.loop.remove_reader(self._sock)
            if self._out:
                self._server.loop.remove_writer(self._sock)
            self._is_watched = False
        self._sock.close()


class Tls(asyncio.Protocol):
    """A connection with TLS, from before its handshake on."""

    def __init__(self, server: Host, sock: socket.socket, peer: Peer) -> None:
        self.sock = sock
        self.peer = peer
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._talk: Conversation | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.peer = certified(self.peer, transport.get_extra_info("ssl_object"))
        self._talk = Conversation(self._server.desk, self.peer)

    def data_received(self, data: bytes) -> None:
        talk, transport = self._talk, self._transport
        if talk is None or transport is None or transport.is_closing():
            return
        reply = self._server.converse(talk, data)
        if reply:
            transport.write(reply)
            if talk.is_kept:
                self._server.note_kept(self)
        if talk.is_over:
            transport.close()

    def eof_received(self) -> None:
        if self._talk is not None:
            self._talk.end()

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.forget(self)

    def drop(self) -> None:
        """Close, as the server wants it."""
        if self._transport is not None:
            self._transport.abort()
        else:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)  # the handshake fails by it, and closes


def certified(peer: Peer, tls: ssl.SSLObject | None) -> Peer:
    """Return a peer with what his certificate says; without one, as he is."""
    der = tls.getpeercert(binary_form=True) if tls else None
    if tls is None or not der:
        return peer
    about: Any = tls.getpeercert() or {}
    subject = [value for parts in about.get("subject", ()) for name, value in parts if name == "commonName"]
    others = [value for kind, value in about.get("subjectAltName", ()) if kind == "DNS"]
    return peer._replace(fingerprint=sha256(der).hexdigest(), names=frozenset(map(str.lower, (*subject, *others))))
