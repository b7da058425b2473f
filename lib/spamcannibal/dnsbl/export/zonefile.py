"""Master files (RFC 1035): the list as a DNS zone for BIND, NSD and Knot, and as a response policy zone. Pure.

    bind    4.3.2.1 A 127.0.0.2      4.3.2.1 TXT "1.2.3.4 is listed"      *.3.2.1 ... for a network, see names.py
    rpz     32.4.3.2.1.rpz-ip CNAME .          answers that hold a listed address become NXDOMAIN
            24.0.3.2.1.rpz-ip CNAME rpz-passthru.   an exception
            48.zz.8db.2001.rpz-ip CNAME .      IPv6: words backwards, `zz` for `::`

One line a record, in the order of the list, owners relative to the zone. In a policy zone the longest prefix wins.
rpz-client-ip has the same for the asking client's address; the file fits a policy zone of any name.
"""

from collections.abc import Callable, Iterator
from functools import partial

from spamcannibal.addr import format_addr
from spamcannibal.dnsbl.export.apex import records
from spamcannibal.dnsbl.export.entry import Entry
from spamcannibal.dnsbl.export.facts import MAPPED_TEST_POINT, Entries, Facts, Item, Lines, with_test_point
from spamcannibal.dnsbl.export.names import owners
from spamcannibal.dnsbl.export.text import domain, quoted, said
from spamcannibal.dnsbl.export.tree import needed

BLOCK = "TYPE65280 \\# 0"  # of private use (RFC 6895), empty (RFC 3597): the name exists, and that is all


def bind(v4: Entries, v6: Entries, facts: Facts) -> Iterator[str]:
    assert facts.zone is not None
    yield f"$ORIGIN {domain(facts.zone.labels)}\n$TTL {facts.zone.ttl_s}\n"
    for record in records(facts.zone, facts.serial):
        yield f"{record.owner} {record.ttl_s} {record.rtype} {' '.join(record.words)}\n"
    for entries in (with_test_point(v4, facts), with_test_point(v6, facts, MAPPED_TEST_POINT)):
        for name, entry in owners(entries):
            if not entry.is_listed:
                yield f"{name} {BLOCK}\n"
                continue
            yield f"{name} A {format_addr(entry.code)}\n{name} TXT {quoted(said(entry, facts.text))}\n"


def _policy(trigger: str, v4: Entries, v6: Entries, facts: Facts) -> Iterator[str]:
    assert facts.zone is not None
    soa = next(records(facts.zone, facts.serial))
    # Nobody is referred to a policy zone, so its server needs no name; nor has the file one of the zone.
    yield f"$TTL {facts.zone.ttl_s}\n@ {soa.ttl_s} SOA {' '.join(soa.words)}\n@ {soa.ttl_s} NS localhost.\n"
    for entries in (v4, v6):
        for entry in needed(entries):
            yield f"{_trigger_name(entry)}.{trigger} CNAME {'.' if entry.is_listed else 'rpz-passthru.'}\n"


rpz: Callable[[Entries, Entries, Facts], Iterator[str]] = partial(_policy, "rpz-ip")
rpz_client_ip: Callable[[Entries, Entries, Facts], Iterator[str]] = partial(_policy, "rpz-client-ip")


def read(lines: Lines) -> Iterator[Item]:
    """Yield (owner and type, data) of all records but the SOA, whose serial always moves."""
    for line in lines:
        if not line.strip() or line[0] in "$;":
            continue
        name, rtype, data = line.rstrip("\n").split(" ", 2)
        if rtype.isdigit():
            rtype, _, data = data.partition(" ")
        if rtype != "SOA":
            # A zone's apex has several NS; each is an item of its own.
            yield (f"{name} {rtype} {data}", "") if name == "@" else (f"{name} {rtype}", data)


def _trigger_name(entry: Entry) -> str:
    if entry.bits == 32:
        return f"{entry.plen}.{'.'.join(map(str, reversed(entry.packed)))}"
    words = format_addr(entry.packed).replace("::", ":zz:").strip(":").split(":")
    return f"{entry.plen}.{'.'.join(reversed(words))}"
