"""The senders of the laboratory: one that delivers by smtplib, one that shows how long it is kept waiting."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import threading
import time
from email.message import EmailMessage

from live.nets import Host, wait_for

PORT = 25


def deliver(host: Host, server: str, subject: str, limit_s: float) -> float:
    """Send one mail from `host` and return how long it took; OSError or smtplib's errors if it does not go through."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "writer@example.com", "reader@example.net", subject
    message.set_content("A line.\n.\n..and lines that begin with dots, to see that it arrives as it was sent.\n")
    began = time.monotonic()
    with host.entered(), smtplib.SMTP(server, PORT, "sender.example.com", limit_s) as session:
        session.send_message(message)
    return time.monotonic() - began


class Sender:
    """A client that connects, says EHLO as soon as the server has greeted it, and waits, in a thread of its own.

    A tarpit keeps `greeting` without an end: not one complete line that ends the reply ("220 ..."). `freed_s` is when
    such a line came, None while the client is held.
    """

    def __init__(self, host: Host, server: str) -> None:
        self.greeting = b""
        self.freed_s: float | None = None
        self.connected_s: float | None = None
        self.error = ""
        self.began = time.monotonic()
        self._ended: float | None = None
        self._sock: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, args=(host, server), daemon=True)
        self._thread.start()

    @property
    def held_s(self) -> float:
        """Return for how long it has been kept, in seconds."""
        return (self._ended or time.monotonic()) - self.began

    @property
    def is_held(self) -> bool:
        """Say whether it is connected and still has no complete greeting."""
        return self.connected_s is not None and self.freed_s is None and not self.error

    def wait(self) -> None:
        """Wait until it is known what becomes of it: a greeting, an error, or more than a byte of an endless one."""
        wait_for(lambda: self._ended or len(self.greeting) > 1, "a greeting, whole or not")

    def close(self) -> None:
        """Hang up."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def _run(self, host: Host, server: str) -> None:
        try:
            with host.entered():
                sock = self._sock = socket.create_connection((server, PORT), timeout=120)
            self.connected_s = time.monotonic() - self.began
            with sock:
                self._wait(sock)
        except OSError as error:
            self.error = str(error)
        self._ended = time.monotonic()

    def _wait(self, sock: socket.socket) -> None:
        while data := sock.recv(512):
            self.greeting += data
            lines = self.greeting.split(b"\r\n")[:-1]
            if any(line[3:4] == b" " for line in lines):
                self.freed_s = time.monotonic() - self.began
                sock.sendall(b"QUIT\r\n")
                return
