"""Zone transfers out: AXFR (RFC 5936) and IXFR (RFC 1995), and the TSIG of any query (RFC 8945).

The serial is the number of the journal's record that was followed last, so a transfer is of one serial however long it
takes: rows that change meanwhile are undone (store/past.py). An IXFR is one condensed difference. It has the form of an
AXFR when the zone would not be longer, the journal does not reach back, or the settings of the zone changed since the
secondary's serial (or we started since: what they were before is not known).

| asked | answer |
|---|---|
| by an address or key that may not | REFUSED |
| for what is no zone of ours | NOTAUTH |
| IXFR by UDP, or of a serial that is ours or newer | the SOA alone: ask by TCP, or have it already |
| AXFR by UDP | REFUSED |
| when all transfers are taken, or our data is too old | SERVFAIL: secondaries come again |
| with a wrong TSIG | NOTAUTH, see tsig.py |

A secondary that takes nothing for tcp_idle_s is cut off by tcp.py. Reading the store and packing is done in threads of
their own, a message when the one before is taken.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, Protocol

from spamcannibal.addr import format_addr
from spamcannibal.dnsbl import stream, tsig, wire
from spamcannibal.dnsbl.access import Grant, is_granted
from spamcannibal.dnsbl.answer import CLASSIC_LIMIT, Transport, View
from spamcannibal.dnsbl.difference import difference
from spamcannibal.dnsbl.export.names import owners
from spamcannibal.dnsbl.shown import Shown, TooLong
from spamcannibal.dnsbl.stream import Packer, Record
from spamcannibal.dnsbl.tsig import Keys, Opened, Signer
from spamcannibal.dnsbl.wire import HEADER, Labels, Query
from spamcannibal.dnsbl.zone import Zone
from spamcannibal.errors import SpamCannibalError, Unavailable, WireError
from spamcannibal.store.past import Past
from spamcannibal.store.stores import Store

SLICE_LIMIT = 100_000  # changes of one IXFR, whatever the zone's size: what we hold in memory for it
SERIAL_BITS = 32
_MARKS = (tsig.MARK, wire.AXFR.to_bytes(2, "big") + b"\0\1", wire.IXFR.to_bytes(2, "big") + b"\0\1")

Ask = Callable[[bytes, Transport], Awaitable[bytes | None]]
Reply = bytes | AsyncGenerator[bytes, None] | None


class Log(Protocol):
    """events.EventLog."""

    def emit(self, verb: str, /, **fields: Any) -> None: ...


@dataclass(frozen=True)
class Policy:
    """Who may transfer which zone, by what keys."""

    grants: Mapping[Labels, tuple[Grant, ...]]
    keys: Keys


class Caller(NamedTuple):
    """Who asks, how, what signs the replies, and whether our data is too old to be given."""

    addr: bytes
    transport: Transport
    signer: Signer | None
    is_stale: bool = False


class Transfers:
    """Answers what is signed or asks for a zone; all methods but `respond` are for the thread that follows."""

    def __init__(self, store: Store, view: View, policy: Policy, log: Log, limit: int = 8) -> None:
        self._store = store
        self._log = log
        self._limit = limit
        self._pool = ThreadPoolExecutor(limit, thread_name_prefix="transfer")
        self.running = 0
        self._view, self._policy = view, policy
        self._since = dict.fromkeys(_zones(view), view.serial())
        self.counters: Counter[str] = Counter()

    def adopt(self, view: View, policy: Policy) -> None:
        """Serve other zones: those that changed are sent whole to whoever has them as they were."""
        old = _zones(self._view)
        serial = view.serial()
        self._since = {
            labels: self._since[labels] if old.get(labels) == zone else serial for labels, zone in _zones(view).items()
        }
        self._view, self._policy = view, policy

    def close(self) -> None:
        """Begin no more; what runs ends with its connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def concerns(data: bytes) -> bool:
        """Tell quickly whether a query may be signed or ask for a zone; errs towards yes."""
        return any(mark in data for mark in _MARKS)

    async def respond(self, data: bytes, addr: bytes, transport: Transport, ask: Ask, is_stale: bool = False) -> Reply:
        """Return the reply, a transfer's messages, or None for silence; `ask` answers all other queries."""
        try:
            opened = tsig.open_request(data, self._policy.keys, time.time())
        except WireError:
            return wire.bare_reply(data, wire.FORMERR)
        if opened is None:
            return await self._answered(data, Caller(addr, transport, None, is_stale), ask)
        if opened.is_refused or opened.key is None:
            self._refused(opened, addr)
            return tsig.refuse(opened, time.time())
        room = transport._replace(limit_bytes=transport.limit_bytes - opened.key.overhead_bytes)
        signer = Signer(opened.key, opened.mac)
        return await self._answered(opened.message, Caller(addr, room, signer, is_stale), ask)

    async def _answered(self, message: bytes, caller: Caller, ask: Ask) -> Reply:
        query = wire.read_query(message)
        if not isinstance(query, Query):
            return _signed(query, caller)
        is_transfer = query.qtype in (wire.AXFR, wire.IXFR) and query.qclass == wire.IN
        if not is_transfer or (query.edns is not None and query.edns.version > 0):
            return _fitting(await ask(message, caller.transport), query, caller)
        return self._transfer(message, query, caller)

    def _transfer(self, message: bytes, query: Query, caller: Caller) -> Reply:
        view = self._view
        zone = view.zones.find(query.labels)
        if zone is None or zone.labels != query.labels:
            return _signed(tsig.bare(message, tsig.NOTAUTH), caller)
        if not self._is_granted(zone, caller):
            self.counters["refused"] += 1
            self._log.emit("XFER", zone=zone.name, peer=format_addr(caller.addr), result="refused")
            return _signed(tsig.bare(message, wire.REFUSED), caller)
        if caller.is_stale:
            return _signed(tsig.bare(message, wire.SERVFAIL), caller)
        serial, has = view.serial(), None
        if query.qtype == wire.IXFR:
            has = read_serial(message)
            if has is None:
                return _signed(tsig.bare(message, wire.FORMERR), caller)
            if not caller.transport.is_stream or not is_older(has, serial):
                return _signed(next(Packer(query).messages([stream.soa(zone, serial)])), caller)
        if not caller.transport.is_stream:
            return _signed(tsig.bare(message, wire.REFUSED), caller)
        if self.running >= self._limit:
            self.counters["busy"] += 1
            self._log.emit("XFER", zone=zone.name, peer=format_addr(caller.addr), result="busy")
            return _signed(tsig.bare(message, wire.SERVFAIL), caller)
        since = None if has is None else serial - (serial - has) % (1 << SERIAL_BITS)
        return self._streamed(_Job(zone, query, caller, serial, since, len(view.listings[zone.kind])))

    def _is_granted(self, zone: Zone, caller: Caller) -> bool:
        key = caller.signer.key.name if caller.signer else None
        return is_granted(self._policy.grants.get(zone.labels, ()), caller.addr, key)

    async def _streamed(self, job: "_Job") -> AsyncGenerator[bytes, None]:
        """Yield the messages of a transfer, read and packed in a thread."""
        self.running += 1
        loop = asyncio.get_running_loop()
        began, size, result = time.monotonic(), 0, "ended early"
        try:
            records = await loop.run_in_executor(self._pool, self._records, job)
            messages = job.messages(records)
            while (message := await loop.run_in_executor(self._pool, next, messages, None)) is not None:
                size += len(message)
                yield message
            result = "done"
        except SpamCannibalError as error:
            result = str(error)
        finally:
            self.running -= 1
            self.counters[f"{job.form}_{'done' if result == 'done' else 'failed'}"] += 1
            told = {"form": job.form, "serial": job.serial, "since": job.since, "bytes": size, "result": result}
            took = round(time.monotonic() - began, 3)
            peer = format_addr(job.caller.addr)
            self._log.emit("XFER", zone=job.zone.name, peer=peer, **told, took_s=took)
        if result != "done":
            raise ConnectionAbortedError(result)

    def _records(self, job: "_Job") -> Iterator[Record]:
        if job.since is not None and job.since > self._since.get(job.zone.labels, 0):
            try:
                limit = min(SLICE_LIMIT, job.size)
                changes = difference(job.zone, self._store, job.since, job.serial, limit)
            except (TooLong, Unavailable):
                return whole(job.zone, self._store, job.serial)
            job.form = "ixfr"
            old, new = stream.soa(job.zone, job.since), stream.soa(job.zone, job.serial)
            return chain((new, old), changes.deleted, (new,), changes.added, (new,))
        return whole(job.zone, self._store, job.serial)

    def _refused(self, opened: Opened, addr: bytes) -> None:
        self.counters["tsig_refused"] += 1
        name = b".".join(opened.record.name).decode("ascii", "replace")
        self._log.emit("TSIG", peer=format_addr(addr), key=name, error=tsig.ERRORS[opened.error])


@dataclass
class _Job:
    """One transfer: of which zone, for what query, of which serial, and since which the secondary wants it."""

    zone: Zone
    query: Query
    caller: Caller
    serial: int
    since: int | None
    size: int
    form: str = "axfr"

    def messages(self, records: Iterable[Record]) -> Iterator[bytes]:
        signer = self.caller.signer
        if signer is None:
            return Packer(self.query).messages(records)
        packer = Packer(self.query, signer.key.overhead_bytes)
        return (signer.sign(message, time.time()) for message in packer.messages(records))


def whole(zone: Zone, store: Store, serial: int) -> Iterator[Record]:
    """Yield all records of a zone, the SOA first and last."""
    shown = Shown(zone, Past(store, serial))
    yield stream.soa(zone, serial)
    yield from stream.standing(zone)
    for bits in (32, 128):
        for name, entry in owners(shown.all(bits)):
            yield from stream.listing(zone, name, entry, entry.text)
    yield stream.soa(zone, serial)


def is_older(serial: int, than: int) -> bool:
    """Compare serials by RFC 1982: tell whether one is before another in their circle."""
    return 0 < (than - serial) % (1 << SERIAL_BITS) < 1 << SERIAL_BITS - 1


def read_serial(message: bytes) -> int | None:
    """Return the serial of the SOA in an IXFR query's authority section, None if there is none."""
    questions, answers, authority, _ = HEADER.unpack_from(message)[2:]
    owner = wire.skip_name(message, HEADER.size)
    if (questions, answers, authority) != (1, 0, 1) or owner is None:
        return None
    end = wire.skip_name(message, owner + 4)
    if end is None or message[end : end + 2] != wire.SOA.to_bytes(2, "big"):
        return None
    primary = wire.skip_name(message, end + 10)
    contact = None if primary is None else wire.skip_name(message, primary)
    if contact is None or contact + 20 > len(message):
        return None
    return int.from_bytes(message[contact : contact + 4], "big")


def _fitting(reply: bytes | None, query: Query, caller: Caller) -> bytes | None:
    """Return a reply signed; only its head, cut, if that is longer than a datagram may be."""
    if reply is None or caller.signer is None or caller.transport.is_stream:
        return _signed(reply, caller)
    asked = max(CLASSIC_LIMIT, query.edns.payload_bytes if query.edns else 0)
    if len(reply) + caller.signer.key.overhead_bytes <= asked:
        return _signed(reply, caller)
    flags = int.from_bytes(reply[2:4], "big") | wire.TC
    return _signed(HEADER.pack(query.id, flags, 1, 0, 0, 0) + query.question, caller)


def _signed(reply: bytes | None, caller: Caller) -> bytes | None:
    return reply if reply is None or caller.signer is None else caller.signer.sign(reply, time.time())


def _zones(view: View) -> dict[Labels, Zone]:
    return {zone.labels: zone for zone in view.zones}
