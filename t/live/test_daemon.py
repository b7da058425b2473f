"""The tarpit daemon on the real kernel queue: who passes, who hangs, and what survives."""

from __future__ import annotations

import socket

import pytest
from live.conftest import Pair
from live.daemon import Daemon
from live.nets import queue_rules, wait_for


@pytest.fixture
def daemon(pair: Pair, tmp_path) -> Daemon:
    return Daemon(pair.server, tmp_path)


def test_first(pair, daemon):
    queue_rules(pair.server)
    daemon.list(pair.client4)
    daemon.start()
    with pair.server.entered():
        s4 = socket.create_server((pair.server4, 25))
        s6 = socket.create_server((pair.server6, 25), family=socket.AF_INET6)
    with pair.client.entered():
        c6 = socket.create_connection((pair.server6, 25), 5)
        c4 = socket.create_connection((pair.server4, 25), 5)
    c4.settimeout(5)
    s6.settimeout(3)
    s6.accept()
    s4.settimeout(1)
    with pytest.raises(TimeoutError):
        s4.accept()
    wait_for(lambda: pair.client6 in daemon.archived(), "archive")
    daemon.stop()
