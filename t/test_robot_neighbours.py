"""The neighbours of a source, with real reverse DNS: only where its own name is generic, and only as far as allowed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import robotkit
from helpers.faulty_dns import FaultyDns, names, silence
from robotsite import Site, make_cast
from spamcannibal.addr import format_addr, parse_addr, parse_key
from spamcannibal.robot.neighbours import others
from spamcannibal.store.stores import NewListing

PATTERNS = "dynamic = dyn|pool\n{dynamic} &\n"
EXTRA = """\
neighbours = true
[jobs]
generic_ptr = "generic-ptr"
generic_expires_s = "7d"
[remote]
resolvers = ["{endpoint}"]
canary = [". NS"]
timeout_s = 3.0
retry_s = 0.2
"""


@pytest.fixture(scope="module")
def cast() -> Iterator[dict[str, Any]]:
    with robotkit.People() as people:
        yield make_cast(people)


@pytest.fixture
def server() -> Iterator[FaultyDns]:
    with FaultyDns() as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, cast: dict[str, Any], server: FaultyDns) -> Site:
    made = Site(tmp_path, cast, EXTRA.format(endpoint=server.endpoint))
    (tmp_path / "generic-ptr").write_text(PATTERNS)
    return made


def named(server: FaultyDns, last: int, name: str) -> None:
    """Give 203.0.113.LAST a reverse name."""
    server.on(f"{last}.113.0.203.in-addr.arpa", names(name))


def report(site: Site, cast: dict[str, Any], source: str = "203.0.113.9") -> Any:
    done = site.robot(cast["alice"].report(robotkit.spam(source)))
    assert done.exit_code == 0, done.output
    return done


def test_a_generic_source_takes_its_generic_neighbours_along_unpublished(
    site: Site, cast: dict[str, Any], server: FaultyDns
) -> None:
    for last in (9, 10, 200):
        named(server, last, f"pool-{last}.isp.example")
    named(server, 11, "mail.customer.example")
    done = report(site, cast)
    assert site.listed() == {"203.0.113.9", "203.0.113.10", "203.0.113.200"}
    assert "NEIGHBOURS" in done.stderr and "listed=2" in done.stderr
    with site.store() as store:
        listing = store.get_key(parse_key("203.0.113.10"))
        contrib = store.contrib(parse_key("203.0.113.10"))
    assert (format_addr(listing.code), listing.flags) == ("127.0.0.7", 0)
    assert listing.expiry_ms > 0
    assert contrib.causes[0].zone == "genericPTR" and "beside 203.0.113.9" in contrib.causes[0].text


def test_a_source_with_a_name_of_its_own_takes_nobody_along(
    site: Site, cast: dict[str, Any], server: FaultyDns
) -> None:
    named(server, 9, "mail.customer.example")
    named(server, 10, "pool-10.isp.example")
    report(site, cast)
    assert site.listed() == {"203.0.113.9"}
    assert len([asked for asked, *_ in server.asked if "113.0.203.in-addr" in asked.lower()]) == 1


def test_a_resolver_that_is_silent_lists_nobody_and_the_report_counts(
    site: Site, cast: dict[str, Any], server: FaultyDns
) -> None:
    server.on(". NS", silence)
    server.default = silence
    done = report(site, cast)
    assert site.listed() == {"203.0.113.9"}
    assert "NEIGHBOURS" in done.stderr and "listed=0" in done.stderr


def test_neighbours_stop_at_the_never_list_and_at_the_cap(
    site: Site, cast: dict[str, Any], server: FaultyDns
) -> None:
    for last in range(9, 40):
        named(server, last, f"pool-{last}.isp.example")
    with (site.path / "never-list").open("a") as file:
        file.write("203.0.113.12/30\n")
    text = (site.path / "spamcannibal.toml").read_text().replace("guard.own_names = []", "guard.max_per_net = 8")
    (site.path / "spamcannibal.toml").write_text(text)
    done = report(site, cast)
    assert site.listed() == {f"203.0.113.{last}" for last in (9, 10, 11, 16, 17, 18, 19, 20)}
    assert "breaker: 8 listings in an hour in 203.0.113.0/24" in done.stderr


def test_who_is_listed_already_stays_as_listed(site: Site, cast: dict[str, Any], server: FaultyDns) -> None:
    for last in (9, 10):
        named(server, last, f"pool-{last}.isp.example")
    with site.store() as store:
        store.list([NewListing(parse_key("203.0.113.10"), text="by hand", source="admin:a")], 1_795_000_000.0)
    report(site, cast)
    with site.store() as store:
        assert store.text(store.get_key(parse_key("203.0.113.10"))) == "by hand"
        assert store.last_seq() == 2


def test_ipv6_has_no_neighbours_since_its_network_is_listed() -> None:
    assert others(parse_addr("2001:db8::1")) == []
    assert len(others(parse_addr("192.0.2.7"))) == 255
