"""The DNS as pages ask it, by dnspython, each question with a bound; what can't be answered is None, unknown."""

from collections.abc import Sequence

import dns.exception
import dns.name
import dns.nameserver
import dns.rdata
import dns.resolver
import dns.reversename

from spamcannibal.addr import format_addr, parse_addr, parse_endpoint
from spamcannibal.checks import is_endpoint

ANSWERS_LIMIT = 32


class Resolved:
    """Asks the resolvers given as ADDRESS or ADDRESS:PORT, those of the system if there are none; see asked.Names."""

    def __init__(self, resolvers: Sequence[str], wait_s: float = 3.0) -> None:
        self._resolver = dns.resolver.Resolver(configure=not resolvers)
        if resolvers:
            self._resolver.nameservers = [_server(text) for text in resolvers]
        self._resolver.lifetime = wait_s
        self._resolver.timeout = wait_s / 2

    def pointers(self, addr: bytes) -> tuple[str, ...] | None:
        found = self._ask(dns.reversename.from_address(format_addr(addr)), "PTR")
        return None if found is None else tuple(str(each).rstrip(".") for each in found)

    def addresses(self, name: str) -> tuple[bytes, ...] | None:
        both = [self._ask(name, kind) for kind in ("A", "AAAA")]
        if None in both:
            return None
        return tuple(parse_addr(str(each)) for found in both for each in found or ())

    def texts(self, name: str) -> tuple[str, ...] | None:
        found = self._ask(name, "TXT")
        if found is None:
            return None
        return tuple(b"".join(_strings(each)).decode("utf-8", "replace") for each in found)

    def _ask(self, name: "str | dns.name.Name", kind: str) -> list[dns.rdata.Rdata] | None:
        try:
            return list(self._resolver.resolve(name, kind, search=False))[:ANSWERS_LIMIT]
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.name.LabelTooLong, dns.name.EmptyLabel, dns.name.NameTooLong):
            return []
        except dns.exception.DNSException:
            return None


def _strings(each: dns.rdata.Rdata) -> Sequence[bytes]:
    strings: Sequence[bytes] = getattr(each, "strings", ())
    return strings


def _server(text: str) -> "str | dns.nameserver.Nameserver":
    if not is_endpoint(text):
        return text
    addr, port = parse_endpoint(text)
    return dns.nameserver.Do53Nameserver(format_addr(addr), port)
