"""A secondary in memory: what dnspython makes of our transfers, asked as RFC 1034 and 4592 say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.versioned
import dns.xfr

from spamcannibal.addr import reversed_name
from spamcannibal.dnsbl import wire
from spamcannibal.dnsbl.answer import TCP, Pending, Transport, View, answer
from spamcannibal.dnsbl.transfer import Transfers

PEER = bytes((127, 0, 0, 1))


def exchange(
    transfers: Transfers, view: View, data: bytes, addr: bytes = PEER, transport: Transport = TCP
) -> list[bytes]:
    """All messages that a query is answered with."""

    async def ask(query: bytes, transport: Transport) -> bytes | None:
        reply = answer(query, view, transport)
        assert not isinstance(reply, Pending)
        return reply

    async def collect() -> list[bytes]:
        reply = await transfers.respond(data, addr, transport, ask)
        if reply is None or isinstance(reply, bytes):
            return [] if reply is None else [reply]
        return [message async for message in reply]

    return asyncio.run(collect())


class Secondary:
    """A zone and its serial; `refresh` transfers it, by IXFR once it has one. `forms` tells how."""

    def __init__(self, origin: str, key: dns.tsig.Key | None = None) -> None:
        self.origin = dns.name.from_text(origin)
        self.zone = dns.versioned.Zone(self.origin, relativize=False)
        self.serial: int | None = None
        self.key = key
        self.forms: list[str] = []
        self.messages = 0

    def refresh(self, transfers: Transfers, view: View, edns: bool = False, whole: bool = False) -> None:
        """Transfer what is new; dnspython refuses a difference that does not fit what it has."""
        is_first = self.serial is None or whole
        asked = dns.message.make_query(self.origin, "AXFR" if is_first else "IXFR", use_edns=0 if edns else -1)
        if not is_first:
            soa = self.zone.get_rdataset(self.origin, "SOA")
            asked.authority.append(dns.rrset.from_rdata(self.origin, soa.ttl, soa[0]))
        if self.key:
            asked.use_tsig(self.key)
        messages = exchange(transfers, view, asked.to_wire())
        context = None
        rdtype = dns.rdatatype.AXFR if is_first else dns.rdatatype.IXFR
        count = 0
        with dns.xfr.Inbound(self.zone, rdtype, None if is_first else self.serial) as inbound:
            for number, data in enumerate(messages):
                message = dns.message.from_wire(
                    data, keyring=self.key, request_mac=asked.mac, xfr=True, multi=True, tsig_ctx=context,
                    one_rr_per_rrset=True,
                )  # fmt: skip
                context = message.tsig_ctx
                assert message.had_tsig == (self.key is not None) and message.rcode() == 0
                assert (message.edns >= 0) == (edns and number == 0)
                count += sum(map(len, message.answer))
                is_done = inbound.process_message(message)
            assert is_done
        start = dns.message.from_wire(messages[0], xfr=True, one_rr_per_rrset=True, keyring=False).answer[:2]
        form = "ixfr" if [rrset.rdtype for rrset in start] == [dns.rdatatype.SOA] * 2 else "axfr"
        self.forms.append("none" if count == 1 else form)
        self.serial = self.zone.get_rdataset(self.origin, "SOA")[0].serial
        self.messages = len(messages)

    def records(self) -> set[tuple[str, str, str]]:
        """All records, as text."""
        return {
            (name.to_text(), dns.rdatatype.to_text(rdata.rdtype), rdata.to_text())
            for name, _, rdata in self.zone.iterate_rdatas()
        }

    def answers(self, addrs: Iterable[bytes], rtype: str) -> dict[bytes, list[str]]:
        """What it would answer for addresses: the data of all records, in order."""
        nodes = {name.labels: node for name, node in self.zone.items()}
        exist = {labels[at:] for labels in nodes for at in range(len(labels))}
        return {addr: self._answer(nodes, exist, addr, rtype) for addr in addrs}

    def _answer(self, nodes: dict, exist: set, addr: bytes, rtype: str) -> list[str]:
        name = tuple(label.encode() for label in reversed_name(addr).split(".")) + self.origin.labels
        if name not in exist:
            while name not in exist:
                name = name[1:]
            name = (b"*", *name)
        node = nodes.get(name)
        found = node and node.get_rdataset(dns.rdataclass.IN, dns.rdatatype.from_text(rtype))
        return sorted(rdata.to_text() for rdata in found or ())


def ours(view: View, origin: str, addrs: Iterable[bytes], rtype: str) -> dict[bytes, list[str]]:
    """What we answer for addresses."""
    found = {}
    for addr in addrs:
        query = dns.message.make_query(f"{reversed_name(addr)}.{origin}", rtype).to_wire()
        reply = answer(query, view, TCP)
        assert isinstance(reply, bytes)
        sets = dns.message.from_wire(reply).answer
        found[addr] = sorted(rdata.to_text() for rrset in sets for rdata in rrset)
    return found


def opcode_of(data: bytes) -> int:
    return (int.from_bytes(data[2:4], "big") & wire.OPCODE) >> 11
