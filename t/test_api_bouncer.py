"""The API of CrowdSec's bouncers: the whole list, what changed, what holds about an address; any history adds up."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adminkit import events
from apikit import LISTED, NET, api_site, make_token, put
from spamcannibal.addr import covers, format_key, make_key, parse_key, split_key
from spamcannibal.breaker import Breaker, Caps
from spamcannibal.jobs.cleanup import Cleanup, Plan
from spamcannibal.record import EXCLUDED, PUBLISHED, SHADOW, Mode
from spamcannibal.store.prune import prune
from spamcannibal.store.stores import Amendment, NewListing
from spamcannibal.web import bouncer_feed
from spamcannibal.web.bouncer_decisions import duration, filter_of
from webkit import NOW, client, make_site


class Bouncer:
    """A bouncer: what it was told, applied as a real one does: what is deleted goes, then what is new comes."""

    def __init__(self, site, name="fw1", web=None):
        self.web = web or client(site)
        self.fields = {"X-Api-Key": make_token(site, name, "bouncer"), "User-Agent": "crowdsec-firewall-bouncer/v0"}
        self.held = {}

    def pull(self, tail=""):
        answer = self.web.get(f"/v1/decisions/stream{tail}", headers=self.fields)
        assert (answer.status_code, answer.content_type) == (200, "application/json")
        told = answer.json
        if tail.startswith("?startup=true"):
            self.held = {}
        for one in told["deleted"]:
            assert one["duration"].startswith("-")
            self.held.pop(one["value"], None)
        for one in told["new"]:
            assert one["value"] not in self.held, "told twice"
            self.held[one["value"]] = one
        return told

    def holding(self, query):
        return self.web.get(f"/v1/decisions{query}", headers=self.fields).json


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """A site for tests that change nothing, with an exception in NET."""
    with api_site(tmp_path_factory.mktemp("calm") / "store", api={"per_minute": 1_000_000}) as (site, _):
        put(site, "203.0.113.9", flags=EXCLUDED)
        yield site, Bouncer(site)


@pytest.fixture
def both(tmp_path):
    with api_site(tmp_path / "store") as (site, _):
        yield site, Bouncer(site)


def test_a_bouncer_starts_with_the_whole_list_and_goes_on_with_what_changed(both):
    site, bouncer = both
    assert len(bouncer.pull("?startup=true")["new"]) == 3
    assert bouncer.held[LISTED] == {
        "id": 1, "origin": "spamcannibal", "type": "ban", "scope": "Ip", "value": LISTED,
        "duration": "576h0m0s", "scenario": "spamcannibal/127.0.0.2", "simulated": False,
    }  # fmt: skip
    assert (bouncer.held[NET]["scope"], bouncer.held["2001:db8::/64"]["scope"]) == ("Range", "Range")
    assert bouncer.pull() == {"new": [], "deleted": []}
    put(site, "192.0.2.8")
    site.store.unlist([parse_key(LISTED)], "x", "", NOW)
    told = bouncer.pull()
    assert [[one["value"] for one in told[word]] for word in ("new", "deleted")] == [["192.0.2.8"], [LISTED]]


def test_what_is_over_is_deleted_even_if_nobody_else_takes_it_off(both):
    site, bouncer = both
    put(site, "192.0.2.8", expiry_ms=int((NOW + 3700) * 1000))
    bouncer.pull("?startup=true")
    assert bouncer.held["192.0.2.8"]["duration"] == "1h1m40s"
    site.clock.now += 3700
    assert [one["value"] for one in bouncer.pull()["deleted"]] == ["192.0.2.8"]


def test_a_longer_listing_is_told_anew(both):
    site, bouncer = both
    bouncer.pull("?startup=true")
    site.store.amend(parse_key(LISTED), Amendment(expiry_ms=int((NOW + 60) * 1000)), "x", NOW)
    told = bouncer.pull()
    assert [one["value"] for one in told["deleted"]] == [LISTED]
    assert [one["duration"] for one in told["new"]] == ["0h1m0s"]
    site.store.amend(parse_key(LISTED), Amendment(text="other words"), "x", NOW)
    assert bouncer.pull() == {"new": [], "deleted": []}


@pytest.mark.parametrize(
    ("flags", "mode"), [(EXCLUDED, Mode.DEFAULT), (PUBLISHED, Mode.OBSERVE)], ids=["excluded", "observed"]
)
def test_an_exception_is_told_as_the_ranges_around_it(both, flags, mode):
    site, bouncer = both
    put(site, "203.0.113.9", flags=flags, mode=mode)
    put(site, "203.0.113.128/25", flags=SHADOW)  # hides nothing
    bouncer.pull("?startup=true")
    ranges = [parse_key(value) for value in bouncer.held if value.startswith("203.0.113.")]
    inside = [i for i in range(256) if any(covers(net, bytes((203, 0, 113, i))) for net in ranges)]
    assert inside == [i for i in range(256) if i != 9]
    site.store.unlist([parse_key("203.0.113.9")], "x", "", NOW)
    bouncer.pull()
    assert [value for value in bouncer.held if value.startswith("203.0.113.")] == [NET]


def test_an_answer_that_was_cut_short_is_told_again(both):
    site, bouncer = both
    bouncer.pull("?startup=true")
    put(site, "192.0.2.8")
    cut = bouncer.web.get("/v1/decisions/stream", headers=bouncer.fields, buffered=False)
    next(iter(cut.response))
    cut.close()
    assert len(bouncer.pull()["new"]) == 1


def test_heads_tell_nothing_and_change_nothing(both):
    site, bouncer = both
    bouncer.pull("?startup=true")
    put(site, "192.0.2.8")
    for path in ("/v1/decisions/stream", "/v1/decisions"):
        head = bouncer.web.head(path, headers=bouncer.fields)
        assert (head.status_code, head.data) == (200, b"")
    assert len(bouncer.pull()["new"]) == 1


def test_a_pruned_journal_or_an_older_store_means_the_whole_list_again(both):
    site, bouncer = both
    bouncer.pull("?startup=true")
    put(site, "192.0.2.8", now=NOW + 10)
    put(site, "192.0.2.9", now=NOW + 100)
    prune(site.store, int((NOW + 50) * 1000))
    assert len(bouncer.pull()["new"]) == 5
    drawer = bouncer_feed.drawer(site.store.env)
    drawer.put("fw1", bouncer_feed.Pulled(10_000, int(NOW * 1000), int(NOW * 1000)), NOW)
    assert len(bouncer.pull()["new"]) == 5
    drawer.take("fw1", NOW)  # as a restore does
    assert len(bouncer.pull()["new"]) == 5
    assert bouncer.pull()["new"] == []


def test_all_is_told_anew_each_week_and_nothing_for_longer_than_three(both):
    """A set that keeps the end it heard first must hear of another one, before all that it holds is over."""
    site, bouncer = both
    put(site, "192.0.2.8", expiry_ms=int((NOW + 300 * 86400) * 1000))
    bouncer.pull("?startup=true")
    assert {one["duration"] for one in bouncer.held.values()} == {"576h0m0s"}
    site.store.unlist([parse_key(LISTED)], "x", "", NOW)
    site.clock.now += 8 * 86400
    told = bouncer.pull()
    assert [one["value"] for one in told["deleted"]].count(LISTED) == 1
    assert {one["value"] for one in told["new"]} == {one["value"] for one in told["deleted"]} - {LISTED}
    assert bouncer.pull() == {"new": [], "deleted": []}


def test_a_bouncer_that_starts_hears_what_its_last_life_left_behind(both):
    """Its set outlives one that was killed, and it adds to that."""
    site, bouncer = both
    bouncer.pull("?startup=true")
    site.store.unlist([parse_key(LISTED)], "x", "", NOW)
    told = bouncer.pull("?startup=true")
    assert ([one["value"] for one in told["deleted"]], len(told["new"])) == ([LISTED], 2)
    assert bouncer.pull() == {"new": [], "deleted": []}


def test_the_journal_is_kept_until_bouncers_heard_it_or_hold_nothing_any_more(both):
    site, bouncer = both
    bouncer.pull("?startup=true")
    assert bouncer_feed.unheard_ms(site.store, NOW) is None
    site.store.unlist([parse_key(LISTED)], "x", "", NOW + 10)
    put(site, "192.0.2.9", now=NOW + 20)
    days = 86400

    def cleaned(after_s):
        now = NOW + after_s
        plan = Plan(journal_days=1, clock=lambda: now, unheard_ms=lambda now: bouncer_feed.unheard_ms(site.store, now))
        return Cleanup(site.store, Breaker(Caps(), "removals"), plan).run().counts["journal"]

    assert cleaned(5 * days) == 0
    site.clock.now += 6 * days
    assert [one["value"] for one in bouncer.pull()["deleted"]] == [LISTED]
    assert cleaned(6 * days) > 0  # what it heard may go
    put(site, "192.0.2.10", now=NOW + 7 * days)
    assert bouncer_feed.unheard_ms(site.store, NOW + 29 * days) == int((NOW + 7 * days) * 1000)
    assert bouncer_feed.unheard_ms(site.store, NOW + 31 * days) is None  # away for longer than bans last


def test_bouncers_are_told_apart_by_their_tokens(both):
    site, bouncer = both
    other = Bouncer(site, "fw2", bouncer.web)
    bouncer.pull("?startup=true")
    assert len(other.pull()["new"]) == 3
    kept = bouncer_feed.drawer(site.store.env).get("fw2", NOW)
    assert (kept.seq, kept.agent) == (3, "crowdsec-firewall-bouncer/v0")


def test_many_changes_come_in_parts(both, monkeypatch):
    site, bouncer = both
    monkeypatch.setattr(bouncer_feed, "CHANGES_LIMIT", 10)
    bouncer.pull("?startup=true")
    put(site, *(f"192.0.2.{i}" for i in range(100, 125)))
    assert [len(bouncer.pull()["new"]) for _ in range(4)] == [10, 10, 5, 0]


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (f"?ip={LISTED}", [LISTED]),
        ("?ip=192.0.2.8", None),
        ("?ip=203.0.113.77", [NET]),
        ("?ip=203.0.113.9", None),
        ("?ip=2001:db8::1", ["2001:db8::/64"]),
        ("?range=203.0.113.0/28", [NET]),
        ("?range=192.0.0.0/8&contains=false", [LISTED]),
        ("?range=0.0.0.0/0&contains=false&scopes=Ip", [LISTED]),
        ("?range=ffff::/16&contains=false", None),
        (f"?scope=ip&value={LISTED}", [LISTED]),
        (f"?scope=range&value={LISTED}", None),
        (f"?ip={LISTED}&type=captcha", None),
        (f"?ip={LISTED}&type=ban&origins=crowdsec,spamcannibal", [LISTED]),
        (f"?ip={LISTED}&origins=CAPI", None),
        (f"?ip={LISTED}&scenarios_containing=127.0.0.2", [LISTED]),
        (f"?ip={LISTED}&scenarios_not_containing=127.0.0.2", None),
        (f"?ip={LISTED}&unknown=1", [LISTED]),
    ],
)
def test_a_bouncer_that_asks_for_one_gets_what_decides(calm, query, values):
    found = calm[1].holding(query)
    assert (found and [one["value"] for one in found]) == values


def test_without_a_question_all_comes(both):
    assert len(both[1].holding("")) == 3
    assert [one["value"] for one in both[1].pull("?startup=true&scopes=ip")["new"]] == [LISTED]


@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/decisions/stream", "/v1/usage-metrics"])
def test_only_a_token_for_it_opens_it(calm, path):
    site, bouncer = calm
    method = "POST" if "usage" in path else "GET"
    for secret in (None, "x", make_token(site, f"writer{len(path)}", "write")):
        answer = bouncer.web.open(path, method=method, headers={"X-Api-Key": secret} if secret else {})
        assert answer.status_code == 403
        assert answer.json["message"]
    assert all("status=403" in line for line in events(site, "API"))
    url = bouncer.web.open(f"{path}?api_key={bouncer.fields['X-Api-Key']}", method=method)
    assert url.status_code == 403


def test_usage_metrics_are_taken(calm):
    _, bouncer = calm
    answer = bouncer.web.post("/v1/usage-metrics", json={"remediation_components": []}, headers=bouncer.fields)
    assert answer.status_code == 201


@pytest.mark.parametrize("query", ["?ip=x", "?ip=010.0.0.1", "?range=192.0.2.1/24", "?value=%00"])
def test_nonsense_is_refused_with_a_message(calm, query):
    answer = calm[1].web.get(f"/v1/decisions{query}", headers=calm[1].fields)
    assert (answer.status_code, bool(answer.json["message"])) == (400, True)


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "0h0m1s"), (14399, "3h59m59s"), (-61, "-0h1m1s"), (87_600 * 3600, "87600h0m0s")]
)
def test_durations_are_as_go_writes_them(seconds, text):
    assert duration(seconds) == text


@given(st.dictionaries(st.sampled_from(["scope", "scopes", "type", "origins", "scenarios_containing"]), st.text()))
def test_any_query_makes_a_filter(given_query):
    assert filter_of(given_query).wants_none in (True, False)


# Any history: what a bouncer holds, pulled whenever, is what the whole list would tell it.

nets = st.tuples(st.integers(0, 7), st.integers(29, 32)).map(
    lambda pair: make_key(bytes((192, 0, 2, pair[0] >> (32 - pair[1]) << (32 - pair[1]))), pair[1])
)
kinds = st.sampled_from(
    [(PUBLISHED, Mode.DEFAULT), (EXCLUDED, Mode.DEFAULT), (SHADOW, Mode.DEFAULT), (0, Mode.OBSERVE)]
)
spans = st.sampled_from([0, 100, 200])
steps = st.lists(
    st.one_of(st.tuples(nets, kinds, spans), st.tuples(nets, st.none(), spans), st.just("pull")), max_size=40
)


def refused_addresses(values):
    keys = [parse_key(value) for value in values]
    return {i for i in range(8) if any(covers(key, bytes((192, 0, 2, i))) for key in keys)}


def decided(store):
    """The addresses that the longest listing which is no shadow refuses."""
    rows = {key: listing for key, listing in store.page("tarpit", None, 1000) if not listing.flags & SHADOW}
    found = set()
    for i in range(8):
        around = [key for key in rows if covers(key, bytes((192, 0, 2, i)))]
        if around:
            row = rows[max(around, key=lambda key: split_key(key)[1])]
            found |= set() if row.flags & EXCLUDED or row.mode is Mode.OBSERVE else {i}
    return found


def test_any_history_adds_up(tmp_path):
    with make_site(tmp_path / "store", api={"per_minute": 1_000_000}) as site:
        web = client(site)
        count = iter(range(10_000))

        @given(steps)
        @settings(deadline=None, max_examples=60)
        def check(history):
            store = site.store
            store.unlist([key for key, _ in store.page("tarpit", None, 1000)], "x", "", NOW)
            bouncer = Bouncer(site, f"fw{next(count) % 900}x", web) if not web_bouncers else web_bouncers[0]
            web_bouncers[:] = [bouncer]
            bouncer.pull("?startup=true")
            for step in history:
                if step == "pull":
                    bouncer.pull()
                elif step[1] is None:
                    store.unlist([step[0]], "x", "", NOW)
                else:
                    (flags, mode), ends_s = step[1], step[2] and NOW + step[2]
                    store.list(
                        [NewListing(step[0], source="x", flags=flags, mode=mode, expiry_ms=int(ends_s * 1000))], NOW
                    )
            bouncer.pull()
            held = {(value, one["duration"]) for value, one in bouncer.held.items()}
            bouncer.pull("?startup=true")
            assert held == {(value, one["duration"]) for value, one in bouncer.held.items()}
            held = set(bouncer.held)
            assert refused_addresses(held) == decided(store)

        web_bouncers = []
        check()


def test_a_million_would_not_stand_in_memory(both):
    """The body is made in parts: none holds more than CHUNK decisions."""
    site, bouncer = both
    for net in range(3):
        put(site, *(format_key(bytes((203, 0, net, i))) for i in range(250)), *(f"10.1.{net}.{i}" for i in range(250)))
        put(site, *(f"10.2.{net}.{i}" for i in range(250)))
    answer = bouncer.web.get("/v1/decisions/stream?startup=true", headers=bouncer.fields, buffered=False)
    parts = list(answer.response)
    assert len(json.loads(b"".join(parts))["new"]) == 3 * 750 + 3
    assert max(part.count(b'"value"') for part in parts) <= 1000
