"""What the daemons note of real packets and queries reaches the activity report, and goes on over a restart."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from contextlib import closing

import pytest

from live.conftest import Pair
from live.daemon import Daemon
from live.nets import ROOT, Lab, queue_rules, wait_for
from spamcannibal.activity.figures import DAY, add_figures, add_lists
from spamcannibal.activity.now import read_now
from spamcannibal.addr import parse_addr
from spamcannibal.record import PUBLISHED
from spamcannibal.store.activity import Activity
from spamcannibal.store.catchup import catch_up
from spamcannibal.store.stores import NewListing
from storekit import open_store

WHOLE = (0, 1 << 40)
DNSBL = """\
[store]
path = "store"
[guard]
never_list = "never-list"
[dnsbl]
listen = ["127.0.0.1:5353"]
[[dnsbl.zone]]
name = "bl.example.net"
"""


@pytest.fixture
def daemon(pair: Pair, tmp_path) -> Daemon:
    queue_rules(pair.server)
    return Daemon(pair.server, tmp_path, stutter_interval_s=0.05)


def knock(pair: Pair) -> socket.socket:
    with pair.client.entered():
        return socket.create_connection((pair.server4, 25), 5)


def test_who_is_held_and_what_passed_is_written_down_and_goes_on(pair, daemon):
    daemon.list(pair.client4)
    daemon.start()
    with knock(pair) as held:
        held.recv(1)
        with contextlib.suppress(OSError), pair.client.entered():
            socket.create_connection((pair.server6, 25), 5).close()  # not listed: passes, and nobody listens
        path = daemon.path / "store" / "tarpit.now"
        now = wait_for(lambda: path.exists() and (told := read_now(path.read_bytes())).holds and told, "who is held")
        assert (now.gauges["sources"], now.gauges["connections"]) == (1, 1)
        assert now.holds[0].addr == parse_addr(pair.client4)
        row = json.loads(daemon.command("top", "--once", "--json").stdout)
        assert row["sources"][0]["source"] == pair.client4
        daemon.stop()
        with daemon.store() as store:
            first = Activity(store.env).held()
        assert [(hold.addr, hold.port) for hold in first] == [(parse_addr(pair.client4), 25)]
        daemon.start()
        held.settimeout(5)
        assert held.recv(1)
        begun = time.time()
        wait_for(lambda: read_now(path.read_bytes()).time_ms > begun * 1000, "the next second")
        daemon.stop()
    with daemon.store() as store:
        activity = Activity(store.env)
        counts = add_figures(figures for _, figures in activity.figures(DAY, *WHOLE)).counts
        lists = add_lists(value for _, value in activity.lists(DAY, *WHOLE))
        again = activity.held()
    packets = sum(line.get("packets", 0) for line in daemon.events("STATS"))
    assert sum(count for name, count in counts.items() if name.startswith("packets.")) == packets
    assert counts["packets.held"] > 4
    assert counts["packets.passed"] >= 1
    assert (counts["sources.new"], counts["connections.new"]) == (1, 1)
    assert lists.ranks["ports"].rows == {"25": 1}
    net = pair.client4.rpartition(".")[0] + ".0/24"
    assert lists.ranks["networks"].rows.keys() == {net}
    assert [(hold.addr, hold.first_ms) for hold in again] == [(first[0].addr, first[0].first_ms)]
    assert again[0].last_ms > first[0].last_ms
    assert again[0].packets == lists.ranks["networks"].rows[net]


def test_queries_are_written_down_by_outcome(tmp_path):
    (tmp_path / "never-list").write_text("@special\n")
    (tmp_path / "spamcannibal.toml").write_text(DNSBL)
    argv = [sys.executable, "-P", "-m", "spamcannibal", "-c", str(tmp_path / "spamcannibal.toml")]
    with closing(open_store(tmp_path / "store")) as store:
        store.list([NewListing(parse_addr("192.0.3.7"), flags=PUBLISHED)], time.time())
        with Lab("activity") as lab:
            host = lab.host("server")
            server = host.start(*argv, "dnsbl", env={**os.environ, "PYTHONPATH": str(ROOT / "lib")})

            def ask(name: str) -> str:
                return host.run("dig", "+time=1", "+tries=5", "@127.0.0.1", "-p", "5353", name, "A", check=False).stdout

            wait_for(lambda: "NOERROR" in ask("7.3.0.192.bl.example.net"), "an answer")
            before = time.time()
            assert "NXDOMAIN" in ask("8.3.0.192.bl.example.net")
            assert "REFUSED" in ask("example.com")
            path = tmp_path / "store" / "dnsbl.now"
            wait_for(lambda: path.exists() and read_now(path.read_bytes()).time_ms > before * 1000, "the next second")
            server.terminate()
            assert server.wait(30) == 0
        activity = Activity(store.env)
        assert catch_up(store, activity, time.time()) == 0
        counts = add_figures(figures for _, figures in activity.figures(DAY, *WHOLE)).counts
        ranks = add_lists(value for _, value in activity.lists(DAY, *WHOLE)).ranks
    assert (counts["dns.NXDOMAIN"], counts["dns.REFUSED"], counts["list.list"]) == (1, 1, 1)
    assert counts["dns.NOERROR"] >= 1
    assert counts["dns.type.A"] + counts.get("dns.type.other", 0) == sum(
        count
        for name, count in counts.items()
        if name in ("dns.NOERROR", "dns.NXDOMAIN", "dns.REFUSED", "dns.SERVFAIL")
    )
    assert ranks["zones"].rows["bl.example.net"] >= 2
