"""A DNS blocklist by dnslib alone: its DNSServer with a set of addresses. Peer of bench_dnsbl.py.

dns_peer.py ADDRESS PORT ZONE FILE      FILE: the listed addresses, four bytes each
"""

import sys
import threading
from pathlib import Path

from dnslib import QTYPE, RCODE, RR, SOA, TXT, A, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer


class Resolver(BaseResolver):
    """Answers A and TXT of listed addresses."""

    def __init__(self, zone: str, listed: set[bytes]) -> None:
        self.zone = zone
        self.listed = listed
        self.soa = RR(zone, QTYPE.SOA, rdata=SOA(zone, f"hostmaster.{zone}", (0, 900, 300, 604800, 60)), ttl=60)

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        reply = request.reply(ra=0)
        labels = str(request.q.qname).removesuffix(f".{self.zone}.").split(".")
        if not is_listed(labels, self.listed):
            reply.header.rcode = RCODE.NXDOMAIN
            reply.add_auth(self.soa)
        elif request.q.qtype == QTYPE.A:
            reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A("127.0.0.2"), ttl=300))
        elif request.q.qtype == QTYPE.TXT:
            text = f"{'.'.join(reversed(labels))} is listed"
            reply.add_answer(RR(request.q.qname, QTYPE.TXT, rdata=TXT(text), ttl=300))
        else:
            reply.add_auth(self.soa)
        return reply


def is_listed(labels: list[str], listed: set[bytes]) -> bool:
    """Whether labels are a listed address backwards."""
    try:
        return bytes(map(int, reversed(labels))) in listed or labels == ["2", "0", "0", "127"]
    except ValueError:
        return False


def main() -> None:
    address, port, zone, file = sys.argv[1:]
    data = Path(file).read_bytes()
    listed = {data[at : at + 4] for at in range(0, len(data), 4)}
    server = DNSServer(Resolver(zone, listed), port=int(port), address=address, logger=DNSLogger("-recv,-send"))
    server.start_thread()
    threading.Event().wait()


if __name__ == "__main__":
    main()
