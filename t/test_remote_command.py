"""`spamcannibal remote` as operators call it: tables, JSON, CSV, a picture, Nagios's line, and exit codes."""

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from helpers.faulty_dns import FaultyDns, answer, nxdomain, rcode
from spamcannibal.commands.main import cli
from spamcannibal.errors import ConfigError, SpamCannibalError, Unavailable

LISTS = """\
[[list]]
zone = "bl.test"
families = ["ip4", "ip6"]
any = true
[[list]]
zone = "light.test"
weight = 0.5
[[list.accept]]
codes = "127.0.0.2-127.0.0.9"
reason = "seen in a trap"
"""
LISTED, CLEAR, UNTOLD = "203.0.113.7", "203.0.113.8", "203.0.113.9"


@pytest.fixture
def server() -> Iterator[FaultyDns]:
    with FaultyDns() as one:
        for zone in ("bl.test", "light.test"):
            one.good_list(zone)
            one.on(f"9.113.0.203.{zone}", rcode(2))
        one.on("7.113.0.203.bl.test", answer("127.0.0.4", text="see https://bl.test/"))
        yield one


@pytest.fixture
def config(tmp_path: Path, server: FaultyDns) -> Path:
    (tmp_path / "lists.d").mkdir()
    (tmp_path / "lists.d" / "lists.toml").write_text(LISTS)
    path = tmp_path / "spamcannibal.toml"
    path.write_text(
        f'store.path = "."\n[remote]\nlists = ["bl.test", "light.test"]\nresolvers = ["{server.endpoint}"]\n'
        'canary = [". NS"]\ntries = 2\nretry_s = 0.1\ntimeout_s = 5\n'
    )
    return path


def run(config: Path, *arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["-c", str(config), "remote", *arguments], input=text)


@pytest.mark.parametrize(
    ("addresses", "code"),
    [([CLEAR], 0), ([LISTED], 1), ([UNTOLD], 3), ([CLEAR, UNTOLD], 3), ([LISTED, UNTOLD], 1), (["2001:db8::7"], 0)],
)
def test_the_exit_code_says_the_gravest_answer(config: Path, addresses: list[str], code: int) -> None:
    assert run(config, "check", *addresses).exit_code == code


def test_a_check_says_what_each_list_says(config: Path) -> None:
    rows = json.loads(run(config, "check", LISTED, "--json").stdout)
    assert [(row["list"], row["says"], row["code"], row["text"], row["weight"]) for row in rows] == [
        ("bl.test", "listed", "127.0.0.4", "see https://bl.test/", 1.0),
        ("light.test", "clear", None, None, 0.0),
    ]
    told = run(config, "check", LISTED, UNTOLD).stdout
    assert told.splitlines()[0].split() == ["address", "list", "says", "code", "reason", "text"]
    assert "SERVFAIL" in told


def test_a_check_can_ask_one_list_only(config: Path, server: FaultyDns) -> None:
    rows = json.loads(run(config, "check", LISTED, "--zone", "LIGHT.test", "--json").stdout)
    assert [row["list"] for row in rows] == ["light.test"]
    assert server.count("7.113.0.203.bl.test") == 0
    assert isinstance(run(config, "check", LISTED, "--zone", "nil.test").exception, ConfigError)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ([CLEAR], 0, "REMOTE OK - 1 addresses in no list | listed=0 clear=2 unknown=0"),
        ([LISTED], 2, "REMOTE CRITICAL - 203.0.113.7 is listed by bl.test (127.0.0.4) | listed=1 clear=1 unknown=0"),
        ([LISTED, "--critical", "1.5"], 1, "REMOTE WARNING - 203.0.113.7 is listed by bl.test (127.0.0.4) | listed=1 "),
        ([UNTOLD], 3, "REMOTE UNKNOWN - no list could tell about 203.0.113.9 | listed=0 clear=0 unknown=2"),
        ([LISTED, UNTOLD], 2, "REMOTE CRITICAL - 203.0.113.7 is listed by"),
        (["nonsense"], 3, "REMOTE UNKNOWN - not an address: got 'nonsense'"),
        ([CLEAR, "--zone", "a.test"], 3, "REMOTE UNKNOWN - remote.lists: no such list: 'a.test'"),
    ],
)
def test_nagios_gets_a_line_and_its_codes(config: Path, arguments: list[str], code: int, line: str) -> None:
    done = run(config, "check", "--nagios", *arguments)
    assert done.exit_code == code
    assert done.stdout.startswith(line) and done.stdout.count("\n") == 1


def test_health_says_who_is_set_aside_and_why(config: Path, server: FaultyDns) -> None:
    done = run(config, "health", "--nagios")
    assert (done.exit_code, done.stdout) == (
        0, "REMOTE OK - 3 lists answer as they should | lists=3 aside=0 resolvers=1 down=0\n"
    )  # fmt: skip
    server.on("2.0.0.127.light.test", nxdomain)
    assert run(config, "health", "--known").exit_code == 0  # not due for an hour
    done = run(config, "health", "--json")
    assert done.exit_code == 1
    rows = {(row["who"], row["family"]): row for row in json.loads(done.stdout)}
    assert rows["light.test", "ip4"]["state"] == "aside" and "lists nothing" in rows["light.test", "ip4"]["why"]
    assert rows["bl.test", "ip6"]["state"] == "good" and rows[server.endpoint, None]["state"] == "alive"
    assert "REMOTE_ASIDE zone=light.test family=ip4" in done.stderr
    assert run(config, "health", "--nagios").exit_code == 1
    server.default = nxdomain
    server.on("2.0.0.127.bl.test", nxdomain)
    server.on(f"{'.'.join('200000f7ffff')}.{'0.' * 20}bl.test", nxdomain)
    assert run(config, "health", "--nagios").exit_code == 2


def test_health_tells_of_reverse_dns_if_a_rule_needs_it(config: Path, server: FaultyDns) -> None:
    def shown() -> list[tuple[str, str | None]]:
        return [(row["state"], row["why"]) for row in json.loads(run(config, "health", "--json").stdout)[1:2]]

    assert shown() == [("good", None)]  # bl.test, and nobody asked for the known names
    assert server.count("4.0.41.198.in-addr.arpa") == 0
    config.write_text(config.read_text() + "[jobs]\nmissing_ptr = true\n")
    assert run(config, "health").exit_code == 0
    server.on("4.0.41.198.in-addr.arpa", nxdomain)
    done = run(config, "health")
    assert done.exit_code == 1
    assert shown()[0][0] == "aside" and "finds no name of 198.41.0.4" in (shown()[0][1] or "")
    told = run(config, "health", "--nagios")
    assert (told.exit_code, told.stdout.startswith("REMOTE WARNING - reverse DNS: finds no name of")) == (1, True)


def test_without_a_resolver_the_exit_code_says_try_later(config: Path, server: FaultyDns) -> None:
    server.on(". NS", rcode(2))
    for arguments in (["check", CLEAR], ["health"], ["matrix", "-"]):
        error = run(config, *arguments, text=CLEAR).exception
        assert isinstance(error, Unavailable) and "SERVFAIL" in str(error)
    told = run(config, "health", "--nagios").stdout
    assert told.startswith("REMOTE UNKNOWN - remote.resolvers: none finds any of . NS")


def test_without_lists_there_is_nothing_to_ask(config: Path) -> None:
    config.write_text('[remote]\nlists_dir = "lists.d"\n')
    error = run(config, "check", CLEAR).exception
    assert isinstance(error, ConfigError) and "remote.lists: no lists to ask" in str(error)


SUSPECTS = f"{LISTED}  # the worst\n\n{CLEAR} {LISTED}\n# none\n2001:db8::7\n{UNTOLD}\n"
WANT = {
    LISTED: {"bl.test": "127.0.0.4", "light.test": "-"}, CLEAR: {"bl.test": "-", "light.test": "-"},
    "2001:db8::7": {"bl.test": "-", "light.test": ""}, UNTOLD: {"bl.test": "?", "light.test": "?"},
}  # fmt: skip


def test_a_matrix_is_a_table_in_the_files_order(config: Path, tmp_path: Path) -> None:
    (tmp_path / "suspects").write_text(SUSPECTS)
    done = run(config, "matrix", str(tmp_path / "suspects"))
    head, *lines = done.stdout.splitlines()
    assert (done.exit_code, head.split()) == (0, ["address", "bl.test", "light.test"])
    assert [line.split()[0] for line in lines] == list(WANT)
    assert lines[0].split() == [LISTED, "127.0.0.4", "-"]


def test_a_matrix_is_csv_or_json(config: Path) -> None:
    done = run(config, "matrix", "-", "--csv", text=SUSPECTS)
    rows = {row.pop("address"): row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert rows == WANT
    told = json.loads(run(config, "matrix", "-", "--json", text=SUSPECTS).stdout)
    assert [(row["address"], row["list"]) for row in told][:2] == [(LISTED, "bl.test"), (LISTED, "light.test")]
    assert run(config, "matrix", "-", "--json", "--csv", text=SUSPECTS).exit_code == 2


def test_a_matrix_is_a_picture(config: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "matrix.svg"
    done = run(config, "matrix", "-", "--picture", str(drawn), text=SUSPECTS)
    assert (done.exit_code, done.stdout) == (0, "")
    assert ElementTree.parse(drawn).getroot().tag.endswith("svg")
    assert run(config, "matrix", "-", "--picture", str(tmp_path / "m.png"), text=SUSPECTS).exit_code == 0
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    for wrong in ("m.nonsense", "none/m.svg"):
        error = run(config, "matrix", "-", "--picture", str(tmp_path / wrong), text=SUSPECTS).exception
        assert isinstance(error, SpamCannibalError) and "can't write the picture" in str(error)


def test_what_is_no_address_is_told_with_its_line(config: Path) -> None:
    error = run(config, "matrix", "-", text="192.0.2.7\n192.0.2.300\n" + "x\n" * 9).exception
    assert isinstance(error, SpamCannibalError)
    assert ":2: not an address: got '192.0.2.300'" in str(error) and "(and 5 more)" in str(error)
