"""Sends what notify.py says is due, over UDP, in a thread of its own.

    notifier = Notifier(log)
    notifier.adopt(view, subscriptions, keys, delay_s, sources)     all are told at once: we may have been away
    notifier.changed()                                              from the thread that follows
    notifier.close()

A secondary takes NOTIFY from its primary's address only, so the socket is bound to where we listen, if that is one
address and the secondary can be reached from there.
"""

import contextlib
import secrets
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from spamcannibal.addr import format_addr, format_endpoint
from spamcannibal.dnsbl.answer import View
from spamcannibal.dnsbl.notify import NEVER, Due, Notices, Subscription, notification, read_answer
from spamcannibal.dnsbl.responder import Log
from spamcannibal.dnsbl.tsig import Key, Keys, Signer
from spamcannibal.dnsbl.zone import Zone

LONGEST_SLEEP_S = 60.0
COMPLAIN_TRIES = 3  # unanswered ones in a row before it is told


@dataclass
class _Sent:
    """The last NOTIFY to somebody: its socket, id and MAC."""

    sock: socket.socket
    ident: int
    mac: bytes


@dataclass(frozen=True)
class _Plan:
    """Who is told, of what."""

    view: View
    zones: dict[tuple[bytes, ...], Zone]
    keys: Keys
    notices: Notices
    sources: tuple[bytes, ...]
    sent: dict[Subscription, _Sent] = field(default_factory=dict)
    tries: Counter[Subscription] = field(default_factory=Counter)

    def close(self) -> None:
        for one in self.sent.values():
            one.sock.close()


class Notifier:
    """A thread that tells secondaries. What is adopted anew replaces what was."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._plan: _Plan | None = None
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)
        self._thread.start()

    @property
    def unanswered(self) -> int:
        """Return how many secondaries did not answer yet."""
        plan = self._plan
        return plan.notices.unanswered if plan else 0

    def adopt(
        self, view: View, subscriptions: Iterable[Subscription], keys: Keys, delay_s: float, sources: Iterable[bytes]
    ) -> None:
        """Tell these from now on."""
        zones = {zone.labels: zone for zone in view.zones}
        plan = _Plan(view, zones, keys, Notices(subscriptions, delay_s), tuple(filter(any, sources)))
        plan.notices.changed(time.monotonic() - delay_s)
        with self._lock:
            old, self._plan = self._plan, plan
            if old:
                old.close()
        self._rouse()

    def changed(self) -> None:
        """Have everybody told of a new serial."""
        with self._lock:
            if self._plan:
                self._plan.notices.changed(time.monotonic())
        self._rouse()

    def close(self) -> None:
        """Stop; what is not answered stays so."""
        self._stopping = True
        self._rouse()
        self._thread.join()
        if self._plan:
            self._plan.close()
        self._wake.close()
        self._woken.close()

    def _rouse(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is being roused
            self._wake.send(b"\0")

    def _run(self) -> None:
        while not self._stopping:
            with self._lock:
                plan = self._plan
                socks = {one.sock: who for who, one in plan.sent.items()} if plan else {}
                next_s = plan.notices.next_s if plan else NEVER
            wait_s = min(max(next_s - time.monotonic(), 0.0), LONGEST_SLEEP_S)
            try:
                readable, _, _ = select.select([self._woken, *socks], (), (), wait_s)
            except (OSError, ValueError):
                continue  # a socket of a plan that was replaced meanwhile
            if self._woken in readable:
                self._woken.recv(4096)
            with self._lock:
                if plan is not None and plan is self._plan:
                    for sock in readable:
                        if sock is not self._woken:
                            self._receive(plan, socks[sock])
                    for due in plan.notices.due(time.monotonic(), _idents()):
                        self._send(plan, due)

    def _send(self, plan: _Plan, due: Due) -> None:
        """Send one; what can't be sent is tried again like what is not answered."""
        (labels, target), ident = due
        before = plan.sent.pop(due.subscription, None)
        if before:
            before.sock.close()
        plan.tries[due.subscription] += 1
        key = plan.keys[target.key] if target.key else None
        message, mac = notification(plan.zones[labels], plan.view.serial(), ident), b""
        if key:
            signer = Signer(key)
            message = signer.sign(message, time.time())
            mac = signer.mac
        reason: str | None = None
        try:
            sock = _connected(target.addr, target.port, plan.sources)
            plan.sent[due.subscription] = _Sent(sock, ident, mac)
            sock.send(message)
        except OSError as error:
            reason = error.strerror
        if plan.tries[due.subscription] == COMPLAIN_TRIES:
            self._tell(due.subscription, result="unanswered", error=reason)

    def _receive(self, plan: _Plan, who: Subscription) -> None:
        sent = plan.sent[who]
        try:
            data = sent.sock.recv(65535)
        except OSError:
            return  # nobody listens there, or not yet: tried again
        key: Key | None = plan.keys[who.target.key] if who.target.key else None
        rcode = read_answer(data, sent.ident, who.zone, key, sent.mac, time.time())
        if rcode is None or not plan.notices.answered(who, sent.ident, time.monotonic()):
            return
        plan.sent.pop(who).sock.close()
        tries = plan.tries.pop(who)
        if rcode:
            self._tell(who, result="refused", rcode=rcode)
        elif tries >= COMPLAIN_TRIES:
            self._tell(who, result="answered", tries=tries)

    def _tell(self, who: Subscription, **fields: object) -> None:
        peer = format_endpoint(who.target.addr, who.target.port)
        self._log.emit("NOTIFY", zone=b".".join(who.zone).decode("ascii", "replace"), peer=peer, **fields)


def _connected(addr: bytes, port: int, sources: Iterable[bytes]) -> socket.socket:
    """Return a socket to a secondary, bound to the first of our addresses that reaches it, else to any."""
    family = socket.AF_INET if len(addr) == 4 else socket.AF_INET6
    own = [source for source in sources if len(source) == len(addr)]
    for source in (*own, bytes(len(addr))):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.bind((format_addr(source), 0))
            sock.connect((format_addr(addr), port))
        except OSError:
            sock.close()
            if not any(source):
                raise
            continue
        return sock
    raise OSError("no socket")


def _idents() -> Iterator[int]:
    while True:
        yield secrets.randbits(16)
