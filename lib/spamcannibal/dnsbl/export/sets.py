"""Sets in the kernel's packet filter: scripts for `nft -f` and `ipset restore`. Pure.

nft: hosts stand in hash sets (a change costs no more with a million of them), networks in interval sets, from which
exceptions are carved, since nft has none. The table is ours alone and has no rules: those are the operator's, and stay
when the sets are filled anew, which is one transaction.

    nft add rule inet spamcannibal_list input tcp dport 25 ip saddr @hosts4 drop       likewise @nets4, hosts6, nets6

ipset: one hash:net for each family, which takes the longest prefix and knows exceptions (`nomatch`). A new set is
filled beside the old one and swapped in. hash:net has no /0: it is two /1.

    iptables -A INPUT -p tcp --dport 25 -m set --match-set spamcannibal_list4 src -j DROP
"""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from spamcannibal.addr import format_addr, parse_addr
from spamcannibal.dnsbl.export.entry import Entry
from spamcannibal.dnsbl.export.facts import Entries, Facts, Item, Lines
from spamcannibal.dnsbl.export.tree import carved, pieces

CHUNK = 500  # elements in one nft statement
IPSET_OPTIONS = "maxelem 4294967295"  # memory follows what is in the set, whatever the limit
NFT_TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
IPSET_FAMILIES = {4: "inet", 6: "inet6"}


def nft(v4: Entries, v6: Entries, facts: Facts) -> Iterator[str]:
    yield f"add table inet {facts.table}\n"
    for family, entries in ((4, v4), (6, v6)):
        kind, table = NFT_TYPES[family], f"inet {facts.table}"
        yield f"add set {table} hosts{family} {{ type {kind}; }}\n"
        yield f"add set {table} nets{family} {{ type {kind}; flags interval; }}\n"
        yield f"flush set {table} hosts{family}\nflush set {table} nets{family}\n"
        yield from elements("add", facts, f"hosts{family}", hosts_of(entries))
        yield from elements("add", facts, f"nets{family}", nets_of(entries))


def elements(verb: str, facts: Facts, set_name: str, names: Iterable[str]) -> Iterator[str]:
    """Yield the statements that add or delete elements."""
    rest = iter(names)
    while chunk := list(islice(rest, CHUNK)):
        yield f"{verb} element inet {facts.table} {set_name} {{ {', '.join(chunk)} }}\n"


def nets_of(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield the elements of an interval set: the networks, without what exceptions take out of them."""
    shaping = (entry for entry in entries if not (entry.is_listed and entry.is_host))
    return (entry.name for entry in carved(shaping) if entry.is_listed)


def hosts_of(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield the listed hosts."""
    return (entry.name for entry in entries if entry.is_listed and entry.is_host)


def ipset(v4: Entries, v6: Entries, facts: Facts) -> Iterator[str]:
    for family, entries in ((4, v4), (6, v6)):
        name, new = ipset_name(facts, family), f"{facts.table}{family}-new"
        for each in (name, new):
            yield f"create -exist {each} hash:net family {IPSET_FAMILIES[family]} {IPSET_OPTIONS}\n"
        yield f"flush {new}\n"
        for entry in entries:
            for element in ipset_elements(entry):
                yield f"add {new} {element}{'' if entry.is_listed else ' nomatch'}\n"
        yield f"swap {new} {name}\ndestroy {new}\n"


def ipset_name(facts: Facts, family: int) -> str:
    return f"{facts.table}{family}"


def ipset_elements(entry: Entry) -> tuple[str, ...]:
    """Return an entry as elements of hash:net."""
    if entry.plen:
        return (entry.name,)
    return tuple(entry.at(addr, 1).name for addr in (0, 1 << entry.bits - 1))


def read_nft(lines: Lines) -> Iterator[Item]:
    """Yield (set and element, "") of a script of ours."""
    for line in lines:
        words = line.split(maxsplit=5)
        if words[:2] == ["add", "element"]:
            for element in words[5].strip(" {}\n").split(", "):
                yield f"{words[4]} {element}", ""


def read_nft_json(text: str) -> Iterator[Item]:
    """Yield (set and element, "") of what `nft -j list ...` shows of sets."""
    for thing in json.loads(text)["nftables"]:
        described = thing.get("set", {})
        for element in described.get("elem", ()):
            for name in _nft_names(element):
                yield f"{described['name']} {name}", ""


def read_ipset(lines: Lines) -> Iterator[Item]:
    """Yield (set and element, "nomatch" or "") of a script of ours, or of what `ipset save` shows."""
    for line in lines:
        verb, name, *element = [*line.split(), ""]
        if verb == "add":
            yield f"{name.removesuffix('-new')} {element[0]}", "nomatch" if "nomatch" in element else ""


def _nft_names(element: Any) -> Iterator[str]:
    """Yield the prefixes of a set's element: an address, a prefix, or a range where nft has made one."""
    if isinstance(element, dict) and "elem" in element:
        element = element["elem"]["val"]
    if isinstance(element, str):
        yield element
    elif "prefix" in element:
        yield f"{element['prefix']['addr']}/{element['prefix']['len']}"
    else:
        first, last = map(parse_addr, element["range"])
        bits = len(first) * 8
        for addr, plen in pieces(bits, int.from_bytes(first, "big"), int.from_bytes(last, "big") + 1):
            yield Entry(bits, addr, plen, b"").name if plen < bits else format_addr(addr.to_bytes(bits // 8, "big"))
