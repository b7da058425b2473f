"""The formats, by name. Pure: a format is a writer of text chunks and a reader of the same, see facts.py.

    writer(IPv4 entries, IPv6 entries, facts) -> text chunks       entries in order (entry.py)
    reader(lines) -> items                                          what stands in the file, for the drift check

The same store gives the same bytes: nothing of the clock is in them, and the only number that moves with the journal is
the SOA's serial in zone formats. `selects` is the default selection: zones publish, and only what is published may
leave in them; the others are for this host's own use and hold what it refuses.
"""

from typing import Literal, NamedTuple

from spamcannibal.dnsbl.export import mta, rbldnsd, sets, tabular, zonefile
from spamcannibal.dnsbl.export.facts import Read, Write

Selection = Literal["published", "refused", "all"]


class Format(NamedTuple):
    """One format. `families` are the entries it wants, `has_text` tells whether it says what a listing's text is."""

    about: str
    write: Write
    read: Read
    selects: Selection = "refused"
    families: tuple[int, ...] = (4, 6)
    has_text: bool = False

    @property
    def is_zone(self) -> bool:
        return self.selects == "published"


_V4, _V6 = (4,), (6,)

FORMATS: dict[str, Format] = {
    "ip4set": Format("rbldnsd, IPv4 hosts and networks", rbldnsd.ip4set, rbldnsd.read, "published", _V4, True),
    "ip4trie": Format("rbldnsd, IPv4 networks", rbldnsd.ip4trie, rbldnsd.read, "published", _V4, True),
    "ip6trie": Format("rbldnsd, IPv6", rbldnsd.ip6trie, rbldnsd.read, "published", _V6, True),
    "combined": Format("rbldnsd, the whole zone", rbldnsd.combined, rbldnsd.read, "published", has_text=True),
    "bind": Format("master file for BIND, NSD, Knot", zonefile.bind, zonefile.read, "published", has_text=True),
    "rpz": Format("response policy by answered address", zonefile.rpz, zonefile.read, "published"),
    "rpz-client": Format("response policy by client", zonefile.rpz_client_ip, zonefile.read, "published"),
    "nft": Format("nftables sets", sets.nft, sets.read_nft),
    "ipset": Format("ipset restore", sets.ipset, sets.read_ipset),
    "postfix": Format("Postfix cidr access table", mta.postfix, mta.read_table, has_text=True),
    "postscreen": Format("Postfix postscreen_access_list", mta.postscreen, mta.read_table),
    "exim": Format("Exim host list", mta.exim, mta.read_exim),
    "rspamd": Format("Rspamd multimap of addresses", mta.rspamd, mta.read_exim),
    "plain": Format("one address or prefix a line", tabular.plain, tabular.read_plain),
    "csv": Format("comma-separated values", tabular.as_csv, tabular.read_csv, has_text=True),
    "jsonl": Format("JSON lines", tabular.jsonl, tabular.read_jsonl, has_text=True),
}
