"""/metrics and /healthz, and the dashboard and alerts that are made of them."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from apikit import LISTED, api_site, make_token, put
from spamcannibal.activity.figures import Entry, Figures
from spamcannibal.activity.now import FILES, Now, pack_now
from spamcannibal.addr import parse_key
from spamcannibal.dnsbl import metrics as dnsbl
from spamcannibal.dnsbl.export import outlet
from spamcannibal.dnsbl.export.drift import Drift
from spamcannibal.errors import Unavailable
from spamcannibal.gather import figures as gather
from spamcannibal.removal import Request
from spamcannibal.store.activity import Activity
from spamcannibal.store.removals import Removals
from spamcannibal.web import bouncer_feed
from spamcannibal.web.app import create_app
from spamcannibal.web.metrics_facts import count_changes
from spamcannibal.web.metrics_words import BUCKETS_S, HELP, PREFIX, Requests, kind_of
from webkit import NOW, make_site

CONF = Path(__file__).parent.parent / "conf"
NEAR = {"X-Forwarded-For": "127.0.0.1"}
FAR = {"X-Forwarded-For": "192.0.2.200"}


@pytest.fixture
def both(tmp_path):
    state, outlets = tmp_path / "remote.json", tmp_path / "outlets"
    state.write_text('{"states": {"bl.example.org ip4": {"why": "x", "passes": 1, "checked": 5.0}}}')
    outlets.mkdir()
    sections = {
        "remote": {"lists": ("bl.example.org",), "state_file": str(state)},
        "api": {"metrics_dir": str(outlets)},
    }
    with api_site(tmp_path / "store", **sections) as (site, program):
        yield site, program


LINE = re.compile(r'(\w+)(?:\{((?:\w+="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)')


def samples(text):
    """{(name, labels): value} of a text, strictly read."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("# "):
            name, words, told = LINE.fullmatch(line).groups()
            pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', words or "")
            key = name, tuple(sorted((word, said.replace('\\"', '"')) for word, said in pairs))
            assert key not in found, line
            found[key] = float(told)
    return found


ORACLE = """import json, sys; from prometheus_client.parser import text_string_to_metric_families as families
told = [(sample, family.type) for family in families(sys.stdin.read()) for sample in family.samples]
print(json.dumps([[sample.name, sorted(sample.labels.items()), sample.value, kind] for sample, kind in told]))
"""


def test_prometheus_own_parser_reads_the_same(both):
    """In a process of its own: its licence and scapy's, which other tests load, don't go together."""
    site, program = both
    busy(site)
    program.web.get("/")
    text = program.web.get("/metrics", headers=NEAR).text
    done = subprocess.run([sys.executable, "-c", ORACLE], input=text, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert {(name, tuple(map(tuple, words))): value for name, words, value, _ in told} == samples(text)
    assert {kind for *_, kind in told} == {"counter", "gauge", "histogram"}


def figures(program, **fields):
    answer = program.web.get("/metrics", headers=NEAR | fields)
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain; version=0.0.4")
    return samples(answer.text)


def value(found, name, **labels):
    return found.get((f"spamcannibal_{name}", tuple(sorted(labels.items()))))


def busy(site):
    """Have something of everything that is counted."""
    store = site.store
    store.unlist([parse_key(LISTED)], "web:removal", "", NOW)
    now = Now(int(NOW * 1000), 0, gauges={"sources": 4, "connections": 3})
    (Path(store.env.path) / FILES["tarpit"]).write_bytes(pack_now(now))
    (Path(store.env.path) / "blcheck.lock").touch()
    entry = Entry(NOW, Figures({"packets.held": 7, "bytes.out": 100, "connections.seconds": 60, "packets.unseen": 1}))
    Activity(store.env).add([entry, Entry(NOW - 86_400, Figures({"packets.held": 5}))], NOW)
    Removals(store.env).add("a", Request("192.0.2.7", "192.0.2.7", "mail", int(NOW * 1000), "queued"), NOW, NOW + 60)
    bouncer_feed.drawer(store.env).put("fw1", bouncer_feed.Pulled(1, int(NOW * 1000)), NOW)
    make_token(site, "fw1", "bouncer")
    folder = Path(site.settings.api.metrics_dir)
    (folder / "a.prom").write_text(outlet.checked('nft:"x"', Drift(expected=3, held=2, missing=1), NOW))
    (folder / "b.prom").write_text(outlet.followed('nft:"x"', NOW, 3, Counter(exports=2)))
    (folder / "c.prom").write_text("not a metric {{{\n")
    (folder / "d.prom").write_text('other_metric{a="b"} 1\n')


def test_the_figures_are_those_of_the_store(both):
    site, program = both
    busy(site)
    found = figures(program)
    assert value(found, "store_up") == 1
    assert (value(found, "listings", family="ipv4"), value(found, "listings", family="ipv6")) == (1, 1)
    assert (value(found, "records", store="evidence"), value(found, "journal_seq")) == (2, 4)
    assert value(found, "journal_timestamp_seconds") == NOW
    assert value(found, "changes_total", action="list", kind="gather") == 3
    assert value(found, "changes_total", action="unlist", kind="web") == 1
    assert value(found, "journal_lag_changes", consumer="activity") == 4
    assert value(found, "journal_lag_changes", consumer="bouncer:fw1") == 3
    assert value(found, "remote_list_up", list="bl.example.org", family="ip4") == 0
    assert value(found, "tarpit_packets_total", verdict="held") == 12
    assert value(found, "tarpit_held_seconds_total") == 60
    assert (value(found, "tarpit_sources"), value(found, "tarpit_connections")) == (4, 3)
    assert value(found, "removal_requests", state="queued") == 1
    assert value(found, "job_last_success_timestamp_seconds", job="blcheck") > 0
    assert value(found, "outlet_drift_entries", outlet='nft:"x"', kind="missing") == 1
    assert value(found, "outlet_exports_total", outlet='nft:"x"') == 2
    assert not [name for name, _ in found if not name.startswith(PREFIX)]


def test_what_is_no_longer_true_is_not_told(both):
    site, program = both
    busy(site)
    site.clock.now += 60
    found = figures(program)
    assert value(found, "tarpit_sources") is None
    assert value(found, "tarpit_packets_total", verdict="held") == 12
    site.clock.now += 86_400
    assert value(figures(program), "tarpit_packets_total", verdict="held") == 12


def test_counters_only_rise_whoever_counts_and_in_parts(both):
    site, _ = both
    assert count_changes(site.store, NOW, 10).seq == 3
    put(site, *(f"192.0.2.{i}" for i in range(100, 130)), source="robot:x")
    told = [count_changes(site.store, NOW, 10) for _ in range(6)]
    sums = [sum(each.counts.values()) for each in told]
    assert sums == sorted(sums)
    assert (told[-1].seq, told[-1].counts["list robot"]) == (33, 30)
    assert count_changes(site.store, NOW, 10) == told[-1]


def test_no_address_is_a_label(both):
    site, program = both
    busy(site)
    text = program.web.get("/metrics", headers=NEAR).text
    assert "192.0.2" not in text
    assert "2001:db8" not in text


def test_requests_are_counted_by_part_and_status(both):
    program = both[1]
    for path in ("/", "/nothing", f"/api/v1/lookup/{LISTED}", "/api/v1/status", "/static/style.css"):
        program.web.get(path)
    found = figures(program)
    for part, status in (("home", 200), ("none", 404), ("api", 200), ("api", 401), ("static", 200)):
        assert value(found, "web_requests_total", part=part, status=str(status)) == 1
    assert value(found, "web_request_seconds_count", part="api") == 2
    assert value(found, "web_request_seconds_bucket", part="api", le="+Inf") == 2


def test_a_histogram_adds_up():
    requests = Requests()
    for took_s in (0.0, 0.005, 0.006, 20.0):
        requests.note("x", 200, took_s)
    (spans,) = requests.spans()
    assert spans.buckets()[0] == ("0.005", 2)
    assert spans.buckets()[-1] == ("+Inf", 4)
    assert len(spans.buckets()) == len(BUCKETS_S) + 1


@pytest.mark.parametrize(
    ("fields", "scopes", "status"),
    [
        (NEAR, (), 200),
        ({}, (), 200),
        (FAR, (), 401),
        (FAR, ("metrics",), 200),
        (FAR, ("read",), 200),
        (FAR, ("write", "bouncer"), 403),
    ],
)
def test_only_who_may_reads_the_figures(both, fields, scopes, status):
    site, program = both
    token = {"Authorization": f"Bearer {make_token(site, 'prometheus', *scopes)}"} if scopes else {}
    assert program.web.get("/metrics", headers=fields | token).status_code == status


@pytest.mark.parametrize("peer", ["", "localhost"])  # of a WSGI server; waitress says the second
@pytest.mark.parametrize(("allowed", "status"), [(("local",), 200), (("192.0.2.0/24",), 401)])
def test_a_unix_socket_counts_as_local(tmp_path, allowed, status, peer):
    with api_site(tmp_path / "store", api={"metrics_from": allowed}) as (_, program):
        asked = program.web.get("/metrics", environ_overrides={"REMOTE_ADDR": peer})
        assert asked.status_code == status
        by_proxy = program.web.get(
            "/metrics", environ_overrides={"REMOTE_ADDR": peer}, headers={"X-Forwarded-For": "8.8.8.8"}
        )
        assert by_proxy.status_code == 401


def test_without_its_store_the_process_still_tells_of_itself(both):
    site, program = both
    store, site._store = site._store, None

    def away():
        raise Unavailable("away")

    site.opened = away
    found = figures(program)
    assert value(found, "store_up") == 0
    assert value(found, "build_info", version="2.0.0.dev0", python=_python()) == 1
    health, ready = program.web.get("/healthz"), program.web.get("/healthz?ready")
    assert (health.status_code, ready.status_code) == (200, 503)
    site._store = store
    assert program.web.get("/healthz?ready").data == b"ok\n"


def _python():
    import platform

    return platform.python_version()


def test_the_part_stands_alone_as_a_cgi_request_has_it(tmp_path):
    with make_site(tmp_path / "store") as site:
        web = create_app(site, "/metrics").test_client()
        assert value(samples(web.get("/metrics").text), "web_waiting") == 0
        assert web.get("/metrics", headers=FAR).json["type"] == "/api/v1/problems/unauthorized"
        assert web.get("/metrics", headers=FAR | {"Authorization": f"Bearer {make_token(site, 'p', 'metrics')}"}).text


def test_health_is_not_limited_and_opens_nothing(tmp_path):
    with api_site(tmp_path / "store", web={"per_minute": 1}) as (site, program):
        site._store, site.opened = None, None
        assert {program.web.get("/healthz").status_code for _ in range(20)} == {200}


@pytest.mark.parametrize(
    ("source", "kind"),
    [("gather:mx1", "gather"), ("expiry", "expiry"), ("", "other"), ("\n{}:x", "other"), ("a" * 99, "other")],
)
def test_the_kind_of_a_source_is_fit_for_a_label(source, kind):
    assert kind_of(source) == kind


# The dashboard and the alerts.


@pytest.fixture
def printed(both):
    """The names that all our exporters print."""
    site, program = both
    busy(site)
    told = {dnsbl.Told("udp", "bl.example.net", "A", "NOERROR"): 1}
    gauges = {name: 1 for name in dnsbl._HELP if name not in ("replies_total", "fast_total", "events_total")}
    text = dnsbl.exposition(told, {"x": 1}, {"x": 1}, gauges)
    text += gather.exposition(
        {"mx1": {"black": 1}},
        {name: {"x": 1} for name in ("events_total", "connections_total", "written_total")},
        dict.fromkeys(("connections", "waiting", "addresses", "listings", "lag_seconds"), 1),
    )
    program.web.get("/")  # counted
    text += program.web.get("/metrics", headers=NEAR).text
    return {name for name, _ in samples(text)}


def expressions():
    board = json.loads((CONF / "grafana/spamcannibal.json").read_text("utf-8"))
    panels = [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel.get("targets", ())]
    rules = yaml.safe_load((CONF / "prometheus/spamcannibal.rules.yml").read_text("utf-8"))
    alerts = [(rule["alert"], rule["expr"]) for group in rules["groups"] for rule in group["rules"]]
    return panels, alerts


# What is printed only once it happened, so a test would have to make it happen first.
SELDOM = {"spamcannibal_remote_list_hits_total"}


def test_dashboard_and_alerts_name_only_what_is_printed(printed):
    panels, alerts = expressions()
    assert len(panels) > 20
    assert len(alerts) > 10
    for title, expr in panels + alerts:
        for name in re.findall(r"spamcannibal_\w+", expr):
            assert name in printed | SELDOM, title
        assert expr.count("(") == expr.count(")"), title


def test_everything_the_web_prints_is_explained(printed):
    for name in HELP:
        known = {f"{PREFIX}{name}", f"{PREFIX}{name}_count"}
        assert known & (printed | SELDOM), name


def test_the_dashboard_is_whole():
    board = json.loads((CONF / "grafana/spamcannibal.json").read_text("utf-8"))
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert {panel["type"] for panel in board["panels"]} <= {"row", "stat", "timeseries", "table"}
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


def test_every_alert_says_how_bad_it_is_and_what_to_do():
    rules = yaml.safe_load((CONF / "prometheus/spamcannibal.rules.yml").read_text("utf-8"))
    for rule in rules["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"].keys() == {"summary", "description"}
        assert re.fullmatch(r"\d+[mh]", rule["for"])


def test_a_reader_with_a_wrong_token_is_refused(both):
    answer = both[1].web.get("/metrics", headers=FAR | {"Authorization": "Bearer sc_x_y"})
    assert (answer.status_code, answer.content_type) == (401, "application/problem+json")
