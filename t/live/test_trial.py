"""A listing on trial before the real kernel queue: its source passes, is counted and archived; promoted, it hangs."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from live.conftest import Pair
from live.daemon import Daemon
from live.nets import queue_rules, wait_for
from spamcannibal.addr import parse_addr, parse_key
from spamcannibal.record import PUBLISHED, SHADOW
from spamcannibal.store.batch import Amendment
from spamcannibal.store.stores import NewListing
from spamcannibal.store.trials import trial


@pytest.fixture
def listener(pair: Pair) -> Iterator[socket.socket]:
    with pair.server.entered():
        sock = socket.create_server(("::", 25), family=socket.AF_INET6, dualstack_ipv6=True)
    with sock:
        sock.settimeout(1.0)
        yield sock


def reaches(pair: Pair, listener: socket.socket) -> bool:
    with contextlib.suppress(TimeoutError), pair.client.entered():
        with socket.create_connection((pair.server4, 25), 2.0), contextlib.suppress(TimeoutError):
            listener.accept()[0].close()
            return True
    return False


def test_a_trial_passes_counts_and_once_promoted_refuses(pair: Pair, listener: socket.socket, tmp_path: Path) -> None:
    queue_rules(pair.server)
    daemon = Daemon(pair.server, tmp_path)
    key = parse_key(pair.client4)
    with daemon.store() as store:
        store.list([NewListing(key, text="on trial", source="admin:t", flags=PUBLISHED | SHADOW)], 1.0)
        daemon.start()
        assert reaches(pair, listener)
        wait_for(lambda: trial(store, key).count >= 1, "the sighting of the trial")
        assert store.contact(parse_addr(pair.client4)) is not None
        store.amend(key, Amendment(flags=PUBLISHED), "promote:t", 2.0)
        wait_for(lambda: not reaches(pair, listener), "the promotion in force")
    assert daemon.stop() == 0
