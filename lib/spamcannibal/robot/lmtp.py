"""LMTP (RFC 2033) by aiosmtpd, on a socket that the mail server alone reaches: mail in, one reply a recipient out.

The event loop has a thread of its own and only moves bytes; messages are dealt with in `WORKERS` others. Bounded are
the connections, the silence of one, the recipients and the size of a message. A reply of 4xx leaves the mail with the
mail server, and that is also the answer to whatever is wrong with us.

aiosmtpd can't be used but by inheriting from it. Its DATA keeps every piece of a line without an end, so ours stands
in its place.
"""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import Envelope, Session

from spamcannibal.addr import parse_endpoint
from spamcannibal.robot.outcome import EXIT_DEFERRED, EXIT_DONE, Outcome
from spamcannibal.robot.smtploop import SmtpLoop, read_content
from spamcannibal.sockets import bind, bind_local

WORKERS = 2
RECIPIENTS_LIMIT = 100

Take = Callable[[bytes], Outcome]


def reply(outcome: Outcome) -> str:
    """Return what the mail server is told of an outcome: one line of printable ASCII."""
    text = "".join(char if char.isascii() and char.isprintable() else "?" for char in outcome.reason or outcome.title)
    code = {EXIT_DONE: "250 2.0.0", EXIT_DEFERRED: "451 4.3.0"}.get(outcome.exit_code, "550 5.7.1")
    return f"{code} {text[:400]}"


def bound(where: str, group_id: int = -1) -> socket.socket:
    """Return a socket bound to a path, for owner and group, or to an endpoint; Unsupported if there can't be one."""
    if where.startswith("/"):
        return bind_local(where, "robot.lmtp", owner=(-1, group_id))
    return bind(*parse_endpoint(where), "robot.lmtp")


class Handler:
    """What aiosmtpd calls for a message."""

    def __init__(self, take: Take, workers: ThreadPoolExecutor) -> None:
        self._take = take
        self._workers = workers
        self.busy = 0

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        """Deal with a message, and give each recipient's reply (RFC 2033, section 4.2), all the same."""
        content = envelope.content or b""
        raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
        self.busy += 1
        try:
            outcome = await asyncio.get_running_loop().run_in_executor(self._workers, self._take, raw)
        finally:
            self.busy -= 1
        return "\r\n".join([reply(outcome)] * len(envelope.rcpt_tos))

    async def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take every recipient that the mail server hands over, up to the limit."""
        if len(envelope.rcpt_tos) >= RECIPIENTS_LIMIT:
            return f"452 4.5.3 too many recipients, want at most {RECIPIENTS_LIMIT}"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Ok"


class Conversation(LMTP):
    """One connection; one too many is told to come back."""

    def __init__(self, handler: Handler, open_ones: set[object], limit: int, **options: Any) -> None:
        super().__init__(handler, **options)
        self._open_ones = open_ones
        self._limit = limit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if len(self._open_ones) >= self._limit:
            assert isinstance(transport, asyncio.Transport)
            transport.write(b"421 4.3.2 too many connections, come back later\r\n")
            transport.close()
            return
        self._open_ones.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._open_ones:
            self._open_ones.discard(self)
            super().connection_lost(error)

    async def smtp_DATA(self, arg: str) -> None:
        """Read a message with its size bounded, whatever its lines are like."""
        assert self.envelope is not None
        if arg or not self.envelope.rcpt_tos:
            await self.push("501 5.5.4 Syntax: DATA" if arg else "503 5.5.1 need RCPT first")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        recipients = len(self.envelope.rcpt_tos)
        limit = self.data_size_limit or 0
        content, size = await read_content(self._reader, limit)
        if size > limit:
            self._set_post_data_state()  # type: ignore[no-untyped-call]
            await self.push("\r\n".join(["552 5.3.4 message too long"] * recipients))
            return
        self.envelope.content = self.envelope.original_content = content
        status = await self._call_handler_hook("DATA")
        self._set_post_data_state()  # type: ignore[no-untyped-call]
        await self.push(status)


class Server:
    """The LMTP server on a socket, from `start` to `stop`."""

    def __init__(self, sock: socket.socket, take: Take, limit_bytes: int, connections: int, idle_s: float) -> None:
        self._workers = ThreadPoolExecutor(WORKERS, "robot")
        self._handler = Handler(take, self._workers)
        self._limit_bytes = limit_bytes
        self._connections = connections
        self._idle_s = idle_s
        self._hostname = socket.gethostname()  # aiosmtpd would ask the DNS, for each connection
        self._open_ones: set[object] = set()
        self._loop = SmtpLoop("lmtp", [sock], self._conversation, lambda: self._handler.busy > 0)

    def start(self) -> None:
        self._loop.start()

    @property
    def is_alive(self) -> bool:
        return self._loop.is_alive

    def stop(self) -> None:
        """Take no more, and finish what is being dealt with."""
        self._loop.stop()
        self._workers.shutdown(wait=True, cancel_futures=True)

    def _conversation(self) -> Conversation:
        return Conversation(
            self._handler,
            self._open_ones,
            self._connections,
            data_size_limit=self._limit_bytes,
            timeout=self._idle_s,
            enable_SMTPUTF8=True,
            decode_data=False,
            hostname=self._hostname,
            ident="SpamCannibal",
            loop=self._loop.loop,
        )
