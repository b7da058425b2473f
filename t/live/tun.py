"""A tarpit behind a tun device: the kernel's own TCP clients against the reply engine, packet by packet.

    with Lab("tun") as lab, TunTarpit(lab.host("client"), trap) as pit:
        sock = pit.connect("10.79.0.2")     # an address where nobody is but the trap
        ...
    pit.events                              # what the trap made of each packet, in order, with the client's name
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import threading
from pathlib import Path
from types import TracebackType

from live.nets import Host
from spamcannibal._core import Trap, decode

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
LISTED = 1
RETRIES = 2
PEERS = {"v4": "10.79.0.2", "v6": "fd79::2"}


class TunTarpit:
    """One namespace whose route to PEERS leads into `trap`; a thread carries the packets."""

    def __init__(self, host: Host, trap: Trap) -> None:
        self.host = host
        self.trap = trap
        self.events: list[tuple[tuple[int, int], str]] = []
        self.muted = False
        self._stop_read, self._stop_write = os.pipe()
        self._lock = threading.Lock()
        with host.entered():
            self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self._fd, TUNSETIFF, struct.pack("16sH", b"pit", IFF_TUN | IFF_NO_PI))
        host.ip("link", "set", "pit", "up")
        # A client's timers at their fastest, so that seconds show what hours would.
        for address, prefix, family in (("10.79.0.1", "10.79.0.0/24", "-4"), ("fd79::1", "fd79::/64", "-6")):
            host.ip("addr", "add", f"{address}/{prefix.split('/')[1]}", "dev", "pit", "nodad", "noprefixroute")
            host.ip(family, "route", "add", prefix, "dev", "pit", "src", address, "rto_min", "20ms")
        host.sysctl("net.ipv4.tcp_retries2", RETRIES)
        if Path("/proc/sys/net/ipv4/tcp_rto_max_ms").exists():  # Linux 6.15
            host.sysctl("net.ipv4.tcp_rto_max_ms", 1000)
        self._thread = threading.Thread(target=self._carry)

    def __enter__(self) -> TunTarpit:
        self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        for fd in (self._fd, self._stop_read, self._stop_write):
            os.close(fd)

    def connect(self, address: str, timeout_s: float = 5.0) -> socket.socket:
        """Connect from the namespace; a blocking socket with a timeout."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.host.entered():
            sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(timeout_s)
        sock.connect((address, 25))
        return sock

    def count(self, event: str, sock: socket.socket) -> int:
        """How often a client's packets were that to the trap."""
        client = (6 if sock.family == socket.AF_INET6 else 4, sock.getsockname()[1])
        return self.events.count((client, event))

    def restart(self, trap: Trap, in_flight: bool = True) -> None:
        """Put another trap in place; with in_flight a byte of the old one is under way, and its ACK meets the new."""
        with self._lock:
            due: list[bytes] = []
            while in_flight and not due:
                due = [packet for packet, _, _ in self.trap.due()]
            self.trap = trap
            for packet in due:
                os.write(self._fd, packet)

    def _carry(self) -> None:
        while True:
            ready, _, _ = select.select([self._fd, self._stop_read], [], [], 0.002)
            if self._stop_read in ready:
                return
            with self._lock:
                out = [packet for packet, _, _ in self.trap.due()]
                if self._fd in ready:
                    out += self._judge(os.read(self._fd, 65536))
                for packet in out:
                    if not self.muted:
                        os.write(self._fd, packet)

    def _judge(self, packet: bytes) -> list[bytes]:
        _, reply, event, _, _, _ = self.trap.apply(packet, LISTED)
        if event != "OTHER":  # the namespace's own ICMPv6
            fields = decode(packet)[1]
            assert fields is not None
            self.events.append(((fields["family"], fields["sport"]), event))
        return [reply] if reply else []
