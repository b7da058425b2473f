"""The API for programs: listings, evidence, journal and undo; who may; conditions, breakers, bad input."""

import base64
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikit import FORBIDDEN, LISTED, NET, Program, api_site, make_token, put, text_of
from spamcannibal.addr import parse_key
from spamcannibal.errors import Unavailable
from spamcannibal.record import Action, Change, Mode, Piece
from spamcannibal.store.prune import prune
from spamcannibal.web.api_openapi import document, encode
from spamcannibal.web.api_routes import ROUTES
from spamcannibal.web.api_stream import Feed, Pace, Places
from storekit import check_whole
from webkit import NOW


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """A site for tests that change nothing, and its program."""
    with api_site(tmp_path_factory.mktemp("calm") / "store", api={"per_minute": 1_000_000}) as both:
        yield both
        assert both[0].store.last_seq() == 3


@pytest.fixture
def both(tmp_path):
    with api_site(tmp_path / "store") as both:
        yield both
        check_whole(both[0].store)


def problem(answer):
    """The kind of problem that an answer is, with its status."""
    assert answer.content_type == "application/problem+json"
    told = answer.json
    assert told["status"] == answer.status_code
    return told["type"].rpartition("/")[2], told["status"]


# Listings.


def test_a_listing_is_shown_and_an_unlisted_one_is_not_there(calm):
    _, program = calm
    shown = program.get(f"/listings/{LISTED}")
    assert shown.json | {"listed": None} == {
        "key": LISTED, "code": "127.0.0.2", "mode": "default", "flags": ["published"], "listed": None,
        "expires": None, "source": "gather:mx1", "text": "spam", "seq": 1,
    }  # fmt: skip
    assert problem(program.get("/listings/192.0.2.8")) == ("not-found", 404)


@pytest.mark.parametrize("written", [NET, NET.replace("/", "%2F")])
def test_a_prefix_is_a_key_however_its_slash_is_written(calm, written):
    assert calm[1].get(f"/listings/{written}").json["key"] == NET


def test_putting_lists_once_and_says_whether_it_did(both):
    site, program = both
    body = {"text": "sent spam", "expires": text_of(NOW + 3600), "evidence": "From: x", "mode": "drop"}
    first, again = (program.ask("PUT", "/listings/192.0.2.20", body) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert (first.json["done"], again.json["done"]) == ("listed", "same")
    assert first.headers["Location"].endswith("/api/v1/listings/192.0.2.20")
    assert first.json["seq"] == again.json["seq"] == site.store.last_seq()
    listing = first.json["listing"]
    assert listing == again.json["listing"] == program.get("/listings/192.0.2.20").json
    assert (listing["source"], listing["mode"], listing["expires"]) == ("api:all", "drop", text_of(NOW + 3600))
    assert site.store.evidence(parse_key("192.0.2.20"))[0].body == b"From: x"


def test_an_ipv6_address_is_listed_by_its_network(both):
    assert both[1].ask("PUT", "/listings/2001:db8:1::25", {}).json["key"] == "2001:db8:1::/64"
    assert both[1].ask("PUT", "/listings/2001:db8:2::25/128", {}).json["key"] == "2001:db8:2::25"


def test_amending_changes_what_is_given_and_nothing_else(both):
    _, program = both
    done = program.ask("PATCH", f"/listings/{LISTED}", {"mode": "observe", "expires": text_of(NOW + 60)}).json
    assert done["done"] == "changed"
    assert (done["listing"]["mode"], done["listing"]["text"]) == ("observe", "spam")
    assert program.ask("PATCH", f"/listings/{LISTED}", {"mode": "observe"}).json["done"] == "same"
    assert program.ask("PATCH", f"/listings/{LISTED}", {"expires": None}).json["listing"]["expires"] is None
    assert problem(program.ask("PATCH", "/listings/192.0.2.8", {"text": "x"})) == ("not-found", 404)


def test_removing_takes_it_off_and_says_who_and_why(both):
    site, program = both
    done = program.ask("DELETE", f"/listings/{LISTED}?reason=cleaned+up").json
    change = site.store.change(done["seq"])
    assert (change.action, change.source, change.text) == (Action.UNLIST, "api:all", "cleaned up")
    assert problem(program.ask("DELETE", f"/listings/{LISTED}")) == ("not-found", 404)


@pytest.mark.parametrize(
    ("method", "path", "body", "done"),
    [
        ("PUT", "/listings/192.0.2.20", {"text": "x"}, "listed"),
        ("PUT", f"/listings/{LISTED}", {"text": "x"}, "changed"),
        ("PUT", f"/listings/{LISTED}", {"text": "spam"}, "same"),
        ("PATCH", f"/listings/{LISTED}", {"text": "x"}, "changed"),
        ("DELETE", f"/listings/{LISTED}", None, "removed"),
        ("POST", f"/evidence/{LISTED}", {"body": "x"}, "noted"),
    ],
)
def test_a_dry_run_says_what_would_be_done_and_does_nothing(both, method, path, body, done):
    site, program = both
    before = site.store.last_seq(), site.store.evidence(parse_key(LISTED))
    answer = program.ask(method, f"{path}?dry_run=true", body).json
    assert (answer["done"], answer["seq"], answer["dry_run"]) == (done, None, True)
    assert (site.store.last_seq(), site.store.evidence(parse_key(LISTED))) == before
    assert program.ask(method, path, body).json["done"] == done


@pytest.mark.parametrize(
    ("method", "body", "field", "holds", "fails"),
    [
        ("PUT", {"text": "x"}, "If_Match", ['"1"', "*", '"7", "1"'], ['"2"', '"01"', "1", 'W/"1"']),
        ("PUT", {"text": "x"}, "If_None_Match", ['"2"'], ['"1"', "*"]),
        ("PATCH", {"text": "x"}, "If_Match", ['"1"'], ['"2"']),
        ("DELETE", None, "If_Match", ['"1"'], ['"2"', "x"]),
    ],
)
@pytest.mark.parametrize("tail", ["?dry_run=true", ""])
def test_a_write_happens_only_if_its_conditions_hold(both, method, body, field, holds, fails, tail):
    site, program = both
    for text in fails:
        assert problem(program.ask(method, f"/listings/{LISTED}{tail}", body, **{field: text})) == ("changed", 412)
    assert site.store.last_seq() == 3
    assert program.ask(method, f"/listings/{LISTED}{tail}", body, **{field: holds[-1]}).status_code == 200


def test_what_is_not_listed_matches_no_tag(both):
    program = both[1]
    assert problem(program.ask("PUT", "/listings/192.0.2.8", {}, If_Match="*")) == ("changed", 412)
    assert problem(program.ask("DELETE", "/listings/192.0.2.8", If_Match='"0"')) == ("changed", 412)
    assert program.ask("PUT", "/listings/192.0.2.8", {}, If_None_Match="*").status_code == 201


@pytest.mark.parametrize("tail", ["?dry_run=1", ""])
def test_the_never_list_is_asked_and_its_rule_named(calm, tail):
    answer = calm[1].ask("PUT", f"/listings/{FORBIDDEN}{tail}", {})
    assert problem(answer) == ("never-listed", 409)
    assert answer.json["rule"] == "never-list:1: 198.51.100.0/24"


def test_search_pages_through_all_with_a_cursor(both):
    site, program = both
    put(site, *(f"192.0.2.{i}" for i in range(100, 150)), source="robot:x", text="Robot")
    found, cursor = [], ""
    while cursor is not None:
        page = program.get(
            f"/listings?limit=7&source=robot:*&text=robot&flag=published&prefix=192.0.2.0/24&cursor={cursor}"
        )
        found += [row["key"] for row in page.json["listings"]]
        cursor = page.json["next"]
    assert found == [f"192.0.2.{i}" for i in range(100, 150)]


def test_a_search_looks_at_so_many_listings_and_goes_on(tmp_path):
    with api_site(tmp_path / "store", api={"look_limit": 1000}) as (site, program):
        for net in range(4):
            put(site, *(f"203.0.{net}.{i}" for i in range(250)))
        first = program.get("/listings?text=nowhere").json
        assert (first["listings"], bool(first["next"])) == ([], True)
        assert program.get(f"/listings?text=nowhere&cursor={first['next']}").json == {"listings": [], "next": None}


def test_search_by_time(both):
    site, program = both
    put(site, "192.0.2.99", now=NOW + 100)
    later = program.get(f"/listings?since={text_of(NOW + 50)}").json["listings"]
    assert [row["key"] for row in later] == ["192.0.2.99"]
    assert len(program.get(f"/listings?until={text_of(NOW + 50)}").json["listings"]) == 3


def test_evidence_is_added_and_shown(both):
    program = both[1]
    assert program.ask("POST", f"/evidence/{LISTED}", {"body": "Received: \u202e"}).json["done"] == "noted"
    pieces = program.get(f"/evidence/{LISTED}").json["evidence"]
    assert [(piece["source"], piece["body"]) for piece in pieces][-1] == ("api:all", "Received: \u202e")
    assert problem(program.ask("POST", "/evidence/192.0.2.8", {"body": "x"})) == ("not-found", 404)


# Who may.


def test_a_secret_is_kept_as_a_hash_only(calm):
    site, program = calm
    kept = json.dumps([msgspec.to_builtins(token) for _, token in _tokens(site)])
    assert program.secret not in kept
    assert program.secret.rpartition("_")[2] not in kept


def _tokens(site):
    from spamcannibal.web.tokens import Tokens

    return Tokens(site.store.env).all(site.clock())


@pytest.mark.parametrize("route", [route for route in ROUTES if route.scopes], ids=lambda route: route.name)
def test_every_operation_wants_its_scope(calm, route):
    site, program = calm
    path = route.path.replace("<path:key>", LISTED).replace("<seq>", "1")
    others = [scope for scope in ("read", "write", "admin", "bouncer", "metrics") if scope not in route.scopes]
    poor = Program(site, make_token(site, f"poor.{route.name.lower()}", *others), program.web)
    assert problem(Program(site, None, program.web).ask(route.method, path)) == ("unauthorized", 401)
    assert problem(poor.ask(route.method, path, {})) == ("forbidden", 403)


@pytest.mark.parametrize(
    "secret",
    ["", "x", "sc_all_", "sc_all_wrong", "sc_nobody_x", "sc_ALL_x", "sc_a/b_x", "sc_all_" + "x" * 300, "sc_\u00e9_x"],
)
def test_a_wrong_secret_is_refused(calm, secret):
    answer = Program(calm[0], web=calm[1].web).get("/status", Authorization=f"Bearer {secret}")
    assert problem(answer) == ("unauthorized", 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("field", ["Basic YWxsOng=", "sc_all_x", "Bearer", "Token x"])
def test_only_a_bearer_token_is_one(calm, field):
    assert problem(calm[1].get("/status", Authorization=field)) == ("unauthorized", 401)


def test_a_secret_in_the_address_is_none(calm):
    nobody = Program(calm[0], web=calm[1].web)
    assert problem(nobody.get(f"/status?access_token={calm[1].secret}")) == ("unauthorized", 401)


def test_a_token_ends_by_time_and_by_revoking(both):
    from spamcannibal.web.tokens import Tokens

    site, program = both
    short = Program(site, make_token(site, "short", "read", until_ms=int((NOW + 60) * 1000)), program.web)
    assert short.get("/status").status_code == 200
    site.clock.now += 61
    assert problem(short.get("/status")) == ("unauthorized", 401)
    assert Tokens(site.store.env).revoke("all", site.clock())
    assert problem(program.get("/status")) == ("unauthorized", 401)


def test_a_token_works_from_its_nets_only(both):
    site, program = both
    near = Program(site, make_token(site, "near", "read", nets=("192.0.2.0/24", "2001:db8::/32")), program.web)
    for address, status in (("192.0.2.5", 200), ("2001:db8::5", 200), ("203.0.113.5", 403)):
        assert near.get("/status", X_Forwarded_For=address).status_code == status


def test_tokens_have_rates_of_their_own(tmp_path):
    with api_site(tmp_path / "store", web={"per_minute": 2}, api={"per_minute": 5}) as (site, program):
        slow = Program(site, make_token(site, "slow", "read", per_minute=1), program.web)
        assert [program.get("/status").status_code for _ in range(6)] == [200] * 5 + [429]
        assert [slow.get("/status").status_code for _ in range(2)] == [200, 429]
        nobody = Program(site, web=program.web)
        asked = [nobody.get(f"/lookup/{LISTED}") for _ in range(3)]
        assert [answer.status_code for answer in asked] == [200, 200, 429]
        assert problem(asked[-1]) == ("too-many", 429)
        assert int(asked[-1].headers["Retry-After"]) > 0
        site.clock.now += 61
        assert slow.get("/status").status_code == 200


# Breakers.


def test_a_token_lists_so_many_and_no_more(tmp_path):
    with api_site(tmp_path / "store", guard={"max_per_source_per_hour": 3, "max_per_net": 100}) as (site, program):
        other = Program(site, make_token(site, "other", "write"), program.web)
        answers = [program.ask("PUT", f"/listings/192.0.2.{i}", {}) for i in range(20, 25)]
        assert [answer.status_code for answer in answers] == [201] * 3 + [429] * 2
        assert problem(answers[-1]) == ("breaker", 429)
        assert "api:all" in answers[-1].json["detail"]
        assert answers[-1].headers["Retry-After"]
        assert program.ask("PUT", "/listings/192.0.2.20", {"text": "again"}).status_code == 200  # it is listed already
        assert other.ask("PUT", "/listings/192.0.2.30", {}).status_code == 201
        site.clock.now += 3601
        assert program.ask("PUT", "/listings/192.0.2.24", {}).status_code == 201


def test_breakers_count_what_others_listed(tmp_path):
    with api_site(tmp_path / "store", guard={"max_per_net": 4}) as (site, program):
        put(site, *(f"192.0.2.{i}" for i in range(20, 23)))  # with LISTED four in the network
        assert problem(program.ask("PUT", "/listings/192.0.2.30", {})) == ("breaker", 429)
        assert program.ask("PUT", "/listings/192.0.3.1", {}).status_code == 201
        put(site, *(f"192.0.3.{i}" for i in range(2, 5)))
        assert problem(program.ask("PUT", "/listings/192.0.3.9", {})) == ("breaker", 429)


def test_a_token_removes_so_many_and_no_more(tmp_path):
    with api_site(tmp_path / "store", api={"removals_per_hour": 2}) as (site, program):
        answers = [program.ask("DELETE", f"/listings/{key}") for key in (LISTED, NET, "2001:db8::/64")]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert site.store.counts()["tarpit"] == 1


# The journal.


def test_the_journal_is_read_in_pages(calm):
    program = calm[1]
    page = program.get("/journal?after=1&limit=1").json
    assert ([row["key"] for row in page["changes"]], page["next"], page["last"]) == ([NET], 2, 3)
    assert (page["gap"], program.get("/journal/2").json) == (False, page["changes"][0])
    assert program.get("/journal?after=3").json["changes"] == []
    assert problem(program.get("/journal/99")) == ("not-found", 404)


def test_who_waits_gets_the_next_change_and_nobody_waits_for_ever(both):
    site, program = both
    waited = []

    def pause(seconds):
        waited.append(seconds)
        site.clock.now += seconds
        if len(waited) == 3:
            put(site, "192.0.2.77")

    site.pause = pause
    assert [row["key"] for row in program.get("/journal?after=3&wait=20").json["changes"]] == ["192.0.2.77"]
    assert len(waited) == 3
    began = site.clock.now
    assert program.get("/journal?after=4&wait=20").json["changes"] == []
    assert 20 <= site.clock.now - began < 21


def test_a_pruned_journal_says_that_something_is_missing(both):
    site, program = both
    site.store.unlist([parse_key(LISTED)], "x", "", NOW)
    put(site, "192.0.2.50", now=NOW + 100)
    prune(site.store, int((NOW + 50) * 1000))
    assert program.get("/journal").json["gap"] is True
    events = program.get("/journal/stream?after=0").text
    assert 'event: reset\ndata: {"after":0,"next":2}' in events


def test_who_knows_more_changes_than_there_are_is_told_at_once(both):
    """After a restore, the numbers that he waits for may come by other changes, or never."""
    page = both[1].get("/journal?after=99&wait=20").json
    assert (page["gap"], page["changes"], page["next"]) == (True, [], 3)


def events_of(text):
    """The (id, event, data) of a stream's text."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and line[0] != ":")
        if "event" in fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def test_a_stream_gives_all_changes_goes_on_where_it_was_and_ends(both):
    site, program = both
    site.pause = lambda seconds: (put(site, "192.0.2.60") if site.clock.now == NOW else None, site.clock.pass_by(1))
    answer = program.get("/journal/stream?after=1")
    assert answer.content_type.startswith("text/event-stream")
    assert answer.text.startswith("retry: ")
    assert [(seq, name, data["key"]) for seq, name, data in events_of(answer.text)] == [
        (2, "list", NET), (3, "list", "2001:db8::/64"), (4, "list", "192.0.2.60"),
    ]  # fmt: skip
    assert answer.text.count(": still here") == (300 - 1) // 15
    assert [event[0] for event in events_of(program.get("/journal/stream?after=1", Last_Event_ID="3").text)] == [4]
    assert events_of(program.get("/journal/stream").text) == []


def test_without_a_place_a_stream_is_what_there_is(tmp_path):
    with api_site(tmp_path / "store", api={"streams": 0}) as (site, program):
        site.pause = None  # nobody waits
        assert len(events_of(program.get("/journal/stream?after=0").text)) == 3
        assert program.get("/journal?after=3&wait=30").json["changes"] == []


def test_places_are_given_back(both):
    program = both[1]
    for _ in range(5):
        program.get("/journal/stream?after=0")
        program.get("/journal?after=3&wait=1")
    assert program.get("/status").json["waiting"] == 0
    places = Places(1)
    assert (places.take(), places.take(), places.give(), places.take()) == (True, False, None, True)


def test_a_stream_ends_with_the_site_or_its_store(both):
    site, program = both
    site.pause = lambda seconds: setattr(site, "is_over", True)
    assert len(events_of(program.get("/journal/stream?after=0").text)) == 3
    site.is_over = False

    def fail(seconds):
        raise Unavailable("gone")

    site.pause = fail
    assert len(events_of(program.get("/journal/stream?after=0").text)) == 3


changes = st.lists(st.integers(1, 5), max_size=30)


@given(changes, st.integers(0, 10))
def test_a_feed_tells_every_change_or_that_it_lacks_some(steps, after):
    feed, seq = Feed(after, 0.0, Pace(10, 5)), after
    for step in steps:
        seq += step
        change = Change(seq, 0, Action.LIST, bytes(4), bytes((127, 0, 0, 2)), "", "x", 0, 0, Mode.DEFAULT)
        told = events_of(feed.turn([change], seq, 0.0).decode())
        assert [name for _, name, _ in told] == (["reset", "list"] if step > 1 else ["list"])
        assert feed.seq == seq
    assert feed.turn([], seq - 1, 0.0).startswith(b"id: ")


def test_undo_takes_back_by_number(both):
    site, program = both
    seq = program.ask("DELETE", f"/listings/{LISTED}").json["seq"]
    dry = program.ask("POST", "/undo?dry_run=true", {"numbers": [seq]}).json
    assert dry == {"dry_run": True, "keys": [{"key": LISTED, "done": "listed", "seq": None, "why": ""}]}
    done = program.ask("POST", "/undo", {"numbers": [seq], "reason": "mistake"}).json
    assert done["keys"][0]["done"] == "listed"
    assert site.store.change(done["keys"][0]["seq"]).source == "api:all"
    assert problem(program.ask("POST", "/undo", {"numbers": [99]})) == ("not-found", 404)


# What tells only.


def test_anybody_may_look_up_but_reads_no_evidence(both):
    site, program = both
    site.store.add_evidence(parse_key(LISTED), Piece(int(NOW * 1000), "robot:x", b"To: secret@example.net"))
    nobody = Program(site, web=program.web)
    public, full = (asker.get(f"/lookup/{LISTED}") for asker in (nobody, program))
    assert (public.json["decision"], public.json["matches"][0]["text"]) == ("refused", "spam")
    assert "secret@" not in public.text
    assert "secret@" in full.text
    assert nobody.get(f"/lookup/{NET}").json["decision"] == "refused"
    assert nobody.get("/lookup/192.0.2.8").json["decision"] == "passes"


def test_the_never_list_can_be_read(tmp_path):
    path = tmp_path / "never-list"
    path.write_text("# ours\n198.51.100.0/24 # mx\n\n@special\n192.0.2.250\n")
    with api_site(tmp_path / "store", guard={"never_list": str(path)}) as (_, program):
        assert program.get("/never-list?limit=2").json == {
            "rules": [{"line": 2, "rule": "198.51.100.0/24"}, {"line": 4, "rule": "@special"}], "next": 4,
        }  # fmt: skip
        assert program.get("/never-list?after=4").json == {"rules": [{"line": 5, "rule": "192.0.2.250"}], "next": None}
        assert program.get(f"/never-list/{FORBIDDEN}").json["rule"] == "never-list:1: 198.51.100.0/24"
        assert program.get(f"/never-list/{LISTED}").json["rule"] is None
        path.unlink()
        assert problem(program.get("/never-list")) == ("unavailable", 503)


def test_status_stats_and_remote_lists(tmp_path):
    state = tmp_path / "remote.json"
    state.write_text('{"states": {"bl.example.org ip4": {"why": "lists everything", "passes": 2, "checked": 1.0}}}')
    with api_site(tmp_path / "store", remote={"lists": ("bl.example.org",), "state_file": str(state)}) as (_, program):
        assert program.get("/remote").json["lists"] == [
            {"list": "bl.example.org", "family": "ip4", "aside": True, "why": "lists everything",
             "checked": "1970-01-01T00:00:01Z"},
        ]  # fmt: skip
        status, stats = program.get("/status").json, program.get("/stats").json
        assert (status["listings"], status["last_seq"], status["zones"]) == (3, 3, ["bl.example.net"])
        assert (stats["records"]["tarpit"], stats["zones"]) == (3, [])


# HTTP.


@pytest.mark.parametrize("path", [f"/listings/{LISTED}", "/listings", "/journal", f"/lookup/{LISTED}", "/openapi.json"])
def test_what_has_not_changed_is_not_sent_again(both, path):
    program = both[1]
    tag = program.get(path).headers["ETag"]
    again = program.get(path, If_None_Match=tag)
    assert (again.status_code, again.data) == (304, b"")
    if path != "/openapi.json":
        program.ask("PATCH", f"/listings/{LISTED}", {"text": "other"})
        assert program.get(path, If_None_Match=tag).status_code == 200


def test_answers_of_the_api_have_the_headers_of_all_pages(calm):
    for path in ("/status", "/listings/x", "/nothing", "/journal/stream"):
        answer = calm[1].get(path)
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("GET", "/listings?limit=0", None, "limit"),
        ("GET", "/listings?limit=x", None, "limit"),
        ("GET", "/listings?limt=1", None, "limt"),
        ("GET", "/listings?limit=1&limit=2", None, "limit"),
        ("GET", "/listings?prefix=192.0.2.1/24", None, "prefix"),
        ("GET", "/listings?since=yesterday", None, "since"),
        ("GET", "/listings?cursor=%C3%A9", None, "cursor"),
        ("GET", "/listings/010.0.0.1", None, "key"),
        ("GET", "/journal?after=-1", None, "after"),
        ("GET", "/journal?after=99999999999999999999", None, "after"),
        ("GET", "/journal?wait=nan", None, "wait"),
        ("GET", "/journal/x", None, "seq"),
        ("GET", "/lookup/example.com", None, "address"),
        ("PUT", "/listings/192.0.2.20", {"txt": "x"}, "txt"),
        ("PUT", "/listings/192.0.2.20", {"text": 1}, "text"),
        ("PUT", "/listings/192.0.2.20", {"text": "a\nb"}, "text"),
        ("PUT", "/listings/192.0.2.20", {"code": "127.0.0.1"}, "code"),
        ("PUT", "/listings/192.0.2.20", {"code": "8.8.8.8"}, "code"),
        ("PUT", "/listings/192.0.2.20", {"mode": "explode"}, "mode"),
        ("PUT", "/listings/192.0.2.20", {"flags": ["x"]}, "flags[0]"),
        ("PUT", "/listings/192.0.2.20", {"expires": "2020-01-01T00:00:00Z"}, "expires"),
        ("PUT", "/listings/192.0.2.20", {"expires": "2099-01-01T00:00:00"}, "expires"),
        ("PUT", "/listings/192.0.2.20", [], None),
        ("POST", "/undo", {"numbers": []}, "numbers"),
        ("POST", "/undo", {}, "numbers"),
    ],
)
def test_bad_input_is_refused_by_the_name_of_its_field(calm, method, path, body, field):
    site, program = calm
    answer = program.ask(method, path, body)
    assert problem(answer) == ("bad-request", 400)
    assert answer.json.get("field") == field
    assert site.store.last_seq() == 3


@pytest.mark.parametrize(
    ("data", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"text": "\xff"}', "application/json", 400),
        (b'{"text": "\\ud800"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "application/x-www-form-urlencoded", 415),
        (b'{"evidence": "' + b"x" * 300_000 + b'"}', "application/json", 413),
    ],
)
def test_a_body_that_is_no_json_is_refused(calm, data, kind, status):
    site, program = calm
    fields = {"Authorization": f"Bearer {program.secret}"}
    answer = program.web.put("/api/v1/listings/192.0.2.20", data=data, content_type=kind, headers=fields)
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert site.store.last_seq() == 3


def test_no_cursor_does_harm(calm):
    @given(st.binary(max_size=40))
    @settings(deadline=None)
    def check(data):
        cursor = base64.urlsafe_b64encode(data).decode()
        status = 200 if len(data) in (0, 4, 5, 16, 17) else 400
        assert calm[1].get(f"/listings?cursor={cursor}").status_code == status

    check()


def test_a_store_that_is_away_is_a_503_that_says_when_to_come_again(tmp_path):
    with api_site(tmp_path / "store") as (site, program):

        def away():
            raise Unavailable("away")

        store, site._store, site.opened = site._store, None, away
        answer = program.get("/status")
        site._store = store
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert answer.headers["Retry-After"]


def test_every_kind_of_problem_is_explained(calm):
    from spamcannibal.web.api_problem import PROBLEMS

    for kind, (status, title, _) in PROBLEMS.items():
        told = calm[1].get(f"/problems/{kind}").json
        assert (told["status"], told["title"]) == (status, title)
    assert problem(calm[1].get("/problems/x")) == ("not-found", 404)


def test_the_description_is_the_file_and_the_file_is_what_the_code_does(calm):
    served = calm[1].get("/openapi.json")
    assert served.data == encode(document(ROUTES))
    described = {
        (method.upper(), path) for path, found in served.json["paths"].items() for method in found
    }  # fmt: skip
    rules = {
        (method, rule.rule.removeprefix("/api/v1").replace("<path:", "{").replace("<", "{").replace(">", "}"))
        for rule in calm[1].web.application.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/v1") and rule.endpoint != "api.description"
    }
    assert rules == described
