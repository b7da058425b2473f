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
from socket import socket

from spamcannibal._core import DnsLoop, DnsView
from spamcannibal.dnsbl.responder import Responder

ASKS = 1024  # of one loop that wait for Python; past it they get SERVFAIL
BATCH = 64  # asks of one loop before the others have their turn
JOIN_S = 5.0

Reply = Callable[[bytes | None], None]


class UdpLoops:
    """The loops of all threads; `responder` answers what they ask and has the limits that they share."""

    def __init__(self, groups: Sequence[Sequence[socket]], limit_bytes: int, responder: Responder) -> None:
        policy = responder.policy
        self.loops = [
            DnsLoop([sock.fileno() for sock in group], limit_bytes, ASKS, policy.rate_limit, policy.talkers)
            for group in groups
        ]
        self._respond = responder.datagram
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
        for loop in self.loops:
            loop.publish(view)

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


def _replier(loop: DnsLoop, peer: bytes) -> Reply:
    def reply(message: bytes | None) -> None:
        if message is not None:
            with contextlib.suppress(OSError):  # a full buffer, no way back, port 0: UDP may lose what it likes
                loop.send(message, peer)

    return reply
