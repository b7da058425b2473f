"""What the tests of the jobs share: rules from few words, answers by table, and a stand-in for the remote client."""

from spamcannibal.addr import parse_addr
from spamcannibal.jobs.generic import parse_patterns
from spamcannibal.jobs.labels import Kind
from spamcannibal.jobs.nets import parse_nets
from spamcannibal.jobs.rules import Rules, Terms
from spamcannibal.record import Cause
from spamcannibal.remote.lists import Accept, RemoteList
from spamcannibal.remote.verdict import Found, Outcome, Pointers, Verdict

NOW = 1_700_000_000.0
NOW_MS = int(NOW * 1000)
DAY_S = 86_400
A, B, C = "a.example", "b.example", "c.example"
CODE2, CODE9 = bytes((127, 0, 0, 2)), bytes((127, 0, 0, 9))
TERMS = {
    Kind.BLOCK: Terms("in my list", 30 * DAY_S),
    Kind.MISSING_PTR: Terms("get a name: https://example.net/?ip=", 2 * DAY_S),
    Kind.GENERIC_PTR: Terms("get a name of your own", 3 * DAY_S),
    Kind.COUNTRY: Terms("not from there", 4 * DAY_S),
}


class Table(dict):
    """A look-up by address: the countries."""

    def find(self, addr):
        return self.get(addr)


def addr(text):
    return parse_addr(text)


def remote(zone, weight=1.0, **fields):
    fields.setdefault("families", ("ip4", "ip6"))
    fields.setdefault("accept", (Accept("127.0.0.0/8"),))
    return RemoteList(zone, weight=weight, **fields)


def make_rules(*lists, block="", generic="", countries="", country_of=(), **fields):
    fields.setdefault("terms", TERMS)
    return Rules(
        block=parse_nets(block, "block") if block else None,
        patterns=parse_patterns(generic, "generic") if generic else None,
        countries=frozenset(countries.split()),
        country_of=Table({addr(text): country for text, country in country_of}),
        lists={one.zone: one for one in lists},
        **fields,
    )


def listed(zone, text="", reason="", codes=(CODE2,), weight=1.0):
    return Verdict(zone, Outcome.LISTED, codes, reason, text, weight)


def clear(zone):
    return Verdict(zone, Outcome.CLEAR)


def unknown(zone, reason="timeout"):
    return Verdict(zone, Outcome.UNKNOWN, reason=reason)


def named(*names):
    return Pointers(Found.FOUND, names)


MISSING = Pointers(Found.MISSING, reason="NXDOMAIN")
SILENT = Pointers(Found.UNKNOWN, reason="SERVFAIL")


def cause(zone, about="", code=CODE2, text=""):
    return Cause(zone, code, addr(about) if about else b"", text)


class Asker:
    """The remote client's questions, answered from tables: {address: verdicts} and {address: pointers}.

    Who is not in a table is clear, and has a good name. `asked` holds the addresses by kind, in order.
    """

    def __init__(self, lists=(), verdicts=(), pointers=()):
        self.lists = list(lists)
        self.table = {addr(text): found for text, found in dict(verdicts).items()}
        self.names = {addr(text): found for text, found in dict(pointers).items()}
        self.asked = {"verdicts": [], "pointers": [], "zones": []}
        self.before = lambda address: None

    def stream(self, addrs, zones=None):
        for one in addrs:
            self.before(one)
            self.asked["verdicts"].append(one)
            said = {verdict.zone: verdict for verdict in self.table.get(one, ())}
            wanted = [each for each in self.lists if each.speaks(one) and (zones is None or each.zone in zones)]
            yield one, [said.get(each.zone, clear(each.zone)) for each in wanted]

    def verdicts(self, addrs, zones=None):
        self.asked["zones"].append(zones)
        return dict(self.stream(addrs, zones))

    def pointers(self, addrs):
        self.asked["pointers"] += addrs
        return {one: self.names.get(one, named("mail.example.net")) for one in addrs}
