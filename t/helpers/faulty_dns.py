"""A DNS server that does what a script says, on real UDP and TCP: every fault that a resolver or a list can have.

    with FaultyDns() as server:
        server.on("7.2.0.192.bl.test", answer("127.0.0.2"))          # any type; "NAME TYPE" is one type only
        server.on("8.2.0.192.bl.test", silence, answer("127.0.0.4")) # the first time, and from then on
        client = client_for(server.endpoint)

A deed takes what was Asked and sends what it likes. A name that no script knows gets the `default`, NXDOMAIN with an
SOA; one under a zone of `wildcards` the answer 127.0.0.2. ". NS" and the name of 198.41.0.4 are answered, for canaries.
What was asked is kept in `asked`: (name as it came, type, transport); `ports` are those that asked over UDP,
`most_streams` the most connections at a time.
"""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import dnslib

SOA = dnslib.SOA("ns.test", "hostmaster.test", (1, 900, 300, 604800, 60))


@dataclass
class Asked:
    """A query: its bytes, its record as dnslib has it, and ways to send."""

    data: bytes
    is_tcp: bool
    send: Callable[[bytes], None]
    send_from_elsewhere: Callable[[bytes], None]
    record: dnslib.DNSRecord = field(init=False)

    def __post_init__(self) -> None:
        self.record = dnslib.DNSRecord.parse(self.data)

    def reply(self, *rrs: dnslib.RR, rcode: int = 0, soa: bool = False) -> bytes:
        made = self.record.reply(aa=0, ra=1)
        made.header.rcode = rcode
        made.add_answer(*rrs)
        if soa:
            made.add_auth(dnslib.RR("test", 6, rdata=SOA, ttl=300))
        return bytes(made.pack())

    def rr(self, rdata: object, qtype: str = "A", ttl: int = 60, name: str | None = None) -> dnslib.RR:
        owner = name or self.record.q.qname
        return dnslib.RR(owner, getattr(dnslib.QTYPE, qtype), rdata=rdata, ttl=ttl)


Deed = Callable[[Asked], None]


class FaultyDns:
    """The server, on a port of a loopback address that both transports share."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host, family = host, socket.AF_INET6 if ":" in host else socket.AF_INET
        self.asked: list[tuple[str, str, str]] = []
        self.ports: set[int] = set()
        self.most_streams = self._streams = 0
        self.wildcards: set[str] = set()
        self.default: Deed = nxdomain
        self._script: dict[str, list[Deed]] = {". ns": [root], "4.0.41.198.in-addr.arpa": [names("a.root.test")]}
        self._lock = threading.Lock()
        self._udp = socket.socket(family, socket.SOCK_DGRAM)
        self._tcp = socket.socket(family, socket.SOCK_STREAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._bind()
        self._elsewhere = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._elsewhere.bind(("127.0.0.2", self.port))
        self._tcp.listen(64)
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in (self._serve_udp, self._serve_tcp)]

    def _bind(self) -> None:
        while True:
            self._udp.bind((self._host, 0))
            self.port = self._udp.getsockname()[1]
            try:
                self._tcp.bind((self._host, self.port))
            except OSError:
                self._udp.close()
                self._udp = socket.socket(self._udp.family, socket.SOCK_DGRAM)
                continue
            return

    @property
    def endpoint(self) -> str:
        return f"[{self._host}]:{self.port}" if ":" in self._host else f"{self._host}:{self.port}"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._udp.sendto(b"", (self._host, self.port))  # an empty datagram ends the loop
        self._tcp.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for sock in (self._udp, self._tcp, self._elsewhere):
            sock.close()

    def on(self, name: str, *deeds: Deed) -> None:
        """Do these, one a query, the last of them for ever."""
        with self._lock:
            self._script[name.lower()] = list(deeds)

    def good_list(self, zone: str) -> None:
        """Have a zone's test points in order, IPv4 and IPv6."""
        self.on(f"2.0.0.127.{zone}", answer("127.0.0.2"))
        self.on(f"{'.'.join('200000f7ffff')}.{'0.' * 20}{zone}", answer("127.0.0.2"))

    def count(self, name: str) -> int:
        """Return how often a name was asked for, in any type and case."""
        return sum(asked.lower() == name.lower() for asked, _, _ in self.asked)

    def _serve_udp(self) -> None:
        while True:
            data, peer = self._udp.recvfrom(4096)
            if not data:
                return
            self.ports.add(peer[1])
            self._do(data, False, lambda reply, peer=peer: self._udp.sendto(reply, peer), peer)

    def _serve_tcp(self) -> None:
        while True:
            try:
                sock, _ = self._tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_one, args=(sock,), daemon=True).start()

    def _serve_one(self, sock: socket.socket) -> None:
        with self._lock:
            self._streams += 1
            self.most_streams = max(self.most_streams, self._streams)
        with sock, sock.makefile("rb") as stream:
            sock.settimeout(5)
            size = int.from_bytes(stream.read(2), "big")
            data = stream.read(size)
            self._do(data, True, lambda reply: self._send_stream(sock, reply), None)

    def _send_stream(self, sock: socket.socket, reply: bytes) -> None:
        with self._lock:
            self._streams -= 1  # before it is sent, since the client may open the next one then
        sock.sendall(len(reply).to_bytes(2, "big") + reply)

    def _do(self, data: bytes, is_tcp: bool, send: Callable[[bytes], object], peer: object) -> None:
        asked = Asked(data, is_tcp, send, lambda reply: self._elsewhere.sendto(reply, peer))  # type: ignore[arg-type]
        name, qtype = str(asked.record.q.qname).rstrip(".") or ".", dnslib.QTYPE[asked.record.q.qtype]
        with self._lock:
            self.asked.append((name, qtype, "tcp" if is_tcp else "udp"))
            deeds = self._script.get(f"{name} {qtype}".lower()) or self._script.get(name.lower()) or []
            deed = deeds.pop(0) if len(deeds) > 1 else deeds[0] if deeds else self._unscripted(name)
        deed(asked)

    def _unscripted(self, name: str) -> Deed:
        is_wild = any(name.lower().endswith(f".{zone}") for zone in self.wildcards)
        return answer("127.0.0.2") if is_wild else self.default


def root(asked: Asked) -> None:
    """What every resolver knows."""
    asked.send(asked.reply(asked.rr(dnslib.NS("a.root-servers.test"), "NS")))


def silence(asked: Asked) -> None:
    """Say nothing."""


def nxdomain(asked: Asked) -> None:
    asked.send(asked.reply(rcode=3, soa=True))


def nodata(asked: Asked) -> None:
    asked.send(asked.reply(soa=True))


def referral(asked: Asked) -> None:
    """NOERROR with nothing but an NS record: a lame server."""
    made = dnslib.DNSRecord.parse(asked.reply())
    made.add_auth(dnslib.RR("test", 2, rdata=dnslib.NS("ns.elsewhere.test"), ttl=60))
    asked.send(bytes(made.pack()))


def empty(asked: Asked) -> None:
    """NOERROR with nothing at all."""
    asked.send(asked.reply())


def answer(*codes: str, text: str = "listed", ttl: int = 60) -> Deed:
    """A records; asked for TXT, the text."""

    def deed(asked: Asked) -> None:
        if dnslib.QTYPE[asked.record.q.qtype] == "TXT":
            asked.send(asked.reply(asked.rr(dnslib.TXT(text.encode()), "TXT", ttl)))
        else:
            asked.send(asked.reply(*(asked.rr(dnslib.A(code), "A", ttl) for code in codes)))

    return deed


def names(*names: str) -> Deed:
    """PTR records."""
    return lambda asked: asked.send(asked.reply(*(asked.rr(dnslib.PTR(name), "PTR") for name in names)))


def rcode(number: int) -> Deed:
    return lambda asked: asked.send(asked.reply(rcode=number))


def bare(number: int) -> Deed:
    """The header alone with an rcode."""
    return lambda asked: asked.send(asked.data[:2] + bytes((0x80, number)) + bytes(8))


def formerr_to_edns(asked: Asked) -> None:
    """What a server does that never heard of EDNS."""
    answer("127.0.0.2")(asked) if not asked.record.ar else bare(1)(asked)


def wrong_id(asked: Asked) -> None:
    made = dnslib.DNSRecord.parse(asked.reply(asked.rr(dnslib.A("127.0.0.2"))))
    made.header.id ^= 0x5555
    asked.send(bytes(made.pack()))


def wrong_question(asked: Asked) -> None:
    made = dnslib.DNSRecord.question("9.2.0.192.other.test").reply()
    made.header.id = asked.record.header.id
    made.add_answer(dnslib.RR("9.2.0.192.other.test", rdata=dnslib.A("127.0.0.2")))
    asked.send(bytes(made.pack()))


def wrong_type(asked: Asked) -> None:
    """The same name, but as if AAAA had been asked for."""
    made = dnslib.DNSRecord.parse(asked.reply(asked.rr(dnslib.A("127.0.0.2"))))
    made.q.qtype = 28
    asked.send(bytes(made.pack()))


def other_case(asked: Asked) -> None:
    """The question in capital letters, over TCP as it came."""
    if asked.is_tcp:
        answer("127.0.0.2")(asked)
        return
    name, qtype = str(asked.record.q.qname).upper(), dnslib.QTYPE[asked.record.q.qtype]
    made = dnslib.DNSRecord.question(name, qtype).reply()
    made.header.id = asked.record.header.id
    made.add_answer(dnslib.RR(name, rdata=dnslib.A("127.0.0.66")))
    asked.send(bytes(made.pack()))


def from_elsewhere(asked: Asked) -> None:
    """A perfect answer, from another address."""
    asked.send_from_elsewhere(asked.reply(asked.rr(dnslib.A("127.0.0.2"))))


def truncated(then: Deed) -> Deed:
    """TC and nothing else over UDP, over TCP something."""

    def deed(asked: Asked) -> None:
        if asked.is_tcp:
            then(asked)
            return
        data = bytearray(asked.reply())
        data[2] |= 2
        asked.send(bytes(data))

    return deed


def oversize(asked: Asked) -> None:
    """Over UDP more than was asked for, though all of it is true."""
    ballast = (asked.rr(dnslib.TXT(b"x" * 250), "TXT") for _ in range(6))
    asked.send(asked.reply(asked.rr(dnslib.A("127.0.0.2")), *ballast))


def cut(keep: int) -> Deed:
    """A true answer that ends so many bytes before its end."""
    return lambda asked: asked.send(asked.reply(asked.rr(dnslib.A("127.0.0.2")))[:-keep])


def noise(asked: Asked) -> None:
    """The header and the question, then 0xff to the end."""
    data = asked.reply(asked.rr(dnslib.A("127.0.0.2")))
    asked.send(data[:-16] + b"\xff" * 16)


def pointer_loop(asked: Asked) -> None:
    """An owner's name that points at itself."""
    data = asked.reply()
    at = len(data)
    owner = bytes((0xC0 | at >> 8, at & 0xFF))
    asked.send(data[:6] + b"\0\1" + data[8:] + owner + b"\0\1\0\1\0\0\0\74\0\4\x7f\0\0\2")


def counts(answers: int) -> Deed:
    """One A record, and a header that tells of more."""

    def deed(asked: Asked) -> None:
        data = asked.reply(asked.rr(dnslib.A("127.0.0.2")))
        asked.send(data[:6] + answers.to_bytes(2, "big") + data[8:])

    return deed


def many(count: int) -> Deed:
    """So many A records, as far as a message over TCP holds them; over UDP it is cut short."""

    def deed(asked: Asked) -> None:
        if not asked.is_tcp:
            truncated(deed)(asked)
            return
        data = asked.reply()
        record = b"\xc0\x0c\0\1\0\1\0\0\0\74\0\4\x7f\0\0\2"
        fitting = min(count, (65535 - len(data)) // len(record))
        asked.send(data[:6] + count.to_bytes(2, "big") + data[8:] + record * fitting)

    return deed


def alias(*chain: str, code: str | None = None) -> Deed:
    """CNAMEs from the name asked for along a chain of names; an A or TXT record at its end if a code is given."""

    def deed(asked: Asked) -> None:
        owners = [str(asked.record.q.qname), *chain]
        steps = zip(owners, chain, strict=False)
        rrs = [asked.rr(dnslib.CNAME(target), "CNAME", name=owner) for owner, target in steps]
        if code and dnslib.QTYPE[asked.record.q.qtype] == "TXT":
            rrs.append(asked.rr(dnslib.TXT(b"listed"), "TXT", name=owners[-1]))
        elif code:
            rrs.append(asked.rr(dnslib.A(code), name=owners[-1]))
        asked.send(asked.reply(*rrs, soa=not code))

    return deed


def cname_loop(asked: Asked) -> None:
    """The name is an alias of one that is an alias of it."""
    name = str(asked.record.q.qname)
    asked.send(
        asked.reply(
            asked.rr(dnslib.CNAME("loop.test"), "CNAME"), asked.rr(dnslib.CNAME(name), "CNAME", name="loop.test")
        )
    )
