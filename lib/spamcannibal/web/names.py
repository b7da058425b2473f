"""The DNS as pages ask it, by dnspython, each question with a bound; what can't be answered is None, unknown.

dnspython is loaded by the first question: a page of a CGI server that asks none is not to wait for it.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from spamcannibal.addr import format_addr, parse_addr, parse_endpoint
from spamcannibal.checks import is_endpoint

if TYPE_CHECKING:
    import dns.name
    import dns.nameserver
    import dns.rdata
    import dns.resolver

ANSWERS_LIMIT = 32


class Resolved:
    """Asks the resolvers given as ADDRESS or ADDRESS:PORT, those of the system if there are none; see asked.Names."""

    def __init__(self, resolvers: Sequence[str], wait_s: float = 3.0) -> None:
        self._resolvers = resolvers
        self._wait_s = wait_s

    def pointers(self, addr: bytes) -> tuple[str, ...] | None:
        import dns.reversename

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

    @cached_property
    def _resolver(self) -> "dns.resolver.Resolver":
        import dns.resolver

        resolver = dns.resolver.Resolver(configure=not self._resolvers)
        if self._resolvers:
            resolver.nameservers = [_server(text) for text in self._resolvers]
        resolver.lifetime = self._wait_s
        resolver.timeout = self._wait_s / 2
        return resolver

    def _ask(self, name: "str | dns.name.Name", kind: str) -> "list[dns.rdata.Rdata] | None":
        import dns.exception
        import dns.name
        import dns.resolver

        try:
            return list(self._resolver.resolve(name, kind, search=False))[:ANSWERS_LIMIT]
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.name.LabelTooLong, dns.name.EmptyLabel, dns.name.NameTooLong):
            return []
        except dns.exception.DNSException:
            return None


def _strings(each: "dns.rdata.Rdata") -> Sequence[bytes]:
    strings: Sequence[bytes] = getattr(each, "strings", ())
    return strings


def _server(text: str) -> "str | dns.nameserver.Nameserver":
    if not is_endpoint(text):
        return text
    import dns.nameserver

    addr, port = parse_endpoint(text)
    return dns.nameserver.Do53Nameserver(format_addr(addr), port)
