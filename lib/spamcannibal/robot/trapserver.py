"""The spam trap's SMTP (RFC 5321) by aiosmtpd, open to the world: it takes mail for traps, and sends none, ever.

spamtrap.py decides, catcher.py lists; here are the connections. Bounded are their number, in all and by source, the
silence of one and its whole time, whatever it does meanwhile (aiosmtpd by itself lets a slow client stay for ever), its
commands, recipients and bytes. aiosmtpd can't be used but by inheriting from it.
"""

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from spamcannibal.addr import listing_key, parse_addr
from spamcannibal.robot.catcher import Catcher
from spamcannibal.robot.smtploop import SmtpLoop, read_content
from spamcannibal.robot.spamtrap import LATER, OK, Bounds, Visit, Visitors

COMMANDS_LIMIT = {"*": 50, "RCPT": 500}  # of each kind in one connection
UNREAD_LIMIT = 16  # times the largest message that is read and thrown away before the connection is cut


@dataclass(frozen=True)
class Limits:
    """What one connection may: bytes of a message, of these kept, seconds of silence, seconds in all."""

    bounds: Bounds
    message_bytes: int
    kept_bytes: int
    idle_s: float
    session_s: float
    v6_plen: int = 64


class Handler:
    """What aiosmtpd asks about commands."""

    def __init__(self, catcher: Catcher, counts: Counter[str]) -> None:
        self._catcher = catcher
        self._counts = counts

    async def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self._catcher.rules.traps.answer(address, envelope.mail_from or "", len(envelope.rcpt_tos))
        if answer == OK:
            envelope.rcpt_tos.append(address)
        self._counts["recipients" if answer == OK else "recipients_refused"] += 1
        return answer

    async def handle_VRFY(self, server: Any, session: Session, envelope: Envelope, address: str) -> str:
        return "252 2.1.5 can't tell, send the mail"

    async def handle_exception(self, error: Exception) -> str:
        self._counts["faults"] += 1
        return LATER


class Conversation(SMTP):
    """One connection."""

    def __init__(self, server: "Server", **options: Any) -> None:
        super().__init__(server.handler, **options)
        self._trap = server
        self._key = b""
        self._addr = b""
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self._trap.refuses(self, transport):
            return
        limits = self._trap.limits
        # Not close(): that waits until the peer has read everything.
        self._end = self.loop.call_later(limits.session_s, transport.abort)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._end is None:
            return
        self._end.cancel()
        self._trap.visitors.go(self._key)
        super().connection_lost(error)

    def came_from(self, addr: bytes, key: bytes) -> None:
        self._addr, self._key = addr, key

    def _timeout_cb(self) -> None:
        """End a connection that is silent for too long."""
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.abort()

    async def smtp_DATA(self, arg: str) -> None:
        """Read a message with everything bounded, and deal with it."""
        assert self.envelope is not None and self.session is not None
        if arg or not self.envelope.rcpt_tos:
            await self.push("501 5.5.4 Syntax: DATA" if arg else "503 5.5.1 need RCPT first")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        limits = self._trap.limits
        most = limits.message_bytes * UNREAD_LIMIT
        raw, size = await read_content(self._reader, limits.kept_bytes, most)
        self._reset_timeout()
        recipients = tuple(self.envelope.rcpt_tos)
        visit = Visit(self._addr, self.session.host_name or "", self.envelope.mail_from or "", recipients)
        answer = await self._trap.take(visit, raw, is_cut=size > limits.message_bytes)
        self._set_post_data_state()  # type: ignore[no-untyped-call]
        await self.push(answer)
        if size > most and self.transport is not None:
            self.transport.close()


class Server:
    """The SMTP server on listening sockets, from `start` to `stop`."""

    def __init__(self, socks: Sequence[socket.socket], catcher: Catcher, limits: Limits, hostname: str) -> None:
        self.counts: Counter[str] = Counter()
        self.limits = limits
        self.visitors = Visitors(limits.bounds)
        self.handler = Handler(catcher, self.counts)
        self._catcher = catcher
        self._hostname = hostname
        self._busy = 0
        self._worker = ThreadPoolExecutor(1, "trap")
        self._loop = SmtpLoop("smtp", socks, self._conversation, lambda: self._busy > 0)
        # What goes wrong is the peers' doing, and counted; aiosmtpd would tell the world's bytes to stderr.
        logging.getLogger("mail.log").setLevel(logging.CRITICAL + 1)
        self._loop.loop.set_exception_handler(self._count_fault)

    def start(self) -> None:
        self._loop.start()

    @property
    def is_alive(self) -> bool:
        return self._loop.is_alive

    def answers(self, wait_s: float) -> bool:
        """Tell whether the event loop does anything within a time."""
        return self._loop.answers(wait_s)

    def stop(self) -> None:
        """Take no more, and finish what is being dealt with."""
        self._loop.stop()
        self._worker.shutdown(wait=True, cancel_futures=True)

    def refuses(self, conversation: Conversation, transport: asyncio.Transport) -> bool:
        """Count a connection; end it and return True if it is one too many."""
        self.counts["connections"] += 1
        peer = transport.get_extra_info("peername")
        if peer is None:  # it has gone already
            transport.abort()
            return True
        addr = parse_addr(str(peer[0]).partition("%")[0])
        key = listing_key(addr, self.limits.v6_plen)
        conversation.came_from(addr, key)
        why = self.visitors.come(key, time.monotonic())
        if why:
            self.counts[f"refused_{why}"] += 1
            transport.write(b"421 4.7.0 too many connections, come back later\r\n")
            transport.close()
        return bool(why)

    async def take(self, visit: Visit, raw: bytes, is_cut: bool) -> str:
        """Deal with a message beside the event loop; return its answer."""
        self._busy += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._worker, self._catcher.take, visit, raw, is_cut)
        finally:
            self._busy -= 1

    def _count_fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.counts["faults"] += 1

    def _conversation(self) -> Conversation:
        return Conversation(
            self,
            data_size_limit=self.limits.message_bytes,
            timeout=self.limits.idle_s,
            command_call_limit=COMMANDS_LIMIT,
            enable_SMTPUTF8=True,
            decode_data=False,
            hostname=self._hostname,
            ident="ESMTP",
            loop=self._loop.loop,
        )
