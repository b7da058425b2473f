"""Queries that came in -> replies: answer.py's, after texts were waited for, limits kept and everything counted.

    responder.datagram(query, address, reply)      calls reply(message), now or later; None: send nothing
    responder.stream(query, address)               yields the messages to send; none: end the connection

Both run in the loop that `texts` is awaited in. A query that fails in an unforeseen way is counted, logged and answered
SERVFAIL. `policy` may be exchanged while it runs, as `view` is by publish().
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from spamcannibal._core import RateLimit, Talkers
from spamcannibal.dnsbl import answer as answers
from spamcannibal.dnsbl import wire
from spamcannibal.dnsbl.answer import Asker, Pending, Reply, Transport, View
from spamcannibal.dnsbl.cookies import Cookies
from spamcannibal.dnsbl.metrics import Told
from spamcannibal.dnsbl.texts import Texts
from spamcannibal.dnsbl.transfer import Transfers
from spamcannibal.dnsbl.wire import Labels

WAITING_LIMIT = 4096  # datagrams that wait for a text; past it they get the zone's own
_SLIP, _DROP = 1, 2  # core/rrl.h


class Log(Protocol):
    """events.EventLog."""

    def emit(self, verb: str, /, **fields: Any) -> None: ...


@dataclass(frozen=True)
class Policy:
    """What protects others from us and us from others; the C loops have the same limit and talkers.

    `chaos`: what we tell of ourselves (answer.py).
    """

    cookies: Cookies | None = None
    rate_limit: RateLimit | None = None
    talkers: Talkers | None = None
    chaos: Mapping[Labels, bytes] = field(default_factory=dict)


class Responder:
    """`told` counts replies; `counters` failures, silences, and replies that the rate limit kept back or cut."""

    _view: View
    _texts: Texts | None

    def __init__(self, udp: Transport, policy: Policy, log: Log) -> None:
        self._udp = udp
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self.policy = policy
        self.is_stale = False
        self.transfers: Transfers | None = None  # while there is a store to read zones from
        self.told: Counter[Told] = Counter()
        self.counters: Counter[str] = Counter()

    def publish(self, view: View, texts: Texts | None) -> None:
        """Answer from another view from the next query on."""
        self._texts = texts
        self._view = replace(view, is_stale=lambda: self.is_stale, chaos=self.policy.chaos)

    def datagram(self, query: bytes, addr: bytes, reply: Callable[[bytes | None], None]) -> None:
        """Answer a datagram."""
        if self.transfers and self.transfers.concerns(query):
            if len(self._tasks) < WAITING_LIMIT:
                self._begin(self._special_later(self.transfers, query, addr, reply))
            return
        asker = Asker(self._udp, addr, int(time.time()))
        result = self._asked(query, asker)
        if isinstance(result, Pending) and len(self._tasks) >= WAITING_LIMIT:
            result = self._told(query, asker, result, b"")
        if not isinstance(result, Pending):
            reply(self._limited(result, addr))
            return
        self._begin(self._datagram_later(query, asker, result, reply))

    async def stream(self, query: bytes, addr: bytes) -> AsyncGenerator[bytes, None]:
        """Yield what answers a message of a connection."""
        if self.transfers and self.transfers.concerns(query):
            replies = await self._special(self.transfers, query, addr, answers.TCP)
        else:
            replies = await self._streamed(query, Asker(answers.TCP, addr, int(time.time())))
        if replies is None or isinstance(replies, bytes):
            if replies is not None:
                yield replies
            return
        async with aclosing(replies) as messages:
            async for message in messages:
                yield message

    async def _streamed(self, query: bytes, asker: Asker) -> bytes | None:
        result = self._asked(query, asker)
        if isinstance(result, Pending):
            result = await self._complete(query, asker, result)
        self._count("tcp", result)
        if self.policy.talkers:
            self.policy.talkers.note(asker.addr)
        return None if result is None else result.data

    async def _special(
        self, transfers: Transfers, query: bytes, addr: bytes, transport: Transport
    ) -> bytes | AsyncGenerator[bytes, None] | None:
        """Return what answers a query that may be signed or ask for a zone."""

        async def ask(plain: bytes, within: Transport) -> bytes | None:
            asker = Asker(within, addr, int(time.time()))
            if within.is_stream:
                return await self._streamed(plain, asker)
            result = self._asked(plain, asker)
            if isinstance(result, Pending):
                result = await self._complete(plain, asker, result)
            return self._limited(result, addr)

        try:
            return await transfers.respond(query, addr, transport, ask, self.is_stale)
        except Exception as error:
            failed = self._failed(query, error)
            return None if failed is None else failed.data

    async def _special_later(
        self, transfers: Transfers, query: bytes, addr: bytes, reply: Callable[[bytes | None], None]
    ) -> None:
        message = await self._special(transfers, query, addr, self._udp)
        reply(message if isinstance(message, bytes) else None)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)

    async def _datagram_later(
        self, query: bytes, asker: Asker, pending: Pending, reply: Callable[[bytes | None], None]
    ) -> None:
        reply(self._limited(await self._complete(query, asker, pending), asker.addr))

    async def _complete(self, query: bytes, asker: Asker, pending: Pending) -> Reply | None:
        """Return the reply that waits for a text."""
        try:
            text = await self._texts.fetch(pending.key) if self._texts else b""
        except Exception as error:
            return self._failed(query, error)
        return self._told(query, asker, pending, text)

    def _told(self, query: bytes, asker: Asker, pending: Pending, text: bytes) -> Reply | None:
        """Return the reply now that the text is known."""
        view = replace(self._view, text=lambda key: text if key == pending.key else b"")
        result = self._asked(query, asker, view)
        return None if isinstance(result, Pending) else result

    def _asked(self, query: bytes, asker: Asker, view: View | None = None) -> Reply | Pending | None:
        try:
            return answers.respond(query, replace(view or self._view, cookies=self.policy.cookies), asker)
        except Exception as error:
            return self._failed(query, error)

    def _failed(self, query: bytes, error: Exception) -> Reply | None:
        self.counters["failed"] += 1
        self._log.emit("DNSFAIL", error=f"{type(error).__name__}: {error}", query=query[:64].hex())
        message = answers.servfail(query)
        return None if message is None else Reply(message, wire.SERVFAIL)

    def _limited(self, reply: Reply | None, addr: bytes) -> bytes | None:
        """Return what is sent of a reply to a datagram."""
        self._count("udp", reply)
        limit, verdict = self.policy.rate_limit, 0
        if limit and reply and addr and not reply.is_trusted:
            verdict = limit.check(addr, reply.rcode, reply.query.qtype if reply.query else 0, reply.name)
        if self.policy.talkers and addr:
            self.policy.talkers.note(addr, verdict > 0)
        if reply is None or verdict == _DROP:
            self.counters["limited"] += verdict == _DROP
            return None
        self.counters["slipped"] += verdict == _SLIP
        return answers.cut(reply) if verdict == _SLIP else reply.data

    def _count(self, transport: str, reply: Reply | None) -> None:
        if reply is None:
            self.counters[f"{transport}_silent"] += 1
            return
        qtype = wire.TYPE_NAMES.get(reply.query.qtype, "other") if reply.query else ""
        self.told[Told(transport, reply.zone, qtype, wire.RCODE_NAMES.get(reply.rcode, "other"))] += 1
