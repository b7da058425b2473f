"""Who may report and how much, what stands against a decision, and what mail servers are answered: no sockets."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.addr import format_key, parse_addr, parse_key
from spamcannibal.breaker import Admission, Breaker, Caps
from spamcannibal.colours import COLOURS
from spamcannibal.gather.daemon import Complaints
from spamcannibal.gather.decision import ORDER, Terms, Voice
from spamcannibal.gather.desk import Desk, Manner
from spamcannibal.gather.line import VERBS, Refused, Report, Said, parse_line
from spamcannibal.gather.reporters import Peer, Reporter, Reporters
from spamcannibal.gather.sink import TRIP_S, Sink, World
from spamcannibal.gather.standing import Found, Standing
from spamcannibal.gather.tally import Tally
from spamcannibal.record import OWN_TEXT, PUBLISHED, table_value

NOW = 1_800_000_000.0
DAY = 86400.0
TERMS = Terms({"black": 2.0, **dict.fromkeys(("white", "yellow", "brown", "nobl"), 1.0)}, dict.fromkeys(ORDER, DAY))
MX1, MX2 = Peer(parse_addr("192.0.2.1")), Peer(parse_addr("2001:db8::2"))
HOST = parse_key("203.0.113.7")


def reporter(name, *nets, **options):
    return Reporter(Voice(name, 1.0, 1.0), tuple(map(parse_key, nets)), **options)


# Reporters.

CERTIFIED = Peer(parse_addr("198.51.100.9"), "ab" * 32, frozenset({"mx1.example.net"}))
KNOWN = [
    reporter("net", "192.0.2.0/28"),
    reporter("net6", "2001:db8::/64"),
    reporter("local", is_local=True, secret=b"for the socket"),
    reporter("print", fingerprints=frozenset({"ab" * 32})),
    reporter("named", fingerprints=frozenset({"cd" * 32}), names=frozenset({"mx3.example.net"})),
    reporter("both", "203.0.113.0/24", secret=b"for this net"),
    reporter("key", secret=b"for anywhere"),
]


@pytest.mark.parametrize(
    ("peer", "secret", "name"),
    [
        (MX1, "", "net"),
        (MX1, "whatever", "net"),
        (MX2, "", "net6"),
        (Peer(parse_addr("192.0.2.16")), "", None),
        (Peer(), "for the socket", "local"),
        (Peer(), "", None),
        (CERTIFIED, "", "print"),
        (CERTIFIED._replace(fingerprint="cd" * 32), "", "named"),
        (CERTIFIED._replace(fingerprint="", names=frozenset({"mx3.example.net"})), "", "named"),
        (CERTIFIED._replace(fingerprint="ee" * 32), "", None),
        (Peer(parse_addr("203.0.113.1")), "for this net", "both"),
        (Peer(parse_addr("203.0.113.1")), "", None),
        (Peer(parse_addr("203.0.113.1")), "for anywhere", "key"),
        (Peer(parse_addr("198.51.100.1")), "for this net", None),
        (Peer(parse_addr("198.51.100.1")), "for anywherE", None),
        (Peer(parse_addr("198.51.100.1")), "\udcff", None),
    ],
)
def test_a_reporter_is_found_by_place_certificate_and_key(peer, secret, name):
    reporters = Reporters(KNOWN)
    for _ in range(2):  # what is remembered of a peer says the same
        found = reporters.find(peer, secret)
        assert (found.name if found else None) == name


def test_a_reporter_gets_one_seconds_reports_at_once_and_then_what_time_brings():
    reporters = Reporters([one := reporter("a", per_s=5.0)])
    assert [reporters.admits(one, NOW) for _ in range(6)] == [True] * 5 + [False]
    assert reporters.admits(one, NOW + 0.2) and not reporters.admits(one, NOW + 0.2)
    assert not reporters.admits(one, NOW - 100)  # a clock that was set back brings nothing
    assert [reporters.admits(one, NOW + 1000) for _ in range(6)] == [True] * 5 + [False]
    assert reporters.refused == {"a": 4}


# The sink.


class Scene:
    """A sink with reporters a, b, c, and what it decided."""

    def __init__(self, terms=TERMS, room=1000, never=(), admits=None, **options):
        self.decided = []
        self.standing = Standing()
        self.never = {parse_key(text) for text in never}
        self.room = room
        self.by_name = {name: reporter(name, "192.0.2.0/24", **options.get(name, {})) for name in "abc"}
        world = World(self._forbidden, self.standing.find, self._emit, admits or (lambda *_: True))
        self.sink = Sink(Tally(terms), Reporters(self.by_name.values()), world, 64)

    def _forbidden(self, key):
        return "never-list:1" if key in self.never else None

    def _emit(self, decision):
        if len(self.decided) < self.room:
            self.decided.append(decision)
            return True
        return False

    def say(self, name, colour="black", key=HOST, at=0.0):
        return self.sink.take(Report(colour, key), self.by_name[name], NOW + at)

    @property
    def colours(self):
        return [(format_key(decision.key), decision.colour) for decision in self.decided]


def test_two_reporters_list_and_the_decision_goes_out():
    scene = Scene()
    assert scene.say("a").decision.colour == "brown"
    assert scene.say("b").decision.colour == "black"
    assert scene.colours == [("203.0.113.7", "brown"), ("203.0.113.7", "black")]
    assert dict(scene.sink.counts) == {"black": 2, "decided": 2}


@pytest.mark.parametrize(
    ("options", "colour", "key", "why"),
    [
        ({"colours": frozenset({"white"})}, "black", "203.0.113.7", "colour"),
        ({}, "black", "203.0.113.0/24", "prefix"),
        ({}, "black", "2001:db8:1::/56", "prefix"),
        ({}, "black", "10.0.0.1", "never_list"),
        ({"per_s": 0.5}, "black", "203.0.113.7", ""),
        ({"prefixes": True}, "black", "203.0.113.0/24", ""),
    ],
)
def test_a_report_is_refused_and_counted(options, colour, key, why):
    scene = Scene(never=["10.0.0.1"], a=options)
    assert scene.say("a", colour, parse_key(key)).why == why
    if why:
        assert scene.sink.counts[why] == scene.sink.by_reporter["a"]["refused"] == 1 and not scene.decided
    assert scene.sink.tally.explain(parse_key(key), NOW) is None or not why


def test_who_is_too_fast_is_refused():
    scene = Scene(a={"per_s": 2.0})
    whys = [scene.say("a", key=parse_key(f"203.0.113.{n}")).why for n in range(4)]
    assert whys == ["", "", "too_fast", "too_fast"]


def test_a_decision_without_room_did_not_happen_and_is_made_again():
    scene = Scene(room=0)
    assert scene.say("a", "white").decision is None
    assert scene.sink.counts["shed"] == 1
    scene.room = 1
    assert scene.say("a", "white").decision.colour == "white"


def stand(standing, key, colour, text=""):
    code, flags = COLOURS[colour]
    standing.set(parse_key(key), table_value(code, 0, flags, bool(text)))
    if text:
        standing.put(parse_key(key), text)


@pytest.mark.parametrize("colour", ["white", "yellow", "nobl"])
@pytest.mark.parametrize("key", ["203.0.113.7", "203.0.113.0/24"])
def test_a_standing_exception_wins_over_black_and_brown(colour, key):
    scene = Scene()
    stand(scene.standing, key, colour)
    for name in "abc":
        assert scene.say(name).decision is None
    assert scene.sink.counts["excused"] == 3 and not scene.decided
    scene.standing.discard(parse_key(key))
    assert scene.say("a").decision.colour == "black"


def test_brown_says_nothing_of_what_is_refused_already():
    scene = Scene()
    stand(scene.standing, "203.0.113.0/24", "black")
    assert scene.say("a").decision is None
    assert scene.say("b").decision.colour == "black"


def test_a_mad_reporter_trips_and_others_go_on():
    scene = Scene(a={"per_hour": 5, "per_s": 1e6}, b={"per_s": 1e6}, c={"per_s": 1e6})
    for n in range(200):
        scene.say("a", key=parse_key(f"203.0.113.{n}"), at=n / 1000)
    assert len(scene.decided) == 5 and scene.sink.tripped == ["a"]
    assert scene.sink.counts["breaker"] == 1 and scene.sink.counts["tripped"] == 194
    scene.decided.clear()
    for n in (3, 150, 210):  # one of those where a's word is remembered, and two where it was not taken
        key = parse_key(f"203.0.113.{n}")
        scene.say("b", key=key, at=1.0)
        scene.say("c", key=key, at=1.0)
    blacks = [key for key, colour in scene.colours if colour == "black"]
    assert blacks == ["203.0.113.3", "203.0.113.150", "203.0.113.210"]
    assert scene.say("a", at=TRIP_S - 1).why == "tripped"
    assert scene.say("a", at=TRIP_S + 1).why == ""


def test_an_honest_reporter_does_not_pay_for_a_mad_one_who_says_it_too():
    no_brown = TERMS._replace(weights={**TERMS.weights, "brown": 5.0})
    scene = Scene(no_brown, **{name: {"per_hour": 100, "per_s": 1e6} for name in "abc"})
    for n in range(150):
        scene.say("b", key=bytes((203, 0, 113, n)), at=n)
        for net in (113, 114, 115):
            scene.say("a", key=bytes((203, 0, net, n)), at=n)
    assert scene.sink.tripped == ["a"] and 100 <= len(scene.decided) < 110  # time gives some back
    key = parse_key("198.51.100.1")
    scene.say("b", key=key, at=150)
    assert scene.say("c", key=key, at=150).decision.colour == "black"


def test_a_changed_cap_lets_a_tripped_reporter_in_again_and_any_other_change_does_not():
    scene = Scene(a={"per_hour": 1, "per_s": 1e6})
    for n in range(3):
        scene.say("a", key=bytes((203, 0, 113, n)))
    for per_hour, why in ((1, "tripped"), (2, "")):
        scene.by_name["a"] = reporter("a", "198.51.100.0/24", per_s=1e6, per_hour=per_hour)
        scene.sink.adopt(Reporters(scene.by_name.values()))
        assert scene.say("a").why == why


SAID = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(VERBS), st.integers(0, 15), st.sampled_from((0.0, 1.0, 90.0))),
    max_size=60,
)


@given(SAID, st.integers(1, 8))
def test_who_names_no_more_than_he_may_cause_is_never_tripped_whatever_others_say(said, per_hour):
    scene = Scene(**{name: {"per_hour": per_hour, "per_s": 1e6} for name in "abc"})
    named = {name: set() for name in "abc"}
    at = 0.0
    for name, colour, n, later_s in said:
        at += later_s
        scene.say(name, colour, parse_key(f"203.0.113.{n}"), at)
        named[name].add(n)
    assert {name for name in "abc" if scene.sink.is_tripped(name, NOW + at)} <= {
        name for name, keys in named.items() if len(keys) > per_hour
    }


@given(SAID, st.integers(1, 8))
def test_a_reporter_causes_no_more_listings_than_he_may(said, per_hour):
    scene = Scene(**{name: {"per_hour": per_hour, "per_s": 1e6} for name in "abc"})
    for name, colour, n, _ in said:
        scene.say(name, colour, parse_key(f"203.0.113.{n}"))
    assert len({decision.key for decision in scene.decided}) <= 3 * per_hour


def test_what_a_tripped_reporter_said_before_lists_nobody():
    scene = Scene(a={"per_hour": 1, "per_s": 1e6})
    other = parse_key("203.0.113.8")
    scene.say("a", "brown", parse_key("203.0.113.1"))
    scene.say("a")  # past the cap: counted, but it decides nothing
    assert scene.sink.is_tripped("a", NOW)
    scene.decided.clear()
    assert scene.say("b").decision is None
    assert scene.say("c").decision.colour == "black"
    assert scene.say("b", key=other).decision.colour == "brown"


def test_the_breaker_of_all_writers_holds_a_network_back_but_not_its_exceptions():
    breaker = Breaker(Caps(per_net=3))
    scene = Scene(admits=lambda key, by, now: breaker.admit(key, by, now) is Admission.OPEN)
    for n in range(10):
        scene.say("a", key=parse_key(f"203.0.113.{n}"))
    scene.say("a", key=parse_key("198.51.100.1"))
    scene.say("a", "white", key=parse_key("203.0.113.9"))
    assert [key for key, _ in scene.colours] == [
        "203.0.113.0", "203.0.113.1", "203.0.113.2", "198.51.100.1", "203.0.113.9"
    ]  # fmt: skip
    assert len(breaker.trips) == 1


# Standing.


def test_the_longest_match_tells_the_colour_and_a_shadow_hides_nothing():
    standing = Standing()
    stand(standing, "203.0.113.0/24", "black", "a bad net")
    stand(standing, "203.0.113.7", "brown")
    stand(standing, "203.0.113.8", "white")
    stand(standing, "198.51.100.1", "brown")
    stand(standing, "2001:db8:1:2::/64", "black")
    found = {text: standing.find(parse_addr(text)) for text in ("203.0.113.7", "203.0.113.8", "198.51.100.1")}
    assert found["203.0.113.7"] == Found(parse_key("203.0.113.0/24"), "black", "a bad net")
    assert [found["203.0.113.8"].colour, found["198.51.100.1"].colour] == ["white", "brown"]
    assert standing.find(parse_addr("2001:db8:1:2::99")).colour == "black"
    assert standing.find(parse_addr("2001:db8:1:3::99")) is None
    standing.discard(parse_key("203.0.113.0/24"))
    assert standing.find(parse_addr("203.0.113.7")).colour == "brown"


@pytest.mark.parametrize("before", VERBS)
@pytest.mark.parametrize("after", VERBS)
def test_a_key_has_one_colour_however_it_came_to_it(before, after):
    for enter in ("set", "load"):
        standing = Standing()
        for colour in (before, after):
            code, flags = COLOURS[colour]
            value = table_value(code, 0, flags)
            standing.set(HOST, value) if enter == "set" else standing.load([(HOST, value)])
        assert standing.find(HOST).colour == after and len(standing) == 1 == len(standing.items())


def test_hearsay_and_other_codes_are_refused_like_black():
    standing = Standing()
    standing.set(HOST, table_value(bytes((127, 0, 0, 9)), 0, 0))
    assert standing.find(HOST).colour == "black"


def test_a_text_that_is_not_here_is_asked_for_and_not_waited_for():
    standing = Standing()
    standing.set(HOST, table_value(bytes((127, 0, 0, 2)), 0, PUBLISHED) | OWN_TEXT)
    assert standing.find(HOST) == Found(HOST, "black", "")
    assert list(standing.missing) == [HOST]
    standing.put(standing.missing.popleft(), "why")
    assert standing.find(HOST) == Found(HOST, "black", "why") and not standing.missing


# The desk.


@pytest.fixture
def desk():
    scene = Scene()
    manner = Manner((parse_key("192.0.2.0/24"), "local"), "dunno", "$ sends spam", 64)
    complaints = []
    made = Desk(scene.sink, scene.standing, manner, lambda: NOW, lambda *what: complaints.append(what))
    made.complaints = complaints
    stand(scene.standing, "203.0.113.7", "black", "hit a trap: $")
    stand(scene.standing, "203.0.113.8", "black")
    stand(scene.standing, "203.0.113.9", "white")
    stand(scene.standing, "203.0.113.10", "brown")
    stand(scene.standing, "2001:db8:5::/64", "black")
    return made


@pytest.mark.parametrize(
    ("address", "context", "action"),
    [
        ("203.0.113.7", "", "DUNNO"),
        ("203.0.113.7", "reject", "REJECT hit a trap: 203.0.113.7"),
        ("203.0.113.8", "defer", "DEFER 203.0.113.8 sends spam"),
        ("2001:db8:5::1", "reject", "REJECT 2001:db8:5::1 sends spam"),
        ("203.0.113.8", "dunno", "DUNNO"),
        ("203.0.113.9", "reject", "DUNNO"),
        ("203.0.113.10", "reject", "DUNNO"),
        ("203.0.113.11", "reject", "DUNNO"),
        ("unknown", "reject", "DUNNO"),
        ("", "reject", "DUNNO"),
        ("203.0.113.7", "nonsense", "DUNNO"),
    ],
)
def test_postfix_is_told_what_to_do_with_a_client(desk, address, context, action):
    attributes = {"request": "smtpd_access_policy", "client_address": address, "policy_context": context}
    assert desk.policy(MX1, attributes, True) == action
    assert desk.policy(MX1, attributes | {"sasl_username": "somebody"}, True) == "DUNNO"
    assert desk.policy(MX1, attributes, False) == "DUNNO"


def test_postfix_reports_by_its_context(desk):
    attributes = {"client_address": "203.0.113.77", "policy_context": "black wrote to a trap"}
    assert desk.policy(MX1, attributes, True) == "DUNNO"
    assert desk.sink.tally.explain(parse_key("203.0.113.77"), NOW).text.startswith("brown; black 1 of 2 (a 1)")
    assert desk.policy(MX1, attributes | {"sasl_username": "me", "client_address": "203.0.113.78"}, True) == "DUNNO"
    assert desk.sink.tally.explain(parse_key("203.0.113.78"), NOW) is None
    assert desk.policy(MX2, attributes, True) == "DUNNO"
    assert desk.sink.counts["stranger"] == 1


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("reject", "203.0.113.7", "REJECT hit a trap: 203.0.113.7"),
        ("defer", "203.0.113.8", "DEFER 203.0.113.8 sends spam"),
        ("text", "203.0.113.8", "203.0.113.8 sends spam"),
        ("colour", "203.0.113.9", "white"),
        ("colour", "203.0.113.10", "brown"),
        ("colour", "203.0.113.11", None),
        ("reject", "203.0.113.9", None),
        ("reject", "203.0.113", None),
        ("reject", "mail.example.org", None),
        ("reject", "", None),
        ("other", "203.0.113.7", None),
        ("", "203.0.113.7", "DUNNO"),
    ],
)
def test_a_map_has_values(desk, name, key, value):
    assert desk.lookup(name, key, True) == value
    assert desk.lookup(name, key, False) is None


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"query 203.0.113.7", "black hit a trap: 203.0.113.7"),
        (b"query 203.0.113.8", "black 203.0.113.8 sends spam"),
        (b"query 203.0.113.9", "white"),
        (b"query 203.0.113.10", "brown"),
        (b"query 203.0.113.11", "none"),
        (b"query 2001:db8:5::77", "black 2001:db8:5::77 sends spam"),
        (b"explain 203.0.113.11", "none; reports: none"),
        (b"status", "{}"),
        (b"black 198.51.100.4", "ok brown"),
        (b"white 10.1.1.1", "ok white"),
    ],
)
def test_a_line_is_answered(desk, line, answer):
    assert desk.line(MX1, parse_line(line)) == answer
    assert desk.line(MX2, parse_line(line)) in ("none", "refused: no reporter of the settings fits this address or key")


def test_mistakes_are_told_but_not_those_that_nobody_makes(desk):
    for line in (b"", b"brown ", b"blak 192.0.2.1"):
        desk.line(MX1, parse_line(line))
    assert [why for _, why, _ in desk.complaints] == ["unknown_verb"]


def test_a_refusal_is_told_with_the_address_and_once_a_network():
    lines = []
    complain = Complaints(SimpleNamespace(emit=lambda verb, **fields: lines.append(fields)))
    scene = Scene()
    desk = Desk(scene.sink, scene.standing, Manner(), lambda: NOW, complain)
    for _ in range(2):
        desk.line(MX1, parse_line(b"black 10.0.0.0/24"))
    assert [(line["why"], line["detail"].split(":")[0]) for line in lines] == [("prefix", "10.0.0.0/24")]
    for i in range(5):
        desk.line(Peer(parse_addr(f"2001:db8:66::{i}")), parse_line(b"black 192.0.2.1"))
    assert [line["why"] for line in lines] == ["prefix", "stranger"]


def test_while_observing_the_answer_says_so(desk):
    desk.manner = Manner(is_observing=True)
    assert desk.report(MX1, Said(Report("white", parse_key("198.51.100.9")))) == "ok would be white"
    assert desk.report(MX1, Refused("bad_address", "not an address")) == "refused: not an address"
