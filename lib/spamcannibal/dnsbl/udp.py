"""The UDP side of the DNS server: C loops that answer, each in a thread, and what they ask Python.

    loops = UdpLoops(socket groups, limit, responder)    one group of sockets a thread
    loops.start()
    loops.publish(view.fast)
    loops.take(loop)                                   its asks, whenever its descriptor is readable
    loops.stop()

The threads never need the interpreter, so nothing that Python does keeps a plain query waiting.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from socket import socket

from spamcannibal._core import DnsLoop, DnsView
from spamcannibal.dnsbl import wire
from spamcannibal.dnsbl.cookies import Cookies
from spamcannibal.dnsbl.metrics import Told
from spamcannibal.dnsbl.responder import Responder

ASKS = 1024  # of one loop that wait for Python; past it they get SERVFAIL
BATCH = 64  # asks of one loop before the others have their turn
JOIN_S = 5.0
_TYPES, _RCODES = ("A", "AAAA", "TXT", "ANY", "other"), ("NOERROR", "NXDOMAIN")  # core/dnsserve.h

Reply = Callable[[bytes | None], None]


class UdpLoops:
    """The loops of all threads; `responder` answers what they ask and has the limits that they share."""

    def __init__(self, groups: Sequence[Sequence[socket]], limit_bytes: int, responder: Responder) -> None:
        policy = responder.policy
        self.loops = [
            DnsLoop([sock.fileno() for sock in group], limit_bytes, ASKS, policy.rate_limit, policy.talkers)
            for group in groups
        ]
        self.set_cookies(policy.cookies)
        self._respond = responder.datagram
        self._lock = threading.Lock()  # names and counts belong together
        self._names: tuple[str, ...] = ()
        self._told: Counter[Told] = Counter()  # of the views before
        self._threads = [
            threading.Thread(target=loop.run, name=f"dns-udp-{number}", daemon=True)
            for number, loop in enumerate(self.loops)
        ]

    @property
    def is_alive(self) -> bool:
        """Whether all loops run."""
        return all(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Answer from now on."""
        for thread in self._threads:
            thread.start()

    def publish(self, view: DnsView | None) -> None:
        """Answer from another view; None asks Python everything."""
        with self._lock:
            names, self._names = self._names, tuple(map(_zone_name, view.names)) if view else ()
            for loop in self.loops:
                self._told.update(_told(names, loop.publish(view)))

    def set_cookies(self, cookies: Cookies | None) -> None:
        """Give these cookies."""
        for loop in self.loops:
            loop.set_secrets(cookies.secrets if cookies else b"")

    def take(self, loop: DnsLoop) -> None:
        """Have some of a loop's asks answered."""
        for query, addr, peer in loop.take(BATCH):
            self._respond(query, addr, _replier(loop, peer))

    def stop(self) -> None:
        """Answer no more."""
        for loop in self.loops:
            loop.stop()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(JOIN_S)

    def counters(self) -> Counter[str]:
        """Return the sums of what the loops count."""
        total: Counter[str] = Counter()
        for loop in self.loops:
            total.update(loop.counters())
        return total

    def told(self) -> Counter[Told]:
        """Return the replies in our zones."""
        with self._lock:
            total = self._told.copy()
            for loop in self.loops:
                total.update(_told(self._names, loop.zone_counts()))
        return total


def _told(names: Sequence[str], counts: Sequence[int]) -> Counter[Told]:
    keys = (Told("udp", name, *kind) for name in names for kind in product(_TYPES, _RCODES))
    return Counter({key: count for key, count in zip(keys, counts, strict=False) if count})


def _zone_name(wire_name: bytes) -> str:
    labels = wire.read_name(wire_name, 0)
    return b".".join(labels[0]).decode("ascii", "replace") if labels else ""


def _replier(loop: DnsLoop, peer: bytes) -> Reply:
    def reply(message: bytes | None) -> None:
        if message is not None:
            with contextlib.suppress(OSError):  # a full buffer, no way back, port 0: UDP may lose what it likes
                loop.send(message, peer)

    return reply
