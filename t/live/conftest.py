"""Fixtures of the tests on the real kernel; where one cannot run it is skipped and the reason is printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from live.nets import Host, Lab, missing

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lacking: str | None = None
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.live)
        lacking = missing() if lacking is None else lacking
        if lacking:
            item.add_marker(pytest.mark.skip(reason=lacking))


class Pair(NamedTuple):
    """A mail server and one client, joined by one Ethernet link; the addresses are those of the two ends."""

    lab: Lab
    server: Host
    client: Host
    server4: str = "10.77.0.1"
    client4: str = "10.77.0.2"
    server6: str = "fd77::1"
    client6: str = "fd77::2"


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two fresh namespaces that reach each other by IPv4 (10.77.0.0/24) and IPv6 (fd77::/64)."""
    with Lab("sc") as lab:
        made = Pair(lab, lab.host("server"), lab.host("client"))
        lab.link(made.server, made.client, f"{made.server4}/24", f"{made.client4}/24")
        lab.link(made.server, made.client, f"{made.server6}/64", f"{made.client6}/64")
        yield made
