"""The activity report as a page: its numbers are those of the store, outside text does nothing, no colour is needed."""

import csv
import io
import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spamcannibal.activity import now as moment
from spamcannibal.activity.chart import draw
from spamcannibal.activity.figures import Entry, Figures, Gauge, Hold, Holdings, Lists, rank
from spamcannibal.activity.places import finder
from spamcannibal.activity.tables import Column, Section, Table, as_csv, shown, shown_bytes, shown_span
from spamcannibal.addr import parse_addr
from spamcannibal.happenings import brief
from spamcannibal.rows import when
from spamcannibal.store.activity import Activity
from spamcannibal.store.stores import NewListing
from spamcannibal.web.activity_made import public_source
from webkit import NOW, client, make_site

DRAWN = ("packets", "bandwidth", "sources", "queries", "changes")
EVIL = '=HYPERLINK("x")<script>alert(1)</script>\u202e\x07'
GEOIP = b"# comment\n16777216,16777471,AU\n16778240,16779263,CN\n3221225857,3221225983,NL\n"
GEOIP6 = b"# comment\n2001:200::,2001:200:ffff:ffff:ffff:ffff:ffff:ffff,JP\n2001:db8::,2001:db8::ffff,??\n"
A, B, C = (parse_addr(text) for text in ("192.0.2.7", "1.0.4.9", "2001:200::1"))


@pytest.fixture
def site(tmp_path):
    (tmp_path / "geoip").write_bytes(GEOIP)
    (tmp_path / "geoip6").write_bytes(GEOIP6)
    jobs = {"country_db": (str(tmp_path / "geoip"), str(tmp_path / "geoip6"))}
    remote = {"lists": ("bl.example.org",), "state_file": str(tmp_path / "remote.json")}
    with make_site(tmp_path / "store", jobs=jobs, remote=remote) as site:
        fill(site)
        yield site


def fill(site):
    """Two days of figures, an hour of them each, with everything that the report tells."""
    activity = Activity(site.store.env)
    ms = int(NOW * 1000)
    held = [Hold(A, ms - 90_000_000, ms - 1000, 77, 25), Hold(C, ms - 7_200_000, ms - 500, 5)]
    gone = [Hold(B, ms - 9_000_000, ms - 4_000_000, 9, 25)]
    for ago_s, held_packets in ((90_000, 3), (7200, 40), (0, 2)):
        counts = {
            "packets.held": held_packets, "packets.passed": 10, "packets.unseen": 1, "bytes.in": 4000, "dns.NOERROR": 6,
            "dns.NXDOMAIN": 60, "dns.type.A": 66, "dns.minutes": 1, "sources.new": 1, "connections.seconds": 7200,
        }  # fmt: skip
        ranks = {
            "networks": rank({"192.0.2.0/24": held_packets, "1.0.4.0/24": 1}), "ports": rank({"25": 9, "587": 1}),
            "zones": rank({"bl.example.net": 66}),
        }  # fmt: skip
        figures = Figures(counts, {"sources": Gauge(120, 60, 4), "connections": Gauge(60, 60, 2)})
        activity.add([Entry(NOW - ago_s, figures, Lists(ranks, held))], NOW, Holdings(held, gone=gone))
    site.store.list([NewListing(A, source="robot:alice"), NewListing(B, source=f"admin:{EVIL}")], NOW - 3600)
    site.store.unlist([B], EVIL, "sorry", NOW - 60)


def rows(site, name, days=3):
    answer = client(site).get(f"/activity/{name}.json?days={days}")
    assert answer.status_code == 200
    return answer.json


def test_the_page_shows_what_the_store_holds(site):
    page = client(site).get("/activity?days=3").text
    assert "alice" not in page  # who reports is nobody's business
    for words in ("192.0.2.7", "1 d 0 h", "192.0.2.0/24", "587", "robot", "bl.example.net", "bl.example.org"):
        assert words in page
    assert page.count('<div class="wide"><svg') == page.count('<div class="narrow"><svg') == len(DRAWN)
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert len(re.findall("<h2", page)) == len(re.findall(r'as <a href="[^"]*\.csv', page)) >= 15


def test_the_numbers_add_up_to_those_of_the_store(site):
    totals = {row["what"]: row["value"] for row in rows(site, "totals")}
    assert totals["packets held busy"] == 45
    assert totals["packets that passed unseen: the queue was too full"] == 3
    assert totals["hours of connections held by stutter"] == 6
    assert (totals["listings"], totals["removals"]) == (2, 1)
    packets = rows(site, "packets")
    assert len(packets) == 72
    assert sum(row["held"] or 0 for row in packets) == 45
    assert [row["held"] for row in packets if row["held"] is not None] == [3, 40, 2]  # the rest is unknown, not zero
    assert sum(row["held"] or 0 for row in rows(site, "packets", 7)) == 45
    assert sum(row["packets_held"] or 0 for row in rows(site, "hours")) == 45
    assert {row["what"]: row["queries"] for row in rows(site, "dns")}["not listed"] == 180


def test_holdings_networks_and_countries_are_told(site):
    longest = rows(site, "longest")
    assert [(row["source"], row["held_for"], row["country"]) for row in longest] == [
        ("192.0.2.7", 89_999_000, None),
        ("2001:200::1", 7_199_500, "JP"),
    ]
    assert rows(site, "escaped")[0]["source"] == "1.0.4.9"
    assert [(row["network"], row["packets"], row["country"]) for row in rows(site, "networks")] == [
        ("192.0.2.0/24", 45, None),
        ("1.0.4.0/24", 3, "CN"),
    ]
    assert [(row["country"], row["packets"]) for row in rows(site, "countries")] == [("unknown", 45), ("CN", 3)]
    assert [row["share"] for row in rows(site, "ports")] == [0.9, 0.1]


def test_now_is_told_while_the_tarpit_runs_and_unknown_otherwise(site):
    told = {row["what"]: row["value"] for row in rows(site, "now", 1)}
    assert (told["addresses and networks listed"], told["sources held"]) == (1, None)
    now = moment.Now(int(NOW * 1000), 0, {}, {"sources": 12, "connections": 11})
    (site.store.env.path / "tarpit.now").write_bytes(moment.pack_now(now))
    site.clock.now += 5
    told = {row["what"]: row["value"] for row in rows(site, "now", 3)}
    assert (told["sources held"], told["connections held by stutter"]) == (12, 11)
    site.clock.now += 60
    assert {row["what"]: row["value"] for row in rows(site, "now", 3)}["sources held"] is None


def test_the_minute_that_is_over_gives_the_rates(site):
    site.clock.now += 60
    told = {row["what"]: row["value"] for row in rows(site, "now")}
    assert told["bytes a second from listed sources"] == pytest.approx(4000 / 60)
    assert told["DNS replies a second"] == pytest.approx(66 / 60)


def test_outside_text_is_inert_on_the_page_and_no_formula_in_csv(site):
    web = client(site)
    page = web.get("/activity").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert not re.search("[\u202e\x07]", page)
    assert not re.search(r"<[^>]+ (?:style|on\w+)=", page)
    answer = web.get("/activity/unlisted.csv")
    found = list(csv.reader(io.StringIO(answer.text)))
    assert found[1][0].startswith("'=HYPERLINK")
    assert found[1][1:] == ["1", "1"]
    assert answer.headers["Content-Disposition"] == 'attachment; filename="activity-unlisted.csv"'


@pytest.mark.parametrize("path", ["?days=2", "?days=x", "?days=-1", "/longest.csv?days=1e3", "?days=" + "9" * 999])
def test_other_spans_are_refused_with_a_reason(site, path):
    answer = client(site).get(f"/activity{path}")
    assert answer.status_code == 400
    assert "want one of 1, 3, 7" in answer.text


def test_it_may_be_kept_from_the_public(tmp_path):
    with make_site(tmp_path / "store", activity={"public": False}) as site:
        assert [client(site).get(f"/activity{path}").status_code for path in ("", ".json", "/now.csv")] == [403] * 3


@pytest.mark.parametrize(
    ("source", "told"),
    [("blcheck:zen.example", "blcheck:zen.example"), ("robot:alice", "robot"), ("expiry", "expiry"), ("", "")],
)
def test_of_sources_the_public_learns_the_kind(source, told):
    assert public_source(source) == told


@pytest.mark.parametrize(
    "path", ["/activity/nothing.csv", "/activity/longest.svg", "/activity/packets.exe", "/activity/a/b.csv"]
)
def test_there_are_no_other_parts(site, path):
    assert client(site).get(path).status_code == 404


def test_a_report_is_kept_until_something_changes(site, monkeypatch):
    web, made = client(site), []
    from spamcannibal.web import activity_made as page

    monkeypatch.setattr(page, "gather", lambda *args, real=page.gather: made.append(args[2]) or real(*args))
    for _ in range(3):
        web.get("/activity")
        web.get("/activity/packets.csv")
    site.clock.now += 20
    web.get("/activity")
    assert made == [7]
    site.store.list([NewListing(parse_addr("192.0.2.9"))], site.clock.now)
    assert made == [7]
    web.get("/activity")
    assert made == [7, 7]
    web.get("/activity?days=30")
    site.store.list([NewListing(parse_addr("192.0.2.10"))], site.clock.now)
    web.get("/activity")  # made just now, good for some seconds
    assert made == [7, 7, 30]
    site.clock.now += 61
    web.get("/activity")
    assert made == [7, 7, 30, 7]


def test_an_empty_store_has_a_report(tmp_path):
    with make_site(tmp_path / "store") as site:
        answer = client(site).get("/activity")
        assert (answer.status_code, answer.text.count("Nothing was noted.")) == (200, answer.text.count("<p>Nothing"))
        assert client(site).get("/activity.json").json["longest"] == []


# Drawings.


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawing_is_told_without_colour_and_to_who_can_not_see_it(site, name):
    answer = client(site).get(f"/activity/{name}.svg?days=3")
    svg = ElementTree.fromstring(answer.data)
    space = "{http://www.w3.org/2000/svg}"
    labels = svg.get("aria-labelledby").split()
    texts = {each.get("id"): each.text for each in (svg.find(f"{space}title"), svg.find(f"{space}desc"))}
    assert list(texts) == labels
    assert all(texts.values())
    assert "at most" in texts[labels[1]]
    assert not [
        each for each in svg.iter() if each.get("style") or "#" in (each.get("fill") or "").replace("url(#", "")
    ]
    columns = len(rows(site, name)[0]) - 1
    groups = [each for each in svg.iter(f"{space}g") if (each.get("class") or "").startswith("s")]
    looks = {}
    for group in groups:
        for each in group:
            look = (each.get("fill"), each.get("stroke-dasharray")) if each.tag.endswith(("path", "rect")) else None
            if look and (look[0] != "none" or each.get("stroke-width") == "1.8"):
                looks.setdefault(group.get("class"), set()).add(look)
    assert len(looks) == columns
    assert len({frozenset(look) for look in looks.values()}) == columns  # no two series look alike


cells = st.one_of(st.none(), st.integers(0, 1 << 60), st.floats(0, 1e15))


@given(
    st.sampled_from(["bars", "lines"]),
    st.lists(st.tuples(st.just(0), cells, cells), max_size=100),
    st.text(max_size=20),
)
def test_any_numbers_can_be_drawn(how, lines, words):
    text = "".join(char for char in words if char.isprintable())
    columns = (Column("hour", "time"), Column(text or "a", "count"), Column("b", "bytes"))
    section = Section("x", text, Table(columns, lines), "", how)
    svg = draw(section, when)
    ElementTree.fromstring(svg)
    assert "nan" not in svg
    assert "inf" not in svg


# Tables and countries.


@given(st.text(max_size=20))
def test_csv_gives_back_the_text_and_no_cell_begins_a_formula(text):
    out = as_csv(Table((Column("a"), Column("b", "count")), [(text, -5)]), when)
    head, row = csv.reader(io.StringIO(out, newline=""))
    assert (head, row[1]) == (["a", "b"], "-5")
    assert row[0].removeprefix("'") == text.replace("\0", "").removeprefix("'")
    assert not row[0].startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize(
    ("kind", "cell", "text"),
    [
        ("count", 1234567, "1,234,567"), ("count", None, "-"), ("bytes", 999, "999 B"), ("bytes", 1000, "1.0 kB"),
        ("bytes", 123_456_789, "123 MB"), ("bytes", 10**18, "1000.0 PB"), ("share", 0.126, "12.6 %"),
        ("span", 59_999, "59 s"),
        ("span", 3_600_000, "1 h 0 min"), ("span", 90_061_000, "1 d 1 h"), ("decimal", 1234.56, "1,234.6"),
        ("time", 1_800_000_000_000, "2027-01-15 08:00"), ("text", "x", "x"),
    ],
)  # fmt: skip
def test_cells_are_shown_as_people_read_them(kind, cell, text):
    assert shown(kind, cell, brief) == text
    assert shown_bytes(0) == "0 B"
    assert shown_span(0) == "0 s"


@pytest.mark.parametrize(
    ("text", "country"),
    [
        ("1.0.0.0", "AU"), ("1.0.0.255", "AU"), ("1.0.1.0", None), ("0.0.0.1", None), ("192.0.2.7", None),
        ("192.0.2.255", None), ("192.0.1.129", "NL"), ("255.255.255.255", None), ("2001:200::", "JP"),
        ("2001:db8::1", None), ("::1", None),
        ("2001:200:ffff:ffff:ffff:ffff:ffff:ffff", "JP"),
    ],
)  # fmt: skip
def test_countries_are_found_where_the_files_lie(text, country):
    assert finder(GEOIP, GEOIP6)(parse_addr(text)) == country


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_no_file_makes_the_look_up_fail(data, addr):
    found = finder(data, data)(addr)
    assert found is None or len(found) == 2


def test_the_whole_report_is_json_too(site):
    document = client(site).get("/activity.json?days=30").json
    assert json.dumps(document)
    assert document["time"] == when(int(NOW * 1000))
    assert len(document["packets"]) == 30
