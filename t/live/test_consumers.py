"""Exports in their real consumers: what each says about an address is what the list says."""

import os
import pwd
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from itertools import chain
from pathlib import Path

import pytest

from export_peers import FACTS, HEARD, V4, V6, corners, entries, verdict
from live.mailservers import Exim
from live.nets import Lab, run, wait_for
from spamcannibal.addr import format_addr, format_key, mask, parse_addr, parse_key, reversed_name
from spamcannibal.dnsbl.export.entry import EXCEPTION
from spamcannibal.dnsbl.export.formats import FORMATS
from spamcannibal.record import EXCLUDED, PROVEN_CODE, PUBLISHED
from spamcannibal.store.stores import NewListing
from storekit import open_store

LIB = Path(__file__).resolve().parents[2] / "lib"
ZONE = "bl.example.org"


def nested_list(seed=5):
    """A list with networks in networks, exceptions, and texts that try to get out."""
    chance = random.Random(seed)
    listed = {
        "198.51.100.1": PROVEN_CODE,
        "198.51.100.2": HEARD,
        "2.0.0.0/15": PROVEN_CODE,
        "2001:db8::/45": PROVEN_CODE,
    }
    for text, lengths in [*((v4, range(12, 33)) for v4 in V4 * 4), *((v6, range(30, 129)) for v6 in V6 * 4)]:
        addr, plen = parse_addr(text), chance.choice(lengths)
        listed[f"{format_addr(mask(addr, plen))}/{plen}"] = chance.choice([PROVEN_CODE, PROVEN_CODE, HEARD, EXCEPTION])
    return {format_key(parse_key(text)): code for text, code in listed.items()}


LISTED = nested_list()
TEXTS = {"198.51.100.1": 'own "text" \\ of $ é ; # : $$5', "198.51.100.2": "line\nbreak, 1=1"}
SIDES = entries(LISTED, TEXTS)
ENTRIES = list(chain(*SIDES))
PROBES = sorted(corners(ENTRIES) | {parse_addr(text) for text in (*V4, *V6, "127.0.0.1", "203.0.113.5", "2001:db8::9")})


def expected(addr):
    return ".".join(map(str, verdict(ENTRIES, addr)))


@pytest.fixture
def place():
    """A directory that servers which gave up root can read."""
    with tempfile.TemporaryDirectory(prefix="scex-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def host():
    with Lab("scex-") as lab:
        yield lab.host("h")


def needs(*programs):
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"needs {program}")


def export(place, name):
    path = place / name
    path.write_text("".join(FORMATS[name].write(*SIDES, FACTS)), encoding="utf-8", newline="")
    return path


def dig(host, place, names, rtype="A", port=5300):
    """The data of answers by name, through one dig."""
    questions = place / "questions"
    questions.write_text("".join(f"{name} {rtype}\n" for name in names))
    options = ("+noall", "+answer", "+tries=3", "+time=2", "+norecurse")
    done = host.run("dig", "@127.0.0.1", "-p", port, *options, "-f", questions)
    found = {}
    for line in done.stdout.splitlines():
        owner, _, _, kind, data = line.split(None, 4)
        if kind == rtype:
            found.setdefault(owner.rstrip("."), []).append(data)
    return found


def answers(host, place, addrs):
    names = {addr: f"{reversed_name(addr)}.{ZONE}" for addr in addrs}
    found = dig(host, place, names.values())
    return {addr: " ".join(found.get(name, [])) for addr, name in names.items()}


def is_up(host, port=5300):
    """The zone's SOA, "" as long as nobody gives it."""
    asked = ("+short", "+tries=1", "+time=1", "-p", port, "@127.0.0.1", ZONE, "SOA")
    done = host.run("dig", *asked, check=False)
    return done.stdout.strip() if done.returncode == 0 and not done.stdout.startswith(";") else ""


def start_rbldnsd(host, *files):
    needs("rbldnsd")
    specs = [f"{ZONE}:{name}:{path}" for name, path in files]
    host.start(
        "rbldnsd",
        "-n",
        "-u",
        "nobody",
        "-c",
        "1",
        "-b",
        "127.0.0.1/5300",
        *specs,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    wait_for(lambda: is_up(host), "rbldnsd answers")


@pytest.mark.parametrize("name", ["ip4set", "ip4trie", "ip6trie", "combined"])
def test_rbldnsd_answers_as_the_list_says(host, place, name):
    start_rbldnsd(host, (name, export(place, name)))
    sizes = {"ip4set": (4,), "ip4trie": (4,), "ip6trie": (16,), "combined": (4, 16)}[name]
    asked = [addr for addr in PROBES if len(addr) in sizes]
    assert answers(host, place, asked) == {addr: expected(addr) for addr in asked}
    texts = dig(host, place, [f"1.100.51.198.{ZONE}", f"2.100.51.198.{ZONE}", f"2.0.0.127.{ZONE}"], "TXT")
    if 4 in sizes:
        own = texts[f"1.100.51.198.{ZONE}"][0]
        assert own.replace("\\195\\169", "é") == '"own \\"text\\" \\\\ of 198.51.100.1 é ; # : $5"'
        assert texts[f"2.100.51.198.{ZONE}"] == ['"line break, 1=1"']
        assert texts[f"2.0.0.127.{ZONE}"] == ['"127.0.0.2 is listed"']


def test_rbldnsd_has_the_zone_from_the_combined_file(host, place):
    start_rbldnsd(host, ("combined", export(place, "combined")))
    assert is_up(host) == "ns1.bl.example.org. post\\.master.example.org. 7 900 300 604800 60"
    assert sorted(dig(host, place, [ZONE], "NS")[ZONE]) == ["ns.elsewhere.example.", "ns1.bl.example.org."]
    assert dig(host, place, [f"ns1.{ZONE}"])[f"ns1.{ZONE}"] == ["192.0.2.53"]
    assert dig(host, place, [ZONE], "TXT")[ZONE] == ['"a list of example senders"']


def named(host, place, options, zones):
    needs("named")
    config = place / "named.conf"
    fixed = (
        "pid-file none; session-keyfile none; dnssec-validation no; empty-zones-enable no; "
        "listen-on port 5300 { 127.0.0.1; }; listen-on-v6 { none; };"
    )
    config.write_text(
        f'options {{ directory "{place}"; {fixed} {options} }};\ncontrols {{ }};\n'
        + "".join(f'zone "{zone}" {{ type primary; file "{path}"; }};\n' for zone, path in zones)
    )
    log = (place / "named.log").open("w")
    host.start("named", "-g", "-c", config, stdout=log, stderr=log)
    wait_for(lambda: is_up(host), "named answers: " + (place / "named.log").read_text()[-500:])


def test_a_zone_file_is_sound_and_answered_by_bind_as_the_list_says(host, place):
    needs("named-checkzone")
    path = export(place, "bind")
    checked = run("named-checkzone", "-i", "full", ZONE, path).stdout
    assert "loaded serial 7" in checked
    named(host, place, "recursion no;", [(ZONE, path)])
    assert answers(host, place, PROBES) == {addr: expected(addr) for addr in PROBES}
    text = dig(host, place, [f"1.100.51.198.{ZONE}"], "TXT")[f"1.100.51.198.{ZONE}"][0]
    assert text == '"own \\"text\\" \\\\ of 198.51.100.1 \\195\\169 ; # : $5"'


def test_a_policy_zone_refuses_answers_that_hold_listed_addresses(host, place):
    needs("named-checkzone")
    policy, world = export(place, "rpz"), place / "world"
    assert "OK" in run("named-checkzone", "policy.example", policy).stdout
    hosts = {f"h{n}.{ZONE}": addr for n, addr in enumerate(PROBES)}
    world.write_text(
        f"$ORIGIN {ZONE}.\n$TTL 60\n@ SOA localhost. root.localhost. 1 1 1 1 1\n@ NS localhost.\n"
        + "".join(f"{name}. {'A' if len(addr) == 4 else 'AAAA'} {format_addr(addr)}\n" for name, addr in hosts.items())
    )
    rules = 'recursion yes; response-policy { zone "policy.example"; } break-dnssec yes qname-wait-recurse no;'
    named(host, place, rules, [(ZONE, world), ("policy.example", policy)])
    questions = place / "questions"
    questions.write_text("".join(f"{name} {'A' if len(addr) == 4 else 'AAAA'}\n" for name, addr in hosts.items()))
    done = host.run(
        "dig", "@127.0.0.1", "-p", 5300, "+noall", "+answer", "+comments", "+question", "-f", questions
    ).stdout
    got = {}
    for message in done.split("Got answer:")[1:]:
        name = re.search(r"^;(\S+)\.\s+IN\s", message, re.MULTILINE)[1]
        got[name] = "NXDOMAIN" in message
    assert got == {name: bool(expected(addr)) for name, addr in hosts.items()}


# The kernel.


def test_nft_holds_what_is_listed(host, place):
    needs("nft")
    host.run("nft", "-f", export(place, "nft"))
    host.run("nft", "-f", place / "nft")
    for addr in PROBES:
        assert in_nft(host, addr) == bool(expected(addr)), format_addr(addr)


def in_nft(host, addr):
    family = 4 if len(addr) == 4 else 6
    return any(
        host.run(
            "nft", "get", "element", "inet", FACTS.table, f"{kind}{family}", f"{{ {format_addr(addr)} }}", check=False
        ).returncode
        == 0
        for kind in ("hosts", "nets")
    )


def test_ipset_holds_what_is_listed(host, place):
    needs("ipset")
    for _ in range(2):
        host.run("ipset", "restore", "-exist", stdin=export(place, "ipset").open())
    for addr in PROBES:
        # A test that matches an exception is told from one that matches nothing by its words only.
        name = f"{FACTS.table}{4 if len(addr) == 4 else 6}"
        is_in = host.run("ipset", "test", name, format_addr(addr), check=False).returncode == 0
        assert is_in == bool(expected(addr)), format_addr(addr)


def test_the_shipped_rule_drops_by_the_sets(host, place):
    needs("nft")
    host.run("nft", "-f", export(place, "nft"))
    chain_ = "{ type filter hook input priority filter; }"
    host.run("nft", "add", "chain", "inet", FACTS.table, "input", chain_)
    for match in ("ip saddr @hosts4", "ip saddr @nets4", "ip6 saddr @hosts6", "ip6 saddr @nets6"):
        host.run("nft", "add", "rule", "inet", FACTS.table, "input", "tcp", "dport", "25", *match.split(), "drop")
    host.run("nft", "-f", place / "nft")
    assert host.run("nft", "list", "table", "inet", FACTS.table).stdout.count(" drop") == 4


# Mail servers.


def test_postfix_finds_each_address_first_match_first(place):
    needs("postmap")
    (place / "main.cf").write_text("compatibility_level = 3.6\n")
    for name, refusal in (("postfix", "REJECT"), ("postscreen", "reject")):
        table = export(place, name)
        keys = "".join(f"{format_addr(addr)}\n" for addr in PROBES)
        done = run("postmap", "-c", place, "-q", "-", f"cidr:{table}", input=keys, check=False)
        assert "warning" not in done.stderr, done.stderr
        found = dict(line.split("\t", 1) for line in done.stdout.splitlines())
        got = {addr: found.get(format_addr(addr), "").startswith(refusal) for addr in PROBES}
        assert got == {addr: bool(expected(addr)) for addr in PROBES}


def test_exim_finds_each_address_in_its_host_list(place):
    path = export(place, "exim")
    path.chmod(0o644)
    exim = Exim(place, "")
    words = [f"${{if match_ip{{{format_addr(addr)}}}{{{path}}}{{yes}}{{no}}}}" for addr in PROBES]
    assert run(*exim.argv("-be", *words)).stdout.split() == ["yes" if expected(addr) else "no" for addr in PROBES]


# Following, through the command.


@pytest.fixture
def store(place):
    made = open_store(place / "store")
    yield made
    made.close()


@pytest.fixture
def command(place):
    config = place / "spamcannibal.toml"
    config.write_text(f'store.path = "{place}/store"\n[[dnsbl.zone]]\nname = "{ZONE}"\n')
    return [sys.executable, "-m", "spamcannibal", "-c", str(config), "export"]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(LIB)}
NOW = 1_700_000_000.0


def add(store, *texts, flags=PUBLISHED):
    store.list([NewListing(parse_key(text), text="t", source="test", flags=flags) for text in texts], NOW)


def drift(host, command, *argv):
    return host.run(*command, *argv, "--check-drift", check=False, env=ENVIRONMENT)


@pytest.mark.parametrize("name", ["nft", "ipset"])
def test_the_kernel_follows_the_journal_and_is_without_drift(host, store, command, place, name):
    needs(name)
    add(store, "10.0.0.0/16", "10.0.0.1", "2001:db8::/64", "203.0.113.7")
    add(store, "10.0.0.7", flags=EXCLUDED)
    assert drift(host, command, name).returncode == 1
    log = (place / "log").open("w")
    host.start(*command, name, "--load", "--follow", "--settle", "0.1", stderr=log, env=ENVIRONMENT)
    settled = lambda: drift(host, command, name).returncode == 0  # noqa: E731
    wait_for(settled, "the first load")
    chance = random.Random(2)
    for _ in range(3):
        some = [f"10.0.{chance.randrange(4)}.{chance.randrange(256)}" for _ in range(40)]
        add(store, *some[:30])
        add(store, *some[25:], flags=EXCLUDED)
        add(store, f"10.0.{chance.randrange(4)}.0/25", f"2001:db8:{chance.randrange(9)}::/48")
        store.unlist([parse_key(text) for text in some[10:20]], "test", "", NOW)
        wait_for(settled, f"drift ends: {drift(host, command, name).stdout} {(place / 'log').read_text()}")
    text = (place / "log").read_text()
    assert "result=delta" in text
    assert "result=failed" not in text
    spoil = {
        "nft": ("nft", "delete", "element", "inet", FACTS.table, "hosts4", "{ 203.0.113.7 }"),
        "ipset": ("ipset", "del", f"{FACTS.table}4", "203.0.113.7"),
    }[name]
    host.run(*spoil)
    shown = drift(host, command, name)
    assert (shown.returncode, "missing" in shown.stdout, "203.0.113.7" in shown.stdout) == (1, True, True)


def test_nft_that_was_changed_by_others_is_filled_anew(host, store, command, place):
    needs("nft")
    add(store, "10.0.0.0/16")
    log = (place / "log").open("w")
    host.start(*command, "nft", "--load", "--follow", "--settle", "0.1", stderr=log, env=ENVIRONMENT)
    wait_for(lambda: drift(host, command, "nft").returncode == 0, "the first load")
    host.run("nft", "delete", "table", "inet", FACTS.table)
    add(store, "10.0.0.9", flags=EXCLUDED)
    wait_for(lambda: drift(host, command, "nft").returncode == 0, "a full load after the failed delta")
    assert "result=failed" in (place / "log").read_text()
    host.run("nft", "flush", "ruleset")
    assert drift(host, command, "nft", "--metrics", place / "drift.prom").returncode == 1
    gauge = 'spamcannibal_outlet_drift_entries{outlet="nft:spamcannibal_list",kind="missing"}'
    (told,) = [line for line in (place / "drift.prom").read_text().splitlines() if line.startswith(gauge)]
    assert float(told.rpartition(" ")[2]) > 0
    host.processes[0].send_signal(signal.SIGHUP)  # as a reload of nftables.service does, by the unit
    wait_for(lambda: drift(host, command, "nft").returncode == 0, "a full load after SIGHUP")


def test_a_served_file_follows_and_the_server_is_without_drift(host, store, command, place):
    needs("rbldnsd")
    add(store, "10.0.0.0/16", "2001:db8::/64", "203.0.113.7")
    add(store, "10.0.0.7", flags=EXCLUDED)
    path = place / "zone"
    log = (place / "log").open("w")
    host.start(*command, "combined", "-o", path, "--follow", "--settle", "0.1", stderr=log, env=ENVIRONMENT)
    wait_for(path.exists, "the file is written")
    host.start(
        "rbldnsd",
        "-n",
        "-u",
        "nobody",
        "-c",
        "1",
        "-b",
        "127.0.0.1/5300",
        f"{ZONE}:combined:{path}",
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    wait_for(lambda: is_up(host), "rbldnsd answers")
    against = ("combined", "--server", "127.0.0.1:5300", "--sample", "20")
    assert drift(host, command, *against).returncode == 0
    add(store, "203.0.113.8", "2001:db9::/64")
    store.unlist([parse_key("203.0.113.7")], "test", "", NOW)
    wait_for(lambda: drift(host, command, *against).returncode == 0, "rbldnsd has read the new file")
    assert drift(host, command, "combined", "-o", path).returncode == 0
    assert pwd.getpwnam("nobody").pw_uid != path.stat().st_uid
