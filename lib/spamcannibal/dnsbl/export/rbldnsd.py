"""Data files of rbldnsd: ip4set, ip4trie, ip6trie, and combined with the zone's own records. Pure.

    $SOA 300 ns1.example. ...       $NS 300 ns1.example.        $TTL 300
    :127.0.0.2:$ is listed          the default; rbldnsd puts the address asked for in place of `$`
    192.0.2.1                       !198.51.100.7 (an exception)
    192.0.2.0/24 :127.0.0.3:a text of its own

The tries take the longest prefix. ip4set keeps one sorted array each for what ends in the first, second, third and
fourth octet and takes the last that matches, but lists an address twice if two networks of one array hold it: these
are carved. rbldnsd answers 255 bytes of text and has no escapes; `$` before a digit is a variable, so a blank goes
between. Source: rbldnsd(8) of 1.0.
"""

import re
from collections.abc import Iterator

from spamcannibal.addr import format_addr
from spamcannibal.dnsbl.export.apex import Record, records
from spamcannibal.dnsbl.export.entry import Entry
from spamcannibal.dnsbl.export.facts import MAPPED_TEST_POINT, Entries, Facts, Item, Lines, with_test_point
from spamcannibal.dnsbl.export.text import one_line
from spamcannibal.dnsbl.export.tree import carved

TEXT_BYTES = 255
_VARIABLE = re.compile(r"(\$\$)|\$(?=[0-9])")


def ip4set(v4: Entries, v6: Entries, facts: Facts) -> Iterator[str]:
    yield from _head(facts)
    yield from _entries(carved(with_test_point(v4, facts), _in_a_later_octet), facts)


def ip4trie(v4: Entries, v6: Entries, facts: Facts) -> Iterator[str]:
    yield from _head(facts)
    yield from _entries(with_test_point(v4, facts), facts)


def ip6trie(v4: Entries, v6: Entries, facts: Facts) -> Iterator[str]:
    yield from _head(facts)
    yield from _entries(with_test_point(v6, facts, MAPPED_TEST_POINT), facts)


def combined(v4: Entries, v6: Entries, facts: Facts) -> Iterator[str]:
    """One file for the whole zone. rbldnsd has no AAAA records: those of the zone's hosts are left out."""
    yield from _head(facts)
    yield "$DATASET ip4trie:ipv4 @\n"
    yield from _entries(with_test_point(v4, facts), facts)
    yield "$DATASET ip6trie:ipv6 @\n"
    yield from _entries(with_test_point(v6, facts, MAPPED_TEST_POINT), facts)
    yield "$DATASET generic:zone @\n"
    for record in _records(facts):
        if record.rtype in ("A", "MX", "TXT"):
            yield f"{record.owner} {record.ttl_s} {record.rtype} {' '.join(_relaxed(record))}\n"


def read(lines: Lines) -> Iterator[Item]:
    """Yield (prefix, "!" or code and text) of the entries, and the zone's records; defaults are filled in."""
    default, dataset = "", ""
    for line in (line.rstrip("\n") for line in lines):
        if line.startswith("$DATASET "):
            dataset = line.split()[1]
        elif line.startswith(":"):
            default = line
        elif line and line[0] not in "$#;":
            if dataset.startswith("generic"):
                yield line, ""
            else:
                yield _item(line, default)


def _item(line: str, default: str) -> Item:
    name, _, value = line.partition(" ")
    return (name[1:], "!") if name.startswith("!") else (name, value or default)


def _head(facts: Facts) -> Iterator[str]:
    for rtype in ("SOA", "NS"):
        found = [record for record in _records(facts) if record.owner == "@" and record.rtype == rtype]
        if found:
            words = [name for record in found for name in _relaxed(record)]
            yield f"${rtype} {found[0].ttl_s} {' '.join(words)}\n"
    if facts.zone:
        yield f"$TTL {facts.zone.ttl_s}\n"


def _entries(entries: Entries, facts: Facts) -> Iterator[str]:
    default = _text(facts.text)
    yield f":{format_addr(facts.code)}:{default}\n"
    for entry in entries:
        yield f"{'' if entry.is_listed else '!'}{entry.name}{_value(entry, facts.code, default)}\n"


def _value(entry: Entry, code: bytes, default: str) -> str:
    text = _text(entry.text) or default
    if not entry.is_listed or (entry.code == code and text == default):
        return ""
    return f" :{format_addr(entry.code)}:{text}"


def _text(text: str) -> str:
    """Return text for rbldnsd, cut where it would cut it, but not inside a character."""
    line = one_line(text)
    return (
        _VARIABLE.sub(lambda found: found[1] or "$ ", line)
        .encode("utf-8", "replace")[:TEXT_BYTES]
        .decode("utf-8", "ignore")
        .strip()
    )


def _in_a_later_octet(outer: int, inner: int) -> bool:
    return (outer + 7) // 8 < (inner + 7) // 8


def _records(facts: Facts) -> Iterator[Record]:
    return records(facts.zone, max(facts.serial, 1)) if facts.zone else iter(())


def _relaxed(record: Record) -> tuple[str, ...]:
    """Return a record's data with names as rbldnsd takes them: absolute without the last dot."""
    if record.rtype == "TXT":
        return record.words
    return tuple(word.rstrip(".") or "." for word in record.words)
