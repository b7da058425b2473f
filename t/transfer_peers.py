"""A primary with a store that changes at random, and a secondary in memory: what dnspython makes of our transfers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.versioned
import dns.xfr

from dnsbl_peers import SPEC
from spamcannibal.addr import make_key, mask, parse_addr, reversed_name, split_key
from spamcannibal.colours import COLOURS, Colour
from spamcannibal.dnsbl import tsig
from spamcannibal.dnsbl.access import parse_grant
from spamcannibal.dnsbl.answer import TCP, Pending, Transport, View, answer
from spamcannibal.dnsbl.publisher import Publisher
from spamcannibal.dnsbl.transfer import Policy, Transfers
from spamcannibal.dnsbl.zone import ZoneSpec
from spamcannibal.record import EXCLUDED, PROVEN_CODE, PUBLISHED, SHADOW, Cause, Mode
from spamcannibal.store.env import Env
from spamcannibal.store.stores import Amendment, Hearsay, NewListing, Store

PEER = bytes((127, 0, 0, 1))
NOW = 1_700_000_000
KEY = tsig.Key((b"xfer",), "hmac-sha256", b"a secret of thirty-two bytes ...")
THEIRS = dns.tsig.Key("xfer", KEY.secret, "hmac-sha256")
ZONE_SPEC = replace(SPEC, text="listed here")
OPEN_SPEC = ZoneSpec("all.example.org", text="listed here", promiscuous=True)
WHITE_SPEC = ZoneSpec("white.bl.example.org", text="said to be good", colour="white")
NETS = [bytes((2, 3, 4, 0)), bytes((2, 30, 4, 0)), bytes((22, 3, 4, 0)), bytes((127, 0, 0, 0))]
NETS_V6 = [parse_addr(text) for text in ("2001:db8::", "2001:db8:0:1::", "2345::", "::ffff:0:0:0", "::")]
LENGTHS = (20, 22, 24, 24, 25, 28, 31, 32, 32, 32, 32), (17, 19, 47, 48, 56, 62, 64, 64, 64, 67, 128, 128)
FLAGS = (PUBLISHED, PUBLISHED, PUBLISHED, PUBLISHED | EXCLUDED, 0, 0, SHADOW, PUBLISHED | SHADOW)


class NoGuard:
    """Lets everything be listed; the never-list has its own tests."""

    def check(self, key: bytes) -> None: ...


class Primary:
    """A store, what is published of it, and its transfers; with a source of random changes."""

    def __init__(
        self, path: Path, specs: tuple[ZoneSpec, ...] = (ZONE_SPEC, OPEN_SPEC, WHITE_SPEC), **options: int
    ) -> None:
        self.store = Store(Env(path / "store"), NoGuard())
        self.publisher = Publisher(self.store, specs)
        self.publisher.load()
        self.events: list[dict[str, object]] = []
        grants = {zone.labels: (parse_grant("127.0.0.0/8"), parse_grant("key:xfer")) for zone in self.view.zones}
        self.policy = Policy(grants, {KEY.name: KEY})
        self.transfers = Transfers(self.store, self.view, self.policy, self, **options)
        self.dice = random.Random(11)

    @property
    def view(self) -> View:
        return self.publisher.view

    def emit(self, verb: str, /, **fields: object) -> None:
        self.events.append({"verb": verb, **fields})

    def close(self) -> None:
        self.transfers.close()
        self.publisher.close()
        self.store.close()

    def follow(self) -> None:
        while self.publisher.follow():
            pass

    def addr(self) -> bytes:
        dice = self.dice
        if dice.random() < 0.7:
            return dice.choice(NETS)[:2] + bytes((dice.choice((4, 5, 40)), dice.choice((0, 1, 2, 5, 77, 200))))
        return dice.choice(NETS_V6)[:-1] + bytes((dice.choice((0, 1, 0x41)),))

    def key(self) -> bytes:
        addr = self.addr()
        plen = self.dice.choice(LENGTHS[len(addr) == 16])
        if addr[:2] == bytes((2, 3)):
            plen = max(plen, 26)  # each address is a name of its own there, see export/names.py
        key = make_key(mask(addr, plen), plen)
        return key if not addr.startswith(bytes(10) + b"\xff\xff") else self.key()

    def change(self) -> None:
        """Change something at random."""
        dice = self.dice
        listed = [key for key, _ in self.store.states(None, 10_000)]
        text = dice.choice(("", "", f"text {dice.randrange(5)}", "long " * dice.randrange(300)))
        action = dice.random()
        if action < 0.45 or len(listed) < 5:
            key, hearsay = self.key(), Hearsay((Cause("other.example", bytes((127, 0, 0, 9))),))
            contrib = hearsay if dice.random() < 0.3 else None
            if len(split_key(key)[0]) == 4 and len(key) == 4:
                text += dice.choice(("", " for $ and $$"))
            colour = Colour(PROVEN_CODE, dice.choice(FLAGS))
            if dice.random() < 0.4:
                colour = dice.choice((COLOURS["white"], COLOURS["brown"]))
            item = NewListing(key, *colour[:1], text, "admin:me", flags=colour.flags, contrib=contrib)
            self.store.list([item], NOW)
        elif action < 0.7:
            self.store.unlist([dice.choice(listed)], "admin:me", "gone", NOW)
        else:
            flags, mode = dice.choice((None, *FLAGS)), dice.choice((None, *Mode))
            changes = Amendment(flags=flags, mode=mode, text=dice.choice((None, text)))
            self.store.amend(dice.choice(listed), changes, "admin:me", NOW)

    def addresses(self) -> list[bytes]:
        """Addresses in and beside all that is listed."""
        chosen = {parse_addr(text) for text in ("127.0.0.1", "127.0.0.2", "127.0.0.3", "::1:1:2")}
        for key, _ in self.store.states(None, 10_000):
            addr, plen = split_key(key)
            number, bits = int.from_bytes(addr, "big"), len(addr) * 8
            size = 1 << bits - plen
            for near in (number, number + size - 1, number + size // 2, number + size, number - 1):
                chosen.add((near % (1 << bits)).to_bytes(len(addr), "big"))
        chosen |= {self.addr() for _ in range(20)}
        return sorted(addr for addr in chosen if addr[:12] != bytes(10) + b"\xff\xff")


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
