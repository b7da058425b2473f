"""Ports of loopback for servers that are told theirs, before they are started."""

from __future__ import annotations

import contextlib
import random
import socket

# Below those that Linux gives to whoever asks for any (ip_local_port_range): the tests beside do so all the time.
PORTS = range(10_000, 32_768)
_random = random.SystemRandom()  # Hypothesis makes the others' numbers the same


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody had a moment ago, by TCP or UDP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = _random.choice(PORTS)
        with socket.socket(family) as tcp, socket.socket(family, socket.SOCK_DGRAM) as udp:
            with contextlib.suppress(OSError):
                tcp.bind((host, port))
                udp.bind((host, port))
                return port
