"""What the daemons note of real packets and queries reaches the activity report, and goes on over a restart."""

from __future__ import annotations

import contextlib
import json
import socket
import time

import pytest

from live.conftest import Pair
from live.daemon import Daemon
from live.nets import queue_rules, wait_for
from spamcannibal.activity.figures import DAY, add_figures, add_lists
from spamcannibal.activity.now import read_now
from spamcannibal.addr import parse_addr
from spamcannibal.store.activity import Activity

WHOLE = (0, 1 << 40)


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
