"""conf/dnsbl.md, carried out: a parent zone in BIND, our server behind a firewall, its secondaries, and a resolver that
knows nothing but the parent. Every command block runs as it stands; only the place of the settings is another one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from live.nets import ROOT, Host, Lab, run, wait_for
from live.test_dnsbl_users import EXIM, POSTFIX

PAGE = (ROOT / "conf" / "dnsbl.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
ZONE = "bl.example.net"
NS1, NS1_6, NS2 = "192.0.2.53", "2001:db8::53", "198.51.100.53"
FIREWALL = """\
add table inet filter
add chain inet filter input { type filter hook input priority 0; policy drop; }
add rule inet filter input iif lo accept
add rule inet filter input ct state established,related accept
add rule inet filter input meta l4proto ipv6-icmp accept
"""
PARENT = "$TTL 3600\nexample.net. SOA ns.example.net. a.example.net. 1 2 3 4 5\nexample.net. NS ns.example.net.\n"
NAMED = """\
options {{ directory "{path}"; pid-file none; session-keyfile none; listen-on port {port} {{ any; }};
  listen-on-v6 {{ none; }}; dnssec-validation no; empty-zones-enable no; notify no; {more} }};
controls {{ }};
"""
UNBOUND = """\
server:
    interface: {interface}
    access-control: 0.0.0.0/0 allow
    qname-minimisation: yes
    module-config: "iterator"
    chroot: ""
    username: ""
    directory: "{path}"
    pidfile: ""
    use-syslog: no
    logfile: ""
remote-control:
    control-enable: no
"""
NSD = """\
server:
    ip-address: {ns2}
    zonesdir: "{path}"
    database: ""
    pidfile: "{path}/nsd.pid"
    xfrdfile: "{path}/xfrd.state"
    xfrdir: "{path}"
    zonelistfile: "{path}/zone.list"
    username: ""
    server-count: 1
remote-control:
    control-enable: no
"""
KNOT = """\
server:
    rundir: "{path}"
    listen: {ns2}@53
database:
    storage: "{path}"
"""
SECONDARIES = {
    "named": (NAMED.format(path="{path}", port=53, more="recursion no;"), ("named", "-g", "-n", "1", "-c")),
    "nsd": (NSD, ("nsd", "-d", "-c")),
    "knot": (KNOT, ("knotd", "-c")),
}


def block(kind: str, holding: str = "") -> str:
    """The one block of a kind that holds some words."""
    (found,) = [text for name, text in BLOCKS if name == kind and holding in text]
    return found


class World:
    """The hosts: ns1 and ns2, and between them the rest of the net with parent zone and resolver."""

    def __init__(self, lab: Lab, path: Path) -> None:
        self.path, self.etc, self.log = path, path / "etc", path / "log"
        self.ns1, self.ns2, self.net = (lab.host(name) for name in ("ns1", "ns2", "net"))
        lab.link(self.ns1, self.net, f"{NS1}/24", "192.0.2.1/24")
        lab.link(self.ns1, self.net, f"{NS1_6}/64", "2001:db8::1/64")
        lab.link(self.ns2, self.net, f"{NS2}/24", "198.51.100.1/24")
        self.net.sysctl("net.ipv4.ip_forward", 1)
        for host, gateway in ((self.ns1, "192.0.2.1"), (self.ns2, "198.51.100.1")):
            host.ip("route", "add", "default", "via", gateway)
        for folder in ("etc", "bin"):
            (path / folder).mkdir()
        (self.etc / "spamcannibal.toml").write_text(f'[store]\npath = "{path}/store"\n' + block("toml"))
        (self.etc / "never-list").write_text("127.0.0.0/8\n")
        (path / "resolv.conf").write_text("nameserver 192.0.2.1\noptions timeout:2 attempts:3\n")
        self.command("spamcannibal", f'exec {sys.executable} -m spamcannibal -c {self.etc}/spamcannibal.toml "$@"')
        # The unit's part: start, and wait until it is ready.
        ready = f"timeout 30 sh -c 'until grep -q READY {self.log}; do sleep 0.1; done'"
        self.command(
            "systemctl",
            f'case "$1" in reload) kill -HUP $(cat {path}/pid);; *) spamcannibal dnsbl 2>{self.log} >/dev/null & '
            f"echo $! >{path}/pid; {ready};; esac",
        )

    def command(self, name: str, script: str) -> None:
        file = self.path / "bin" / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def shell(self, script: str) -> str:
        """Run a block of the page on the name server; what it printed."""
        env = {**os.environ, "PYTHONPATH": str(ROOT / "lib"), "PATH": f"{self.path}/bin:{os.environ['PATH']}"}
        mount = f"mount --bind {self.path}/resolv.conf /etc/resolv.conf\n"
        text = "set -e\n" + mount + script.replace("/etc/spamcannibal", str(self.etc))
        return self.ns1.run("unshare", "--mount", "sh", "-c", text, env=env).stdout

    def start(self, host: Host, words: tuple[str, ...], text: str, name: str) -> subprocess.Popen[bytes]:
        """Start a name server with a configuration of this text."""
        place = self.path / name
        place.mkdir()
        (place / "conf").write_text(text.replace("{path}", str(place)))
        with (place / "log").open("wb") as log:
            return host.start(shutil.which(words[0]) or words[0], *words[1:], place / "conf", stdout=log, stderr=log)

    def dig(self, host: Host, server: str, *words: str) -> str:
        return host.run("dig", f"@{server}", "+short", "+tries=1", "+time=2", *words, check=False).stdout.strip()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    for program in ("named", "nsd", "knotd", "unbound", "nft", "curl", "openssl"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    with TemporaryDirectory(prefix="sc-page-") as place, Lab("page") as lab:
        path = Path(place)
        path.chmod(0o755)
        made = World(lab, path)
        parent = path / "parent.zone"
        parent.write_text(PARENT + "ns.example.net. A 127.0.0.1\n" + block("zone"))
        run("named-checkzone", "example.net", parent)
        options = NAMED.format(path=path, port=5300, more="recursion no;")
        made.start(
            made.net, ("named", "-g", "-c"), options + f'zone "example.net" {{ type primary; file "{parent}"; }};', "up"
        )
        stub = '    do-not-query-localhost: no\nstub-zone:\n    name: "example.net"\n    stub-addr: 127.0.0.1@5300\n'
        text = UNBOUND.format(interface="192.0.2.1", path=path).replace("remote-control:", stub + "remote-control:")
        made.start(made.net, ("unbound", "-d", "-c"), text, "resolver")
        made.ns1.run("nft", "-f", "-", input=FIREWALL)
        yield made
        with (path / "pid").open() as pid:
            os.kill(int(pid.read()), 9)


def test_from_the_delegation_to_the_first_lookup(world: World) -> None:
    world.shell(block("sh", "openssl"))
    assert (world.etc / "ns2.secret").stat().st_mode & 0o077 == 0
    world.shell(block("sh", "systemctl"))
    assert world.dig(world.net, NS1, ZONE, "SOA").startswith(";;")  # the firewall's part
    world.shell(block("sh", "nft add rule"))
    wait_for(lambda: "NS" in world.dig(world.net, "192.0.2.1", "example.net", "NS").upper(), "the resolver answers")
    asked = block("sh", "dig @192.0.2.53").replace("\ndig", " || test $? = 1\ndig", 1)  # it says that one is listed
    told = world.shell(asked).splitlines()
    assert [line.split()[:4] for line in told[:3]] == [
        ["zone", "address", "listed", "code"],
        [ZONE, "127.0.0.2", "yes", "127.0.0.2"],
        [ZONE, "127.0.0.1", "no", "-"],
    ]
    assert told[3:5] == ["127.0.0.2", '"127.0.0.2 sent spam to us, see http://www.example.net/bl?127.0.0.2"']
    assert told[5].startswith(f"ns1.{ZONE}. postmaster.example.net.")
    assert told[6:] == ["127.0.0.2"]
    assert world.shell(block("sh", "list add")).splitlines()[-1] == '"spam to a trap, 203.0.113.7"'
    world.shell(block("sh", "for tool"))


@pytest.mark.parametrize("name", SECONDARIES)
def test_a_second_name_server_follows(world: World, name: str) -> None:
    settings, words = SECONDARIES[name]
    secret = (world.etc / "ns2.secret").read_text().strip()
    text = settings.replace("{ns2}", NS2) + block(name, "SECRET").replace("SECRET", secret)
    process = world.start(world.ns2, words, text.replace("{{", "{").replace("}}", "}"), name)

    def serials() -> list[str]:
        told = [world.dig(world.net, server, ZONE, "SOA").split() for server in (NS1, NS2)]
        return [soa[2] if len(soa) > 2 else "" for soa in told]

    wait_for(lambda: len(set(serials())) == 1 and serials()[1], f"it has the zone {world.path}/{name}/log", 30)
    world.shell(f"spamcannibal list add 203.0.113.{len(name)} --text 'seen by {name}'")
    asked = f"{len(name)}.113.0.203.{ZONE}"
    wait_for(lambda: world.dig(world.net, NS2, asked, "TXT") == f'"seen by {name}"', "it follows", 30)
    if name == "knot":
        world.ns2.run("knotc", "-c", world.path / "knot/conf", "zone-retransfer", ZONE)
    process.kill()
    process.wait()


def test_a_resolver_of_ones_own_finds_the_list(world: World) -> None:
    here = {"127.0.0.1@5353": f"{NS1}@53", "127.0.0.1 port 5353": f"{NS1} port 53", "192.0.2.1": "127.0.0.9"}
    unbound = UNBOUND.format(interface="127.0.0.9", path=world.path) + block("unbound")
    named = NAMED.format(path="{path}", port=5302, more='recursion yes; validate-except { "bl.example.net"; };')
    for old, new in here.items():
        unbound, named = unbound.replace(old, new), named.replace(old, new)
    world.net.ip("addr", "add", "127.0.0.9/8", "dev", "lo")
    world.start(world.net, ("unbound", "-d", "-c"), unbound, "own-unbound")
    forward = block("named", "forward").replace("127.0.0.1 port 5353", f"{NS1} port 53")
    world.start(world.net, ("named", "-g", "-c"), named + forward, "own-named")
    for port in ("53", "5302"):
        asked = ("-p", port, f"2.0.0.127.{ZONE}")
        wait_for(lambda words=asked: world.dig(world.net, "127.0.0.9", *words) == "127.0.0.2", f"port {port} finds it")


def test_mail_servers_are_told_what_the_live_tests_tell_them(world: World) -> None:
    """That Postfix and Exim refuse by these lines is tested in test_dnsbl_users.py."""
    lines = block("postfix").replace(ZONE, "bl.example.org").splitlines()
    assert lines[0] in POSTFIX.splitlines()
    assert block("exim").replace(ZONE, "bl.example.org") in EXIM
    (world.path / "postfix").mkdir()
    (world.path / "postfix/master.cf").write_text("")
    (world.path / "postfix/main.cf").write_text("compatibility_level = 3.6\n" + block("postfix"))
    done = run("postconf", "-c", world.path / "postfix", "-n")
    assert "warning" not in done.stderr and f"postscreen_dnsbl_sites = {ZONE}=127.0.0.2" in done.stdout


def test_it_can_be_watched_and_ends_in_its_sunset(world: World) -> None:
    told = world.shell(block("sh", "curl")).splitlines()
    shown = {line.split()[0] for line in told}
    assert set(re.findall(r"\bspamcannibal_dnsbl_\w+", PAGE)) <= shown
    assert any(line.split() == ["address", "queries", "error", "limited"] for line in told)
    settings = world.etc / "spamcannibal.toml"
    keys = re.findall(r"`((?:sunset|minimum_s|soa_ttl_s) = \S+)`", PAGE)
    assert len(keys) == 3
    settings.write_text(settings.read_text() + "\n".join(keys) + "\n")
    world.shell("systemctl reload spamcannibal-dnsbl")
    wait_for(lambda: "shut down" in world.dig(world.net, NS1, ZONE, "TXT"), "it says so")
    assert world.dig(world.net, NS1, f"7.113.0.203.{ZONE}") == ""
    assert world.dig(world.net, NS1, f"2.0.0.127.{ZONE}") == "127.0.0.2"
