"""Files that mail servers and their filters look hosts up in. Pure.

| format | file for | first match wins, so | exception |
|---|---|---|---|
| postfix | `check_client_access cidr:FILE` | what lies in a network comes before it | DUNNO |
| postscreen | `postscreen_access_list = cidr:FILE` | likewise | dunno |
| exim | `hosts = FILE` in an ACL | likewise | !ADDRESS |
| rspamd | a multimap of `type = "ip"` | any match counts | cut out of the network |

A host list that ends in an exception would match everybody else (Exim specification, 10.7): an exception is written
only inside a listed network, which follows it, so none stands last. Postfix reads a cidr table once and searches it
from start to end: beyond some ten thousand entries use the DNS zone.
"""

from collections.abc import Iterator
from itertools import chain

from spamcannibal.dnsbl.export.entry import Entry
from spamcannibal.dnsbl.export.facts import Entries, Facts, Item, Lines
from spamcannibal.dnsbl.export.sets import hosts_of, nets_of
from spamcannibal.dnsbl.export.text import ascii_line, said
from spamcannibal.dnsbl.export.tree import children_first, needed

REPLY_TEXT_BYTES = 400  # an SMTP reply line has 512 bytes (RFC 5321), and the server adds words of its own


def postfix(v4: Entries, v6: Entries, facts: Facts) -> Iterator[str]:
    for entry in _by_first_match(v4, v6):
        yield f"{entry.prefix} {_action(entry, facts)}\n"


def postscreen(v4: Entries, v6: Entries, facts: Facts) -> Iterator[str]:
    for entry in _by_first_match(v4, v6):
        yield f"{entry.prefix} {'reject' if entry.is_listed else 'dunno'}\n"


def exim(v4: Entries, v6: Entries, facts: Facts) -> Iterator[str]:
    for entry in _by_first_match(v4, v6):
        yield f"{'' if entry.is_listed else '!'}{entry.name}\n"


def rspamd(v4: Entries, v6: Entries, facts: Facts) -> Iterator[str]:
    for entries in (v4, v6):
        for name in chain(hosts_of(entries), nets_of(entries)):
            yield f"{name}\n"


def read_table(lines: Lines) -> Iterator[Item]:
    """Yield (prefix, action) of a cidr table."""
    for line in lines:
        name, _, action = line.rstrip("\n").partition(" ")
        if name and not name.startswith("#"):
            yield name, action


def read_exim(lines: Lines) -> Iterator[Item]:
    """Yield (prefix, "!" or "") of a host list."""
    for line in lines:
        name = line.strip()
        if name and not name.startswith("#"):
            yield name.removeprefix("!"), "!" if name.startswith("!") else ""


def _by_first_match(v4: Entries, v6: Entries) -> Iterator[Entry]:
    return chain(children_first(needed(v4)), children_first(needed(v6)))


def _action(entry: Entry, facts: Facts) -> str:
    if not entry.is_listed:
        return "DUNNO"
    # The enhanced status code keeps a text that begins like one from being taken for it.
    return f"REJECT 5.7.1 {ascii_line(said(entry, facts.text))[:REPLY_TEXT_BYTES]}".rstrip()
