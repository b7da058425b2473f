"""Ask a DNS server about an address in a zone: for operators, over UDP and, where that is cut short, TCP."""

import socket
from collections.abc import Callable
from dataclasses import dataclass

import dnslib

from spamcannibal.addr import format_addr, format_endpoint, reversed_name
from spamcannibal.errors import Unavailable, WireError

PAYLOAD_BYTES = 1232
PAGE_LIMIT_BYTES = 16 << 20
TRIES = 2

Exchange = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Verdict:
    """What a zone says about an address. `code` is empty if none was answered; `rcode` is by name."""

    name: str
    rcode: str
    code: str
    text: str

    @property
    def is_answer(self) -> bool:
        """Tell whether the zone spoke: any other rcode says nothing about the address."""
        return self.rcode in ("NOERROR", "NXDOMAIN")

    @property
    def is_listed(self) -> bool | None:
        """Tell whether the address is listed, None if that is unknown: no answer, or a code that means an error."""
        if not self.is_answer:
            return None
        codes = self.code.split(", ") if self.code else []
        if any(not code.startswith("127.") or code.startswith("127.255.255.") for code in codes):
            return None
        return bool(codes)


def look_up(addr: bytes, zone: str, exchange: Exchange) -> Verdict:
    """Return what a zone says, by two queries through `exchange`; WireError if the replies are no answers."""
    name = f"{reversed_name(addr)}.{zone}"
    reply = _ask(name, "A", exchange)
    codes = [str(rr.rdata) for rr in reply.rr if rr.rtype == dnslib.QTYPE.A]
    texts: list[str] = []
    if codes:
        told = _ask(name, "TXT", exchange).rr
        texts = [b"".join(rr.rdata.data).decode("utf-8", "replace") for rr in told if rr.rtype == dnslib.QTYPE.TXT]
    rcode = dnslib.RCODE.forward.get(reply.header.rcode, str(reply.header.rcode))
    return Verdict(name, rcode, ", ".join(codes), " ".join(texts))


def lag(zone: str, seq: int, exchange: Exchange) -> int | None:
    """Return how many changes a zone's SOA serial is behind the journal's number `seq`; None if there is no SOA.

    By RFC 1982 half of all serials is behind any; one that is ahead is 0 behind.
    """
    found = [rr.rdata for rr in _ask(zone, "SOA", exchange).rr if rr.rtype == dnslib.QTYPE.SOA]
    if not found:
        return None
    distance = int((seq - found[0].times[0]) & 0xFFFFFFFF)
    return distance if distance < 1 << 31 else 0


def has_records(name: str, qtype: str, exchange: Exchange) -> bool:
    """Tell whether a server finds records of a type under a name."""
    return bool(_ask(name, qtype, exchange).rr)


def over_network(addr: bytes, port: int, timeout_s: float) -> Exchange:
    """Return the exchange with a server; it raises Unavailable if that does not answer."""
    family = socket.AF_INET if len(addr) == 4 else socket.AF_INET6
    peer = format_addr(addr), port

    def exchange(query: bytes) -> bytes:
        try:
            reply = _by_datagram(family, peer, query, timeout_s)
            return _by_stream(peer, query, timeout_s) if reply[2] & 0x02 else reply
        except OSError as error:
            reason = error.strerror or "no answer"
            raise Unavailable(f"{format_endpoint(addr, port)} does not answer: {reason}") from None

    return exchange


def fetch_page(addr: bytes, port: int, path: str, timeout_s: float) -> str:
    """Return the text of a page that the server shows over HTTP; Unavailable if it does not."""
    endpoint = format_endpoint(addr, port)
    try:
        with socket.create_connection((format_addr(addr), port), timeout_s) as sock, sock.makefile("rb") as stream:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {endpoint}\r\nConnection: close\r\n\r\n".encode())
            reply = stream.read(PAGE_LIMIT_BYTES)
    except OSError as error:
        raise Unavailable(f"{endpoint} does not answer: {error.strerror or 'no answer'}") from None
    head, _, body = reply.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise Unavailable(f"{endpoint}: not our server: {head[:60].decode('ascii', 'replace')!r}")
    return body.decode("utf-8", "replace")


def _ask(name: str, qtype: str, exchange: Exchange) -> dnslib.DNSRecord:
    query = dnslib.DNSRecord.question(name, qtype)
    query.add_ar(dnslib.EDNS0(udp_len=PAYLOAD_BYTES))
    reply = exchange(bytes(query.pack()))
    try:
        record = dnslib.DNSRecord.parse(reply)
    # dnslib names its own errors, but lets others through where values are odd.
    except (dnslib.DNSError, dnslib.BufferError, ValueError, IndexError) as error:
        raise WireError(f"{name}: not a DNS reply: {error}") from None
    if record.header.id != query.header.id or not record.header.qr:
        raise WireError(f"{name}: a reply to another query")
    return record


def _by_datagram(family: socket.AddressFamily, peer: tuple[str, int], query: bytes, timeout_s: float) -> bytes:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect(peer)
        sock.settimeout(timeout_s)
        for _ in range(TRIES):
            sock.send(query)
            try:
                while True:
                    reply = sock.recv(65535)
                    if len(reply) >= 12 and reply[:2] == query[:2]:
                        return reply
            except TimeoutError:
                continue
    raise TimeoutError


def _by_stream(peer: tuple[str, int], query: bytes, timeout_s: float) -> bytes:
    with socket.create_connection(peer, timeout_s) as sock, sock.makefile("rb") as stream:
        sock.sendall(len(query).to_bytes(2, "big") + query)
        size = int.from_bytes(stream.read(2), "big")
        reply = stream.read(size)
        if len(reply) < max(size, 12):
            raise ConnectionResetError(0, "the connection ended early")
        return reply
