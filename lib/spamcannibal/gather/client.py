"""Speak to a gather listener: one line there, one answer back. For the commands and for tests."""

import socket
import ssl

from spamcannibal.addr import format_addr, format_endpoint
from spamcannibal.errors import Unavailable

ANSWER_LIMIT_BYTES = 4 << 20


def say(
    where: tuple[bytes, int] | str, line: str, timeout_s: float = 5.0, context: ssl.SSLContext | None = None
) -> str:
    """Send a line to (addr, port) or the path of a Unix socket; return all that is answered, without the last LF."""
    shown = where if isinstance(where, str) else format_endpoint(*where)
    try:
        with connected(where, timeout_s) as plain:
            sock = context.wrap_socket(plain) if context else plain
            sock.sendall(line.encode() + b"\n")
            if context is None:
                sock.shutdown(socket.SHUT_WR)
            answer = _read(sock).decode("utf-8", "replace").removesuffix("\n")
    except OSError as error:
        raise Unavailable(f"gather listener at {shown}: {error}; is `spamcannibal gather` running?") from None
    if not answer:
        why = "closed without an answer; busy, or TLS is spoken there (gather.tls_listen)"
        raise Unavailable(f"gather listener at {shown}: {why}")
    return answer


def secured(where: tuple[bytes, int] | str, timeout_s: float, context: ssl.SSLContext, name: str = "") -> ssl.SSLSocket:
    """Return a connection over TLS, to a server of that name if the context checks it; OSError if there is none."""
    plain = connected(where, timeout_s)
    try:
        return context.wrap_socket(plain, server_hostname=name or None)
    except BaseException:
        plain.close()
        raise


def connected(where: tuple[bytes, int] | str, timeout_s: float) -> socket.socket:
    """Return a connection to (addr, port) or the path of a Unix socket; OSError if there is none."""
    if not isinstance(where, str):
        return socket.create_connection((format_addr(where[0]), where[1]), timeout_s)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout_s)
    try:
        sock.connect(where)
    except OSError:
        sock.close()
        raise
    return sock


def _read(sock: socket.socket) -> bytes:
    """Return what comes until the end."""
    got = bytearray()
    while len(got) <= ANSWER_LIMIT_BYTES:
        data = sock.recv(65536)
        if not data:
            break
        got += data
    return bytes(got)
